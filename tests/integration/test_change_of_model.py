"""A model is changed for another, leaves when nobody uses it, and its download can be cut and cancelled."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hfdemo.engines.local import LocalEngine
from hfdemo.messages import ChatRequest, Delta, Message, Options
from hfdemo.settings import Settings
from tests.conftest import ROOT, wait_until
from tests.hub import Hub, serve

PARIS = "The capital of France is Paris."


def request(text: str = "What is the capital of France?", tokens: int = 24) -> ChatRequest:
    return ChatRequest((Message("user", text),), "", Options(temperature=0, max_new_tokens=tokens), chat="chat")


def reply(engine: LocalEngine, asked: ChatRequest | None = None) -> tuple[str, Delta]:
    deltas = list(engine.stream(asked or request(), threading.Event()))
    return "".join(delta.text for delta in deltas), deltas[-1]


@pytest.fixture(scope="module")
def other(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(embedded_model, folder, copy_function=os.link)
    return folder


@pytest.fixture
def engine(embedded_model: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine(Settings(model=str(embedded_model)))
    engine.load()
    yield engine
    engine._compute.submit(engine._keeper._unload).result()


def test_a_reply_under_way_ends_kindly_and_who_waits_is_answered_by_the_new_model(engine, other):
    assert reply(engine)[0] == PARIS
    replies: dict[str, tuple[str, Delta]] = {}
    long = request("Write a long story about the sea.", tokens=1500)

    def tell() -> None:
        replies["story"] = reply(engine, long)

    def wait() -> None:
        replies["waiting"] = reply(engine)

    telling, waiting = threading.Thread(target=tell), threading.Thread(target=wait)
    telling.start()
    wait_until(lambda: any(streamer.token_ids for streamer in engine._streamers), 20)
    waiting.start()
    engine.choose(str(other))
    telling.join(60)
    waiting.join(60)
    story, last = replies["story"]
    assert last.receipt and last.receipt.finish_reason == "model_changed"
    assert story and last.receipt.new_tokens > 0
    answer, last = replies["waiting"]
    assert (answer, last.receipt and last.receipt.model) == (PARIS, "other")
    assert engine.status().stage == "ready"


def test_a_model_that_cant_be_had_leaves_the_old_one_with_the_reason(engine, embedded_model):
    reply(engine)
    engine.choose("/nowhere/at/all")
    wait_until(lambda: engine.status().error is not None, 10)
    status = engine.status()
    assert (status.stage, status.model) == ("ready", embedded_model.name)
    assert status.error and status.error.key == "no_such_model_path"
    assert reply(engine)[0] == PARIS


MEMORY = """
import json, sys, threading
import psutil
from hfdemo.engines.local import LocalEngine
from hfdemo.messages import ChatRequest, Message, Options
from hfdemo.settings import Settings

first, second = sys.argv[1:]
engine = LocalEngine(Settings(model=first))
asked = ChatRequest((Message("user", "Hi"),), "", Options(temperature=0, max_new_tokens=8), chat="chat")

def used(model):
    if model != first or engine.status().stage == "ready":
        engine.choose(model)
        while engine.status().stage == "ready" and engine.status().model != model.rsplit("/")[-1]:
            pass
    for _ in range(2):
        list(engine.stream(asked, threading.Event()))
    return psutil.Process().memory_info().rss

print(json.dumps([used(first), used(second), used(first), used(second)]))
"""


def test_the_memory_of_the_old_model_comes_back(embedded_model, other):
    ended = subprocess.run(
        [sys.executable, "-c", MEMORY, str(embedded_model), str(other)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, *later = json.loads(ended.stdout.splitlines()[-1])
    assert max(later) < 1.05 * first, (first, later)


def test_an_idle_model_leaves_and_comes_back_with_the_next_message(embedded_model):
    engine = LocalEngine(Settings(model=str(embedded_model), idle_unload_s=1))
    assert reply(engine)[0] == PARIS
    wait_until(lambda: engine.status().stage == "unloaded", 10)
    assert engine._keeper.model is None
    assert reply(engine)[0] == PARIS


@pytest.fixture
def run_with_hub(embedded_model: Path, tmp_path: Path) -> Iterator:
    """Runs a program that downloads org/tiny from a Hub, and returns what it printed."""
    with serve(Hub({"org/tiny": embedded_model})) as hub:

        def run(program: str) -> list[str]:
            ended = subprocess.run(
                [sys.executable, "-c", program],
                cwd=ROOT,
                env=os.environ | hub.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"},
                capture_output=True,
                text=True,
                timeout=110,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout.splitlines()

        yield hub, run


CANCEL = """
import threading, time
from hfdemo.engines.local import LocalEngine
from hfdemo.messages import ChatRequest, Message, Options
from hfdemo.settings import Settings

engine = LocalEngine(Settings(model="org/tiny"))
engine.load()
while not (engine.status().stage == "downloading" and engine.status().done_bytes > 5_000_000):
    assert engine.status().stage in ("resolving", "checking", "downloading"), engine.status()
    time.sleep(0.02)
while not engine.status().bytes_per_s:
    time.sleep(0.02)
print(engine.status().file, engine.status().total_bytes, engine.status().plan.fits)
begun = time.monotonic()
engine.cancel()
while engine.status().stage != "cancelled":
    time.sleep(0.02)
print(time.monotonic() - begun < 2)
"""


def test_a_download_shows_its_progress_and_can_be_cancelled(run_with_hub, embedded_model):
    hub, run = run_with_hub
    hub.bytes_per_s = 20e6
    progress, soon = run(CANCEL)
    file, total, fits = progress.split()
    assert (file, fits, soon) == ("model.safetensors", "True", "True")
    assert int(total) > (embedded_model / "model.safetensors").stat().st_size


FETCH = """
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.download import fetch_model
from hfdemo.settings import Settings

checked = check_model(parse_model("org/tiny"), Settings())
print(fetch_model(checked.source, missing=checked.missing).folder)
"""


def test_a_download_that_is_cut_goes_on_where_it_was_cut(run_with_hub, embedded_model):
    hub, run = run_with_hub
    hub.cut_after(50_000_000)
    folder = Path(run(FETCH)[-1])
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (embedded_model / weights).read_bytes()
    assert [int(part.removeprefix("bytes=").split("-")[0]) > 40_000_000 for part in hub.ranges] == [True]
    assert not any(hub.cdn_saw_authorization)
