"""Chats that share a step get the logits that each would get alone, or the step isn't used."""

import gc
import logging
import weakref
from typing import Any

import pytest
import torch

from hfdemo.compute import shared_step
from hfdemo.compute.chat_cache import ROOM_TOKENS, ChatCache
from hfdemo.compute.shared_step import SharedStep, _Rows, make_shared_step
from tests.unit.tiny_models import tiny_model

FAMILIES: dict[str, dict[str, Any]] = {
    "cohere": {},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 12},
    "gemma3_text": {"head_dim": 16, "sliding_window": 12},
    "gpt2": {},
    "gpt_neox": {},
    "granite": {},
    "llama": {},
    "mistral": {"sliding_window": 12},
    "mixtral": {"num_local_experts": 4},
    "olmo2": {},
    "phi": {},
    "phi3": {"pad_token_id": 0},
    "qwen2": {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1},
    "qwen3_moe": {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "stablelm": {},
    "starcoder2": {},
}

IDS = torch.arange(60) * 37 % 96


def read(step: SharedStep, model: Any, ids: torch.Tensor) -> ChatCache:
    cache = step.new_cache()
    model(ids[None], cache=cache, use_cache=True)
    return cache


@pytest.mark.parametrize("family", FAMILIES)
def test_chats_that_join_and_leave_are_computed_as_each_alone(family):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step = make_shared_step(model)
        assert step is not None
        lengths = [1, 20, 7, 33]
        caches = [read(step, model, IDS[:length]) for length in lengths]
        for present in ([0, 1], [0, 1, 2, 3], [3, 0], [2], [2, 3, 1]):
            tokens = torch.tensor([int(IDS[lengths[chat]]) for chat in present])
            found = step(tokens, [caches[chat] for chat in present])
            for chat, logits in zip(present, found, strict=True):
                lengths[chat] += 1
                expected = model(IDS[None, : lengths[chat]]).logits[0, -1]
                torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
        assert [cache.tokens for cache in caches] == lengths


def test_chats_grow_beyond_the_room_of_their_caches():
    model = tiny_model("gemma2", head_dim=16, sliding_window=12)
    with torch.inference_mode():
        step = SharedStep(model)
        caches = [read(step, model, IDS[:length]) for length in (3, 11)]
        ids = [IDS[:3].tolist(), IDS[:11].tolist()]
        for number in range(ROOM_TOKENS + 5):
            tokens = [number % 90, (number + 7) % 90]
            for written, token in zip(ids, tokens, strict=True):
                written.append(token)
            found = step(torch.tensor(tokens), caches)
        for written, logits in zip(ids, found, strict=True):
            torch.testing.assert_close(logits, model(torch.tensor([written])).logits[0, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_is_close_enough(dtype):
    with torch.inference_mode():
        assert make_shared_step(tiny_model("olmo2", dtype)) is not None


@pytest.mark.parametrize(("family", "options"), [("mamba", {}), ("mamba2", {"num_heads": 8, "head_dim": 16})])
def test_a_model_that_keeps_something_else_answers_one_after_the_other(family, options, caplog):
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        assert make_shared_step(tiny_model(family, **options)) is None
    assert "keeps more than keys and values" in caplog.text


def test_a_model_that_mixes_its_rows_answers_one_after_the_other(caplog):
    model = tiny_model("gemma", head_dim=16)
    model.model.layers[1].mlp.register_forward_hook(lambda _module, _args, output: output + output.mean(0))
    with torch.inference_mode():
        assert make_shared_step(model) is None
    assert "computes something else" in caplog.text


def test_the_memory_of_a_step_and_of_a_chat_is_free_at_once(monkeypatch):
    model = tiny_model("gemma", head_dim=16)
    made: list[weakref.ref[torch.Tensor]] = []

    class Watched(_Rows):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self.padded))

    monkeypatch.setattr(shared_step, "_Rows", Watched)
    with torch.inference_mode():
        step = SharedStep(model)
        caches = [read(step, model, IDS[:length]) for length in (3, 5)]
        made.extend(weakref.ref(cache.buffer) for cache in caches)
        gc.disable()
        try:
            step(IDS[:2], caches)
            del caches
            assert [held() for held in made] == [None] * 3, "nothing waits for the garbage collector"
        finally:
            gc.enable()
