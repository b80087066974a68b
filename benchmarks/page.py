"""What the page costs: the rate that its clients see, and the time that an update takes to reach them.

`python -m benchmarks.page` first compares the rate at several clients with that of the engine alone, in turns, as the
speed of a machine drifts. All share its cores: what a client computes, it takes from the model.
Then it measures single updates, at several lengths of reply and chat, with an engine that only says the time.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from gradio_client import Client
from gradio_client.client import Job
from playwright.sync_api import Page, sync_playwright

from benchmarks.page_server import MARK
from benchmarks.peers import Hfdemo, Peer
from benchmarks.processes import ask_peer, model_files
from benchmarks.prompts import SYSTEM_PROMPT, message_of
from benchmarks.replies import Ask, measure
from benchmarks.report import parse_arguments, progress, publish, spread, table
from hfdemo.models.load import load_prompts
from tests.conftest import ROOT, App, free_port, start_app, wait_until
from tests.e2e.conftest import ChatPage, launch_chromium

NEW_TOKENS = 400
LENGTHS = (10, 1000, 8000)
TURNS = (1, 100)
TO_REACH = 0.97
"""The share of the engine's rate that clients shall see."""

APART = "Chromium, server and model on another core"

Rate = dict[str, float]
"""Tokens a second: as a client saw them, as the engine made them meanwhile, and as it makes them alone."""

STAMP = re.compile(rf"{MARK}(\d+\.\d+)/(\d+\.\d+)")

WATCH = """mark => {
    window.seen = []
    let last = ''
    const note = state => window.seen.push([state, (performance.timeOrigin + performance.now()) / 1000])
    const lengthOf = reply => {
        const copy = reply.cloneNode(true)
        copy.querySelectorAll('.thought-group').forEach(box => box.remove())
        return copy.textContent.trim().length || ''
    }
    new MutationObserver(() => {
        const reply = [...document.querySelectorAll('#transcript .bot.message')].at(-1)
        if (!reply) return
        const stamps = mark && reply.textContent.slice(-300).match(RegExp(mark, 'g'))
        const state = String(mark ? stamps?.at(-1) ?? '' : lengthOf(reply))
        if (!state || state === last) return
        last = state
        requestAnimationFrame(() => setTimeout(note, 0, state))  // when it has been drawn
    }).observe(document.querySelector('#transcript'), {childList: true, characterData: true, subtree: true})
}"""
"""Notes when the last reply was drawn anew: with a mark, each stamp at its end; without, each length of its text."""


def main() -> None:
    """Measure, and keep the tables."""
    runs = parse_arguments(__doc__).runs
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright, "--disable-gpu", "--disable-background-networking")
        engine = Hfdemo(**model_files())
        message = message_of(load_prompts(model_files()["model"]), 40)
        rates = []
        for run in range(runs):
            rates.append(_rates(engine, message, browser.new_page) | {APART: _apart(message, browser.new_page)})
            progress(f"run {run + 1}: {rates[-1]}")
        updates = [found for run in range(runs) for found in _updates(browser.new_page, run)]
        note = f"Chromium {browser.version}"
        browser.close()
    publish(
        "page", f"{_rate_table(rates)}\n\n{_update_table(updates)}", {"rates": rates, "updates": updates}, runs, note
    )


def _rates(engine: Peer, message: str, new_page: Any) -> dict[str, Rate]:
    """Return the rates of one reply: as each client sees it, with the engine's alone before and after."""
    with _chat_server() as app:
        clients = {
            "plain HTTP": lambda: _http_rate(app, message),
            "gradio_client, asked 30 times a second": lambda: _client_rate(app, message),
            "gradio_client, as an iterator": lambda: _iterator_rate(app, message),
            "Chromium": lambda: _browser_rate(app, message, new_page),
        }
        alone = [measure(engine.reply(_ask(message))).tokens_per_s]
        rates = {}
        for name, client_rate in clients.items():
            seen = client_rate()
            alone.append(measure(engine.reply(_ask(message))).tokens_per_s)
            rates[name] = {"seen": seen, "made": _made(app), "alone": sum(alone[-2:]) / 2}
    return rates


def _apart(message: str, new_page: Any) -> Rate:
    """Return the rates for Chromium while server and model keep to one core: the browser has the other for itself."""

    def alone() -> float:
        with _on_one_core():
            return ask_peer("ours", asks=[_ask(message)])[0][0].tokens_per_s

    before = alone()
    with _chat_server(_on_one_core()) as app:
        seen = _browser_rate(app, message, new_page)
        made = _made(app)
    return {"seen": seen, "made": made, "alone": (before + alone()) / 2}


def _ask(message: str) -> Ask:
    return Ask([{"role": "user", "content": message}], NEW_TOKENS)


@contextmanager
def _chat_server(placed: AbstractContextManager[None] | None = None) -> Iterator[App]:
    """Yield the real chat, with its model loaded and warm.

    Args:
        placed: in which it is started.
    """
    with tempfile.TemporaryDirectory() as folder:
        with placed or nullcontext():
            app = start_app(Path(folder), HFDEMO_MODEL=model_files()["model"], HFDEMO_SYSTEM_PROMPT=SYSTEM_PROMPT)
        try:
            app.wait_for_log("CPU")
            client = Client(app.url, verbose=False)
            client.predict(message="Count from one to ten.", max_new_tokens=16, api_name="/chat")
            yield app
        finally:
            app.stop()


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Let the processes that are started here use the first core only."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _made(app: App) -> float:
    """Return the tokens a second of the last reply, as the engine made them."""
    return float(re.findall(r"\btokens_per_s=([\d.]+)", app.log())[-1])


def _http_rate(app: App, message: str) -> float:
    url = f"{app.url}/gradio_api/call/v2/chat"
    call = httpx.post(url, json={"message": message, "temperature": 0, "max_new_tokens": NEW_TOKENS}).json()
    with httpx.stream("GET", f"{url}/{call['event_id']}", timeout=120) as response:
        return _rate(app, [time.perf_counter() for _ in response.iter_raw()])


def _client_rate(app: App, message: str) -> float:
    job = _submit(app, message)
    times, updates = [], 0
    while True:
        ended = job.done()
        if len(job.outputs()) > updates:
            updates = len(job.outputs())
            times.append(time.perf_counter())
        if ended:
            return _rate(app, times)
        time.sleep(1 / 30)


def _iterator_rate(app: App, message: str) -> float:
    return _rate(app, [time.perf_counter() for text in _submit(app, message) if text])


def _submit(app: App, message: str) -> Job:
    client = Client(app.url, verbose=False)
    return client.submit(message=message, temperature=0, max_new_tokens=NEW_TOKENS, api_name="/chat")


def _browser_rate(app: App, message: str, new_page: Any) -> float:
    with _open_chat(app.url, new_page) as chat:
        chat.set_option("temperature", 0)
        chat.set_option("max-new-tokens", NEW_TOKENS)
        chat.page.wait_for_timeout(5000)  # a page that opens draws for some seconds
        replies = app.log().count("reply:")
        chat.page.evaluate(WATCH, None)
        chat.send(message)
        wait_until(lambda: app.log().count("reply:") > replies, 120)
        chat.page.wait_for_timeout(500)
        seen = chat.page.evaluate("window.seen")
        chat.wait_for_reply()
    return _rate(app, [time_s for _, time_s in seen])


def _rate(app: App, times: list[float]) -> float:
    """Return the tokens a second of the last reply, whose updates came at these times."""
    new_tokens = int(re.findall(r"\bnew_tokens=(\d+)", app.log())[-1])
    return (new_tokens - 1) / (times[-1] - times[0])


def _updates(new_page: Any, run: int) -> Iterator[dict[str, Any]]:
    """Yield what an update took, in each length of the reply and of the chat."""
    with _timed_server() as url:
        for turn in TURNS:
            client = Client(url, verbose=False)
            with _open_chat(url, new_page) as chat:
                for _ in range(turn - 1):
                    client.predict(message="Hello.", api_name="/chat")
                    chat.send("Hello.")
                    chat.wait_for_reply()
                for length in LENGTHS:
                    found = {"turn": turn, "length": length} | _client_update(client, length)
                    found["browser_s"] = _browser_update(chat, length)
                    progress(f"run {run + 1}: {found}")
                    yield found


def _client_update(client: Client, length: int) -> dict[str, float]:
    """Return how long an update takes to reach gradio_client, and how long the server computes for it."""
    came: dict[float, float] = {}
    used: list[float] = []
    for text in client.submit(message=str(length), api_name="/chat"):
        if (stamps := STAMP.findall(text[-300:])) and float(stamps[-1][0]) not in came:
            came[float(stamps[-1][0])] = time.time()
            used.append(float(stamps[-1][1]))
    return {
        "client_s": median(time_s - handed for handed, time_s in came.items()),
        "server_cpu_s": median(later - earlier for earlier, later in pairwise(used)),
    }


def _browser_update(chat: ChatPage, length: int) -> float:
    """Return how long it takes until an update is drawn in Chromium."""
    chat.page.evaluate(WATCH, STAMP.pattern)
    chat.send(str(length))
    chat.wait_for_reply()
    seen = chat.page.evaluate("window.seen")
    return median(drawn - float(STAMP.findall(stamp)[0][0]) for stamp, drawn in seen)


@contextmanager
def _open_chat(url: str, new_page: Any) -> Iterator[ChatPage]:
    page: Page = new_page()
    chat = ChatPage(page)
    chat.open(url)
    try:
        yield chat
    finally:
        page.close()


@contextmanager
def _timed_server() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.page_server", str(port)], cwd=ROOT)

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 60, "the page")
        yield url
    finally:
        server.kill()
        server.wait()


def _rate_table(rates: list[dict[str, Rate]]) -> str:
    rows = [
        [
            name,
            spread(run[name]["seen"] for run in rates).text(1),
            spread(run[name]["alone"] for run in rates).text(1),
            spread(run[name]["seen"] / run[name]["alone"] for run in rates).text(),
            spread(run[name]["seen"] / run[name]["made"] for run in rates).text(),
        ]
        for name in rates[0]
    ]
    shares = [f"Share; to reach: {TO_REACH}", "Share of what the engine made meanwhile"]
    return table(["Client", "Tokens/s seen", "Engine alone, before and after", *shares], rows)


def _update_table(updates: list[dict[str, Any]]) -> str:
    rows = []
    for turn in TURNS:
        for length in LENGTHS:
            found = [update for update in updates if (update["turn"], update["length"]) == (turn, length)]
            kinds = ("client_s", "browser_s", "server_cpu_s")
            rows.append(
                [f"turn {turn}, {length:,} words", *(spread(1000 * u[kind] for u in found).text(1) for kind in kinds)]
            )
    return table(
        ["One update", "To gradio_client, ms", "Until drawn in Chromium, ms", "The server computes, ms"], rows
    )


if __name__ == "__main__":
    main()
