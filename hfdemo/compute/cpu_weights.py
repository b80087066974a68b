"""Weights in 8 or 4 bit for a CPU, where writing a token takes as long as reading all weights once.

Only products with few rows use the packed weights: the tokens being written, of one chat or of several at once. A
prompt is read with the original weights, because there arithmetic takes the time. So both stay in memory.

The kernel is PyTorch's own (`torch_private.py`). 8 bit is the sum of two 4-bit products: with few rows, that takes
four fifths of the time of PyTorch's 8-bit kernel, and loses less, because 64 weights share a scale instead of a whole
row.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hfdemo.compute.faster import faster
from hfdemo.compute.prompt_products import PromptLinear, linears_on_cpu, multiply
from hfdemo.compute.torch_private import multiply_by_int4, pack_int4
from hfdemo.settings import CpuWeights

logger = logging.getLogger(__name__)

GROUP = 32
"""How many weights of a row share a scale and a zero in 4 bit, as in GGUF's Q4 formats."""

GROUP_OF_8_BIT = 64
"""The same in 8 bit; 32 where a row isn't a multiple of 64."""

ROWS_TRIED = (1, 2, 4, 8, 16, 32)
"""Up to one of these numbers of rows, the packed weights are used; from the next one on, the original ones."""

TRIED_SIZE = 2048
"""The inputs and outputs of the weight for which that is measured."""

CHUNK_ROWS = 256
"""How many rows are packed at once, which needs 32 bit for each weight several times: so few that they stay in a
core's cache. A multiple of the kernel's block size."""

WRONG = 0.3
"""From this error on, relative to the product, a packed weight isn't used. 4 bit causes 0.1, 8 bit 0.01."""

LOSSLESS = 0.01
"""Up to this error, relative to the weights, 4 bit counts as lossless. bfloat16 itself rounds by 0.002; weights that
never were in 4 bit lose 0.08."""

WeightFormat = Literal["bf16", "int8", "int4"]
"""How a weight is stored: `bf16` is the original, whatever its type of numbers."""


class PackedWeight(nn.Module):
    """A weight of shape [outputs, inputs], the original and a copy packed for products with few rows.

    Its tensors are buffers, so that TorchScript reads them from here and keeps none of them forever.

    Args:
        weights: its parts, one below the other; bfloat16 or float32.
        weight_format: how to pack it; `bf16` doesn't.
        bias: added to the product, of shape [outputs].
    """

    bias: Tensor | None
    part0: Tensor

    def __init__(self, weights: Sequence[Tensor], weight_format: WeightFormat, bias: Tensor | None) -> None:
        super().__init__()
        self.weight_format = weight_format
        self._group = _group(weight_format, weights[0].shape[1])
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)
        for index, weight in enumerate(weights):
            self.register_buffer(f"part{index}", weight.detach(), persistent=False)
        self._parts = len(weights)
        packed = [] if weight_format == "bf16" else _pack(self._tensors("part"), weight_format, self._group)
        self._terms = len(packed)
        for index, (weight, scales) in enumerate(packed):
            self.register_buffer(f"packed{index}", weight, persistent=False)
            self.register_buffer(f"scales{index}", scales, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the product with rows of shape [rows, inputs], of shape [rows, outputs]."""
        product = self.product(rows) if len(rows) > self.few_rows else self.packed_product(rows)
        if self.bias is not None:
            product = product + self.bias
        return product.to(rows.dtype)

    def product(self, rows: Tensor) -> Tensor:
        """Return the product with the original weight, without the bias."""
        products = [multiply(rows, part) for part in self._tensors("part")]
        return torch.cat(products, 1) if len(products) > 1 else products[0]

    def packed_product(self, rows: Tensor) -> Tensor:
        """Return the product with the packed weight, without the bias; in bfloat16."""
        few = rows.bfloat16()
        packed = zip(self._tensors("packed"), self._tensors("scales"), strict=True)
        product, *others = [multiply_by_int4(few, weight, self._group, scales) for weight, scales in packed]
        for other in others:
            product = product + other
        return product

    @property
    def few_rows(self) -> int:
        """Up to how many rows the packed weight is used."""
        return 0 if self.weight_format == "bf16" else few_rows(self.weight_format, self.part0.dtype)

    def is_right(self) -> bool:
        """Tell whether a product with the packed weight is close to that with the original."""
        row = torch.linspace(-1, 1, self.part0.shape[1]).cos().to(self.part0.dtype)[None]
        expected, found = self.product(row), self.packed_product(row)
        return bool((found - expected).norm() <= WRONG * expected.norm())

    @property
    def nbytes(self) -> int:
        """The bytes that it takes in addition to the original."""
        return sum(tensor.nbytes for tensor in (*self._tensors("packed"), *self._tensors("scales")))

    def _tensors(self, name: str) -> list[Tensor]:
        count = self._parts if name == "part" else self._terms
        return [getattr(self, f"{name}{index}") for index in range(count)]


@cache
def few_rows(weight_format: Literal["int8", "int4"], dtype: torch.dtype) -> int:
    """Return up to how many rows a packed weight is faster on this CPU than the original one; 1 at least.

    Args:
        weight_format: how the weight is packed.
        dtype: of the original.
    """
    few = ROWS_TRIED[0]
    packed = _TriedWeight(weight_format, dtype)
    for rows in ROWS_TRIED[1:]:
        question = f"{rows} rows by a weight in {weight_format}, {str(dtype).removeprefix('torch.')}"
        if faster(question, packed.ways(rows)) != "packed":
            break
        few = rows
    return few


class _TriedWeight:
    """A weight of random numbers, made when it is needed."""

    def __init__(self, weight_format: Literal["int8", "int4"], dtype: torch.dtype) -> None:
        self._format, self._dtype = weight_format, dtype

    def ways(self, rows: int) -> dict[str, Callable[[], Tensor]]:
        """Return the two ways to multiply so many rows by it."""
        few = torch.ones(rows, TRIED_SIZE, dtype=self._dtype)
        return {"packed": lambda: self._weight.packed_product(few), "original": lambda: self._weight.product(few)}

    @cached_property
    def _weight(self) -> PackedWeight:
        weight = torch.linspace(-1, 1, TRIED_SIZE**2).sin().view(TRIED_SIZE, TRIED_SIZE).to(self._dtype)
        return PackedWeight([weight], self._format, None)


def pack(weights: Sequence[Tensor], wanted: CpuWeights, bias: Tensor | None = None) -> PackedWeight:
    """Pack a weight, in as few bits as wanted and possible.

    Args:
        weights: its parts, one below the other.
        wanted: `auto` is 4 bit where that loses nothing, because the weights were stored in 4 bit; else 8 bit.
        bias: of all parts together.
    """
    chosen: WeightFormat = "int8" if wanted == "auto" else wanted
    if wanted == "auto" and all(map(_was_in_4_bit, weights)):
        chosen = "int4"
    if weights[0].shape[1] % GROUP or any(len(weight) % 16 for weight in weights):
        chosen = "bf16"  # the kernel takes whole groups of 32 inputs and 16 outputs
    tried: dict[WeightFormat, tuple[WeightFormat, ...]] = {"int4": ("int4", "int8"), "int8": ("int8",), "bf16": ()}
    for weight_format in tried[chosen]:
        packed = PackedWeight(weights, weight_format, bias)
        if packed.is_right():
            return packed
        logger.warning("a product with weights in %s differs too much: trying more bits", weight_format)
    return PackedWeight(weights, "bf16", bias)


class PackedLinear(PromptLinear):
    """Replaces a linear layer: the same weight, and a packed one for products with few rows."""

    def __init__(self, linear: nn.Linear, packed: PackedWeight) -> None:
        super().__init__(linear)
        self.packed = packed

    def product(self, rows: Tensor) -> Tensor:
        """Return the product for rows of shape [rows, inputs]."""
        product: Tensor = self.packed(rows)
        return product


def pack_linears(model: Any, wanted: CpuWeights) -> int:
    """Add packed weights to all linear layers of a model on the CPU.

    The output head is never below 8 bit: in 4 bit it hurts most (mean KL 0.04 instead of 0.002).

    Returns:
        The bytes added.
    """
    if wanted == "bf16":
        return 0
    head = model.get_output_embeddings()
    added = 0
    for module, name, linear in linears_on_cpu(model):
        packed = pack([linear.weight.data], "int8" if linear is head else wanted, linear.bias)
        if packed.weight_format != "bf16":
            setattr(module, name, PackedLinear(linear, packed))
            added += packed.nbytes
    return added


def _group(weight_format: WeightFormat, inputs: int) -> int:
    return GROUP_OF_8_BIT if weight_format == "int8" and inputs % GROUP_OF_8_BIT == 0 else GROUP


def _pack(weights: Sequence[Tensor], weight_format: WeightFormat, group: int) -> list[tuple[Tensor, Tensor]]:
    """Return weights, one below the other, in the kernel's layout, with their scales and zeros.

    The scales and zeros have the shape [inputs / group, outputs, 2]; in 8 bit there are two pairs, to be added.
    """
    pack_chunk = _pack_int4 if weight_format == "int4" else _pack_int8
    rows, end = sum(map(len, weights)), 0
    whole: list[Tensor] = []
    for chunk in _chunks(weights):
        begin, end = end, end + len(chunk)
        pieces = pack_chunk(chunk, group)
        whole = whole or [piece.new_empty(rows, *piece.shape[1:]) for piece in pieces]
        for tensor, piece in zip(whole, pieces, strict=True):
            tensor[begin:end] = piece
    packed, scales = whole[::2], [scales.transpose(0, 1).contiguous() for scales in whole[1::2]]
    return list(zip(packed, scales, strict=True))


def _chunks(weights: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the rows of weights, one below the other, in chunks that never split the kernel's blocks."""
    for begin in range(0, sum(map(len, weights)), CHUNK_ROWS):
        pieces, above = [], 0
        for weight in weights:
            piece = weight[max(0, begin - above) : max(0, begin + CHUNK_ROWS - above)]
            above += len(weight)
            if len(piece):
                pieces.append(piece)
        yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _pack_int4(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight of shape [outputs, inputs] packed, and its scales and zeros, [outputs, inputs / group, 2].

    The weights of a group lie on 16 equal steps from their least to their greatest; the kernel counts from the middle.
    """
    quantized, step, least = _to_16_steps(weight, group)
    return [_to_kernel_layout(quantized), torch.cat([step, least + 8 * step], -1).bfloat16()]


def _pack_int8(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight packed with its scales and zeros, twice: 16 times its upper 4 bits, and its lower 4 bits."""
    groups = weight.float().view(len(weight), -1, group)
    step = (groups.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-9).bfloat16().float()  # as the kernel rounds it
    quantized = (groups / step).round_().clamp_(-128, 127).to(torch.int32) + 128
    upper, lower = _to_kernel_layout(quantized >> 4), _to_kernel_layout(quantized & 15)
    scales = [torch.cat([16 * step, 0 * step], -1), torch.cat([step, 8 * step], -1)]
    return [upper, scales[0].bfloat16(), lower, scales[1].bfloat16()]


def _to_kernel_layout(quantized: Tensor) -> Tensor:
    """Return numbers from 0 to 15, of shape [outputs, groups, group], in the kernel's layout."""
    return pack_int4(quantized.to(torch.int32).view(len(quantized), -1), 2)


def _to_16_steps(weight: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    groups = weight.float().view(len(weight), -1, group)
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((greatest - least) / 15).clamp_min(1e-9)
    return ((groups - least) / step).round_().clamp_(0, 15), step, least


def _was_in_4_bit(weight: Tensor) -> bool:
    """Tell whether 4 bit loses nothing, judging by some of the rows."""
    if weight.shape[1] % GROUP:
        return False
    rows = weight[:: max(1, len(weight) // 64)].float()
    quantized, step, least = _to_16_steps(rows, GROUP)
    error = (quantized * step + least).view(rows.shape) - rows
    return bool(error.norm() <= LOSSLESS * rows.norm())
