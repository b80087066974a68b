"""Give memory back to the system: when a model has gone, and while weights are packed."""

import ctypes
import gc
import sys

import torch

from hfdemo.compute.fast_step import forget_records

PACKING_BLOCK_BYTES = 2**22
"""Blocks of this size come and go while weights are packed; if greater ones were kept, the peak of memory would rise
by a fifth."""

PROMPT_BLOCK_BYTES = 2**25
"""The same while a prompt is read."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h of glibc."""


def give_memory_back() -> None:
    """Free what no one holds any more, down to the system.

    Python frees cycles of objects when it likes, torch keeps what it freed on a GPU, and the C library keeps what was
    freed on the CPU.
    """
    gc.collect()
    forget_records()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    trim_freed()


def trim_freed() -> None:
    """Give back what the C library keeps for those who come next, also between blocks that stay."""
    _call_glibc("malloc_trim", 0)


def free_at_once() -> None:
    """Let the C library give each block of memory from 1 MiB on back to the system as soon as it is freed.

    While the weights of bitsandbytes compute on a CPU, large blocks come and go between others that stay, so that the
    program would grow by half (`benchmarks/README.md`).
    Source: mallopt(3).
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, 2**20)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, 2**17)


def reuse_freed(most: int) -> None:
    """Let the C library keep freed blocks of up to a size for those who come next.

    Memory that is new to a process is filled with zeros first, page by page: a prompt of 2,500 tokens takes half as
    long again where each block is new.

    Args:
        most: bytes; glibc takes `PROMPT_BLOCK_BYTES` at most.
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, most)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, PROMPT_BLOCK_BYTES)


def _call_glibc(function: str, *numbers: int) -> None:
    """Call a function of the C library where it has it: glibc does, musl and other systems don't."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), function):
        getattr(libc, function)(*numbers)
