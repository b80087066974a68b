"""Weights in 4 and 8 bit in the layout of PyTorch's 4-bit kernel, and back.

4 bit are 16 equal steps from the least weight of a group to its greatest. 8 bit are the sum of two products in 4 bit:
16 times the upper four bits, and the lower four.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdemo.compute.torch_private import pack_int4

CHUNK_NUMBERS = 1 << 18
"""About how many weights are packed at once, which needs 32 bit for each several times: so few that they stay in a
core's cache."""

BLOCK_NUMBERS = 1 << 20
"""About how many weights are unpacked at once: so few that they stay in the CPU's cache until they are multiplied."""

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
        if torch.equal(columns.T, numbers.float() - 8):
            return found
    return None


def pack(weights: Sequence[Tensor], bits: int, group: int) -> list[tuple[Tensor, Tensor]]:
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
    rows, end = sum(map(len, weights)), 0
    rows += -rows % ROWS_OF_A_BLOCK
    whole: list[Tensor] = []
    for chunk in _chunks(weights):
        begin, end = end, end + len(chunk)
        pieces = pack_chunk(chunk, group)
        whole = whole or [piece.new_empty(rows, *piece.shape[1:]) for piece in pieces]
        for tensor, piece in zip(whole, pieces, strict=True):
            tensor[begin:end] = piece
    packed, scales = whole[::2], [scales.transpose(0, 1).contiguous() for scales in whole[1::2]]
    return list(zip(packed, scales, strict=True))


Packed = Sequence[tuple[Tensor, Tensor]]
"""What `pack` or `pack_steps` returned."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A weight as its file has it, if that is 16 equal steps for each group of a row."""

    counts: Tensor
    """At which step each weight is, from 0 to 15; of shape [rows, inputs]."""
    step: Tensor
    """How far the steps are apart, of shape [rows, groups]."""
    least: Tensor
    """What step 0 stands for, of the same shape."""

    def rows(self, rows: slice) -> Tensor:
        """Return some rows of the weight itself, of shape [rows, inputs]."""
        counts = self.counts[rows].view(-1, self.step.shape[1], self.counts.shape[1] // self.step.shape[1])
        return torch.addcmul(self.least[rows, :, None], counts.float(), self.step[rows, :, None]).flatten(1)


def pack_steps(weights: Sequence[Steps]) -> Packed:
    """Return weights that are stored in 16 steps, one below the other, in the kernel's layout.

    Only their steps are rounded, to bfloat16; the mean of a group stays as it was.
    """
    counts, step, least = (
        torch.cat(parts) if len(parts) > 1 else parts[0]
        for parts in zip(*((each.counts, each.step, each.least) for each in weights), strict=True)
    )
    if missing := -len(counts) % ROWS_OF_A_BLOCK:
        counts, step, least = (F.pad(tensor, (0, 0, 0, missing)) for tensor in (counts, step, least))
    packed, scales = [], []
    for chunk in _slices(*counts.shape):
        grouped = counts[chunk].view(-1, step.shape[1], counts.shape[1] // step.shape[1])
        mean = grouped.mean(-1, keepdim=True, dtype=torch.float32)
        whole = least[chunk, :, None] + mean * step[chunk, :, None]
        scales.append(_scales_with_mean(mean, step[chunk, :, None], whole))
        packed.append(_to_kernel_layout(grouped))
    return [(torch.cat(packed), torch.cat(scales).transpose(0, 1).contiguous())]


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
        step_of, zero = _scales_of(packed, rows, dtype)
        by_group = columns.view(len(scales), -1, columns.shape[1])
        torch.addcmul(zero[:, None], by_group, step_of[:, None], out=by_group)
        yield rows, columns


def unpack_rows(packed: Packed, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return some rows of packed weights as numbers, of shape [rows, inputs]."""
    found, (numbers, scales) = _known_layout(), packed[0]
    block, byte, is_upper = found.place(rows)
    both = [weight.view(-1, 2 * numbers.shape[1], found.bytes)[block, :, byte] for weight, _ in packed]
    counted = torch.where(is_upper[:, None], _upper(both), _lower(both))
    step_of, zero = _scales_of(packed, rows, dtype)
    by_group = counted.to(dtype).view(-1, len(scales), 2 * numbers.shape[1] // len(scales))
    return torch.addcmul(zero.T[..., None], by_group, step_of.T[..., None]).flatten(1)


def _unpack(packed: Sequence[Tensor], found: Layout, blocks: slice, columns: Tensor) -> None:
    """Write the numbers of some blocks, see `_lower`, to columns of shape [inputs, rows]."""
    both = [
        weight.view(-1, 2 * weight.shape[1], found.bytes)[blocks].transpose(0, 1).contiguous() for weight in packed
    ]
    lower, upper = found.halves(columns)
    lower.copy_(_lower(both))
    upper.copy_(_upper(both))


def _lower(both: Sequence[Tensor]) -> Tensor:
    """Return the numbers in the lower halves of bytes; in 8 bit, `both` has their upper and their lower 4 bits.

    Those in 4 bit are counted from the middle, those in 8 bit from 0.
    """
    return (both[0] & 15).to(torch.int8) - 8 if len(both) == 1 else both[0] * 16 + (both[1] & 15)


def _upper(both: Sequence[Tensor]) -> Tensor:
    """Return the numbers in the upper halves."""
    return (both[0] >> 4).to(torch.int8) - 8 if len(both) == 1 else (both[0] & 240) + (both[1] >> 4)


def _scales_of(packed: Packed, rows: slice | Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the size of a step and what the number 0 of `_lower` stands for, each of shape [groups, rows].

    Both are exact. In 4 bit, the weight that 0 stands for would not be if the numbers were counted from 0.
    """
    step, middle = packed[-1][1][:, rows].to(dtype).unbind(-1)
    return step.contiguous(), middle.contiguous() if len(packed) == 1 else -128 * step


def _known_layout() -> Layout:
    found = layout()
    assert found is not None
    return found


def _slices(rows: int, inputs: int) -> Iterator[slice]:
    """Yield slices of rows that never split the kernel's blocks."""
    step = max(1, CHUNK_NUMBERS // (inputs * ROWS_OF_A_BLOCK)) * ROWS_OF_A_BLOCK
    yield from (slice(begin, begin + step) for begin in range(0, rows, step))


def _chunks(weights: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the rows of weights, one below the other, in chunks that never split the kernel's blocks.

    The last one is filled up with rows of zeros.
    """
    for chunk in _slices(sum(map(len, weights)), weights[0].shape[1]):
        pieces, above = [], 0
        for weight in weights:
            piece = weight[max(0, chunk.start - above) : max(0, chunk.stop - above)]
            above += len(weight)
            if len(piece):
                pieces.append(piece)
        missing = -sum(map(len, pieces)) % ROWS_OF_A_BLOCK
        if missing:
            pieces.append(pieces[0].new_zeros(missing, pieces[0].shape[1]))
        yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _pack_int4(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight of shape [rows, inputs] packed, and its scales and zeros, [rows, inputs / group, 2].

    The weights of a group lie on 16 equal steps from their least to their greatest; the kernel counts from the middle.
    Steps are rounded to bfloat16; what the middle stands for is where the mean of the weights stays as it was.
    """
    quantized, step, _ = to_16_steps(weight, group)
    mean = weight.float().view(len(weight), -1, group).mean(-1, keepdim=True)
    return [_to_kernel_layout(quantized), _scales_with_mean(quantized.mean(-1, keepdim=True), step, mean)]


def _scales_with_mean(count: Tensor, step: Tensor, mean: Tensor) -> Tensor:
    """Return scales and zeros of groups, of shape [rows, groups, 2], given the mean of counts and that of weights."""
    step = step.bfloat16()
    return torch.cat([step, (mean - (count - 8) * step).bfloat16()], -1)


def _pack_int8(weight: Tensor, group: int) -> list[Tensor]:
    """Return a weight packed with its scales and zeros, twice: 16 times its upper 4 bits, and its lower 4 bits."""
    groups = weight.float().view(len(weight), -1, group)
    step = (groups.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-9).bfloat16().float()  # as the kernel rounds it
    quantized = (groups / step).round_().clamp_(-128, 127).add_(128).to(torch.int32)
    upper, lower = _to_kernel_layout(quantized >> 4), _to_kernel_layout(quantized.bitwise_and_(15))
    scales = [torch.cat([16 * step, 0 * step], -1), torch.cat([step, 8 * step], -1)]
    return [upper, scales[0].bfloat16(), lower, scales[1].bfloat16()]


def _to_kernel_layout(quantized: Tensor) -> Tensor:
    """Return numbers from 0 to 15, of shape [rows, groups, group], in the kernel's layout."""
    return pack_int4(quantized.to(torch.int32).view(len(quantized), -1), 2)


def to_16_steps(weight: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which of 16 steps is nearest to each weight, their size and the first, all by groups of a row."""
    groups = weight.float().view(len(weight), -1, group)
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((greatest - least) / 15).clamp_min(1e-9)
    return ((groups - least) / step).round_().clamp_(0, 15), step, least
