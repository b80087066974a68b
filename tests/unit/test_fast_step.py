"""The fast step computes what the model's own forward does, or isn't used."""

import copy
import gc
import logging
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from hfdemo.compute.architectures import FAST_ARCHITECTURES, Architecture
from hfdemo.compute.chat_cache import ROOM_TOKENS, ChatCache
from hfdemo.compute.fast_step import FastStep, forget_records, make_fast_step
from hfdemo.models.plan import Machine, make_plan, usual_facts
from tests.unit.tiny_models import tiny_model

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {"sliding_window": None, "head_dim": 32, "num_attention_heads": 8, "num_key_value_heads": 1},
    "exaone4": {"head_dim": 16, "sliding_window": 12, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]},
    "gemma3_text": {
        "head_dim": 32,
        "query_pre_attn_scalar": 20,
        "sliding_window": 12,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "granite": {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.3,
        "logits_scaling": 2.0,
    },
    "olmo2": {},
    "phi3": {
        "pad_token_id": 0,
        "sliding_window": 12,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1},
    "smollm3": {"pad_token_id": 0, "no_rope_layers": [1, 0, 1]},
    "qwen3": {"head_dim": 32, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
}

IDS = torch.arange(40) * 37 % 96


def read(model: Any, ids: torch.Tensor) -> ChatCache:
    cache = ChatCache(model.config.num_hidden_layers)
    model(ids[None], cache=cache, use_cache=True)
    return cache


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_computed_exactly(family):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step, cache = FastStep(model, "bf16"), read(model, IDS[:10])
        expected = model(IDS[None]).logits[0]
        for position in range(10, 40):
            found = step(IDS[position : position + 1], [cache])[0]
            torch.testing.assert_close(found, expected[position], rtol=1e-3, atol=1e-3)
        assert cache.tokens == 40


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pieces", [(40,), (1, 39), (7, 8, 25), (30, 1, 9)])
def test_a_prompt_is_read_exactly_in_whatever_pieces(family, pieces):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step, expected, begin = FastStep(model, "bf16"), model(IDS[None]).logits[0], 0
        cache, own = step.new_cache(), read(model, IDS)
        for piece in pieces:
            found, begin = step.read(IDS[begin : begin + piece], cache), begin + piece
            torch.testing.assert_close(found, expected[begin - 1], rtol=1e-3, atol=1e-3)
        assert cache.tokens == 40
        torch.testing.assert_close(cache.buffer[:, :, :40], own.buffer[:, :, :40], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_prompt_is_read_with_packed_weights_as_the_step_reads_it(family, weights):
    with torch.inference_mode():
        step = FastStep(tiny_model(family, **FAMILIES[family]), weights)
        cache, other = step.new_cache(), step.new_cache()
        step.read(IDS[:1], other)
        for token in IDS[1:]:
            expected = step(token[None], [other])[0]
        found = step.read(IDS, cache)
        assert (found - expected).norm() < 0.05 * (expected - expected.mean()).norm()


@pytest.mark.parametrize("tied", [True, False])
def test_packed_weights_are_all_that_stays(tied):
    model = tiny_model("llama", torch.bfloat16, tie_word_embeddings=tied)
    weights = [weakref.ref(parameter.untyped_storage()) for parameter in model.parameters()]
    before = sum(parameter.nbytes for parameter in {id(each): each for each in model.parameters()}.values())
    with torch.inference_mode():
        step = make_fast_step(model, "int8")
    assert step is not None
    gc.collect()
    assert not any(parameter.numel() for parameter in model.parameters())
    assert [weight() for weight in weights] == [None] * len(weights)
    assert step.nbytes < 0.65 * before
    assert model.dtype is torch.bfloat16 and model.device.type == "cpu"


def test_one_recording_serves_all_layers_of_a_form():
    model = tiny_model("llama", torch.bfloat16, num_hidden_layers=6)
    steps = torch.arange(64 * 96).view(64, 96) * 7 % 16  # packed in 4 bit, and the others in 8
    model.model.layers[2].mlp.down_proj.weight.data = ((steps - 8) / 32).bfloat16()
    with torch.inference_mode():
        plain = FastStep(copy.deepcopy(model), "auto")
        recorded = make_fast_step(model, "auto")
        assert recorded is not None
        one, other = recorded.new_cache(), plain.new_cache()
        recorded.read(IDS[:4], one)
        plain.read(IDS[:4], other)
        for token in IDS[4:9]:
            torch.testing.assert_close(recorded(token[None], [one]), plain(token[None], [other]), rtol=1e-3, atol=1e-3)
        (operation,) = recorded._recorded.values()
        assert operation.forms == [0, 0, 1, 0, 0, 0] and len(operation.before) == len(operation.after) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_chats_of_different_lengths_are_computed_together(family):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step = FastStep(model, "bf16")
        lengths = (1, 7, 30)
        caches = [read(model, IDS[:length]) for length in lengths]
        found = step(IDS[list(lengths)], caches)
        for length, logits in zip(lengths, found, strict=True):
            torch.testing.assert_close(logits, model(IDS[None, : length + 1]).logits[0, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "weights"),
    [*((family, "int8") for family in FAMILIES), *(("llama", weights) for weights in ("bf16", "int4", "auto"))],
)
def test_the_recorded_step_goes_on_beyond_the_room_it_was_recorded_in(family, weights, monkeypatch):
    room = 64  # it takes fewer steps to fill
    monkeypatch.setattr("hfdemo.compute.chat_cache.ROOM_TOKENS", room)
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        recorded, plain = make_fast_step(copy.deepcopy(model), weights), FastStep(copy.deepcopy(model), weights)
        assert recorded is not None
        one, other = read(model, IDS[:4]), read(model, IDS[:4])
        for number in range(2 * room + 20):
            token = IDS[number % 40 : number % 40 + 1]
            torch.testing.assert_close(recorded(token, [one]), plain(token, [other]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "weights", "foreseen"),
    [
        *((family, "int8", 18) for family in FAMILIES),
        *(("llama", weights, foreseen) for weights in ("bf16", "int4") for foreseen in (1, 18)),
    ],
)
def test_the_recorded_step_of_several_chats_is_the_plain_one(family, weights, foreseen):
    model = tiny_model(family, torch.bfloat16, **FAMILIES[family])
    with torch.inference_mode():
        recorded = make_fast_step(copy.deepcopy(model), weights, foreseen)
        plain = FastStep(copy.deepcopy(model), weights)
        assert recorded is not None
        lengths = range(1, 19)
        ones, others = ([read(model, IDS[:length]) for length in lengths] for _ in range(2))
        for chats in (2, 7, 18, 3, 7):
            tokens = IDS[20 : 20 + chats]
            found, expected = recorded(tokens, ones[:chats]), plain(tokens, others[:chats])
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert [cache.tokens for cache in ones] == [cache.tokens for cache in others]


def is_planned_as_fast(model_type: str) -> bool:
    """Tell whether the plan counts on the fast step on a CPU."""
    facts = usual_facts("m", 10**9)
    machine = Machine(ram_free=10**10)
    plain = make_plan(replace(facts, model_type="not any"), machine)
    return make_plan(replace(facts, model_type=model_type), machine).tokens_per_s > 1.1 * plain.tokens_per_s


def test_each_architecture_of_the_list_is_tested_here():
    assert set(FAMILIES) == set(FAST_ARCHITECTURES)


@pytest.mark.parametrize("family", FAST_ARCHITECTURES)
def test_the_step_and_the_plan_cover_the_same_architectures(family):
    assert is_planned_as_fast(family)
    with torch.inference_mode():
        assert make_fast_step(tiny_model(family, **FAMILIES[family]), "bf16") is not None


def test_one_line_adds_an_architecture_that_is_built_like_llama(monkeypatch):
    with torch.inference_mode():
        assert make_fast_step(tiny_model("seed_oss"), "bf16") is None
        assert not is_planned_as_fast("seed_oss")
        monkeypatch.setitem(FAST_ARCHITECTURES, "seed_oss", Architecture("SeedOssForCausalLM"))
        assert make_fast_step(tiny_model("seed_oss"), "bf16") is not None
        assert is_planned_as_fast("seed_oss")


def test_packed_weights_change_little():
    model = tiny_model("llama", torch.bfloat16)
    with torch.inference_mode():
        expected, cache = model(IDS[None, :11]).logits[0, -1].float(), read(model, IDS[:10])
        found = FastStep(model, "int8")(IDS[10:11], [cache])[0].float()
    assert 0 < (found - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gemma3_text", {"head_dim": 16, "final_logit_softcapping": 30.0}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}),
        ("gemma", {}),
        ("olmo", {}),
    ],
)
def test_what_is_not_covered_is_left_to_the_model_and_the_log_says_so(family, options, caplog):
    with caplog.at_level(logging.INFO), torch.inference_mode():
        assert make_fast_step(tiny_model(family, **options), "auto") is None
    assert "doesn't cover" in caplog.text


def test_a_model_that_computes_something_else_keeps_its_own_forward(caplog):
    model = tiny_model("llama")
    model.model.layers[1].mlp.register_forward_hook(lambda _module, _args, output: output * 1.5)
    with torch.inference_mode():
        assert make_fast_step(model, "auto") is None
    assert "differs" in caplog.text


def test_a_model_that_is_built_otherwise_keeps_its_own_forward(caplog):
    model = tiny_model("llama")
    model.config.num_key_value_heads = 3
    with torch.inference_mode():
        assert make_fast_step(model, "auto") is None
    assert "doesn't work" in caplog.text or "differs" in caplog.text


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "smollm3"])
@pytest.mark.parametrize("pieces", [(5,), (33,), (40,), (7, 33), (31, 2, 7)])
def test_a_prompt_whose_last_tile_is_filled_up_is_read_as_one_that_is_not(family, pieces, monkeypatch):
    model = tiny_model(family, **FAMILIES[family])
    with torch.inference_mode():
        step = FastStep(model, "bf16")
        plain, filled, begin = step.new_cache(), step.new_cache(), 0
        for length in pieces:
            ids = IDS[begin : begin + length]
            begin += length
            expected = step.read(ids, plain)
            with monkeypatch.context() as patch:
                patch.setattr("hfdemo.compute.fast_step.lengths_apart", lambda dtype: 32)
                torch.testing.assert_close(step.read(ids, filled), expected)
            assert filled.tokens == plain.tokens == begin
        torch.testing.assert_close(step(IDS[:1], [filled]), step(IDS[:1], [plain]))


def test_prompts_of_many_lengths_have_few_shapes_where_each_shape_costs_memory(monkeypatch):
    monkeypatch.setattr("hfdemo.compute.fast_step.multiplies_tiles", lambda: True)
    with torch.inference_mode():
        step, lengths = FastStep(tiny_model("llama", torch.bfloat16), "bf16"), set()
        read = step._decoder.read
        monkeypatch.setattr(step._decoder, "read", lambda ids, *rest: (lengths.add(len(ids)), read(ids, *rest))[1])
        for length in range(1, 130):
            step.read(torch.zeros(length, dtype=torch.long), step.new_cache())
    assert lengths == {32, 64, 96, 128, 160}


def test_the_cache_is_read_as_transformers_own_in_pieces_and_after_a_cut():
    model = tiny_model("qwen3")
    with torch.inference_mode():
        own, stock = ChatCache(3), DynamicCache(config=model.config)
        for piece in (IDS[None, :7], IDS[None, 7:8], IDS[None, 8:30]):
            found, expected = (model(piece, cache=cache, use_cache=True).logits for cache in (own, stock))
            torch.testing.assert_close(found, expected)
        for cache in (own, stock):
            cache.crop(-12)
            assert cache.get_seq_length() == 18
        found, expected = (model(IDS[None, 20:33], cache=cache, use_cache=True).logits for cache in (own, stock))
        torch.testing.assert_close(found, expected)


def test_a_cache_grows_and_keeps_what_it_holds():
    model = tiny_model("llama")
    with torch.inference_mode():
        cache = read(model, IDS[:5])
        held, before = cache.buffer[:, :, :5].clone(), cache.nbytes
        cache.room_for(5 + ROOM_TOKENS)
        assert cache.nbytes == before
        cache.room_for(5 + ROOM_TOKENS + 1)
        assert cache.nbytes > before and torch.equal(cache.buffer[:, :, :5], held)


def test_the_memory_of_a_chat_that_is_over_is_free_at_once():
    model = tiny_model("llama")
    with torch.inference_mode():
        cache = read(model, IDS[:5])
        FastStep(model, "bf16")(IDS[5:6], [cache])
        held = weakref.ref(cache.buffer)
        gc.disable()
        try:
            del cache
            assert held() is None, "nothing waits for the garbage collector"
        finally:
            gc.enable()


def test_a_step_that_was_held_while_its_model_left_is_free_later_and_the_next_one_forgets_its_records(monkeypatch):
    forgotten = []
    monkeypatch.setattr("hfdemo.compute.fast_step.forget_recorded_modules", lambda: forgotten.append(True))
    gc.collect()
    with torch.inference_mode():
        step = make_fast_step(tiny_model("llama"), "bf16", 2)
        forgotten.clear()
        forget_records()
        assert step and not forgotten, "recordings in use stay"
        gc.disable()
        try:
            del step
            assert make_fast_step(tiny_model("llama"), "bf16") and forgotten == [True]
        finally:
            gc.enable()
