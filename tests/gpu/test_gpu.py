"""What only a GPU can tell: whether the model is there, several chats, Stop, memory that runs out, and a lost device.

Run by `benchmarks/gpu_check.sh`. The other tests need no GPU.
"""

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError

from app import DEVICE_LOST
from hfdemo.chat.messages import Message
from hfdemo.chat.reply import StopSignal
from hfdemo.compute.recorded_step import RecordedStep, make_recorded_step
from hfdemo.compute.shared_step import SharedStep
from hfdemo.errors import GenerationFailed
from hfdemo.settings import Settings
from hfdemo.words import say
from tests.conftest import ROOT, free_port, wait_until
from tests.integration.local import loaded, save_tiny_model
from tests.integration.story import run, story
from tests.unit.test_shared_step import FAMILIES
from tests.unit.tiny_models import tiny_model

DEVICE = "cuda"
ANIMALS = [
    *("ant", "bear", "cat", "dog", "eagle", "fox", "goat", "hen", "ibex", "jaguar", "koala", "lion", "mouse", "newt"),
    *(
        "owl",
        "panda",
        "quail",
        "rabbit",
        "seal",
        "tiger",
        "urchin",
        "viper",
        "whale",
        "yak",
        "zebra",
        "horse",
        "sheep",
    ),
    *("cow", "pig", "duck", "goose", "frog"),
]
CHATS = len(ANIMALS)


@pytest.fixture(scope="module")
def local(embedded_model):
    """The real small model, which answers 32 at once."""
    assert torch.cuda.is_available()
    yield loaded(Settings(model=str(embedded_model), scheduling="batched"))


def test_the_model_is_on_the_gpu_and_its_steps_are_recorded(local):
    assert local.model is not None
    network = local.model.pipeline.model
    assert {weight.device.type for weight in network.parameters()} == {"cuda"}
    assert local.model.device == f"{torch.cuda.get_device_name(0)} · bfloat16"
    assert isinstance(local.model.step, RecordedStep)
    assert local.model.chats == 32


def test_a_reply_is_right_and_ends(local):
    request = story(50, messages=(Message("user", "What is the capital of Korea?"),))
    text, receipt = run(local.engine, request)
    assert "Seoul" in text
    assert receipt is not None and receipt.finish_reason == "end_of_turn"


def test_a_long_reply_goes_on_in_a_second_turn(local):
    text, receipt = run(local.engine, story(600, cache_key="long"))
    assert receipt is not None and receipt.new_tokens > 100
    messages = (*story(1).messages, Message("assistant", text), Message("user", "Who finds the map? One word."))
    text, receipt = run(local.engine, story(50, cache_key="long", messages=messages))
    assert "fox" in text.lower()
    assert receipt is not None and receipt.cached_tokens > 100


def test_thirty_two_chats_are_answered_at_once_and_each_gets_its_own(local):
    begin = threading.Barrier(CHATS)
    order: list[str] = []

    def chat(animal: str) -> tuple[str, Any]:
        begin.wait(10)
        text, receipt = "", None
        request = story(100, cache_key=animal, messages=(Message("user", f"Write a long story about a {animal}."),))
        for delta in local.stream(request, StopSignal()):
            if delta.text and not text:
                order.append("first")
            text += delta.text
            receipt = delta.receipt or receipt
        order.append("last")
        return text, receipt

    with ThreadPoolExecutor(CHATS) as threads:
        texts, receipts = zip(*threads.map(chat, ANIMALS), strict=True)
    assert order == ["first"] * CHATS + ["last"] * CHATS
    assert sum(animal in text.lower() for animal, text in zip(ANIMALS, texts, strict=True)) >= CHATS - 2
    assert {receipt.new_tokens for receipt in receipts} == {100}


def test_stop_ends_one_reply_at_once_and_no_other(local):
    others_stop, done = StopSignal(), threading.Event()
    others = [threading.Thread(target=lambda: list(local.stream(story(4000), others_stop))) for _ in range(8)]
    for other in others:
        other.start()
    stop, text = StopSignal(), ""
    stopped_at = 0.0
    for delta in local.stream(story(4000, cache_key="stopped"), stop):
        text += delta.text
        if len(text) > 50 and not stopped_at:
            stopped_at = time.monotonic()
            stop.set()
        if delta.receipt:
            assert delta.receipt.finish_reason == "stopped"
            done.set()
    assert done.is_set()
    assert time.monotonic() - stopped_at < 0.5
    assert all(other.is_alive() for other in others)
    others_stop.set()
    for other in others:
        other.join(10)
        assert not other.is_alive()


def test_memory_that_runs_out_ends_one_reply_and_the_next_is_answered(local):
    """A prompt for whose cache there is no room ends with an error; who is writing meanwhile goes on."""
    writer_stop, wrote = StopSignal(), []
    writer = threading.Thread(target=lambda: wrote.extend(local.stream(story(3000), writer_stop)))
    writer.start()
    wait_until(lambda: any(delta.text for delta in wrote), 30)
    torch.cuda.empty_cache()
    filler = []
    for size in (2**30, 2**26, 2**22, 2**20):
        while True:
            try:
                filler.append(torch.empty(size, dtype=torch.uint8, device=DEVICE))
            except torch.OutOfMemoryError:
                break
    long = story(10, cache_key="too long", messages=(Message("user", "A fox. " * 1200),))
    try:
        with pytest.raises(GenerationFailed) as caught:
            run(local.engine, long)
    finally:
        filler.clear()
        torch.cuda.empty_cache()
        writer_stop.set()
    writer.join(10)
    assert str(caught.value) == say("error.out_of_memory")
    last = wrote[-1].receipt
    assert last is not None and last.finish_reason == "stopped"
    _, receipt = run(local.engine, long)
    assert receipt is not None and receipt.new_tokens > 0


def test_a_model_that_goes_gives_its_memory_back(embedded_model, tmp_path):
    tiny = save_tiny_model(tmp_path, "llama", embedded_model)
    local = loaded(Settings(model=str(embedded_model)))

    def allocated() -> int:
        run(local.engine, story(20))
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated()

    def change(folder: Path) -> None:
        local.choose(str(folder))
        wait_until(lambda: local.model is not None and local.model.name == folder.name, 60)

    assert local.model is not None
    weights = sum(weight.nbytes for weight in local.model.pipeline.model.parameters())
    with_it = allocated()
    change(tiny)
    without = allocated()
    assert with_it - without > 0.8 * weights
    change(embedded_model)
    change(tiny)
    assert allocated() <= 1.01 * without


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_has_a_step_that_agrees(family, dtype):
    model = tiny_model(family, dtype, **FAMILIES[family]).to(DEVICE)
    ids = torch.arange(40, device=DEVICE) * 37 % 96
    with torch.inference_mode():
        step = make_recorded_step(model) or SharedStep(model)
        cache = step.new_cache()
        model(ids[None, :9], cache=cache, use_cache=True)
        for place in range(9, 30):
            found = step(ids[place : place + 1], [cache]).float()[0]
        beside = step.new_cache()
        model(ids[None, :5], cache=beside, use_cache=True)
        for place in range(30, 36):
            found = step(ids[[place, place - 25]], [cache, beside]).float()[0]
        expected = model(ids[None, :36]).logits[0, -1].float()
        apart = (found - expected).norm() / (expected - expected.mean()).norm()
    assert apart < (0.01 if dtype is torch.float32 else 0.2)


PROGRAM = """
import app
import torch
from hfdemo.decoding.running import RunningReply

def fail(*_):
    torch.zeros(2, device="cuda")[torch.tensor([99], device="cuda")].sum().item()

RunningReply.choose = fail
app.main()
"""


def test_a_lost_device_ends_the_program_with_an_error(embedded_model, tmp_path):
    port = free_port()
    environ = {"GRADIO_SERVER_PORT": str(port), "HFDEMO_MODEL": str(embedded_model)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ | environ, stdout=log, stderr=log
        )

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, 90)
        with pytest.raises(AppError) as caught:
            Client(f"http://127.0.0.1:{port}", verbose=False).predict(message="Hi", api_name="/chat")
        assert str(caught.value) == say("error.device_lost")
        assert process.wait(20) == DEVICE_LOST
    finally:
        process.kill()


MEASURE = """
import sys
import torch
from hfdemo.settings import Settings
from hfdemo.chat.messages import Message
from tests.integration.local import loaded
from tests.integration.story import run, story

free = torch.cuda.mem_get_info()[0]
local = loaded(Settings(model=sys.argv[1], scheduling="single", context=4096, prefix_cache_mb=0))
run(local.engine, story(200, messages=(Message("user", "A fox. " * 1250),)))
run(local.engine, story(200, messages=(Message("user", "A fox. " * 1250),)))
print(local.status().plan.needed_bytes, free - torch.cuda.mem_get_info()[0], torch.cuda.max_memory_allocated())
"""


def test_a_chat_takes_no_more_of_the_gpu_than_was_predicted(embedded_model):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    output = subprocess.check_output([sys.executable, "-c", MEASURE, str(embedded_model)], text=True, env=environ)
    needed, taken, tensors = map(int, output.split()[-3:])
    assert taken <= 1.1 * needed, (
        f"{needed / 1e6:.0f} MB predicted, {taken / 1e6:.0f} taken, {tensors / 1e6:.0f} tensors"
    )
