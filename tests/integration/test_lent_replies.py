"""The engine for ZeroGPU without ZeroGPU: what is lent is this process. Its replies are those of the local engine."""

import dataclasses
import pickle
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.engines.zerogpu.duration import GpuTime
from hfdemo.engines.zerogpu.engine import ZeroGpuEngine
from hfdemo.engines.zerogpu.worker import FromWorker
from hfdemo.errors import Busy, GenerationFailed, InvalidInput, ModelLoadError, NoGpu
from hfdemo.models import machine as machine_module
from hfdemo.models.generation_config import GenerationDefaults
from hfdemo.settings import Settings
from tests.conftest import quickest, wait_until
from tests.integration.local import Local, loaded, save_tiny_model
from tests.integration.story import run, story


class Lender:
    """Stands where `spaces.GPU` does, with one GPU: notes for how long it is asked, and data cross as to a worker."""

    def __init__(self) -> None:
        self.durations: list[int] = []
        self.has_gpu = Event()
        self.error: Exception | None = None
        self._gpu = Lock()

    def __call__(self, duration: Callable[..., int]) -> Callable[..., Any]:
        def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
            def lend(*args: Any) -> Generator[FromWorker, None, None]:
                self.durations.append(duration(*args))
                assert self.has_gpu.wait(60)
                with self._gpu:
                    if self.error:
                        raise self.error
                    for item in task(*pickle.loads(pickle.dumps(args))):
                        yield pickle.loads(pickle.dumps(item))

            return lend

        return decorate


@pytest.fixture(scope="module")
def settings(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings by which numbers are exact enough that it is the same whether a token is read or was written."""
    folder = save_tiny_model(
        tmp_path_factory.mktemp("models") / "tiny", "llama", embedded_model, max_position_embeddings=8192
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_module, "bfloat16_pays", lambda: False)
        yield Settings(model=str(folder), max_waiting=2, cpu_weights="bf16")


@pytest.fixture(scope="module")
def lending(settings: Settings) -> tuple[ZeroGpuEngine, Lender]:
    lender = Lender()
    lender.has_gpu.set()
    engine = ZeroGpuEngine(settings, lender)
    engine.load()
    assert engine.status().stage == "ready"
    return engine, lender


@pytest.fixture
def engine(lending: tuple[ZeroGpuEngine, Lender]) -> ZeroGpuEngine:
    engine, _ = lending
    wait_until(lambda: engine._free.qsize() == 2, 20, "the places are free")
    return engine


@pytest.fixture
def lender(lending: tuple[ZeroGpuEngine, Lender], engine: ZeroGpuEngine) -> Iterator[Lender]:
    _, lender = lending
    lender.durations.clear()
    lender.error = None
    yield lender
    lender.has_gpu.set()


@pytest.fixture(scope="module")
def local(settings: Settings) -> Local:
    return loaded(settings)


def test_a_reply_is_the_same_as_the_local_engines_and_so_is_its_receipt(engine, local):
    for options in (Options(0, max_new_tokens=40, seed=3), Options(1.0, max_new_tokens=40, seed=11)):
        text, receipt = run(engine, story(0, options=options))
        expected, local_receipt = run(local, story(0, options=options))
        assert text == expected
        timed = {"first_token_s": 0, "tokens_per_s": 0}
        assert dataclasses.replace(receipt, **timed) == dataclasses.replace(local_receipt, **timed)


def test_what_nobody_chose_is_the_models_value(engine, monkeypatch):
    model = engine._host.model
    defaults = GenerationDefaults(recommended={"temperature": 0.0, "top_k": 1})
    monkeypatch.setattr(engine._host, "model", dataclasses.replace(model, defaults=defaults))
    left_out = Options(1.7, max_new_tokens=20, seed=11, left_out=("temperature",))
    assert run(engine, story(0, options=left_out))[0] == run(engine, story(20))[0]
    assert run(engine, story(0, options=dataclasses.replace(left_out, left_out=())))[0] != run(engine, story(20))[0]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_reply_cut_by_its_length_goes_on_as_if_it_had_never_been_cut(engine, cut):
    whole, _ = run(engine, story(60))
    begun, receipt = run(engine, story(cut, cache_key="length"))
    assert receipt.finish_reason == "max_new_tokens"
    text, receipt = run(engine, story(60 - cut, cache_key="length", reply_start=begun, continues=True))
    assert text == whole
    assert receipt.new_tokens == 60 - cut


def test_a_stopped_reply_has_a_receipt_and_goes_on(engine):
    whole, _ = run(engine, story(400))
    begun, receipt = run(engine, story(400, cache_key="stop"), stop_after=3)
    assert receipt.finish_reason == "stopped" and receipt.new_tokens >= 3
    assert whole.startswith(begun) and begun
    rest = 400 - receipt.new_tokens
    text, _ = run(engine, story(rest, cache_key="stop", reply_start=begun, continues=True))
    assert text == whole


def test_heartbeats_come_while_a_gpu_is_waited_for(engine, lender):
    lender.has_gpu.clear()
    deltas = engine.stream(story(4), StopSignal())
    started = time.monotonic()
    silent = [next(deltas) for _ in range(5)]  # the first one tells how long the prompt is
    assert time.monotonic() - started >= 0.9
    assert not any(delta.text for delta in silent)
    lender.has_gpu.set()
    assert "".join(delta.text for delta in deltas)


def test_who_leaves_while_a_gpu_is_waited_for_leaves_at_once_and_gets_no_reply(engine, lender):
    lender.has_gpu.clear()

    def stop_s() -> float:
        stop = StopSignal()
        deltas = engine.stream(story(2000), stop)
        next(deltas)
        started = time.monotonic()
        stop.set()
        [last] = deltas
        took_s = time.monotonic() - started
        assert last.receipt and (last.receipt.finish_reason, last.receipt.new_tokens) == ("stopped", 0)
        return took_s

    def close_s() -> float:
        deltas = engine.stream(story(2000), StopSignal())
        next(deltas)
        started = time.monotonic()
        deltas.close()
        return time.monotonic() - started

    for leave_s in (stop_s, close_s):
        assert quickest(leave_s, 0.1) < 0.1


def test_a_reply_that_was_left_does_not_replace_a_newer_one(engine, lender):
    lender.has_gpu.clear()
    deltas = engine.stream(story(2000, cache_key="twice"), StopSignal())
    next(deltas)
    deltas.close()
    lender.has_gpu.set()
    whole, _ = run(engine, story(10))
    text, _ = run(engine, story(5, cache_key="twice"))
    wait_until(lambda: engine._free.qsize() == 2, 20, "the places are free")
    again, receipt = run(engine, story(5, cache_key="twice", reply_start=text, continues=True))
    assert (again, receipt.prompt_tokens) == (whole, 41 + 5), "it goes on from the tokens, which are known"


def test_no_more_wait_than_the_host_allows_and_places_are_given_back(engine, lender):
    lender.has_gpu.clear()
    waiting = [engine.stream(story(4), StopSignal()) for _ in range(2)]
    for deltas in waiting:
        next(deltas)
    with pytest.raises(Busy):
        next(engine.stream(story(4), StopSignal()))
    lender.has_gpu.set()
    assert [len([delta for delta in deltas if delta.receipt]) for deltas in waiting] == [1, 1]
    for _ in range(5):
        assert run(engine, story(4))[1]


def test_a_stop_ends_the_reply_it_is_for_and_no_other(engine):
    first, second = engine.stream(story(2000), StopSignal()), engine.stream(story(30), StopSignal())
    next(first)
    next(second)
    first.close()
    receipts = [delta.receipt for delta in second if delta.receipt]
    assert receipts[0].finish_reason == "max_new_tokens"


@pytest.mark.parametrize("error", [NoGpu("gpu_pending"), RuntimeError("no answer")])
def test_an_error_of_the_lender_is_told_and_the_next_message_is_answered(engine, lender, error):
    lender.error = error
    with pytest.raises(NoGpu):
        run(engine, story(4))
    lender.error = None
    assert run(engine, story(4))[0]


@pytest.mark.parametrize(("error", "key"), [(MemoryError(), "out_of_memory"), (RuntimeError("CUDA"), "generation")])
def test_an_error_of_the_model_is_told_as_it_is(engine, monkeypatch, error, key):
    def broken(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(type(engine._host.model.step), "read", broken)
    with pytest.raises(GenerationFailed) as raised:
        run(engine, story(4))
    assert raised.value.key == key


def test_a_message_that_does_not_fit_is_refused_before_anything_is_asked_for(engine, lender):
    long = story(4, messages=(Message("user", "word " * 9000),))
    for refuse in (lambda: next(engine.stream(long, StopSignal())), lambda: engine.show_prompt(long)):
        with pytest.raises(InvalidInput):
            refuse()
    assert lender.durations == []


def test_for_how_long_is_asked_depends_on_how_fast_the_last_reply_was(engine, lender, monkeypatch):
    weights_bytes = engine.status().plan.weights_bytes
    monkeypatch.setattr(engine, "_time", GpuTime(1.0, weights_bytes))
    _, receipt = run(engine, story(40))
    measured = receipt.tokens_per_s
    run(engine, story(10))
    run(engine, story(1000), stop_after=1)
    start_s = 4 + weights_bytes / 2e9
    assert lender.durations[1] == pytest.approx(start_s + 10, abs=1)
    work_s = max(10, 2 + 1.25 * 1000 / measured)  # a fast machine needs less than is always asked for
    assert lender.durations[2] == pytest.approx(min(90, start_s + work_s), abs=1.1)


def test_the_time_limit_of_the_host_ends_a_reply(engine, monkeypatch):
    monkeypatch.setattr(engine, "_settings", dataclasses.replace(engine._settings, time_limit_s=1))
    _, receipt = run(engine, story(8000))
    assert receipt.finish_reason == "time_limit"


def test_no_other_model_can_be_chosen_and_a_failed_one_stays_failed(engine, lender, tmp_path):
    assert not hasattr(engine, "choose")
    failed = ZeroGpuEngine(Settings(model=str(tmp_path / "nowhere.gguf")), lender)
    failed.load()
    assert failed.status().stage == "failed"
    failed.load()
    for refuse in (lambda: run(failed, story(4)), lambda: failed.show_prompt(story(4))):
        with pytest.raises(ModelLoadError):
            refuse()


def test_the_shown_prompt_is_the_local_engines(engine, local):
    assert engine.show_prompt(story(4)) == local.show_prompt(story(4))
