"""From the command to the page, and to the first word of the answer to a message that is sent at once.

`python -m benchmarks.start` starts hfdemo and the usual Space code in turn; the model is on this machine already.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import httpx

from benchmarks.processes import model_files
from benchmarks.report import parse_arguments, progress, publish, spread, table
from tests.conftest import ROOT, free_port

TIMEOUT_S = 120
MESSAGE = "What is the capital of Korea?"
OPTIONS = {"temperature": 0, "max_new_tokens": 16}
PROGRAMS: dict[str, tuple[list[str], str, dict[str, Any], dict[str, str]]] = {
    "the usual Space code": (["-m", "benchmarks.usual_space"], "respond", {"temperature": 0, "max_tokens": 16}, {}),
    "hfdemo, weights to be packed": (["app.py"], "chat", OPTIONS, {"HFDEMO_PACKED_CACHE_GB": "0"}),
    "hfdemo, packed weights kept": (["app.py"], "chat", OPTIONS, {}),
}
"""How each is started, the name of its endpoint, its options, and more environment variables."""
TO_REACH = ("≤ 5", "≤ 10")


def main() -> None:
    """Measure, and keep the table."""
    runs = parse_arguments(__doc__).runs
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    _start(next(reversed(PROGRAMS)))  # keeps the packed weights, if nobody did
    for run in range(runs):
        for name, times in measured.items():
            times.append(_start(name))
            progress(f"run {run + 1}, {name}: page {times[-1][0]:.1f} s, first word {times[-1][1]:.1f} s")
    rows = [
        [name, spread(page for page, _ in times).text(1), spread(first for _, first in times).text(1)]
        for name, times in measured.items()
    ]
    rows.append(["to reach", *TO_REACH])
    publish("start", table(["Program", "Page, s", "First word, s"], rows), measured, runs)


def _start(name: str) -> tuple[float, float]:
    """Return the seconds from the command to the page, and to the first word."""
    command, endpoint, options, more = PROGRAMS[name]
    port, model = free_port(), model_files()["model"]
    environ = {"MODEL": model, "HFDEMO_MODEL": model, "GRADIO_SERVER_PORT": str(port)} | more
    started = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environ, stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _answers(url):
            if program.poll() is not None:
                raise RuntimeError(f"{command} ended")
            time.sleep(0.02)
        page_s = time.monotonic() - started
        _wait_for_word(f"{url}/gradio_api/call/v2/{endpoint}", {"message": MESSAGE} | options)
        return page_s, time.monotonic() - started
    finally:
        program.kill()
        program.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=TIMEOUT_S).is_success
    except httpx.TransportError:
        return False


def _wait_for_word(endpoint: str, body: dict[str, Any]) -> None:
    """Send a message and read the answer as far as its first word.

    Raises:
        RuntimeError: there is no answer.
    """
    event = httpx.post(endpoint, json=body, timeout=TIMEOUT_S).raise_for_status().json()["event_id"]
    with httpx.stream("GET", f"{endpoint}/{event}", timeout=TIMEOUT_S) as lines:
        for line in lines.iter_lines():
            if line.startswith("data: [") and str(json.loads(line.removeprefix("data: "))[0]).strip():
                return
    raise RuntimeError("no answer")


if __name__ == "__main__":
    main()
