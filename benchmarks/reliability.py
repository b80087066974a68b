"""What can go wrong with strangers, crowds and faults, measured: the table in `docs/reliability.md`.

`python -m benchmarks.reliability` takes about two hours; `--only G1 G5` measures these rows again. Each row is kept as
soon as it is measured, unless the table is of another machine: then it begins anew. `--tenth` does a tenth of each and
keeps nothing. Rows that a test proves run that test.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.keeping import lost_connections, reloads, restarts
from benchmarks.processes import model_files
from benchmarks.report import describe_machine, percentile, progress, put_between_marks, table
from benchmarks.soak import ask, run

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
LONG_PROMPT = "Tell me more about all of this. " * 500
STORY = "Write a long story about a lighthouse."


@dataclass
class Running:
    """The program in this process, and where it is served."""

    local: Any
    url: str
    busy: list[threading.Thread] = field(default_factory=list)


@contextmanager
def serving(**settings: Any) -> Iterator[Running]:
    """Serve the page with the embedded model from this process."""
    from hfdemo.page.page import launch
    from hfdemo.settings import Settings
    from tests.conftest import free_port
    from tests.integration.local import loaded

    local = loaded(Settings(model=model_files()["model"], time_limit_s=600, max_waiting=200, **settings))
    page, port = local.page(), free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    yield Running(local, f"http://127.0.0.1:{port}")
    page.close()


def stops(times: int, prompt: str, after_s: float, beside: int) -> list[float]:
    """Return how long replies took to end after Stop, in seconds.

    Args:
        times: how many replies.
        prompt: what is asked.
        after_s: how long after the beginning Stop comes; a random part of it is added.
        beside: how many other chats go on meanwhile.
    """
    dice = random.Random(1)

    async def measure(running: Running) -> list[float]:
        others = [asyncio.create_task(_go_on(running, f"other {number}")) for number in range(beside)]
        await asyncio.sleep(2.0 if beside else 0.0)
        took = []
        for _ in range(times):
            answer = running.local.answering.answer(_request(prompt), "me")
            reading = asyncio.create_task(_read(answer))
            await asyncio.sleep(after_s * (1 + dice.random()))
            begun = time.monotonic()
            await running.local.answering.stop("me")
            await asyncio.wrap_future(answer.ended)
            took.append(time.monotonic() - begun)
            await reading
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return took

    with serving(scheduling="batched" if beside else "single") as running:
        return asyncio.run(measure(running))


async def _go_on(running: Running, visitor: str) -> None:
    while True:
        await _read(running.local.answering.answer(_request(STORY), visitor))


async def _read(answer: Any) -> None:
    async for _ in answer.deltas():
        pass


def _request(text: str, new_tokens: int = 2000) -> Any:
    from hfdemo.chat.messages import Message
    from hfdemo.chat.options import Options
    from hfdemo.chat.request import ChatRequest

    return ChatRequest((Message("user", text),), "", Options(temperature=1.0, max_new_tokens=new_tokens, seed=1))


def kills(times: int, prompt: str) -> tuple[list[float], list[float], int]:
    """Cut clients' connections during a reply.

    Returns:
        How long each reply took to end; how long the next one then took to begin; how many of the others, who asked
        meanwhile, were harmed.
    """
    dice = random.Random(2)
    ended, next_began, harmed = [], [], 0
    with serving(scheduling="batched") as running:
        engine = running.local.engine
        for _ in range(times):
            with ThreadPoolExecutor(1) as pool:
                other = pool.submit(_complete, running.url, "What is the capital of Korea?")
                _leave_midway(running.url, prompt, 0.2 + 0.4 * dice.random())
                begun = time.monotonic()
                harmed += other.result() != "The capital of Korea is Seoul."
            while engine.in_use():
                time.sleep(0.002)
            ended.append(time.monotonic() - begun)
            begun = time.monotonic()
            ask(running.url, "Hi", gives_up=True)
            next_began.append(time.monotonic() - begun)
    return ended, next_began, harmed


def _leave_midway(url: str, prompt: str, after_s: float) -> None:
    """Ask, and cut the connection after a while, however far the reply is."""
    call = _begin(url, {"message": prompt, "max_new_tokens": 2000})
    with suppress(httpx.TransportError), httpx.stream("GET", call, timeout=after_s) as response:
        deadline = time.monotonic() + after_s
        for _ in response.iter_raw():
            if time.monotonic() > deadline:
                return


def _begin(url: str, data: dict[str, Any]) -> str:
    """Send a call, and return the address of its stream."""
    answer = httpx.post(f"{url}/gradio_api/call/v2/chat", json=data, timeout=60)
    return f"{url}/gradio_api/call/v2/chat/{answer.raise_for_status().json()['event_id']}"


def _complete(url: str, message: str, **more: Any) -> str:
    """Return the whole reply to a message; empty if it failed."""
    data = {"message": message, "temperature": 0, "max_new_tokens": 24, **more}
    lines = httpx.get(_begin(url, data), timeout=300).text.splitlines()
    done = "event: complete" in lines
    return str(json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]) if done else ""


def page_delays(seconds: float) -> list[float]:
    """Return how long `/config` took while four chats go on and others are stopped all the time."""
    took: list[float] = []
    with serving(scheduling="batched") as running:
        until = time.monotonic() + seconds

        def chat() -> None:
            while time.monotonic() < until:
                _leave_midway(running.url, STORY, 2.0)

        threads = [threading.Thread(target=chat) for _ in range(4)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=running.url, timeout=60) as client:
            while time.monotonic() < until:
                begun = time.monotonic()
                client.get("/config").raise_for_status()
                took.append(time.monotonic() - begun)
                time.sleep(0.05)
        for thread in threads:
            thread.join()
    return took


def cross_talk(turns: int, together: int = 50) -> tuple[int, int, int]:
    """Let chats repeat canaries of their own; return how many turns ended, had to wait, and were mixed up."""
    from hfdemo.page.page import launch
    from tests.conftest import free_port
    from tests.fakes import ScriptedEngine, scripted_page

    class Echo(ScriptedEngine):
        """Repeats the whole conversation, a word at a time."""

        def stream(self, request: Any, stop: Any) -> Any:
            from hfdemo.chat.reply import Delta

            said = " ".join(message.content for message in request.messages)
            for word in said.split():
                yield Delta(word + " ", used_tokens=1)
            yield Delta(used_tokens=1, receipt=self.receipt)

    page, port = scripted_page(Echo()), free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    url = f"http://127.0.0.1:{port}"

    def chat(number: int) -> tuple[int, int, int]:
        ended = busy = mixed = 0
        for turn in range(turns // together):
            reply = _complete(url, f"canary-{number}-{turn}")
            ended += bool(reply)
            busy += not reply
            found = set(re.findall(r"canary-(\d+)-", reply))
            mixed += bool(reply) and found != {str(number)}
        return ended, busy, mixed

    with ThreadPoolExecutor(together) as pool:
        counts = list(pool.map(chat, range(together)))
    page.close()
    ended, busy, mixed = (sum(column) for column in zip(*counts, strict=True))
    return ended, busy, mixed


def memory_of_many(count: int) -> tuple[float, float]:
    """Return by how many MB turns of one session, and sessions of one turn, let the program grow."""
    output = subprocess.run(
        [sys.executable, "-m", "tests.integration.growth", str(count)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    turns, sessions = json.loads(output.splitlines()[-1])
    return turns / 1e6, sessions / 1e6


def tests(*arguments: str, **environ: str) -> str:
    """Run tests, with more in their environment, and return how many passed."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | environ,
    )
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|error)", ended.stdout)}
    good, bad = counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)
    return f"{good} of {good + bad} tests pass"


def _times(values: list[float]) -> str:
    return f"p50 {percentile(values, 50):.3f} s, p99 {percentile(values, 99):.3f} s (n = {len(values)})"


def rows(share: float) -> dict[str, tuple[str, str, Callable[[], str]]]:
    """Return the rows: what is promised, by how much, and what measures it.

    Args:
        share: of the usual numbers of repetitions.
    """

    def many(count: int) -> int:
        return max(2, round(count * share))

    def kill_row(prompt: str) -> str:
        ended, after, harmed = kills(many(250), prompt)
        return f"ended {_times(ended)}; next one's first text {_times(after)}; {harmed} others harmed"

    def crowd_row() -> str:
        ended, busy, mixed = cross_talk(many(10_000))
        return f"{mixed} of {ended} turns mixed up, {busy} told to wait"

    def soak_row() -> str:
        soak = run(15 * share, sys.maxsize)
        problems = "; ".join(soak.problems()) or "as it should be"
        most, predicted = soak.most_bytes / 1e6, soak.predicted_bytes / 1e6
        return f"{len(soak.first_token_s)} replies: {most:,.0f} MB at most, {predicted:,.0f} MB predicted; {problems}"

    def memory_row() -> str:
        turns, sessions = memory_of_many(many(1000))
        return f"{turns:+.1f} MB over {many(1000)} turns, {sessions:+.1f} MB over {many(1000)} sessions"

    def stop_row() -> str:
        alone, beside = stops(many(200), STORY, 0.5, 0), stops(many(200), STORY, 1.0, 8)
        return f"alone {_times(alone)}; with eight beside {_times(beside)}"

    unit, integration, e2e = ("tests/unit/test_", "tests/integration/test_", "tests/e2e/test_")
    gone = "ended within 1 s, next after 0.3 s, nobody harmed"
    return {
        "G1": ("Stop while a reply is written, until the model stopped", "p99 0.25 s", stop_row),
        "G2": (
            "Stop while a prompt of 4,000 tokens is read",
            "p99 1 s and a layer",
            lambda: _times(stops(many(200), LONG_PROMPT, 0.4, 0)),
        ),
        "G3": ("A client is gone while a reply is written", gone, lambda: kill_row(STORY)),
        "G4": ("A client is gone while its prompt is read", gone, lambda: kill_row(LONG_PROMPT)),
        "G5": ("`GET /config` while chats come and go", "p99 0.25 s", lambda: _times(page_delays(60 * share))),
        "G6": ("50 chats with canaries, 10,000 turns", "0 mixed up", crowd_row),
        "G7": (
            "485 naughty strings, by page and API",
            "all exact",
            lambda: tests(f"{unit}naughty_strings.py", f"{integration}naughty_stream.py"),
        ),
        "G8": (
            "Fuzzed requests to every door; 2,000 of schemathesis to the API",
            "no 5xx, no runaway",
            lambda: tests(f"{integration}strangers.py", f"{unit}door_openapi.py", DOOR_CASES=str(int(300 * share))),
        ),
        "G9": ("Control tokens typed by a visitor", "no control ids", lambda: tests(f"{unit}prompt.py")),
        "G10": ("Memory over many turns and sessions", "5 MB after warm-up", memory_row),
        "G11": (
            "Each call of a turn fails once",
            "a sentence, and the next turn is right",
            lambda: tests(f"{integration}faults.py"),
        ),
        "G12": (
            "Out of memory in prefill and decode",
            "the next turn works, 20 of 20",
            lambda: tests(f"{integration}faults.py", "-k", "memory"),
        ),
        "G13": ("The server is killed during a turn", "100 of 100 chats whole", lambda: restarts(many(100))),
        "G14": (
            "No place is free",
            "a sentence, and the message is kept",
            lambda: tests(f"{unit}answering.py", f"{unit}rates.py", f"{e2e}page.py"),
        ),
        "G14b": (
            "Hostile and heavy output in Chromium",
            "no dialogs, requests, navigations",
            lambda: tests(f"{e2e}inert.py", f"{unit}markdown.py"),
        ),
        "G15": ("Text without spaces", "2 tokens after it can be read", lambda: tests(f"{unit}detokenizer.py")),
        "G16": (
            "What others asked, read from the time of an answer",
            "p > 0.01; one's own chat is twice as fast",
            lambda: tests(f"{integration}isolation.py"),
        ),
        "G17": (
            "A token in the page, the logs or a reply",
            "nowhere",
            lambda: tests(f"{integration}api.py", f"{integration}colab.py"),  # whole: cells build on others
        ),
        "G18": ("axe-core, both languages, light and dark", "nothing serious", lambda: tests(f"{e2e}axe.py")),
        "G19": ("Soak: memory within the plan, threads constant", "10 %", soak_row),
        "G21": ("The page is loaded again during a turn", "20 of 20", lambda: reloads(many(20))),
        "G22": ("The connection is lost for 5 s in a turn", "10 of 10", lambda: lost_connections(many(10))),
    }


def kept_rows(document: str) -> dict[str, list[str]]:
    """Return the rows of the table in a document, by their names; none if it was measured on another machine."""
    if describe_machine() not in document:
        return {}
    cells = [line.strip("| ").split(" | ") for line in document.splitlines() if line.startswith("| G")]
    return {name: [name, *more] for name, *more in cells}


def keep(row: list[str], order: Iterable[str]) -> None:
    """Put a row into the table in the document."""
    document = DOCUMENT.read_text("utf-8")
    kept = kept_rows(document) | {row[0]: row}
    text = table(["", "What", "Goal", "Measured"], [kept[name] for name in order if name in kept])
    DOCUMENT.write_text(put_between_marks(document, "reliability", f"{text}\n\n{describe_machine()}"), "utf-8")


def main() -> None:
    """Measure, and show or keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="measure these rows")
    parser.add_argument("--tenth", action="store_true", help="a tenth of each; keep nothing")
    arguments = parser.parse_args()
    all_rows = rows(0.1 if arguments.tenth else 1.0)
    for name in arguments.only or all_rows:
        what, goal, measure = all_rows[name]
        row = [name, what, goal, measure()]
        progress(" | ".join(row))
        if not arguments.tenth:
            keep(row, all_rows)


if __name__ == "__main__":
    main()
