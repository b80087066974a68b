"""What is replayed is what the model computes. `tests/gpu` records on a GPU; here Python repeats the operations."""

import weakref
from typing import Any

import pytest
import torch

from hfdemo.compute.chat_cache import ROOM_TOKENS, ChatCache
from hfdemo.compute.recorded_step import CHATS_PER_STEADY_STEP, Forward, RecordedStep, make_recorded_step
from tests.unit.test_shared_step import FAMILIES
from tests.unit.tiny_models import tiny_model

WINDOWED = {"gemma2", "gemma3_text", "mistral", "qwen2"}
IDS = torch.arange(60) * 37 % 96


class Recorder:
    """Counts what is recorded."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, forward: Forward) -> tuple[torch.Tensor, Forward]:
        self.times += 1
        return forward(), forward


def made(model: Any) -> tuple[RecordedStep, Recorder]:
    recorder = Recorder()
    step = make_recorded_step(model, recorder)
    assert step is not None
    recorder.times = 0
    return step, recorder


def read(step: RecordedStep, model: Any, ids: list[int]) -> ChatCache:
    cache = step.new_cache()
    model(torch.tensor([ids]), cache=cache, use_cache=True)
    return cache


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - WINDOWED))
def test_a_chat_alone_is_recorded_once_and_computed_as_the_model_does(family):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step, recorder = made(model)
        ids = IDS[:7].tolist()
        cache = read(step, model, ids)
        for token in IDS[7:20].tolist():
            ids.append(token)
            found = step(torch.tensor([token]), [cache])
            torch.testing.assert_close(found, model(torch.tensor([ids])).logits[:, -1], rtol=1e-3, atol=1e-3)
    assert recorder.times == 1
    assert cache.tokens == 20


def test_it_is_recorded_anew_when_the_cache_has_grown_and_for_another_chat():
    model = tiny_model("llama")
    with torch.inference_mode():
        step, recorder = made(model)
        chats = [IDS[:3].tolist(), IDS[:11].tolist()]
        caches = [read(step, model, ids) for ids in chats]
        for number in range(ROOM_TOKENS + 5):
            chats[0].append(number % 90)
            found = step(torch.tensor([number % 90]), [caches[0]])
        assert recorder.times == 2
        torch.testing.assert_close(found, model(torch.tensor([chats[0]])).logits[:, -1], rtol=1e-3, atol=1e-3)
        chats[1].append(5)
        found = step(torch.tensor([5]), [caches[1]])
        torch.testing.assert_close(found, model(torch.tensor([chats[1]])).logits[:, -1], rtol=1e-3, atol=1e-3)
    assert recorder.times == 3


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - WINDOWED))
def test_chats_that_join_and_leave_and_are_cut_are_computed_as_each_alone(family):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step, recorder = made(model)
        chats = [IDS[:length].tolist() for length in (9, 4, 30)]
        caches = [read(step, model, ids) for ids in chats]
        for number, present in enumerate([[0]] * 3 + [[0, 1]] * 3 + [[1]] * 2 + [[0, 1, 2]] * 3 + [[2, 0]] * 2):
            if number == 7:
                chats[1] = chats[1][:5]
                caches[1].crop(5 - caches[1].tokens)
            for chat in present:
                chats[chat].append((7 * number + chat) % 96)
            found = step(torch.tensor([chats[chat][-1] for chat in present]), [caches[chat] for chat in present])
            for chat, logits in zip(present, found, strict=True):
                expected = model(torch.tensor([chats[chat]])).logits[0, -1]
                torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    assert recorder.times == 5


def test_many_chats_are_recorded_when_they_have_stayed_the_same_for_a_while():
    model = tiny_model("llama")
    with torch.inference_mode():
        step, recorder = made(model)
        chats = [IDS[chat : 2 * chat + 3].tolist() for chat in range(9)]
        caches = [read(step, model, ids) for ids in chats]
        for number in range(6):
            for ids in chats:
                ids.append((ids[-1] + 11) % 96)
            found = step(torch.tensor([ids[-1] for ids in chats]), caches)
            assert recorder.times == (number >= 9 // CHATS_PER_STEADY_STEP)
            for ids, logits in zip(chats, found, strict=True):
                expected = model(torch.tensor([ids])).logits[0, -1]
                torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_the_memory_of_a_chat_is_free_at_once():
    model = tiny_model("llama")
    with torch.inference_mode():
        step, _ = made(model)
        cache = read(step, model, IDS[:9].tolist())
        step(torch.tensor([1]), [cache])
        buffer = weakref.ref(cache.buffer)
        del cache
    assert buffer() is None


@pytest.mark.parametrize("family", sorted(WINDOWED | {"mamba"}))
def test_a_model_that_forgets_tokens_is_not_recorded(family):
    with torch.inference_mode():
        assert make_recorded_step(tiny_model(family, **FAMILIES.get(family, {})), Recorder()) is None


def test_what_can_not_be_recorded_at_first_is_not_used():
    def fails(_forward: Forward) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    with torch.inference_mode():
        assert make_recorded_step(tiny_model("llama"), fails) is None


def test_what_can_not_be_recorded_later_is_computed_by_the_model(caplog):
    model = tiny_model("llama")
    with torch.inference_mode():
        step, recorder = made(model)

        def fails(_forward: Forward) -> Any:
            recorder.times += 1
            raise torch.OutOfMemoryError("CUDA out of memory")

        step._record = fails
        cache = read(step, model, IDS[:9].tolist())
        for token in (1, 2):
            found = step(torch.tensor([token]), [cache])
        torch.testing.assert_close(found, model(torch.tensor([[*IDS[:9], 1, 2]])).logits[:, -1], rtol=1e-3, atol=1e-3)
    assert recorder.times == 1
    assert "isn't recorded (OutOfMemoryError)" in caplog.text
