"""Weights in 8 or 4 bit for a CPU, where writing a token takes as long as reading all weights once.

Only products with few rows use the packed weights: a token that is written, of one chat or of some at once. A prompt
is read with the weights as they came, for there arithmetic is what takes the time. Both are kept.

The kernels are PyTorch's own, `_weight_int4pack_mm_for_cpu` and `_weight_int8pack_mm`
(https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/cpu/int4mm_kernel.cpp and int8mm_kernel.cpp).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.settings import CpuWeights

GROUP = 32
"""How many weights of a row share a scale and a zero in 4 bit, as in GGUF's Q4 formats."""

FEW_ROWS = {"int8": 4, "int4": 16}
"""Up to how many rows the kernel for packed weights is faster than the product with those that came; measured."""

CHUNK_ROWS = 4096
"""So many rows are packed at one time, because packing passes through 32 bit. A multiple of the kernel's blocks."""

LOSSLESS = 0.01
"""The error, relative to the weights, up to which 4 bit is said to lose nothing. bfloat16 itself rounds by 0.002;
weights that never were in 4 bit lose 0.08."""


class PackedWeight:
    """A weight of shape [outputs, inputs] as it came, and packed for products with few rows.

    Args:
        weights: parts of it, one below the other; bfloat16 or float32.
        bits: `int4`, `int8`, or `bf16` to keep the parts as they are.
        bias: added to the product, of shape [outputs].
    """

    def __init__(self, weights: Sequence[Tensor], bits: Literal["bf16", "int8", "int4"], bias: Tensor | None) -> None:
        self.bits = bits
        self._bias = None if bias is None else bias.detach()
        self._parts = [weight.detach() for weight in weights]
        if bits != "bf16":
            self._packed, self._scales = _pack(weights, bits)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product with rows of shape [rows, inputs], of shape [rows, outputs]."""
        if len(rows) > FEW_ROWS.get(self.bits, 0):
            products = [F.linear(rows, part) for part in self._parts]
            product = torch.cat(products, 1) if len(products) > 1 else products[0]
        elif self.bits == "int4":
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows.bfloat16(), self._packed, GROUP, self._scales)
        else:
            product = torch.ops.aten._weight_int8pack_mm(rows.bfloat16(), self._packed, self._scales)
        if self._bias is not None:
            product = product + self._bias
        return product.to(rows.dtype)

    @property
    def nbytes(self) -> int:
        """The bytes that it takes beside the weights as they came."""
        return 0 if self.bits == "bf16" else int(self._packed.nbytes + self._scales.nbytes)


def pack(weights: Sequence[Tensor], wanted: CpuWeights, bias: Tensor | None = None) -> PackedWeight:
    """Pack a weight, in as few bits as wanted and possible.

    Args:
        weights: parts of it, one below the other.
        wanted: `auto` is 4 bit where that loses nothing, because the weights came from 4 bit; else 8 bit.
        bias: of all parts together.
    """
    bits: Literal["bf16", "int8", "int4"] = "int8" if wanted == "auto" else wanted
    if wanted == "auto" and all(map(_was_in_4_bit, weights)):
        bits = "int4"
    outputs, inputs = sum(len(weight) for weight in weights), weights[0].shape[1]
    if bits == "int4" and (inputs % GROUP or any(len(weight) % 16 for weight in weights)):
        bits = "int8"
    if bits == "int8" and (inputs % 16 or outputs % 4):
        bits = "bf16"
    return PackedWeight(weights, bits, bias)


class QuantisedLinear(nn.Module):
    """Stands in for a linear layer: the same weight, and the packed one for few rows."""

    def __init__(self, linear: nn.Linear, packed: PackedWeight) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = packed

    def forward(self, states: Tensor) -> Tensor:
        """Return the product for states of shape [..., inputs]."""
        rows = states.reshape(-1, self.in_features)
        return self.packed(rows).view(*states.shape[:-1], self.out_features)


def quantise_linears(model: Any, wanted: CpuWeights) -> int:
    """Put packed weights beside those of all linear layers of a model on the CPU.

    The output head is never below 8 bit: in 4 bit it is what hurts most (mean KL 0.04 instead of 0.002).

    Returns:
        The bytes that were added.
    """
    if wanted == "bf16":
        return 0
    head = model.get_output_embeddings()
    added = 0
    for module in list(model.modules()):
        for name, linear in module.named_children():
            if type(linear) is not nn.Linear or linear.weight.device.type != "cpu":
                continue
            packed = pack([linear.weight.data], "int8" if linear is head else wanted, linear.bias)
            if packed.bits != "bf16":
                setattr(module, name, QuantisedLinear(linear, packed))
                added += packed.nbytes
    return added


def _pack(weights: Sequence[Tensor], bits: Literal["int8", "int4"]) -> tuple[Tensor, Tensor]:
    """Return weights, one below the other, as the kernel wants them, and what it scales them with."""
    pack_chunk = _pack_int4 if bits == "int4" else _pack_int8
    rows = sum(map(len, weights))
    packed = scales = torch.empty(0)
    end = 0
    for chunk in (chunk for weight in weights for chunk in torch.split(weight, CHUNK_ROWS)):
        begin, end = end, end + len(chunk)
        packed_chunk, scales_of_chunk = pack_chunk(chunk)
        if begin == 0:
            packed = packed_chunk.new_empty(rows, *packed_chunk.shape[1:])
            scales = scales_of_chunk.new_empty(rows, *scales_of_chunk.shape[1:])
        packed[begin:end], scales[begin:end] = packed_chunk, scales_of_chunk
    return packed, scales.transpose(0, 1).contiguous() if bits == "int4" else scales


def _pack_int4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight of shape [outputs, inputs] packed, and its scales and zeros, [outputs, inputs / 32, 2].

    Each 32 weights of a row lie on 16 equal steps from their least to their greatest; the kernel wants the middle.
    """
    quantised, step, least = _to_16_steps(weight)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(quantised.to(torch.int32).view(weight.shape), 2)
    return packed, torch.cat([step, least + 8 * step], -1).bfloat16()


def _to_16_steps(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    groups = weight.float().view(len(weight), -1, GROUP)
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((greatest - least) / 15).clamp_min(1e-9)
    return ((groups - least) / step).round_().clamp_(0, 15), step, least


def _pack_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight of shape [outputs, inputs] in 8 bit, symmetric around 0, and each row's scale, [outputs]."""
    wide = weight.float()
    scales = (wide.abs().amax(1) / 127).clamp_min(1e-9).bfloat16()  # as the kernel wants them
    return (wide / scales[:, None]).round_().clamp_(-127, 127).to(torch.int8), scales


def _was_in_4_bit(weight: Tensor) -> bool:
    """Tell whether 4 bit loses nothing, by some of the rows."""
    if weight.shape[1] % GROUP:
        return False
    rows = weight[:: max(1, len(weight) // 64)].float()
    quantised, step, least = _to_16_steps(rows)
    error = (quantised * step + least).view(rows.shape) - rows
    return bool(error.norm() <= LOSSLESS * rows.norm())
