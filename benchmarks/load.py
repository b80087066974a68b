"""Three servers under the load of many programs: the time to the first token, between tokens, and tokens per second.

`python -m benchmarks.load` lets guidellm, which was made for such endpoints, send requests to hfdemo's API, to
`transformers serve` and to llama.cpp's server: for 1, 8 and 16 users, each of whom sends the next request as soon as
the last one is answered. All continue texts (`/v1/completions`), greedily, because llama.cpp's server can't read the
form in which guidellm sends conversations.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.peers import TITLES
from benchmarks.processes import LLAMA_PYTHON, find_peers, model_files
from benchmarks.report import parse_arguments, percentile, progress, publish, spread, table
from tests.conftest import free_port

GUIDELLM = os.environ.get("GUIDELLM", ".venv-guidellm/bin/guidellm")
USERS = (1, 8, 16)
REQUESTS_OF_EACH = 3
LEAST_REQUESTS = 8
NEW_TOKENS = 64
OPENING = "{number}. Once upon a time, a fox found an old map in the forest. It showed the way to"
"""How each text begins, with another number at its start: nobody has read anything of it."""
KEY = "key-of-the-load-benchmark"

GREEDY = {"temperature": 0, "max_tokens": NEW_TOKENS}
OPTIONS: dict[str, dict[str, Any]] = {
    "ours": GREEDY,
    "serve": {"generation_config": json.dumps({"do_sample": False, "max_new_tokens": NEW_TOKENS})},
    "llama": GREEDY | {"repeat_penalty": 1},
}
"""How each is told the same."""


def main() -> None:
    """Measure, and keep the table."""
    arguments = parse_arguments(
        __doc__, ("--users", {"nargs": "+", "type": int, "default": USERS, "help": "how many send requests at once"})
    )
    peers, note = find_peers("ours", "serve", "llama")
    note = ", ".join(filter(None, [note, _version_of_guidellm()]))
    measured: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for run in range(arguments.runs):
        for peer, results in measured.items():
            with TemporaryDirectory() as folder, _server(peer, Path(folder)) as (url, model):
                results.append(_load(url, model, peer, arguments.users, Path(folder)))
            shown = ", ".join(f"{count} users: {_rate(requests):.0f}/s" for count, requests in results[-1].items())
            progress(f"run {run + 1}, {peer}: {shown}")
        # A run takes a quarter of an hour, so the table is shown after each.
        publish("load", _table(measured, arguments.users), measured, run + 1, note)


@contextmanager
def _server(peer: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Start a server; give its address and the name of its model when it has answered once."""
    files, port = model_files(), free_port()
    url, model, environ = f"http://127.0.0.1:{port}", files["model"], {}
    if peer == "ours":
        command = [sys.executable, "app.py"]
        environ = {"HFDEMO_MODEL": model, "HFDEMO_API_KEYS": f"load:{KEY}", "HFDEMO_SCHEDULING": "batched"}
        environ["GRADIO_SERVER_PORT"] = str(port)
        model = ""
    elif peer == "serve":
        program = str(Path(sys.executable).with_name("transformers"))
        command = [program, "serve", model, "--port", str(port), "--device", "cpu"]
    else:
        command = [LLAMA_PYTHON, "-m", "llama_cpp.server", "--model", files["gguf"], "--port", str(port)]
        command += ["--n_ctx", "2048", "--n_threads", str(os.cpu_count()), "--interrupt_requests", "false"]
        model = files["gguf"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield url, _answered(process, url, model, peer)
    finally:
        process.terminate()
        process.wait()


def _answered(process: "subprocess.Popen[bytes]", url: str, model: str, peer: str) -> str:
    """Wait until a server has answered, and return the name of its model."""
    headers = {"Authorization": f"Bearer {KEY}"}
    while process.poll() is None:
        try:
            listed = httpx.get(f"{url}/v1/models", headers=headers).json()["data"]
            model = model or listed[0]["id"]
            body = {"model": model, "prompt": OPENING.format(number=0), **OPTIONS[peer]}
            httpx.post(f"{url}/v1/completions", headers=headers, json=body, timeout=300).raise_for_status()
            return model
        except (httpx.TransportError, LookupError):
            time.sleep(0.2)
    raise RuntimeError(f"{peer} did not start")


def _load(url: str, model: str, peer: str, users: list[int], folder: Path) -> dict[str, list[list[float]]]:
    """Return what each request took, by the number of users.

    That is: the milliseconds to its first token, those between its tokens, their number, when it began, and when it
    ended.
    """
    texts = [json.dumps({"prompt": OPENING.format(number=number)}) for number in range(1, 1000)]
    (folder / "texts.jsonl").write_text("\n".join(texts), "utf-8")
    found = {}
    for count in users:
        report = folder / f"{count}.json"
        scenario = folder / f"scenario-{count}.json"
        scenario.write_text(json.dumps(_scenario(url, model, peer, count, folder)), "utf-8")
        command = [GUIDELLM, "run", "-c", str(scenario), "--disable-console"]
        subprocess.run(
            [*command, "--output", f"kind=json,path={report}"],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)},
            check=True,
            capture_output=True,
        )
        [benchmark] = json.loads(report.read_text("utf-8"))["benchmarks"]
        answered, failed = benchmark["requests"]["successful"], benchmark["requests"]["errored"]
        if failed or not answered:
            raise RuntimeError(f"{peer}: {failed[0]['info']['error'] if failed else 'no answers'}")
        found[str(count)] = [
            [
                *(request["time_to_first_token_ms"], request["inter_token_latency_ms"] or 0.0),
                *(request["output_tokens"], request["request_start_time"], request["request_end_time"]),
            ]
            for request in answered
        ]
    return found


def _scenario(url: str, model: str, peer: str, users: int, folder: Path) -> dict[str, Any]:
    """Return what guidellm is to do."""
    backend = {
        "kind": "openai_http",
        "target": url,
        "model": model,
        "api_key": KEY,
        "request_format": "/v1/completions",
        "validate_backend": False,  # it asks for an address that not all have
        "timeout": 600,
        "extras": {"body": OPTIONS[peer]},
    }
    return {
        "metadata": {"name": "load", "description": f"{users} users"},
        "spec": {
            "backend": backend,
            "profile": {"kind": "concurrent"},
            "constraints": [{"kind": "max_requests", "count": max(LEAST_REQUESTS, REQUESTS_OF_EACH * users)}],
            "data": [{"kind": "json_file", "path": str(folder / "texts.jsonl")}],
        },
        "benchmarks": [{"profile.streams": users}],
    }


def _table(measured: dict[str, list[dict[str, Any]]], users: list[int]) -> str:
    rows = []
    for count in map(str, users):
        for peer, runs in measured.items():
            requests = [request for run in runs for request in run[count]]
            first_ms, between_ms = ([request[place] for request in requests] for place in (0, 1))
            rows.append(
                [
                    {"llama": "llama.cpp's server"}.get(peer, TITLES[peer]),
                    count,
                    spread(_rate(run[count]) for run in runs).text(0),
                    *(f"{percentile(first_ms, percent) / 1000:.2f}" for percent in (50, 99)),
                    *(f"{percentile(between_ms, percent):.0f}" for percent in (50, 99)),
                ]
            )
    times = ["First token, s, p50", "p99", "Between tokens, ms, p50", "p99"]
    return table(["Program", "Users", "Tokens/s together", *times], rows)


def _rate(requests: list[list[float]]) -> float:
    """Return the tokens of all requests a second, from the first one's beginning to the last one's end."""
    return sum(one[2] for one in requests) / (max(one[4] for one in requests) - min(one[3] for one in requests))


def _version_of_guidellm() -> str:
    try:
        told = subprocess.run([GUIDELLM, "--version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        sys.exit("guidellm is not installed: see benchmarks/README.md")
    return f"guidellm {told.split()[-1]}"


if __name__ == "__main__":
    main()
