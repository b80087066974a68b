"""A GGUF file that is read in parts has the numbers that transformers finds in it, and never all of them at once."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.quants import quantize
from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

from hfdemo.compute.cpu_weights import Weight
from hfdemo.compute.fast_step import make_fast_step
from hfdemo.compute.transformers_private import unpack_gguf
from hfdemo.errors import ModelLoadError
from hfdemo.models.gguf_levels import Q4_0, Q4_1, Q4_K, GgufLevels
from hfdemo.models.gguf_weights import NAMED_FULLY, GgufWeights, can_be_read_in_parts, check_gguf_weights
from hfdemo.models.progress import SILENT, Cancelled, Progress
from hfdemo.models.tensors import refuse_hollow, telling_weights
from tests.unit.tiny_models import tiny_model

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
"""What llama.cpp calls the families of the fast step that both have."""

LAYERS = 7
"""More than the six after which those of Gemma 3 begin anew."""

HEAD_SIZES = {"llama": 16, "qwen2": 16, "qwen3": 128, "gemma3_text": 128}
"""The only ones that transformers knows of these files."""


def write_gguf(path: Path, family: str, kind: str = "Q4_1", leave_out: str = "", **options: Any) -> Path:
    """Write a tiny model; its numbers aren't put in llama.cpp's order, which makes it another model."""
    head_size = HEAD_SIZES[family]
    model = tiny_model(family, num_hidden_layers=LAYERS, head_dim=head_size, **options)
    config, architecture = model.config, ARCHITECTURES[family]
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(config.vocab_size)
    writer.add_sliding_window(1024)
    names = get_tensor_name_map(next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture), LAYERS)
    for name, tensor in model.state_dict().items():
        stem, _, ending = name.rpartition(".")
        theirs = f"{names.get_name(stem)}.{ending}"
        if theirs == leave_out or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        numbers = tensor.float().numpy()
        if tensor.dim() == 1 or kind == "F32":
            writer.add_tensor(theirs, numbers)
        elif kind == "F16":
            writer.add_tensor(theirs, numbers.astype(np.float16))
        else:
            way = GGMLQuantizationType[kind]
            writer.add_tensor(theirs, quantize(numbers, way), raw_dtype=way)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def config_of(path: Path) -> Any:
    return AutoConfig.from_pretrained(path.parent, gguf_file=path.name)


def opened(path: Path, progress: Progress = SILENT) -> GgufWeights:
    return GgufWeights(path, config_of(path), torch.bfloat16, progress)


def as_transformers_reads(path: Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=dtype,
        quantization_config=GgufConfig(dequantize=True),
    )


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize(
    ("kind", "tied"), [("Q4_0", False), ("Q4_1", True), ("Q8_0", True), ("Q5_0", False), ("F16", False)]
)
def test_all_numbers_are_those_that_transformers_reads(tmp_path, family, kind, tied):
    path = write_gguf(tmp_path / "m.gguf", family, kind, tie_word_embeddings=tied)
    weights = opened(path)
    assert weights.found == {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": []}
    weights.read(weights.model)
    expected = as_transformers_reads(path)
    found, known = weights.model.state_dict(), expected.state_dict()
    assert found.keys() == known.keys()
    assert [name for name, tensor in known.items() if not torch.equal(found[name], tensor)] == []
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(weights.model(ids).logits, expected(ids).logits)
    is_one = weights.model.lm_head.weight is weights.model.model.embed_tokens.weight
    assert is_one == tied == expected.config.tie_word_embeddings


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_only_some_layers_are_there_unpacked_at_any_time(tmp_path, monkeypatch, kind):
    weights = opened(write_gguf(tmp_path / "m.gguf", "qwen3", kind))
    layers, most = weights.model.model.layers, []

    def read(part: torch.nn.Module) -> None:
        read_before(part)
        held = [layer for layer in layers if layer.mlp.up_proj.weight.device.type == "cpu"]
        most.append(sum(layer.mlp.up_proj.weight.numel() > 0 for layer in held))

    read_before = weights.read
    monkeypatch.setattr(weights, "read", read)
    with torch.inference_mode():
        assert make_fast_step(weights.model, "auto", source=weights) is not None
    assert len(layers) == LAYERS
    assert max(most) == 2  # as many as tell whether the step computes what the model does
    assert all(parameter.numel() == 0 for parameter in weights.model.parameters())


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize(("kind", "most"), [("Q4_0", 1.2), ("Q4_1", 1.2), ("Q8_0", 3), ("F16", 3)])
def test_the_step_loses_as_much_of_what_the_file_says_as_16_bit_do(tmp_path, family, kind, most):
    path = write_gguf(tmp_path / "m.gguf", family, kind)
    weights, prompts = GgufWeights(path, config_of(path), torch.float32, SILENT), torch.arange(160).view(8, 20) % 96
    whole, rounded = as_transformers_reads(path, torch.float32), as_transformers_reads(path)
    with torch.inference_mode():
        step = make_fast_step(weights.model, "auto", source=weights)
        assert step is not None
        expected, in_16_bit = (model(prompts).logits[:, -1].float() for model in (whole, rounded))
        found = torch.stack([step.read(ids, step.new_cache()) for ids in prompts])
    assert (found - expected).norm() < most * (in_16_bit - expected).norm()


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_what_is_stored_in_4_bit_is_packed_in_4_bit_as_it_is(tmp_path, kind):
    weights = opened(write_gguf(tmp_path / "m.gguf", "llama", kind, attention_bias=True))
    with torch.inference_mode():
        packed = make_fast_step(weights.model, "auto", source=weights)._decoder
    formats = {module.weight_format for module in packed.layers.modules() if isinstance(module, Weight)}
    assert formats == {"int4"}
    assert (packed.head.weight.weight_format, packed.embed.weight.weight_format) == ("int8", "int4")


@pytest.mark.parametrize(("kind", "size"), [(Q4_0, 18), (Q4_1, 20), (Q4_K, 144)])
def test_steps_are_what_transformers_unpacks(kind, size):
    """For all bytes that there can be, except numbers of 16 bit that are not finite or huge."""
    torch.manual_seed(0)
    blocks = torch.randint(0, 256, (640, size), dtype=torch.uint8)
    blocks[:, : 2 if kind == Q4_0 else 4] = torch.randn(640, 1 if kind == Q4_0 else 2).half().view(torch.uint8)
    inputs = 2560 if kind == Q4_K else 320
    expected = unpack_gguf(blocks.flatten(), kind).view(-1, inputs)
    stored = GgufLevels(blocks.view(len(expected), -1), kind, inputs)
    assert stored.shape == expected.shape
    assert torch.allclose(stored[:].numbers(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(stored[3:5].numbers(), stored[:].numbers()[3:5])


def test_what_is_missing_or_of_another_shape_is_found(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", "llama", leave_out="blk.2.ffn_up.weight", tie_word_embeddings=True)
    found = opened(path).found
    assert (found["missing_keys"], found["mismatched_keys"]) == (["model.layers.2.mlp.up_proj.weight"], [])
    config = config_of(path)
    config.intermediate_size = 128
    misfits = GgufWeights(path, config, torch.bfloat16, SILENT).found["mismatched_keys"]
    assert ("model.layers.0.mlp.gate_proj.weight", (96, 64), (128, 64)) in misfits and len(misfits) == 3 * LAYERS - 1


def test_reading_is_shown_and_can_be_cancelled(tmp_path):
    shown, cancel = [], Event()
    progress = Progress(lambda stage, done, total, *_: shown.append((stage, done, total)), cancel)
    weights = opened(write_gguf(tmp_path / "m.gguf", "llama"), progress)
    weights.read(weights.model.model.layers[0])
    assert {stage for stage, *_ in shown} == {"loading"}
    amounts = [done for _, done, _ in shown]
    assert amounts == sorted(amounts) and amounts[0] == 0 and amounts[-1] < shown[0][2]
    cancel.set()
    with pytest.raises(Cancelled):
        weights.read(weights.model)


@pytest.mark.parametrize(
    ("model_type", "kind", "expected"), [("llama", "Q4_1", True), ("mamba", "Q4_1", False), ("llama", "Q5_0", True)]
)
def test_what_can_be_read_in_parts(tmp_path, model_type, kind, expected):
    path = write_gguf(tmp_path / "m.gguf", "llama", kind)
    assert can_be_read_in_parts(path, model_type) == expected


def test_weights_of_zeros_are_found_out_before_they_are_read(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", "llama")
    name = "model.layers.0.mlp.gate_proj.weight"
    weights = opened(path)
    telling = telling_weights(weights.model)
    assert {"model.embed_tokens.weight", name} < telling.keys()
    refuse_hollow("model", weights.stored(telling))
    begin, length = weights._begin + weights._stored[name].offset, weights._stored[name].nbytes
    content = path.read_bytes()
    path.write_bytes(content[:begin] + bytes(length) + content[begin + length :])
    with pytest.raises(ModelLoadError, match=name):
        refuse_hollow("model", opened(path).stored(telling))


def write_other_gguf(path: Path, family: str, leave_out: str = "", zeros: str = "") -> Path:
    """Write a tiny model without a fast step as llama.cpp names its tensors."""
    model = tiny_model(family, vocab_size=96)
    writer = GGUFWriter(path, family)
    writer.add_block_count(3)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(getattr(model.config, "num_key_value_heads", 4))
    writer.add_layer_norm_eps(1e-6)
    writer.add_vocab_size(96)
    names = get_tensor_name_map(next(key for key, value in MODEL_ARCH_NAMES.items() if value == family), 3)
    for name, parameter in model.named_parameters():
        stem, _, ending = name.rpartition(".")
        theirs, numbers = f"{names.get_name(stem)}.{ending}", parameter.detach().numpy()
        if theirs != leave_out:
            numbers = numbers.T.copy() if family == "gpt2" and "blk" in theirs else numbers
            writer.add_tensor(theirs, np.zeros_like(numbers) if theirs == zeros else numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("family", NAMED_FULLY)
def test_a_file_without_a_fast_step_is_looked_at_as_well(tmp_path, family):
    path = write_other_gguf(tmp_path / "m.gguf", family)
    assert check_gguf_weights("model", path, config_of(path)) == ()
    path = write_other_gguf(tmp_path / "m.gguf", family, leave_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelLoadError) as refused:
        check_gguf_weights("model", path, config_of(path))
    assert refused.value.key == "tensors_missing" and ".1." in refused.value.fields["tensors"]
    path = write_other_gguf(tmp_path / "m.gguf", family, zeros="token_embd.weight")
    with pytest.raises(ModelLoadError) as refused:
        check_gguf_weights("model", path, config_of(path))
    assert refused.value.key == "tensors_hollow"
