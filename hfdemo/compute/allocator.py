"""Return memory to the system: after a model is unloaded, and while weights are packed."""

import ctypes
import gc
import sys

import torch

from hfdemo.compute.fast_step import forget_records

PACKING_BLOCK_BYTES = 2**22
"""The size of the blocks that are allocated and freed while weights are packed; reusing larger ones would raise the
memory's peak by a fifth."""

PROMPT_BLOCK_BYTES = 2**25
"""The same while a prompt is read."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h of glibc."""


def give_memory_back() -> None:
    """Free what nothing refers to any more, and return it to the system.

    Python collects cycles of objects at some later time, torch keeps what it freed on a GPU, and the C library keeps
    what was freed on the CPU.
    """
    gc.collect()
    forget_records()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    trim_freed()


def trim_freed() -> None:
    """Return the freed memory that the C library keeps for later use, also between blocks in use."""
    _call_glibc("malloc_trim", 0)


def free_at_once() -> None:
    """Let the C library return each block of 1 MiB or more to the system as soon as it is freed.

    While bitsandbytes computes on a CPU, large blocks are allocated and freed between others that stay, which would
    make the program grow by half (`benchmarks/README.md`).
    Source: mallopt(3).
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, 2**20)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, 2**17)


def reuse_freed(most: int) -> None:
    """Let the C library reuse freed blocks up to a size.

    The system fills new memory with zeros, page by page: if each block is new, a prompt of 2,500 tokens takes half as
    long again.

    Args:
        most: bytes; glibc takes `PROMPT_BLOCK_BYTES` at most.
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, most)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, PROMPT_BLOCK_BYTES)


def _call_glibc(function: str, *numbers: int) -> None:
    """Call a function of the C library if it exists: glibc has these, musl and other systems don't."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), function):
        getattr(libc, function)(*numbers)
