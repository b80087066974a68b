"""A model is changed for another, and leaves when nobody uses it."""

import json
import shutil
import statistics
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Delta, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.conftest import link, run_program, wait_until
from tests.integration.conftest import Tiny
from tests.integration.local import Local


def request(text: str = "What is the capital of Korea?", tokens: int = 24) -> ChatRequest:
    return ChatRequest((Message("user", text),), "", Options(temperature=0, max_new_tokens=tokens), cache_key="chat")


def reply(engine: Local, asked: ChatRequest | None = None) -> tuple[str, Delta]:
    deltas = list(engine.stream(asked or request(), StopSignal()))
    return "".join(delta.text for delta in deltas), deltas[-1]


def linked(model: Path, folder: Path) -> Path:
    """Return another folder with the same model."""
    shutil.copytree(model, folder, copy_function=link)
    return folder


@pytest.fixture
def engine(tiny: Tiny) -> Iterator[Local]:
    engine = Local(Settings(model=str(tiny.folder)))
    engine.load()
    yield engine
    engine.host.compute.submit(engine.host._unload).result()


def test_a_reply_under_way_ends_kindly_and_who_waits_is_answered_by_the_new_model(engine, tiny, tmp_path):
    other = linked(tiny.folder, tmp_path / "other")
    assert reply(engine)[0] == tiny.reply
    replies: dict[str, tuple[str, Delta]] = {}
    long = request("Write a long story about the sea.", tokens=8000)

    begun = threading.Event()

    def tell() -> None:
        deltas = []
        for delta in engine.stream(long, StopSignal()):
            deltas.append(delta)
            if delta.text:
                begun.set()
        replies["story"] = "".join(delta.text for delta in deltas), deltas[-1]

    def wait() -> None:
        replies["waiting"] = reply(engine)

    telling, waiting = threading.Thread(target=tell), threading.Thread(target=wait)
    telling.start()
    assert begun.wait(20)
    waiting.start()
    engine.choose(str(other))
    telling.join(60)
    waiting.join(60)
    story, last = replies["story"]
    assert last.receipt and last.receipt.finish_reason == "model_changed"
    assert story and last.receipt.new_tokens > 0
    answer, last = replies["waiting"]
    assert (answer, last.receipt and last.receipt.model) == (tiny.reply, "other")
    assert engine.status().stage == "ready"


def test_a_model_that_cant_be_had_leaves_the_old_one_with_the_reason(engine, tiny):
    reply(engine)
    engine.choose("/nowhere/at/all")
    wait_until(lambda: engine.status().error is not None, 10)
    status = engine.status()
    assert (status.stage, status.model, status.named) == ("ready", tiny.folder.name, str(tiny.folder))
    assert status.error and status.error.key == "no_such_model_path"
    assert reply(engine)[0] == tiny.reply


MEMORY = """
import json, sys, time
import psutil
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.integration.local import Local

first, second = sys.argv[1:]
engine = Local(Settings(model=first))
asked = ChatRequest((Message("user", "Hi"),), "", Options(temperature=0, max_new_tokens=8), cache_key="chat")

def used(model):
    engine.choose(model)
    status = engine.status()
    while (status.stage, status.named) != ("ready", model):  # the old one answers while the new one is checked
        assert status.error is None, status
        time.sleep(0.02)
        status = engine.status()
    for _ in range(2):
        list(engine.stream(asked, StopSignal()))
    return psutil.Process().memory_info().rss

print(json.dumps([used(first), used(second), used(first), used(second)]))
"""


ONE_MODEL_BYTES = 80_000_000
"""Less than the embedded model's packed weights. After three changes, three would be kept if one is each time; what
memory in pieces takes is less (some 40 MB, and it comes and goes), and stays so however often the model changes."""


def test_the_memory_of_the_old_model_comes_back(embedded_model, tmp_path):
    ended = run_program(MEMORY, str(embedded_model), str(linked(embedded_model, tmp_path / "other")))
    first, *later = json.loads(ended.stdout.splitlines()[-1])
    assert statistics.median(later) - first < ONE_MODEL_BYTES, (first, later)


def test_an_idle_model_leaves_and_comes_back_with_the_next_message(tiny):
    engine = Local(Settings(model=str(tiny.folder), idle_unload_s=1))
    assert reply(engine)[0] == tiny.reply
    wait_until(lambda: engine.status().stage == "unloaded", 10)
    assert engine.model is None
    assert reply(engine)[0] == tiny.reply
