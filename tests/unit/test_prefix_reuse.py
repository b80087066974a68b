"""What an earlier reply left in a cache is used again where that changes nothing, whatever a model keeps in it."""

from typing import Any

import pytest
import torch
from transformers import pipeline

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.reply_format import ReplyFormat
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import RunningReply, bytes_of
from hfdemo.models.load import ChatPipeline, LoadedModel
from hfdemo.models.tensors import decoder_layers
from tests.unit.families import byte_level
from tests.unit.tiny_models import tiny_model

MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16}
ONLY_STATES: dict[str, dict[str, Any]] = {
    "mamba": {},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 16},
}
STATES_TOO: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1], **MAMBA},
    "falcon_h1": {"mamba_d_ssm": 64, **MAMBA, "mamba_n_heads": 4},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention", "mamba"],
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "shared_intermediate_size": 32,
        **MAMBA,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "use_mamba_kernels": False},
    "lfm2": {"full_attn_idxs": [1]},
    "recurrent_gemma": {"head_dim": 16},
}
KEYS_AND_VALUES: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 16, "sliding_window": 64},
    "gpt2": {},
    "llama": {},
    "phi3": {"pad_token_id": 0},
}
FAMILIES = ONLY_STATES | STATES_TOO | KEYS_AND_VALUES

PROMPT = tuple(number * 31 % 90 for number in range(20))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    tokenizer: Any = byte_level(["<|begin|>", "<|end|>"])
    network = tiny_model(request.param, vocab_size=len(tokenizer), **FAMILIES[request.param])
    made: Any = pipeline("text-generation", model=network, tokenizer=tokenizer, pipeline_class=ChatPipeline)
    prompts: Any = type("Prompts", (), {"context_limit": 2048, "stop_texts": (), "reply_format": ReplyFormat()})
    layers = tuple(decoder_layers(network))
    return LoadedModel(request.param, made, prompts, (len(tokenizer) - 1,), layers, "CPU")


def reply(model: LoadedModel, ids: tuple[int, ...], cache: Any = None, known: int = 0) -> RunningReply:
    """Return a reply that is written."""
    request = DecodeRequest(Prompt(ids, dropped=0), Options(temperature=0, max_new_tokens=8))
    running = RunningReply(model, request, StopSignal(), cache, known)
    Loop(CallingThread()).add(running)
    running.done.result(0)
    return running


def test_a_reply_goes_on_where_it_was(model):
    begun = reply(model, PROMPT)
    whole = PROMPT + tuple(begun.streamer.token_ids)
    alone = reply(model, whole)
    further = reply(model, whole, begun.cache, len(whole) - 1)
    assert further.streamer.token_ids == alone.streamer.token_ids != []
    assert further.cached_tokens == (0 if model.name in ONLY_STATES else len(whole) - 1)


def test_a_prompt_that_begins_alike_is_read_from_where_it_differs_or_as_a_whole(model):
    begun, other = reply(model, PROMPT), (*PROMPT[:12], 3, 1, 4, 1, 5)
    alone = reply(model, other)
    again = reply(model, other, begun.cache, 12)
    assert again.streamer.token_ids == alone.streamer.token_ids != []
    assert again.cached_tokens == (12 if model.name in KEYS_AND_VALUES else 0)


def test_what_is_kept_is_counted_in_bytes(model):
    cache = reply(model, PROMPT).cache
    if model.name in ONLY_STATES:
        assert cache is None and bytes_of(cache) == 0
        return
    held = [value for layer in cache.layers for value in vars(layer).values()]
    held += [value for states in held if isinstance(states, dict) for value in states.values()]
    assert bytes_of(cache) == sum(tensor.nbytes for tensor in held if isinstance(tensor, torch.Tensor)) > 0
