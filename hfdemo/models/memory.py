"""Give memory back to the system when a model has gone."""

import ctypes
import gc
import sys

import torch


def give_memory_back() -> None:
    """Free what no one holds any more, down to the system.

    Python frees cycles of objects when it likes, torch keeps what it freed on a GPU, and the C library keeps what was
    freed on the CPU.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # glibc has it, musl doesn't
            libc.malloc_trim(0)
