"""Whether a chat in Chromium is whole after its server was killed, its page loaded again, or its connection lost.

These are rows of `benchmarks.reliability`. Each round is a turn of 30 words in three seconds, in which trouble comes
at a random moment. Then there must be every turn before, the message once, what was being typed, and the whole reply
as soon as Send or Continue was pressed where the page offers them.
"""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from playwright.sync_api import sync_playwright

from tests.conftest import free_port
from tests.e2e.conftest import ChatPage, Server, launch_chromium

WORDS = [f"w{number}" for number in range(30)]
ASKED = str(len(WORDS))
TURN_S = 3.5
DRAFT = "and then"
CAME_BACK = (ASKED, f"{ASKED}\n\n{DRAFT}")
"""What the box has when the message is in it again, before what was typed since."""

PATIENCE_S = 60.0


class Line:
    """A line to a server of this machine, which can be cut: what was open breaks, and nothing is answered."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{(here := free_port())}"
        self._port = port
        self._cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", here))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Cut the line, and mend it after a while."""
        self._cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self._cut = False

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self._cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._open |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                to.sendall(piece)
        with suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)


def restarts(times: int) -> str:
    """Kill the server at random moments, and start it again."""

    def restart(server: Server, _: ChatPage) -> None:
        server.kill()
        server.start()

    return _rounds(times, restart)


def reloads(times: int) -> str:
    """Load the page again at random moments."""
    return _rounds(times, lambda _, chat: chat.page.reload())


def lost_connections(times: int, seconds: float = 5.0) -> str:
    """Cut the connection at random moments; the server can be reached again after a while."""
    with _running() as server:
        line = Line(server.port)
        return _in_chat(line.url, times, lambda _: line.cut(seconds))


def _rounds(times: int, trouble: Callable[[Server, ChatPage], Any]) -> str:
    with _running() as server:
        return _in_chat(server.url, times, lambda chat: trouble(server, chat))


@contextmanager
def _running() -> Iterator[Server]:
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _in_chat(url: str, times: int, trouble: Callable[[ChatPage], Any]) -> str:
    """Return after how many troubles the chat was whole, and what was wrong after the others."""
    dice = random.Random(3)
    problems = []
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright, "--disable-gpu")
        for number in range(times):
            if number % 5 == 0:  # chats of up to five turns
                chat = ChatPage(browser.new_context().new_page())
                chat.open(url)
            after_s = dice.uniform(0, TURN_S)
            if found := _turn(chat, after_s, trouble):
                problems.append(f"after {after_s:.2f} s {found}")
        browser.close()
    return "; ".join([f"{times - len(problems)} of {times} chats whole", *problems])


def _turn(chat: ChatPage, after_s: float, trouble: Callable[[ChatPage], Any]) -> str:
    """Let one turn be in trouble; return what is wrong then."""
    before, draft = _path(chat), ""
    chat.submit(ASKED)
    chat.page.wait_for_timeout(1000 * after_s)
    if len(_path(chat)) > len(before) and not chat.box.input_value():
        chat.box.type(draft := DRAFT)
    trouble(chat)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        path = _path(chat)
        if chat.page.evaluate("hfdemo.connected && !hfdemo.isReplying()"):
            if len(path) > len(before) and path[-1]["content"].split() == WORDS and path[-1]["receipt"]:
                break
            if chat.page.locator("#continue").is_visible():
                chat.page.locator("#continue").click()
            elif path == before and chat.box.input_value() in CAME_BACK:
                chat.box.fill(ASKED)
                chat.box.press("Enter")
                draft = ""
        chat.page.wait_for_timeout(200)
    else:
        return f"the reply is not whole: {[turn['content'][-40:] for turn in path]}, box {chat.box.input_value()!r}"
    if path[:-2] != before or path[-2]["content"] != ASKED:
        return f"other turns: {[turn['content'][-40:] for turn in path]}"
    if chat.box.input_value() != draft:
        return f"the box has {chat.box.input_value()!r}"
    chat.box.fill("")
    chat.page.wait_for_timeout(400)  # till that is kept
    chat.page.reload()
    chat.page.wait_for_function("hfdemo.conversation.turns.length")
    return "" if _path(chat) == path else "the page forgot it when it was loaded again"


def _path(chat: ChatPage) -> list[dict[str, Any]]:
    path: list[dict[str, Any]] = chat.page.evaluate("hfdemo.path()")
    return path
