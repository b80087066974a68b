"""Products of a prompt with the weights, in 32 bit on a CPU that multiplies faster in these.

Without instructions for bfloat16 (Intel has them since Cooper Lake, AMD since Zen 4), PyTorch multiplies in it at a
quarter of the speed of 32 bit; with those of AVX-512 alone, a prompt of 570 tokens still takes 1.5 times as long.
Writing a token takes half the time, because there reading the weights is what takes it. So the weights stay in 16 bit,
and where there are many rows, a block of them at a time is widened: that is exact, costs little beside the product,
and needs no memory to speak of.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute.faster import faster

ROWS_TRIED = (64, 128, 512)
"""For so many rows the ways are measured; with fewer, reading the weights takes the time."""

BLOCK_NUMBERS = 1 << 20
"""How many weights are widened at once: their 4 MB stay in the CPU's cache until they are used."""

TRIED_SIZE = 1024
"""The inputs and outputs of the weight for which the ways are measured."""


def multiply(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the product of rows, of shape [rows, inputs], with a weight of shape [outputs, inputs]."""
    if prompt_dtype(weight.dtype, len(rows)) is weight.dtype:
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
        if prompt_dtype(linear.weight.dtype, ROWS_TRIED[-1]) is not linear.weight.dtype:
            setattr(module, name, PromptLinear(linear))


def linears_on_cpu(model: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield the linear layers on the CPU, each with the module that has it and its name there, to replace it."""
    for module in list(model.modules()):
        for name, linear in module.named_children():
            if type(linear) is nn.Linear and linear.weight.device.type == "cpu":
                yield module, name, linear


def prompt_dtype(dtype: torch.dtype, rows: int) -> torch.dtype:
    """Return the type of numbers in which this CPU multiplies so many rows of another type fastest."""
    is_many = dtype is torch.bfloat16 and rows >= ROWS_TRIED[0] and rows >= _rows_in_32_bit()
    return torch.float32 if is_many else dtype


@cache
def _rows_in_32_bit() -> float:
    """Return from how many rows on this CPU multiplies faster in 32 bit than in bfloat16."""

    def are_many(rows: int) -> bool:
        found = faster("rows", _ways(rows), in_one_thread=True, rows=rows, weight="bfloat16", dtype="bfloat16")
        return found == "float32"

    return [*ROWS_TRIED, math.inf][bisect_left(ROWS_TRIED, True, key=are_many)]


def _multiply_wide(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    wide_rows = rows.float()
    product = rows.new_empty(len(rows), len(weight))
    step = max(1, BLOCK_NUMBERS // weight.shape[1])
    for begin in range(0, len(weight), step):
        part = slice(begin, begin + step)
        product[:, part] = F.linear(wide_rows, weight[part].float(), None if bias is None else bias[part].float())
    return product


def _ways(rows: int) -> dict[str, Callable[[], Tensor]]:
    """Return both ways to multiply so many rows by a weight."""
    weight = torch.ones(TRIED_SIZE, TRIED_SIZE, dtype=torch.bfloat16)
    tried = weight[:rows]
    return {"bfloat16": lambda: F.linear(tried, weight), "float32": lambda: _multiply_wide(tried, weight)}
