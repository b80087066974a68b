"""Weights in 8 or 4 bit for a CPU, where writing a token takes as long as reading all weights once.

The packed weights are all that stays in memory. Where rows are few (the tokens being written, of one chat or of
several at once), they are multiplied as they are; where a prompt is read, a block of them at a time is unpacked, which
costs little beside so many products.

The kernel is PyTorch's own (`torch_private.py`, `packing.py`). 8 bit is the sum of two 4-bit products: with few rows,
that takes four fifths of the time of PyTorch's 8-bit kernel, and loses less, because 64 weights share a scale instead
of a whole row.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from hfdemo.compute.faster import faster
from hfdemo.compute.packing import (
    Packed,
    StoredLevels,
    layout,
    pack_levels,
    pack_numbers,
    to_16_levels,
    unpack_blocks,
    unpack_rows,
)
from hfdemo.compute.prompt_products import multiply, prompt_dtype
from hfdemo.compute.torch_private import multiply_by_int4
from hfdemo.settings import CpuWeights

logger = logging.getLogger(__name__)

GROUP = 32
"""How many weights of a row share a scale and a zero in 4 bit, as in GGUF's Q4 formats."""

GROUP_OF_8_BIT = 64
"""The same in 8 bit; 32 where a row isn't a multiple of 64."""

ROWS_TRIED = (1, 2, 4, 8, 16, 32, 48, 64)
"""Up to one of these numbers of rows, packed weights are multiplied as they are; from the next one on, unpacked."""

TRIED_SIZE = 2048
"""The inputs and outputs of the weight for which that is measured."""

ROWS_COMPARED = 64
"""So many rows of a weight that isn't in memory are compared with the packed ones."""

WRONG = 0.3
"""From this error on, relative to the product, a packed weight isn't used. 4 bit causes 0.1, 8 bit 0.01."""

LOSSLESS = 0.01
"""Up to this error, relative to the weights, 4 bit counts as lossless. bfloat16 itself rounds by 0.002; weights that
never were in 4 bit lose 0.08."""

WeightFormat = Literal["bf16", "int8", "int4"]
"""How a weight is stored: `bf16` is as it came, whatever its type of numbers."""


class Weight(nn.Module):
    """A weight of shape [outputs, inputs].

    Its tensors are buffers, so that TorchScript reads them from here and keeps none of them forever.

    Args:
        bias: added to the product, of shape [outputs].
    """

    bias: Tensor | None
    weight_format: WeightFormat = "bf16"
    few_rows = 0
    """Up to how many rows are multiplied in another way than more of them."""

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("bias", None if bias is None else bias.detach().clone(), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the product with rows of shape [rows, inputs], of shape [rows, outputs]."""
        product = self.product(rows)
        if self.bias is not None:
            product = product + self.bias
        return product if product.dtype == rows.dtype else product.to(rows.dtype)

    def product(self, rows: Tensor) -> Tensor:
        """Return the product without the bias, in any type of numbers."""
        raise NotImplementedError

    def rows(self, indices: Tensor) -> Tensor:
        """Return some rows of the weight itself, of shape [rows, inputs]."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers."""
        return sum(tensor.nbytes for tensor in self.buffers())


class PlainWeight(Weight):
    """A weight as it came.

    Args:
        weights: its parts, one below the other.
        bias: added to the product.
    """

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None) -> None:
        super().__init__(bias)
        for index, weight in enumerate(weights):
            self.register_buffer(f"part{index}", weight.detach(), persistent=False)
        self._parts = len(weights)

    def product(self, rows: Tensor) -> Tensor:
        """Return the product without the bias."""
        products = [multiply(rows, part) for part in self._tensors()]
        return torch.cat(products, 1) if len(products) > 1 else products[0]

    def rows(self, indices: Tensor) -> Tensor:
        """Return some rows of the weight, which must have one part."""
        (part,) = self._tensors()
        return part[indices]

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, f"part{index}") for index in range(self._parts)]


class PackedWeight(Weight):
    """A weight in fewer bits.

    Args:
        packed: its numbers and scales, as `packing.py` makes them.
        outputs: how many rows it has.
        group: how many weights of a row share a scale.
        dtype: of the products.
        bias: added to the product.
    """

    def __init__(self, packed: Packed, outputs: int, group: int, dtype: torch.dtype, bias: Tensor | None) -> None:
        super().__init__(bias)
        self.weight_format = "int4" if len(packed) == 1 else "int8"
        self.outputs, self.group, self._dtype = outputs, group, dtype
        self._terms, self._rows = len(packed), len(packed[0][0])
        for index, (numbers, scales) in enumerate(packed):
            self.register_buffer(f"packed{index}", numbers, persistent=False)
            self.register_buffer(f"scales{index}", scales, persistent=False)

    @classmethod
    def of(
        cls, weights: Sequence[Tensor], weight_format: Literal["int8", "int4"], bias: Tensor | None
    ) -> "PackedWeight":
        """Return a weight packed.

        Args:
            weights: its parts, one below the other; bfloat16 or float32.
            weight_format: how to pack it.
            bias: added to the product.
        """
        group = _group(weight_format, weights[0].shape[1])
        packed = pack_numbers(weights, 4 if weight_format == "int4" else 8, group)
        return cls(packed, sum(map(len, weights)), group, weights[0].dtype, bias)

    @property
    def few_rows(self) -> int:  # type: ignore[override]
        """Up to how many rows are multiplied without unpacking the weight."""
        return few_rows("int4" if self.weight_format == "int4" else "int8", self._dtype)

    def product(self, rows: Tensor) -> Tensor:
        """Return the product without the bias."""
        return self.unpacked_product(rows) if len(rows) > self.few_rows else self.packed_product(rows)

    def packed_product(self, rows: Tensor) -> Tensor:
        """Return the product with the packed weight as it is, in bfloat16."""
        few = rows if rows.dtype == torch.bfloat16 else rows.bfloat16()
        product, *others = [multiply_by_int4(few, numbers, self.group, scales) for numbers, scales in self._packed()]
        for other in others:
            product = product + other
        return self._without_filling(product)

    def unpacked_product(self, rows: Tensor) -> Tensor:
        """Return the product with the weight unpacked, a block at a time."""
        dtype = prompt_dtype(rows.dtype, len(rows))
        many = rows.to(dtype)
        product = rows.new_empty(rows.shape[0], self._rows)  # `len` would be recorded as it is now
        for outputs, weights in unpack_blocks(self._packed(), dtype):
            if dtype is rows.dtype:
                torch.mm(many, weights, out=product[:, outputs])
            else:
                product[:, outputs] = many @ weights
        return self._without_filling(product)

    def _without_filling(self, product: Tensor) -> Tensor:
        """Return a product without the rows that fill a weight up."""
        return product if self._rows == self.outputs else product.narrow(1, 0, self.outputs)

    def rows(self, indices: Tensor) -> Tensor:
        """Return some rows of the weight, unpacked."""
        return unpack_rows(self._packed(), indices, self._dtype)

    def is_right(self, weights: Sequence[Tensor]) -> bool:
        """Tell whether both products are close to those with the weights, or the first rows of them, as they came.

        The weight is unpacked a block at a time; one of them tells for all.
        """
        row = (torch.arange(weights[0].shape[1]) * 7919 % 4093 / 2046 - 1).to(self._dtype)[None]  # as good as random
        expected = PlainWeight(weights, None).product(row)
        _, columns = next(unpack_blocks(self._packed(), row.dtype))
        return all(_are_close(found, expected) for found in (self.packed_product(row), row @ columns))

    def _packed(self) -> list[tuple[Tensor, Tensor]]:
        return [(getattr(self, f"packed{index}"), getattr(self, f"scales{index}")) for index in range(self._terms)]


def _are_close(found: Tensor, expected: Tensor) -> bool:
    """Tell whether two products are close, as far as both go."""
    outputs = min(found.shape[1], expected.shape[1])
    found, expected = found[:, :outputs], expected[:, :outputs]
    return bool((found - expected).norm() <= WRONG * expected.norm())


@cache
def few_rows(weight_format: Literal["int8", "int4"], dtype: torch.dtype) -> int:
    """Return up to how many rows a packed weight is faster on this CPU as it is than unpacked; 1 at least.

    Args:
        weight_format: how the weight is packed.
        dtype: of the rows.
    """
    packed = _TriedWeight(weight_format, dtype)

    def are_many(rows: int) -> bool:
        name = str(dtype).removeprefix("torch.")
        return faster("rows", packed.ways(rows), rows=rows, weight=weight_format, dtype=name) == "unpacked"

    return ROWS_TRIED[bisect_left(ROWS_TRIED[1:], True, key=are_many)]


class _TriedWeight:
    """A weight of random numbers, made when it is needed."""

    def __init__(self, weight_format: Literal["int8", "int4"], dtype: torch.dtype) -> None:
        self._format, self._dtype = weight_format, dtype

    def ways(self, rows: int) -> dict[str, Callable[[], Tensor]]:
        """Return the two ways to multiply so many rows by it."""
        few = torch.ones(rows, TRIED_SIZE, dtype=self._dtype)
        return {
            "packed": lambda: self._weight.packed_product(few),
            "unpacked": lambda: self._weight.unpacked_product(few),
        }

    @cached_property
    def _weight(self) -> PackedWeight:
        weight = torch.linspace(-1, 1, TRIED_SIZE**2).sin().view(TRIED_SIZE, TRIED_SIZE).to(self._dtype)
        return PackedWeight.of([weight], self._format, None)


def pack_weight(weights: Sequence[Tensor], wanted: CpuWeights, bias: Tensor | None = None) -> Weight:
    """Pack a weight, in as few bits as wanted and possible.

    Args:
        weights: its parts, one below the other.
        wanted: `auto` is 4 bit where that loses nothing, because the weights were stored in 4 bit; else 8 bit.
        bias: of all parts together.
    """
    chosen: WeightFormat = "int8" if wanted == "auto" else wanted
    if wanted == "auto" and all(map(_was_in_4_bit, weights)):
        chosen = "int4"
    if weights[0].shape[1] % GROUP or layout() is None:
        chosen = "bf16"  # the kernel takes whole groups of 32 inputs
    tried: dict[WeightFormat, tuple[Literal["int8", "int4"], ...]]
    tried = {"int4": ("int4", "int8"), "int8": ("int8",), "bf16": ()}
    for weight_format in tried[chosen]:
        packed = PackedWeight.of(weights, weight_format, bias)
        if packed.is_right(weights):
            return packed
        logger.warning("a product with weights in %s differs too much: trying more bits", weight_format)
    return PlainWeight(weights, bias)


def pack_as_stored(weights: Sequence[StoredLevels], dtype: torch.dtype, bias: Tensor | None = None) -> Weight | None:
    """Pack a weight that is stored in 4 bit as it is stored, or return None if the kernel can't multiply by it.

    Args:
        weights: its parts, one below the other.
        dtype: of the products.
        bias: of all parts together.
    """
    first = weights[0][:ROWS_COMPARED]
    group = first.counts.shape[1] // first.step.shape[1]
    if group != GROUP or layout() is None:
        return None
    packed = PackedWeight(pack_levels(weights), sum(map(len, weights)), group, dtype, bias)
    return packed if packed.is_right([first.numbers().to(dtype)]) else None


class WeightSource(Protocol):
    """Where the weights of a model come from that aren't in memory yet."""

    def read(self, part: nn.Module) -> None:
        """Read what a part of the model lacks."""
        ...

    def levels_of(self, module: nn.Module) -> StoredLevels | None:
        """Return the weight of a module as it is stored, if that is in 16 levels; its bias is read."""
        ...


class InMemory:
    """All weights of a model are in memory, or mapped into it."""

    def read(self, part: nn.Module) -> None:
        """Do nothing."""

    def levels_of(self, module: nn.Module) -> StoredLevels | None:
        """Return None: nobody knows how they were stored."""
        return None


def _group(weight_format: WeightFormat, inputs: int) -> int:
    return GROUP_OF_8_BIT if weight_format == "int8" and inputs % GROUP_OF_8_BIT == 0 else GROUP


def _was_in_4_bit(weight: Tensor) -> bool:
    """Tell whether 4 bit loses nothing, judging by some of the rows."""
    if weight.shape[1] % GROUP:
        return False
    rows = weight[:: max(1, len(weight) // 64)].float()
    groups = rows.view(len(rows), -1, GROUP)
    counts, step, least = to_16_levels(groups)
    error = counts * step + least - groups
    return bool(error.norm() <= LOSSLESS * groups.norm())
