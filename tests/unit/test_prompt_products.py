"""A prompt's products are the same in whichever way they are computed."""

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch.nn import functional as F

from hfdemo.compute import prompt_products
from hfdemo.compute.prompt_products import ROWS_TRIED, PromptLinear, multiply, prompt_dtype, widen_linears
from tests.unit.tiny_models import tiny_model


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    prompt_products._rows_in_32_bit.cache_clear()
    yield
    prompt_products._rows_in_32_bit.cache_clear()


@pytest.fixture(params=["bfloat16", "float32"])
def way(request, monkeypatch) -> str:
    monkeypatch.setattr(prompt_products, "faster", lambda question, ways, **facts: request.param)
    return request.param


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


@pytest.mark.parametrize("rows", [1, ROWS_TRIED[0] - 1, ROWS_TRIED[0], 300])
@pytest.mark.parametrize("bias", [None, random(70)])
def test_the_product_is_rounded_only_at_its_end(way, rows, bias, monkeypatch):
    monkeypatch.setattr(prompt_products, "BLOCK_NUMBERS", 96 * 32)  # 70 outputs are two blocks and a part
    states, weight = random(rows, 96), random(70, 96)
    exact = F.linear(states.double(), weight.double(), None if bias is None else bias.double())
    product = multiply(states, weight, bias)
    assert product.dtype is torch.bfloat16
    torch.testing.assert_close(product.double(), exact, rtol=2**-7, atol=0.02)


def test_a_models_forward_stays_the_same(way):
    model = tiny_model("qwen2").bfloat16()
    ids = torch.arange(ROWS_TRIED[-1] + 6)[None] % model.config.vocab_size
    with torch.inference_mode():
        expected = model(ids).logits
        widen_linears(model)
        found = model(ids).logits
    assert any(isinstance(module, PromptLinear) for module in model.modules()) == (way == "float32")
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_weights_in_32_bit_are_left_alone(way):
    model = tiny_model("llama")
    widen_linears(model)
    assert not any(isinstance(module, PromptLinear) for module in model.modules())


@pytest.mark.parametrize("first", [*ROWS_TRIED, 1000])
def test_32_bit_are_used_from_as_many_rows_on_as_they_are_faster_for(first, monkeypatch):
    def faster(question: str, ways: Mapping[str, Callable[[], torch.Tensor]], **facts: object) -> str:
        assert {len(way()) for way in ways.values()} == {facts["rows"]}
        return "float32" if int(str(facts["rows"])) >= first else "bfloat16"

    monkeypatch.setattr(prompt_products, "faster", faster)
    found = [rows for rows in range(1, 1000) if prompt_dtype(torch.bfloat16, rows) is torch.float32]
    assert found == list(range(first, 1000))
    assert prompt_dtype(torch.float32, 999) is torch.float32
