"""What a model is made of: the Hub's metadata of well-known models, and files on the disk."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import ModelInfo
from safetensors.torch import save_file

from hfdemo.models.facts import facts_from_folder, facts_from_gguf, facts_from_hub
from hfdemo.models.headers import read_gguf
from hfdemo.models.memory import cache_bytes, weight_bytes
from hfdemo.models.plan import ModelFacts, make_plan
from tests.unit.known_models import KNOWN, Known
from tests.unit.test_plan import T4
from tests.unit.tiny_models import tiny_model

QWEN3 = KNOWN["Qwen/Qwen3-0.6B"]


def hub_info(stored: dict[str, int] | None, sizes: dict[str, int], gguf: dict[str, Any] | None = None) -> ModelInfo:
    """Return what the Hub answers to a question with `files_metadata=True`."""
    return ModelInfo(
        id="a/b",
        siblings=[{"rfilename": name, "size": size} for name, size in sizes.items()],
        **({"safetensors": {"parameters": stored, "total": sum(stored.values())}} if stored else {}),
        **({"gguf": gguf} if gguf else {}),
    )


def facts_of(known: Known, name: str = "a/b", **changes: Any) -> ModelFacts:
    size = known.stored_bytes or sum(count * {"F32": 4}.get(kind, 2) for kind, count in known.stored.items())
    sizes = {"config.json": 700, "model.safetensors": size}
    return facts_from_hub(hub_info(known.stored, sizes), known.config | changes, name)


@pytest.mark.parametrize("name", KNOWN)
def test_well_known_models(name):
    known = KNOWN[name]
    facts = facts_of(known, name)
    assert facts.name == name
    assert facts.parameters == known.parameters
    assert dict(facts.stored) == known.stored
    assert facts.cache_bytes_per_token == known.cache_bytes_per_token
    assert facts.window_bytes_per_token == known.window_bytes_per_token
    assert facts.window_tokens == known.window_tokens
    if not facts.own_quantization:
        assert weight_bytes(facts, "bfloat16") == 2 * known.parameters
        assert weight_bytes(facts, "float32") == 4 * known.parameters


def test_the_details_of_a_plain_model():
    facts = facts_of(KNOWN["meta-llama/Llama-3.1-8B-Instruct"])
    assert (facts.layers, facts.hidden, facts.intermediate, facts.vocabulary) == (32, 4096, 14336, 128256)
    assert (facts.heads, facts.model_type, facts.context_limit) == (32, "llama", 131072)
    assert facts.stored_bytes == 16_060_522_496
    assert facts.download_bytes == 16_060_522_496 + 700
    assert facts.packable_parameters == 32 * 218_103_808  # each layer's projections; not the embeddings and the head
    assert cache_bytes(facts, 1) == 131_072
    assert cache_bytes(facts, 4096) == 512 * 2**20
    assert cache_bytes(facts, 4096, "float32") == 1024 * 2**20
    assert facts.active_share == 1
    assert not facts.eager_attention
    assert not facts.gguf


def test_a_tied_head_that_is_stored_counts_once():
    facts = facts_of(QWEN3)
    assert dict(facts.stored)["BF16"] - facts.parameters == 151936 * 1024
    assert facts.stored_bytes == 1_503_264_768
    assert weight_bytes(facts, "bfloat16") == 1_192_099_840


@pytest.mark.parametrize(
    ("kind", "options", "heads"),
    [
        ("falcon", {"multi_query": True}, 1),
        ("falcon", {"multi_query": False}, 4),
        ("falcon", {"multi_query": True, "new_decoder_architecture": True}, 4),
        ("gpt_bigcode", {"multi_query": True}, 1),
        ("gpt_bigcode", {"multi_query": False}, 4),
    ],
)
def test_a_model_whose_heads_share_their_keys_caches_them_once(kind, options, heads):
    model = tiny_model(kind, **options)
    cache = model(torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
    assert sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers) == 3 * 2 * heads * 16
    config = {name: value for name, value in model.config.to_dict().items() if name != "num_key_value_heads"}
    facts = facts_from_hub(hub_info(None, {"config.json": 1, "model.safetensors": 9}), config, "a/b")
    assert facts.cache_bytes_per_token == 2 * 3 * 2 * heads * 16


def test_a_window_bounds_the_cache():
    facts = facts_of(KNOWN["google/gemma-3-1b-it"])
    assert cache_bytes(facts, 512) == 512 * (4096 + 22528)
    assert cache_bytes(facts, 8192) == 8192 * 4096 + 512 * 22528


def test_of_a_mixture_of_experts_few_weights_are_read_for_a_token():
    facts = facts_of(KNOWN["Qwen/Qwen3-30B-A3B"])
    assert facts.active_share * facts.parameters == pytest.approx(3.35e9, rel=0.01)
    assert facts.intermediate == 8 * 768
    assert facts.packable_parameters < 0.05 * facts.parameters  # the experts are no linear layers


def test_weights_that_are_stored_packed():
    facts = facts_of(KNOWN["openai/gpt-oss-20b"])
    assert facts.own_quantization == "mxfp4"
    assert facts.stored_bytes == 13_761_264_768
    assert facts.packable_parameters == 0
    assert facts.eager_attention
    awq = facts_of(KNOWN["Qwen/Qwen2.5-7B-Instruct"], quantization_config={"quant_method": "awq"})
    assert awq.own_quantization == "awq"
    assert awq.parameters == 7_615_616_512


def test_only_the_files_that_are_fetched_count():
    sizes = {
        "config.json": 1,
        "tokenizer.json": 20,
        "model-00001-of-00002.safetensors": 300,
        "model-00002-of-00002.safetensors": 4000,
        "original/consolidated.00.pth": 10**9,
        "onnx/model.safetensors": 10**9,
        "consolidated.safetensors": 10**9,
        "pytorch_model.bin": 10**9,
        "README.md": 10**9,
    }
    facts = facts_from_hub(hub_info({"BF16": 2150}, sizes), QWEN3.config, "a/b")
    assert (facts.stored_bytes, facts.download_bytes) == (4300, 4321)
    assert facts_from_hub(hub_info(None, sizes), QWEN3.config, "a/b", have_bytes=4021).download_bytes == 300
    del sizes["model-00001-of-00002.safetensors"], sizes["model-00002-of-00002.safetensors"]
    assert facts_from_hub(hub_info(None, sizes), QWEN3.config, "a/b").stored_bytes == 10**9


def test_without_metadata_the_configuration_tells():
    facts = facts_from_hub(hub_info(None, {"model.safetensors": 1_503_300_328}), QWEN3.config, "a/b")
    assert facts.parameters == QWEN3.parameters
    assert facts.stored == ()


def test_without_sizes_the_count_tells():
    info = ModelInfo(
        id="a/b", siblings=[{"rfilename": "model.safetensors"}], safetensors={"parameters": {"F16": 9}, "total": 9}
    )
    assert facts_from_hub(info, {}, "a/b").stored_bytes == 18


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"model_type": "made_up", "hidden_size": 8, "num_hidden_layers": "many"},
        {"model_type": ["llama"]},
        {"model_type": "llama", "hidden_size": -5},
        {"model_type": "llama", "hidden_size": 7, "num_attention_heads": 3},
        {"model_type": "llama", "num_hidden_layers": 10**9},
        {"model_type": "made_up", "text_config": "?", "quantization_config": "?", "num_attention_heads": 10**9},
    ],
)
def test_a_configuration_of_no_use_gives_an_estimate(config):
    facts = facts_from_hub(hub_info({"BF16": 8_000_000_000}, {"model.safetensors": 16_000_000_000}), config, "a/b")
    assert facts.parameters == 8_000_000_000
    assert facts.stored_bytes == 16_000_000_000
    assert facts.cache_bytes_per_token >= 0
    assert make_plan(facts, T4).needed_bytes > 0


def test_nothing_at_all_is_known():
    facts = facts_from_hub(ModelInfo(id="a/b"), None, "a/b")
    assert (facts.parameters, facts.stored_bytes, facts.download_bytes) == (0, 0, 0)


def test_code_of_the_model_is_not_run(tmp_path):
    config = {"model_type": "made_up", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit")
    assert facts_from_folder(tmp_path, "evil").parameters == 0


def test_counting_leaves_the_random_numbers_and_the_default_type_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    facts_of(QWEN3, dtype="bfloat16")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_a_gguf_file_on_the_hub():
    info = hub_info(None, {"a-Q4_K_M.gguf": 4_920_000_000, "a-Q8_0.gguf": 8 * 10**9}, {"total": 8_030_261_312})
    facts = facts_from_hub(info, {}, "a/b/a-Q4_K_M.gguf", gguf_file="a-Q4_K_M.gguf")
    assert facts.gguf
    assert facts.parameters == 8_030_261_312
    assert facts.stored_bytes == facts.download_bytes == 4_920_000_000
    assert weight_bytes(facts, "float16") == 16_060_522_624  # it is unpacked


@pytest.mark.parametrize(
    ("file", "parameters"),
    [("m-Q4_K_M.gguf", 8e9), ("m.IQ3_XS.gguf", 8e9 * 4.5 / 3.5), ("m-F16.gguf", 2.25e9), ("F32.gguf", 1.125e9)],
)
def test_the_hub_does_not_know_a_gguf_file(file, parameters):
    facts = facts_from_hub(hub_info(None, {file: 4_500_000_000}), None, "a/b", gguf_file=file)
    assert facts.parameters == pytest.approx(parameters)


def test_a_folder(tmp_path):
    config = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(3, 5, dtype=torch.bfloat16), "b": torch.zeros(())}, tmp_path / "model.safetensors")
    (tmp_path / "optimizer.bin").write_bytes(b"?" * 1000)
    facts = facts_from_folder(tmp_path, "mine")
    assert facts.name == "mine"
    assert facts.stored == (("BF16", 15), ("F32", 1))
    assert facts.stored_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert facts.parameters == 134_515_008
    assert facts.download_bytes == 0


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, struct.pack("<Q", 3) + b"[1]", struct.pack("<Q", 7) + b'{"a":1}', b"\0" * 99]
)
def test_a_broken_safetensors_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("[]")
    assert facts_from_folder(tmp_path, "broken").stored == ()


def make_gguf(path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_block_count(16)
    writer.add_context_length(131072)
    writer.add_embedding_length(2048)
    writer.add_feed_forward_length(8192)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_vocab_size(128256)
    writer.add_tensor("token_embd.weight", torch.zeros(64, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_in_a_folder(tmp_path):
    make_gguf(tmp_path / "m-Q4_0.gguf")
    path = tmp_path / "m-Q4_0.gguf"
    facts = facts_from_gguf("m", path, read_gguf(path))
    assert facts.gguf
    assert facts.parameters == 64 * 32
    assert (facts.layers, facts.hidden, facts.intermediate, facts.heads) == (16, 2048, 8192, 32)
    assert (facts.vocabulary, facts.context_limit, facts.model_type) == (128256, 131072, "llama")
    assert facts.cache_bytes_per_token == KNOWN["meta-llama/Llama-3.2-1B-Instruct"].cache_bytes_per_token


def test_facts_of_any_object_with_the_hubs_fields():
    file = SimpleNamespace(rfilename="model.safetensors", size=None, lfs=None)
    info = SimpleNamespace(siblings=[file], safetensors=None, gguf=None)
    assert replace(facts_from_hub(info, None, "a/b"), name="").stored_bytes == 0
