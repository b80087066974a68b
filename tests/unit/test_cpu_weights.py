"""Packed weights multiply as the weights they were made from, within what their bits can tell apart."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute import cpu_weights, packing
from hfdemo.compute.cpu_weights import few_rows, pack_weight
from hfdemo.compute.packed_linears import PackedLinear, pack_linears
from hfdemo.compute.packing import LAYOUTS, Layout
from tests.unit.tiny_models import tiny_model


def weight_of(outputs: int, inputs: int, seed: int = 0) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)).bfloat16()


def weight_from_4_bit(outputs: int, inputs: int) -> Tensor:
    """Return a weight whose groups of 32 have 16 steps, as those of a GGUF file in Q4_1 have."""
    random = torch.Generator().manual_seed(1)
    steps = torch.randint(0, 16, (outputs, inputs // 32, 32), generator=random)
    steps[..., 0], steps[..., 1] = 0, 15
    scales = torch.rand(outputs, inputs // 32, 1, generator=random) + 0.1
    return (steps * scales - 7.5 * scales).view(outputs, inputs).bfloat16()


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize(("bits", "most"), [("int8", 0.01), ("int4", 0.15), ("bf16", 0.0)])
@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_product_is_as_exact_as_its_bits(bits, most, rows):
    weight, states = weight_of(64, 96), weight_of(rows, 96, seed=2)
    packed = pack_weight([weight], bits)
    assert packed.weight_format == bits
    assert error(packed(states), F.linear(states, weight)) <= most


@pytest.mark.parametrize(("bits", "most"), [("int8", 0.01), ("int4", 0.15)])
@pytest.mark.parametrize("outputs", [64, 200])
@pytest.mark.parametrize("wide", [False, True])
def test_more_rows_are_multiplied_by_the_same_numbers_unpacked(bits, most, outputs, wide, monkeypatch):
    monkeypatch.setattr(cpu_weights, "prompt_dtype", lambda dtype, rows: torch.float32 if wide else dtype)
    monkeypatch.setattr(packing, "BLOCK_NUMBERS", 96 * 64)
    weight = weight_of(outputs, 96)
    packed = pack_weight([weight], bits)
    states = weight_of(few_rows(bits, weight.dtype) + 1, 96, seed=2)
    assert packed(states).shape == (len(states), outputs)
    assert error(packed(states), F.linear(states, weight)) <= most
    assert error(packed(states), packed.packed_product(states)) < 0.01
    numbers = packed.rows(torch.arange(outputs))
    assert error(packed(states), F.linear(states, numbers)) < 0.005
    assert torch.equal(packed.rows(torch.tensor([outputs - 1, 3, 3])), numbers[[outputs - 1, 3, 3]])


def test_weights_from_4_bit_lose_nothing_in_4_bit():
    weight, states = weight_from_4_bit(64, 96), weight_of(1, 96, seed=2)
    packed = pack_weight([weight], "auto")
    assert packed.weight_format == "int4"
    assert error(packed(states), F.linear(states, weight)) < 0.01


def test_weights_that_never_were_in_4_bit_get_8():
    assert pack_weight([weight_of(64, 96)], "auto").weight_format == "int8"
    assert pack_weight([weight_from_4_bit(64, 96), weight_of(64, 96)], "auto").weight_format == "int8"


@pytest.mark.parametrize(
    ("outputs", "inputs", "wanted", "bits"),
    [
        (64, 96, "int4", "int4"),
        (64, 96, "int8", "int8"),  # in groups of 32
        (64, 128, "int8", "int8"),  # in groups of 64
        (64, 80, "int4", "bf16"),  # not in groups
        (72, 96, "int8", "int8"),  # not in the kernel's blocks
        (7, 96, "int4", "int4"),
    ],
)
def test_a_shape_that_a_kernel_does_not_take_gets_more_bits(outputs, inputs, wanted, bits):
    weight, states = weight_of(outputs, inputs), weight_of(1, inputs, seed=2)
    packed = pack_weight([weight], wanted)
    assert packed.weight_format == bits
    assert error(packed(states), F.linear(states, weight)) < 0.15


@pytest.mark.parametrize("bits", ["int4", "int8"])
def test_parts_and_chunks_make_the_same_product(bits, monkeypatch):
    weight, states = weight_of(256, 96), weight_of(2, 96, seed=2)
    whole = pack_weight([weight], bits)(states)
    assert torch.equal(pack_weight([weight[:64], weight[64:]], bits)(states), whole)
    monkeypatch.setattr(packing, "CHUNK_NUMBERS", 1)
    assert torch.equal(pack_weight([weight], bits)(states), whole)
    for parts in ((96, 160), (16, 80, 160), (48, 16, 16, 176)):
        assert torch.equal(pack_weight(weight.split(parts), bits)(states), whole)
    monkeypatch.undo()
    assert torch.equal(pack_weight(weight.split((96, 160)), bits)(states), whole)


def test_weights_that_are_multiplied_wrongly_stay_as_they_came(monkeypatch, caplog):
    monkeypatch.setattr(Layout, "join", lambda _, counts: counts.new_zeros(len(counts), 48))
    assert pack_weight([weight_of(64, 96)], "int4").weight_format == "bf16"
    assert caplog.text.count("differs too much") == 2


def test_a_cpu_whose_layout_is_unknown_keeps_weights_as_they_came(monkeypatch):
    monkeypatch.setattr(cpu_weights, "layout", lambda: None)
    assert pack_weight([weight_of(64, 96)], "int8").weight_format == "bf16"


def pack_like(layout: Layout, numbers: Tensor) -> Tensor:
    """Return numbers of 4 bit as PyTorch's kernel for other CPUs wants them, one by one."""
    outputs, inputs = numbers.shape
    packed = torch.zeros(outputs // layout.rows, inputs, layout.bytes, dtype=torch.uint8)
    for row in range(outputs):
        block, within = divmod(row, layout.rows)
        byte, upper = (within % layout.bytes, within // layout.bytes) if layout.apart else divmod(within, 2)
        packed[block, :, byte] |= (numbers[row] << 4 * upper).to(torch.uint8)
    return packed.view(outputs, inputs // 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_each_layout_is_found_and_unpacked(layout, bits, monkeypatch):
    weight = weight_of(128, 96)
    expected = pack_weight([weight], bits).rows(torch.arange(128))
    monkeypatch.setattr(packing, "pack_int4", lambda numbers, _: pack_like(layout, numbers))
    packing.layout.cache_clear()
    try:
        assert packing.layout() == layout
        packed = cpu_weights.PackedWeight.of([weight], bits, None)
        assert torch.equal(packed.rows(torch.arange(128)), expected)
        blocks = [columns for _, columns in packing.unpack_blocks(packed._packed(), torch.bfloat16)]
        assert torch.equal(torch.cat(blocks, 1).T, expected)
    finally:
        packing.layout.cache_clear()


def test_weights_for_which_4_bit_are_too_few_get_8(monkeypatch):
    weight = weight_of(64, 96)
    assert pack_weight([weight], "int4").weight_format == "int4"
    monkeypatch.setattr(cpu_weights, "WRONG", 0.03)
    assert pack_weight([weight], "int4").weight_format == "int8"


def test_a_bias_is_added_and_the_type_of_numbers_stays():
    weight, bias = weight_of(64, 96).float(), torch.randn(64)
    for rows in (1, 40):
        states = torch.randn(rows, 96)
        product = pack_weight([weight], "int8", bias)(states)
        assert product.dtype == torch.float32
        assert error(product, F.linear(states, weight, bias)) < 0.02


@pytest.mark.parametrize("model_type", ["gpt_neox", "gemma", "phi3", "olmo2"])
@pytest.mark.parametrize(("wanted", "most"), [("int8", 0.1), ("int4", 0.6)])
def test_any_model_writes_with_packed_weights(model_type, wanted, most):
    options = {"pad_token_id": 0} if model_type == "phi3" else {}
    model = tiny_model(model_type, torch.bfloat16, **options)
    ids = torch.tensor([[5]])
    expected = model(ids).logits
    total = pack_linears(model, wanted)
    kinds = {
        name: module.packed.weight_format for name, module in model.named_modules() if isinstance(module, PackedLinear)
    }
    assert total > 0 and len(kinds) > 3
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    assert kinds.pop(head) == "int8" and set(kinds.values()) == {wanted}
    assert 0 < error(model(ids).logits, expected) < most
    assert not any(type(module) is nn.Linear for module in model.modules())


def test_a_model_whose_own_code_reads_a_weight_gets_it_unpacked():
    linear = nn.Linear(96, 70, dtype=torch.bfloat16)
    replaced = PackedLinear(linear, pack_weight([linear.weight.data], "int8", linear.bias))
    assert error(replaced.weight.detach(), linear.weight.detach()) < 0.01 and torch.equal(replaced.bias, linear.bias)
    assert replaced.weight is replaced.weight
    model = tiny_model("mamba", torch.bfloat16, state_size=8, time_step_rank=32)
    ids = torch.tensor([[5, 7]])
    with torch.inference_mode():
        expected = model(ids).logits
        assert pack_linears(model, "int8") > 0
        assert isinstance(model.backbone.layers[0].mixer.dt_proj, PackedLinear)
        assert 0 < error(model(ids).logits, expected) < 0.1


def test_as_they_came_means_that_nothing_is_packed():
    model = tiny_model("gemma", torch.bfloat16)
    assert pack_linears(model, "bf16") == 0
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
