"""Memory, threads and speed of the running program over many replies: does it stay within what `check` predicts?

`python -m benchmarks.soak` starts `app.py` and asks for replies for 15 minutes, each for a client that never came
before, with prompts of 5 to 900 words; one in eight is given up midway. `--minutes 480` is a night's soak, and
`--together 4` asks for four replies at a time. It fails (exit status 1) where the program takes more than a tenth over
the plan, or its threads or open files grow.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil

from benchmarks.processes import model_files
from benchmarks.prompts import TEXT
from benchmarks.report import parse_arguments, percentile, progress, publish, table

WORDS = (5, 900)
NEW_TOKENS = 24
GIVEN_UP = 1 / 8
TOLERANCE = 0.1
WARM_REPLIES = 20
"""Threads and open files are counted from here on."""


@dataclass
class Sample:
    """The program after some replies."""

    replies: int
    seconds: float
    resident_bytes: int
    threads: int
    files: int


@dataclass
class Soak:
    """What was seen."""

    predicted_bytes: int
    samples: list[Sample]
    first_token_s: list[float]
    failures: int = 0
    given_up: int = 0

    @property
    def most_bytes(self) -> int:
        """The most memory that was resident after a reply."""
        return max(sample.resident_bytes for sample in self.samples)

    def problems(self) -> list[str]:
        """Return what isn't as it should be."""
        found = []
        if self.failures:
            found.append(f"{self.failures} replies failed")
        if self.most_bytes > (1 + TOLERANCE) * self.predicted_bytes:
            found.append(f"{self.most_bytes / 1e6:.0f} MB resident, {self.predicted_bytes / 1e6:.0f} MB predicted")
        warm = [sample for sample in self.samples if sample.replies >= WARM_REPLIES]
        for kind in ("threads", "files"):
            counts = [getattr(sample, kind) for sample in warm]
            if counts and counts[-1] > counts[0] + 5:
                found.append(f"{kind}: {counts[0]} after {WARM_REPLIES} replies, {counts[-1]} at the end")
        return found


def main() -> int:
    """Soak, show the table, and return the exit status."""
    arguments = parse_arguments(
        __doc__,
        ("--minutes", {"type": float, "default": 15.0, "help": "how long"}),
        ("--replies", {"type": int, "help": "how many replies at most"}),
        ("--together", {"type": int, "default": 1, "help": "how many replies at a time"}),
        ("--keep", {"action": "store_true", "help": "keep the table in the README"}),
    )
    soak = run(arguments.minutes, arguments.replies or sys.maxsize, arguments.together)
    text = describe(soak)
    if arguments.keep:
        publish("soak", text, asdict(soak))
    else:
        progress(text)
    problems = soak.problems()
    progress("; ".join(problems) or "As it should be.")
    return 1 if problems else 0


def run(minutes: float, replies: int, together: int = 1, **environ: str) -> Soak:
    """Ask a program of its own for replies, and watch it.

    Args:
        minutes: how long.
        replies: how many at most.
        together: how many at a time.
        environ: more environment variables for the program.
    """
    environ = {
        "HFDEMO_MODEL": model_files()["model"],
        "HFDEMO_SCHEDULING": "batched" if together > 1 else "single",
    } | environ
    soak = Soak(predicted(environ), [], [])
    with running_app(environ) as (process, url):
        _ask_many(soak, process, url, time.monotonic() + 60 * minutes, replies, together)
    return soak


def predicted(environ: dict[str, str]) -> int:
    """Return the most memory that `check` predicts, in bytes."""
    command = [sys.executable, "-m", "hfdemo", "check", environ["HFDEMO_MODEL"], "--json"]
    output = subprocess.run(command, env=os.environ | environ, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(json.loads(output)["most_bytes"])


@contextmanager
def running_app(environ: dict[str, str]) -> Iterator[tuple[psutil.Process, str]]:
    """Run `app.py`; yield its process and its address once it is ready."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environ = os.environ | {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)} | environ
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        program = subprocess.Popen([sys.executable, "app.py"], env=environ, stdout=log, stderr=log)
        try:
            while not _is_ready(url):
                if program.poll() is not None:
                    raise RuntimeError("app.py has ended")
                time.sleep(0.5)
            yield psutil.Process(program.pid), url
        finally:
            program.kill()
            program.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _ask_many(soak: Soak, process: psutil.Process, url: str, until: float, replies: int, together: int) -> None:
    begun, lock, dice = time.monotonic(), threading.Lock(), random.Random(5)
    words = TEXT.split()
    asked = 0

    def ask_on() -> None:
        nonlocal asked
        while time.monotonic() < until:
            with lock:
                if asked == replies:
                    return
                asked += 1
                start, count = dice.randrange(len(words)), dice.randint(*WORDS)
                gives_up = dice.random() < GIVEN_UP
            message = " ".join(words[(start + index) % len(words)] for index in range(count))
            try:
                first_s = ask(url, message, gives_up)
            except (httpx.HTTPError, RuntimeError) as error:
                first_s = None
                progress(f"a reply failed: {type(error).__name__} {error}")
            with lock:
                soak.failures += first_s is None
                soak.given_up += gives_up
                soak.first_token_s += [] if first_s is None else [first_s]
                _watch(soak, process, time.monotonic() - begun, asked)

    threads = [threading.Thread(target=ask_on) for _ in range(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _watch(soak: Soak, process: psutil.Process, seconds: float, replies: int) -> None:
    with process.oneshot():
        sample = Sample(replies, seconds, process.memory_info().rss, process.num_threads(), process.num_fds())
    soak.samples.append(sample)
    if replies in (1, 10) or replies % 25 == 0:
        progress(f"{replies} replies, {seconds:.0f} s: {sample.resident_bytes / 1e6:.0f} MB, {sample.threads} threads")


def ask(url: str, message: str, gives_up: bool = False) -> float:
    """Ask for a reply as a new client of the API, and return after how many seconds its first text came.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.monotonic()
    data: dict[str, Any] = {"message": message, "temperature": 0, "max_new_tokens": NEW_TOKENS}
    with httpx.Client(base_url=f"{url}/gradio_api/call", timeout=300) as client:
        event = client.post("/v2/chat", json=data).raise_for_status().json()["event_id"]
        first_s = 0.0
        with client.stream("GET", f"/v2/chat/{event}") as response:
            for line in response.iter_lines():
                if line.startswith("event: error"):
                    raise RuntimeError("the reply ended with an error")
                if line.startswith("data: ") and len(line) > len('data: [""]') and not first_s:
                    first_s = time.monotonic() - begun
                    if gives_up:
                        break
    return first_s


def describe(soak: Soak) -> str:
    """Return what was seen as a table."""
    marks = [1, 25, 100, 200, 400, 800, 1600, 3200, 6400, 12800]
    shown = [sample for sample in soak.samples if sample.replies in marks]
    shown += soak.samples[-1:] if soak.samples[-1:] != shown[-1:] else []
    rows = [
        [f"after {sample.replies} replies", f"{sample.resident_bytes / 1e6:,.0f}", sample.threads, sample.files]
        for sample in shown
    ]
    threads, files = (max(getattr(sample, kind) for sample in soak.samples) for kind in ("threads", "files"))
    rows.append(["the most", f"{soak.most_bytes / 1e6:,.0f}", threads, files])
    rows.append(["predicted", f"{soak.predicted_bytes / 1e6:,.0f}", "", ""])
    third = max(1, len(soak.first_token_s) // 3)
    early, late = (percentile(part, 95) for part in (soak.first_token_s[:third], soak.first_token_s[-third:]))
    return (
        f"{table(['Program', 'Memory, MB', 'Threads', 'Open files'], rows)}\n\n"
        f"{len(soak.first_token_s)} replies, {soak.given_up} given up by the client, {soak.failures} failed. "
        f"First token, 95 % within: {early:.2f} s in the first third, {late:.2f} s in the last."
    )


if __name__ == "__main__":
    sys.exit(main())
