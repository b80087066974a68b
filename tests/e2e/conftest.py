"""Chromium for the tests: the machine's own, or installed now."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect

from hfdemo.page.page import launch
from tests.conftest import ROOT, App, free_port, is_up, wait_until
from tests.fakes import ScriptedEngine, ScriptedHost, scripted_page

expect.set_options(timeout=60_000)  # the machine may be busy; what is there at once takes no longer

WITHOUT_WINDOWS = ("chromium-headless-shell", "chrome-headless-shell")
"""What Playwright too takes for tests: the same page, for half of the time of the CPU."""

WITH_WINDOWS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict) -> dict:
    # No sandbox: it can't be had as root or in a container, and the pages are our own.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    return {**browser_type_launch_args, "executable_path": find_chromium(), "args": arguments}


def find_chromium() -> str | None:
    """Return the path of Chromium, or None for Playwright's own."""
    with FileLock(Path(tempfile.gettempdir(), "hfdemo-chromium.lock")):  # one of the test processes installs
        if not _first_of(WITHOUT_WINDOWS) and shutil.which("apt-get") and getattr(os, "geteuid", lambda: 1)() == 0:
            packages = ["chromium-headless-shell", "fonts-noto-cjk", "fonts-noto-color-emoji"]
            with suppress(subprocess.TimeoutExpired):  # without a network, what is there will do
                subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=120)
                install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
                subprocess.run(install, check=False, timeout=300)
        if found := _first_of(WITHOUT_WINDOWS + WITH_WINDOWS):
            return found
        if subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False).returncode:
            advice = "On Debian and Ubuntu: sudo apt install chromium"
            pytest.exit(f"The browser tests need Chromium. {advice}", returncode=1)
    return None


def launch_chromium(playwright: Playwright, *arguments: str) -> Browser:
    """Return Chromium for what is no test; see `browser_type_launch_args` for why without a sandbox."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", *arguments])


def _first_of(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(autouse=True)
def closed_pages(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close what a test opened in the browser: the page of a server that is gone would ask for it to the end."""
    browser = request.getfixturevalue("browser") if "browser" in request.fixturenames else None
    yield
    for context in browser.contexts if browser else ():
        context.close()


@pytest.fixture
def chat(page: Page, app: App) -> Iterator["ChatPage"]:
    """The page, open and ready to be typed in; no error may appear in its console."""
    opened = ChatPage(page)
    opened.open(app.url)
    yield opened
    assert opened.problems == []


@dataclass
class Scripted:
    """The page with an engine that says what it is told to."""

    engine: ScriptedEngine
    host: ScriptedHost
    url: str


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    engine = ScriptedEngine()
    host = ScriptedHost(engine)
    page = scripted_page(engine, host=host)
    port = free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    yield Scripted(engine, host, f"http://127.0.0.1:{port}")
    page.close()


@pytest.fixture
def scripted_chat(page: Page, scripted: Scripted) -> Iterator["ChatPage"]:
    """The scripted page, open and ready to be typed in; no error may appear in its console."""
    opened = ChatPage(page)
    opened.open(scripted.url)
    yield opened
    assert opened.problems == []


class Server:
    """A page that counts, in a process of its own that can be killed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._waits = Path(self._folder.name, "waits")

    def start(self) -> None:
        self.go_on()
        command = [sys.executable, "-m", "tests.scripted_server", str(self.port), str(self._waits)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: is_up(f"{self.url}/healthz"), 60, "the server answers")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait(self) -> None:
        """Write no more words until told to go on: however long a page takes, its reply still comes."""
        self._waits.touch()

    def go_on(self) -> None:
        self._waits.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def any_server() -> Iterator[Server]:
    server = Server()
    yield server
    if server.process:
        server.kill()


@pytest.fixture
def server(any_server: Server) -> Server:
    """A server that runs, whatever the test before did to it."""
    if any_server.process is None or any_server.process.poll() is not None:
        any_server.start()
    any_server.go_on()
    return any_server


@pytest.fixture
def counting(server: Server, page: Page) -> "ChatPage":
    """The page that counts, open and ready to be typed in."""
    chat = ChatPage(page)
    chat.open(server.url)
    return chat


SCROLLER = "#scroller"
FOLLOWS = """() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector("#scroller");
    return scrollHeight - scrollTop - clientHeight < 60;
}"""

TEXT_WITHOUT_BOXES = """message => {
    const copy = message.cloneNode(true)
    copy.querySelectorAll('.thought-group').forEach(box => box.remove())
    return copy.innerText
}"""


class ChatPage:
    """What a visitor sees and does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.box = page.locator("#message textarea")
        self.send_button = page.locator("#message .submit-button")
        self.stop_button = page.locator("#message .stop-button")
        self.new_chat = page.locator("#new-chat")
        self.line = page.locator("#line-over-box")
        self.users = page.locator("#transcript .user.message")
        self.replies = page.locator("#transcript .bot.message")
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.locator("#status .stage").wait_for()  # on a busy machine, the starters may be there sooner
        self.starters.first.wait_for()

    @property
    def starters(self):
        return self.page.locator("#transcript button.example")

    def open_settings(self) -> None:
        """Open them, if they aren't open."""
        if not self.page.locator("#settings.open").count():
            self.page.locator("#open-settings").click()
        expect(self.page.locator("#settings.open")).to_be_in_viewport()

    def set_option(self, name: str, value: float) -> None:
        """Set a slider by its number field in the settings; `name` is the option's, with hyphens."""
        self.open_settings()
        field = self.page.locator(f"#{name} input[type=number]")
        field.fill(str(value))
        field.blur()

    def submit(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def send(self, text: str) -> None:
        """Submit a message, and wait until it has been taken."""
        self.submit(text)
        expect(self.box).to_have_value("")

    def wait_for_reply(self, timeout_s: float = 120) -> str:
        """Wait until the reply is whole and the box is back, and return the reply."""
        self.send_button.wait_for(timeout=timeout_s * 1000)
        self.page.wait_for_function("!hfdemo.isReplying()")  # it is kept, too
        return str(self.replies.last.evaluate(TEXT_WITHOUT_BOXES)).strip()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)
