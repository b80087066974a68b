"""What the tests of all kinds share."""

import asyncio
import gc
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests import ROOT
from tests.warm import Process, the_warm_python

if "TESTS_USE_GPU" not in os.environ:  # as `benchmarks/gpu_check.sh` sets it; what the tests say of speed is of CPUs
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

if "PYTEST_XDIST_WORKER" in os.environ:  # processes that each compute with all cores wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(50_000, 20, 100)  # as `app.py`, and for its reason

ssl.create_default_context = cache(ssl.create_default_context)  # httpx reads all certificates for each client: 23 ms

# The same examples in each run, however busy the machine is.
settings.register_profile(
    "same", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")

Result = TypeVar("Result")

KINDS = ("unit", "integration", "e2e")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the kinds in their order, and tests with a browser last.

    Playwright's event loop stays in the main thread to the end of the run, so no `asyncio.run` works after it; and
    pytest moves a test forward when one of its parameters has the name of a fixture of Playwright's (`context`).
    """
    items.sort(key=lambda item: ("playwright" in getattr(item, "fixturenames", ()), _kind(item)))
    gc.freeze()  # all that was imported stays


def _kind(item: pytest.Item) -> int:
    return next((KINDS.index(part) for part in item.path.parts if part in KINDS), 0)


@dataclass
class App:
    """The chat, running as a person would run it: `python app.py` in a process of its own."""

    process: Process
    url: str
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text("utf-8", errors="replace")

    def wait_for_log(self, text: str, times: int = 1, timeout_s: float = 120) -> None:
        wait_until(lambda: self.log().count(text) >= times, timeout_s, f"{text!r} in the log:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end, which must be a good one, and return what it wrote."""
    at_once = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)"  # a thread may still be inside torch
    ended = subprocess.run(
        [sys.executable, "-c", program + at_once, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


def wait_until(condition, timeout_s: float, what: str = "the condition") -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


def quickest(measure_s: Callable[[], float], enough_s: float, tries: int = 5) -> float:
    """Return the shortest of some times: what else the machine does only ever adds to one. It ends with one below."""
    shortest_s = float("inf")
    for _ in range(tries):
        shortest_s = min(shortest_s, measure_s())
        if shortest_s < enough_s:
            break
    return shortest_s


def link(source: str, target: str) -> None:
    """Let another name lead to a file; copy it where it is on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run it to its end, also where Playwright has left an event loop in this thread, as it does till the run ends."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_up(url: str) -> bool:
    """Tell whether an address answers well. To ask again and again, httpx is dear: each time it reads certificates."""
    with suppress(OSError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False


def start_app(folder: Path, port: int | None = None, timeout_s: float = 120, **environ: str) -> App:
    """Start the chat and wait until its page answers."""
    port = port or free_port()
    log_file = folder / f"app-{port}-{time.monotonic_ns()}.log"
    here = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
    with open(os.devnull) as nothing, log_file.open("wb") as log:
        files = [nothing.fileno(), log.fileno(), log.fileno()]
        process = the_warm_python().begin(["app.py"], os.environ | here | environ, files)
    app = App(process, f"http://127.0.0.1:{port}", log_file)

    def answers() -> bool:
        assert process.poll() is None, app.log()
        return is_up(app.url)

    wait_until(answers, timeout_s, "the page")
    return app


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the real small model, fetched and converted if this machine doesn't have it yet."""
    from hfdemo.models.embedded import ensure_embedded_model

    return ensure_embedded_model()


@pytest.fixture(scope="session")
def app(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One running chat with the real small model, for all tests that only talk to it."""
    running = start_app(tmp_path_factory.mktemp("app"), HFDEMO_MODEL=str(embedded_model))
    running.wait_for_log("CPU")
    yield running
    running.stop()
