"""Weights in 4 and 8 bit in the layout of PyTorch's 4-bit kernel, and back.

4 bit are 16 equally spaced levels from the least weight of a group to its greatest. 8 bit are the sum of two products
in 4 bit: 16 times the upper four bits, and the lower four.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hfdemo.compute.torch_private import pack_int4

CHUNK_NUMBERS = 1 << 18
"""About how many weights are packed at once, which needs 32 bit for each several times: so few that they stay in a
core's cache."""

BLOCK_NUMBERS = 1 << 22
"""About how many weights are unpacked at once: so many that it costs little to begin each operation, and so few that
they stay in most CPUs' last cache until they are multiplied."""

NEAR = 64
"""How many bytes of a row are moved together: those of a line of the cache."""

ROWS_OF_A_BLOCK = 64
"""Weights get rows of zeros until their number is a multiple of this, which all layouts divide."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the kernel wants the numbers of a block of rows: for each input in turn, one byte for two rows.

    Source: `weight_to_int4pack_kernel` in
    https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/cpu/int4mm_kernel.cpp.
    """

    rows: int
    """Of a block."""
    apart: bool
    """Whether the two rows of a byte are half a block apart, or neighbours. The first is in its lower half."""

    @property
    def bytes(self) -> int:
        """The bytes of one input for all rows of a block."""
        return self.rows // 2

    def halves(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the lower and of the upper halves of all bytes.

        Args:
            rows: the last dimension are the rows of some blocks.

        Returns:
            Two views, of shape [..., blocks, bytes].
        """
        blocks = (-1, 2, self.bytes) if self.apart else (-1, self.bytes, 2)
        lower, upper = rows.view(*rows.shape[:-1], *blocks).unbind(-2 if self.apart else -1)
        return lower, upper

    def place(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the block of each row, its byte in it, and whether it is in the upper half of that."""
        within = rows % self.rows
        if self.apart:
            return rows // self.rows, within % self.bytes, within >= self.bytes
        return rows // self.rows, within // 2, within % 2 == 1

    def join(self, counts: Tensor) -> Tensor:
        """Return numbers from 0 to 15 in this layout, of shape [rows, inputs / 2].

        Args:
            counts: of shape [rows, inputs], in 8 bit.
        """
        rows, inputs = counts.shape
        blocks = (-1, 2, self.bytes, inputs) if self.apart else (-1, self.bytes, 2, inputs)
        lower, upper = counts.view(blocks).unbind(1 if self.apart else 2)
        return _transposed(torch.bitwise_or(lower, upper << 4)).view(rows, -1)


LAYOUTS = (Layout(64, True), Layout(32, True), Layout(64, False), Layout(32, False), Layout(16, False))
"""With AVX-512, with AVX2; with AVX-512 on Windows; without either; on ARM."""


@cache
def layout() -> Layout | None:
    """Return the layout of this CPU, found by trying; None if PyTorch has another by now."""
    numbers = (torch.arange(128 * 32) * 7919 % 4093 % 16).to(torch.int32).view(128, 32)
    packed = pack_int4(numbers, 2)
    for found in LAYOUTS:
        columns = torch.empty(32, 128)
        _unpack([packed], found, slice(0, 128 // found.rows), columns)
        if torch.equal(columns.T, 16 * (numbers.float() - 8)):
            return found
    return None


Packed = Sequence[tuple[Tensor, Tensor]]
"""What `pack_numbers` or `pack_levels` returned."""


def pack_numbers(weights: Sequence[Tensor], bits: int, group: int) -> Packed:
    """Return weights, one below the other, in the kernel's layout, with their scales and zeros.

    Args:
        weights: each of shape [rows, inputs].
        bits: 4 or 8.
        group: how many weights of a row share a scale.

    Returns:
        In 4 bit one pair, in 8 bit two whose products are to be added: the packed numbers, and the scales and zeros
        of shape [inputs / group, rows, 2]. The rows are filled up to a multiple of `ROWS_OF_A_BLOCK`.
    """
    pack_chunk = _pack_int4 if bits == 4 else _pack_int8
    return _pack_in_chunks(weights, lambda pieces: pack_chunk(_one_below_the_other(pieces), group))


class Levels(NamedTuple):
    """Rows of a weight as its file has them, if that is 16 equally spaced levels for each group of a row."""

    counts: Tensor
    """At which level each weight is, from 0 to 15, in 8 bit; of shape [rows, inputs]."""
    step: Tensor
    """How far the levels are apart, of shape [rows, groups]."""
    least: Tensor
    """What level 0 stands for, of the same shape."""

    def numbers(self) -> Tensor:
        """Return the rows themselves, of shape [rows, inputs]."""
        counts = self.counts.view(*self.step.shape, -1)
        return torch.addcmul(self.least[..., None], counts.float(), self.step[..., None]).flatten(1)


class StoredLevels(Protocol):
    """A weight that is stored in 16 levels, whose rows are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and inputs."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Levels: ...


def pack_levels(weights: Sequence[StoredLevels]) -> Packed:
    """Return weights that are stored in 16 levels, one below the other, in the kernel's layout.

    Only the size of a step is rounded, to bfloat16; the mean of a group stays as it was.
    """
    return _pack_in_chunks(weights, _pack_stored)


def unpack_blocks(packed: Packed, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield packed weights again as numbers, a few blocks of rows at a time.

    Yields:
        Which rows, and their weights as columns, of shape [inputs, rows].
    """
    found, (numbers, scales) = _known_layout(), packed[0]
    inputs, all_blocks = 2 * numbers.shape[1], len(numbers) // found.rows
    step = max(1, BLOCK_NUMBERS // (inputs * found.rows))
    for first in range(0, all_blocks, step):
        blocks = slice(first, min(first + step, all_blocks))
        rows = slice(blocks.start * found.rows, blocks.stop * found.rows)
        columns = torch.empty(inputs, rows.stop - rows.start, dtype=dtype)
        _unpack([weight for weight, _ in packed], found, blocks, columns)
        by_group = columns.view(len(scales), -1, columns.shape[1])
        _scale(by_group, [each[:, None] for each in _scales_of(packed, rows, dtype)], out=by_group)
        yield rows, columns


def unpack_rows(packed: Packed, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return some rows of packed weights as numbers, of shape [rows, inputs]."""
    found, (numbers, scales) = _known_layout(), packed[0]
    block, byte, is_upper = found.place(rows)
    both = [weight.view(-1, 2 * numbers.shape[1], found.bytes)[block, :, byte] for weight, _ in packed]
    lower, upper = _counted(both)
    counted = torch.where(is_upper[:, None], upper, lower)
    by_group = counted.to(dtype).view(-1, len(scales), 2 * numbers.shape[1] // len(scales))
    return _scale(by_group, [each.T[..., None] for each in _scales_of(packed, rows, dtype)]).flatten(1)


def _unpack(packed: Sequence[Tensor], found: Layout, blocks: slice, columns: Tensor) -> None:
    """Write the numbers of some blocks, see `_counted`, to columns of shape [inputs, rows]."""
    both = [
        weight.view(-1, 2 * weight.shape[1], found.bytes)[blocks].transpose(0, 1).contiguous() for weight in packed
    ]
    for half, counted in zip(found.halves(columns), _counted(both), strict=True):
        half.copy_(counted)


def _counted(both: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the numbers in the lower and in the upper halves of bytes, from -128 to 127.

    Those in 4 bit are counted from their middle, in steps of 16, which costs less than steps of 1. In 8 bit, `both`
    has the upper and the lower 4 bits of each number.
    """
    first, *second = both
    signed = first ^ 0x88  # each half was counted from 0: now it is a number with a sign
    lower, upper = signed * 16, signed & 0xF0
    for other in second:
        lower, upper = lower | other & 15, upper | other >> 4
    return lower.to(torch.int8), upper.to(torch.int8)  # the same bits; `view` can't be recorded as TorchScript


def _scales_of(packed: Packed, rows: slice | Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the size of a step of `_counted`, and what its 0 stands for if that isn't 0.

    Both are exact, and of shape [groups, rows].
    """
    step, middle = packed[-1][1][:, rows].to(dtype).unbind(-1)
    return (step / 16, middle.contiguous()) if len(packed) == 1 else (step.contiguous(),)


def _scale(counted: Tensor, scales: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """Return the weights that numbers stand for, each rounded once, given what `_scales_of` returned."""
    step, *zero = scales
    return torch.addcmul(zero[0], counted, step, out=out) if zero else torch.mul(counted, step, out=out)


def _known_layout() -> Layout:
    found = layout()
    assert found is not None
    return found


def _pack_in_chunks(
    weights: Sequence[Tensor] | Sequence[StoredLevels], pack_pieces: Callable[[list[Any]], list[Tensor]]
) -> Packed:
    """Return weights, one below the other, packed a few rows at a time.

    Args:
        weights: tensors, or what else gives some of its rows.
        pack_pieces: returns such rows of one or more weights packed, numbers and scales in turn, with rows of zeros
            below them up to whole blocks.
    """
    rows, end = sum(map(len, weights)), 0
    rows += -rows % ROWS_OF_A_BLOCK
    whole: list[Tensor] = []
    for pieces in _chunks(weights):
        packed = pack_pieces(pieces)
        begin, end = end, end + len(packed[0])
        whole = whole or [piece.new_empty(rows, *piece.shape[1:]) for piece in packed]
        for tensor, piece in zip(whole, packed, strict=True):
            tensor[begin:end] = piece
    numbers, scales = whole[::2], [scales.transpose(0, 1).contiguous() for scales in whole[1::2]]
    return list(zip(numbers, scales, strict=True))


def _chunks(weights: Sequence[Tensor] | Sequence[StoredLevels]) -> Iterator[list[Any]]:
    """Yield the rows of weights, one below the other, in chunks that never split the kernel's blocks."""
    rows, inputs = sum(map(len, weights)), weights[0].shape[1]
    at_once = max(1, CHUNK_NUMBERS // (inputs * ROWS_OF_A_BLOCK)) * ROWS_OF_A_BLOCK
    for begin in range(0, rows, at_once):
        pieces, above = [], 0
        for weight in weights:
            mine = slice(max(0, begin - above), min(len(weight), begin + at_once - above))
            above += len(weight)
            if mine.start < mine.stop:
                pieces.append(weight[mine])
        yield pieces


def _one_below_the_other(pieces: Sequence[Tensor]) -> Tensor:
    """Return rows in one tensor, filled up with rows of zeros to whole blocks of the kernel."""
    missing = -sum(map(len, pieces)) % ROWS_OF_A_BLOCK
    if missing:
        pieces = [*pieces, pieces[0].new_zeros(missing, pieces[0].shape[1])]
    return torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]


def _pack_int4(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight of shape [rows, inputs] packed, and its scales and zeros, [rows, inputs / group, 2].

    The weights of a group lie on 16 equally spaced levels from their least to their greatest; the kernel counts from
    the middle. The size of a step is rounded to bfloat16; the middle stands for what leaves the mean as it was.
    """
    groups = weight.float().view(len(weight), -1, group)
    counts, step, _ = to_16_levels(groups)
    scales = _scales_with_mean(_mean(counts), step, groups.mean(-1, keepdim=True))
    return [_known_layout().join(counts.flatten(1)), scales]


def _pack_stored(pieces: Sequence[Levels]) -> list[Tensor]:
    """Return weights that are stored in 16 levels packed, and their scales and zeros."""
    counts, step, least = (_one_below_the_other(parts) for parts in zip(*pieces, strict=True))
    step, mean = step[..., None], _mean(counts.view(*step.shape, -1))
    return [_known_layout().join(counts), _scales_with_mean(mean, step, least[..., None] + mean * step)]


def _mean(counts: Tensor) -> Tensor:
    """Return the mean of each group of numbers of 8 bit; whole ones are added up faster."""
    return counts.sum(-1, keepdim=True, dtype=torch.int32) / counts.shape[-1]


def _scales_with_mean(count: Tensor, step: Tensor, mean: Tensor) -> Tensor:
    """Return scales and zeros of groups, of shape [rows, groups, 2], given the mean of counts and that of weights."""
    step = step.bfloat16()
    return torch.cat([step, (mean - (count - 8) * step).bfloat16()], -1)


def _pack_int8(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight packed with its scales and zeros, twice: 16 times its upper 4 bits, and its lower 4 bits."""
    groups, layout_of_cpu = weight.float().view(len(weight), -1, group), _known_layout()
    greatest = torch.maximum(groups.amax(-1, keepdim=True), -groups.amin(-1, keepdim=True))
    step = (greatest / 127).clamp_min(1e-9).bfloat16().float()  # as the kernel rounds it
    counts = _whole_numbers(groups / step).flatten(1)
    upper, lower = layout_of_cpu.join(counts >> 4 ^ 8), layout_of_cpu.join(counts & 15)  # counted from -128
    scales = [torch.cat([16 * step, 0 * step], -1), torch.cat([step, 8 * step], -1)]
    return [upper, scales[0].bfloat16(), lower, scales[1].bfloat16()]


def _transposed(blocks: Tensor) -> Tensor:
    """Return bytes of shape [blocks, rows, inputs] with the last two changed.

    In two steps, so that what is near in memory is read while it is in the cache: less than half the time.
    """
    count, rows, inputs = blocks.shape
    near = blocks.view(count, rows, -1, math.gcd(inputs, NEAR)).transpose(1, 2).contiguous()
    return near.transpose(2, 3).contiguous().view(count, inputs, rows)


def _whole_numbers(near: Tensor) -> Tensor:
    """Return the nearest numbers from -128 to 127, each as the 8 bit that a CPU has them in; changes `near`."""
    return near.round_().to(torch.int8).view(torch.uint8)


def to_16_levels(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which of 16 levels is nearest to each weight, in 8 bit, their size and the first, all by groups of a row.

    Args:
        groups: of shape [rows, groups, weights], in 32 bit.
    """
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((greatest - least) / 15).clamp_min(1e-9)
    return _whole_numbers((groups - least).div_(step)), step, least
