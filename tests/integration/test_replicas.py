"""Several servers behind one address, of which one is killed: model servers behind a router, pages behind a proxy."""

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.remote.address import find_address
from hfdemo.engines.remote.engine import RemoteEngine
from hfdemo.engines.remote.host import RemoteHost
from hfdemo.errors import GenerationFailed
from hfdemo.settings import Settings
from tests.conftest import ROOT, free_port, is_up, start_app, wait_until
from tests.e2e.conftest import ChatPage, browser_type_launch_args  # noqa: F401  # the same Chromium here

WORDS = 40


@contextmanager
def replica(name: str, seconds: float = 0.1) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tests.replica", name, str(WORDS), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def router(*workers: str) -> Iterator[str]:
    """Run vllm-router before some servers and give its address."""
    program = shutil.which("vllm-router", path=str(Path(sys.executable).parent)) or shutil.which("vllm-router")
    if program is None:
        pytest.skip("vllm-router is not installed")
    port = free_port()
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--policy", "consistent_hash"]
    more = ["--cb-failure-threshold", "3", "--prometheus-port", str(free_port()), "--worker-urls", *workers]
    process = subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/v1/models"), 60, "the router")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@dataclass
class Told:
    """What one visitor has of a reply."""

    key: str
    text: str = ""
    ended: bool = False
    problem: str = ""
    begun: threading.Event = field(default_factory=threading.Event)

    @property
    def numbers(self) -> list[int]:
        return [int(word[1:]) for word in self.text.split()]

    @property
    def by(self) -> set[str]:
        return {word[0] for word in self.text.split()}


def test_one_of_two_model_servers_is_killed_while_eight_chats_run():
    with replica("a") as (first, one), replica("b") as (_, two), router(one, two) as address:
        settings = Settings(endpoint=address, model="org/model")
        engine = RemoteEngine(settings, RemoteHost(settings, find_address(settings, None)))

        def request_of(told: Told) -> ChatRequest:
            start = told.text
            return ChatRequest(
                (Message("user", f"Count, {told.key}"),),
                "",
                Options(),
                cache_key=told.key,
                reply_start=start,
                continues=bool(start),
            )

        def ask(told: Told) -> None:
            """Ask, or go on with what came of the reply."""
            start, request = told.text, request_of(told)
            told.text = told.problem = ""
            try:
                for delta in engine.stream(request, StopSignal()):
                    told.text += delta.text
                    if len(told.text) > len(start):
                        told.begun.set()
                    told.ended = delta.receipt is not None
            except GenerationFailed as error:
                told.problem = error.key

        def server_of(key: str) -> str:
            told = Told(key)
            with closing(engine.stream(request_of(told), StopSignal())) as deltas:
                return next(delta.text for delta in deltas if delta.text)[0]

        keys: dict[str, list[str]] = {"a": [], "b": []}
        for number in range(200):  # the servers' ports decide who goes where
            keys[server_of(f"visitor {number}")].append(f"visitor {number}")
            if min(map(len, keys.values())) >= 4:
                break
        chats = [Told(key) for its in keys.values() for key in its[:4]]
        assert len(chats) == 8, keys
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(ask, told) for told in chats]
            for told in chats:
                assert told.begun.wait(20)
            assert [told.by for told in chats] == [{"a"}] * 4 + [{"b"}] * 4
            first.kill()
            for job in asked:
                job.result(60)
            cut = [told for told in chats if told.problem]
            assert {told.problem for told in cut} == {"endpoint_cut"}
            for told in chats:
                assert told.ended == (told not in cut) and len(told.by) == 1
                assert told.by == {"a"} if told in cut else told.numbers == list(range(WORDS))
                assert told.numbers == list(range(len(told.numbers))) and told.numbers
            before = [(told, told.text) for told in cut]
            for told, job in [(told, threads.submit(ask, told)) for told in cut]:
                job.result(60)
                assert told.ended, told.problem
            for told, text in before:
                assert told.text.startswith(text.rstrip()) and told.by == {"a", "b"}
                assert told.numbers == list(range(WORDS))


@contextmanager
def one_address(ports: list[int]) -> Iterator[int]:
    """Pass connections on to the first of some ports that takes them, as a balancer with sticky sessions would."""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            for port in ports:
                with suppress(OSError):
                    server = socket.create_connection(("127.0.0.1", port), timeout=5)
                    server.settimeout(None)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()
                    break
            else:
                client.close()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def test_one_of_two_pages_behind_an_address_is_killed_and_the_other_goes_on(tmp_path, page: Page):
    with ExitStack() as stack:
        _, endpoint = stack.enter_context(replica("a", seconds=0.02))
        pages = []
        for _ in range(2):
            pages.append(start_app(tmp_path, HFDEMO_ENDPOINT=endpoint))
            stack.callback(pages[-1].stop)
        ports = [int(running.url.rpartition(":")[2]) for running in pages]
        port = stack.enter_context(one_address(ports))
        chat = ChatPage(page)
        chat.open(f"http://127.0.0.1:{port}")
        chat.send("Count.")
        assert f"a{WORDS - 1}" in chat.wait_for_reply()
        pages[0].stop()
        page.wait_for_timeout(3000)
        chat.send("Again.")
        assert f"a{WORDS - 1}" in chat.wait_for_reply()
        expect(chat.users).to_have_count(2)
