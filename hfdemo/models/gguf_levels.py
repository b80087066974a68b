"""The formats of GGUF files in which 32 weights of a row share 16 levels, which is how they are packed, too.

Source: `block_q4_0`, `block_q4_1` and `block_q4_K` in
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h, and `dequantize_row_*` in ggml-quants.c.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hfdemo.compute.packing import Levels

Q4_0, Q4_1, Q4_K = 2, 3, 12
"""As `ggml_type` numbers them."""

GROUP = 32


class GgufLevels:
    """A weight as it is stored.

    Args:
        rows: its bytes, of shape [rows, bytes of a row].
        ggml_type: one of `STORED_IN_LEVELS`.
        inputs: how many weights a row has.
    """

    def __init__(self, rows: Tensor, ggml_type: int, inputs: int) -> None:
        self._rows, self._inputs = rows, inputs
        self._size, self._read = STORED_IN_LEVELS[ggml_type]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and inputs."""
        return len(self), self._inputs

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> Levels:
        counts, step, least = self._read(self._rows[rows].view(-1, self._size))
        groups = self._inputs // GROUP
        return Levels(counts.view(-1, self._inputs), step.view(-1, groups), least.view(-1, groups))


def _q4_0(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    step = _half(blocks, 0)
    return _halves(blocks[:, 2:]), step, -8 * step


def _q4_1(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _halves(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2)


def _q4_k(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return eight groups of each block: their steps and least numbers have 6 bits each, times one number for all."""
    upper, lower, last = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    steps = torch.cat([upper & 63, (last & 15) | (upper >> 6 << 4)], 1)
    least = torch.cat([lower & 63, (last >> 4) | (lower >> 6 << 4)], 1)
    counts = _halves(blocks[:, 16:].reshape(-1, GROUP)).view(len(blocks), -1)
    return counts, _half(blocks, 0) * steps, -_half(blocks, 2) * least


def _half(blocks: Tensor, begin: int) -> Tensor:
    """Return the number of 16 bit that begins at a byte of each block, in 32 bit, of shape [blocks, 1]."""
    return blocks[:, begin : begin + 2].contiguous().view(torch.float16).float()


def _halves(halves: Tensor) -> Tensor:
    """Return the lower halves of a row's bytes, and then the upper ones."""
    return torch.cat([halves & 15, halves >> 4], 1)


STORED_IN_LEVELS: dict[int, tuple[int, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]] = {
    Q4_0: (18, _q4_0),
    Q4_1: (20, _q4_1),
    Q4_K: (144, _q4_k),
}
"""For each format, the bytes of a block, and what reads blocks."""
