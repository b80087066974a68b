"""Products of a prompt with the weights, in 32 bit on a CPU that has no instructions for bfloat16.

Without these (Intel has them since Cooper Lake, AMD since Zen 4), PyTorch multiplies in bfloat16 at a quarter of the
speed of 32 bit. Writing a token still takes half the time, because there reading the weights is what takes it. So the
weights stay in 16 bit, and where there are many rows, a block of them at a time is widened: that is exact, costs
little beside the product, and needs no memory to speak of.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute.faster import faster

MANY_ROWS = 64
"""From so many rows on, the ways differ; with fewer, reading the weights takes the time."""

BLOCK_NUMBERS = 1 << 20
"""How many weights are widened at once: their 4 MB stay in the CPU's cache until they are used."""

TRIED_SIZE = 1024
"""The inputs and outputs of the weight for which the ways are measured."""


def multiply(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the product of rows, of shape [rows, inputs], with a weight of shape [outputs, inputs]."""
    if len(rows) < MANY_ROWS or not _pays(weight):
        return F.linear(rows, weight, bias)
    return _multiply_wide(rows, weight, bias)


class PromptLinear(nn.Module):
    """Replaces a linear layer: the same weight, with `multiply`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, states: Tensor) -> Tensor:
        """Return the product for states of shape [..., inputs]."""
        product = multiply(states.reshape(-1, self.in_features), self.weight, self.bias)
        return product.view(*states.shape[:-1], self.out_features)


def widen_linears(model: Any) -> None:
    """Let all linear layers of a model on the CPU read prompts in the faster way."""
    for module, name, linear in linears_on_cpu(model):
        if _pays(linear.weight):
            setattr(module, name, PromptLinear(linear))


def linears_on_cpu(model: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield the linear layers on the CPU, each with the module that has it and its name there, to replace it."""
    for module in list(model.modules()):
        for name, linear in module.named_children():
            if type(linear) is nn.Linear and linear.weight.device.type == "cpu":
                yield module, name, linear


def prompt_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of numbers in which this CPU multiplies many rows of another type fastest."""
    if dtype is torch.bfloat16 and _is_faster_in_32_bit():
        return torch.float32
    return dtype


def _is_faster_in_32_bit() -> bool:
    return faster("rows", _WAYS, rows=MANY_ROWS, weight="bfloat16", dtype="bfloat16") == "float32"


def _pays(weight: Tensor) -> bool:
    return prompt_dtype(weight.dtype) is not weight.dtype


def _multiply_wide(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    wide_rows = rows.float()
    product = rows.new_empty(len(rows), len(weight))
    step = max(1, BLOCK_NUMBERS // weight.shape[1])
    for begin in range(0, len(weight), step):
        part = slice(begin, begin + step)
        product[:, part] = F.linear(wide_rows, weight[part].float(), None if bias is None else bias[part].float())
    return product


def _tried(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        weight = torch.ones(TRIED_SIZE, TRIED_SIZE, dtype=torch.bfloat16)
        return product(weight[:MANY_ROWS], weight)

    return run


_WAYS = {"bfloat16": _tried(F.linear), "float32": _tried(_multiply_wide)}
