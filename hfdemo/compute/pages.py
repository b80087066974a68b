"""Memory for what is kept long: pages of its own, outside of what the C library hands out."""

import math
import mmap
import sys
from typing import Any

import torch
from torch import Tensor

_PRIVATE: dict[str, Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if sys.platform != "win32" else {}


def own_pages(like: Tensor, *shape: int) -> Tensor:
    """Return a tensor with the type and device of another; on a CPU, in memory pages of its own.

    Caches that are kept must not lie among the blocks that come and go with every prompt: the C library can't return
    the gaps between them, and the program would take a multiple of what it holds. These pages go back to the system as
    soon as nothing refers to them, and only those that are written to are taken at all.
    """
    numbers = math.prod(shape)
    if like.device.type != "cpu" or not numbers:
        return like.new_empty(shape)
    try:
        pages = mmap.mmap(-1, numbers * like.element_size(), **_PRIVATE)
    except OSError as error:  # ENOMEM
        raise MemoryError from error
    return torch.frombuffer(pages, dtype=like.dtype, count=numbers).view(shape)
