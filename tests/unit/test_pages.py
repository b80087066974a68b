"""What is kept has memory of its own, which the system gets back at once."""

import subprocess
import sys

import pytest
import torch

from hfdemo.compute.pages import own_pages
from tests.conftest import ROOT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1,), (0,), (2, 0, 3)])
def test_a_tensor_of_any_shape_and_type(dtype, shape):
    like = torch.ones(2, dtype=dtype)
    made = own_pages(like, *shape)
    assert (made.shape, made.dtype, made.device) == (torch.Size(shape), dtype, like.device)
    made.fill_(2.5)
    assert torch.equal(made, torch.full(shape, 2.5, dtype=dtype))


FRAGMENTS = """
import gc, os, resource, sys
import torch
from hfdemo.compute.allocator import PROMPT_BLOCK_BYTES, reuse_freed
from hfdemo.compute.chat_cache import ChatCache

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

reuse_freed(PROMPT_BLOCK_BYTES)
kept = []
for turn in range(-60, 60):
    if turn == 0:  # what torch needs itself is there
        kept.clear()
        gc.collect()
        before = resident()
    tokens = 50 + 97 * turn % 600
    cache = ChatCache(8)
    for layer in cache.layers:
        scratch = [torch.ones(2**18 + 7919 * abs(turn)) for _ in range(4)]  # comes and goes, as activations do
        layer.update(torch.ones(1, 2, tokens, 64), torch.ones(1, 2, tokens, 64))
    kept = [*kept, cache][-10:]
del scratch
held = sum(cache.nbytes * cache.tokens // cache.buffer.shape[2] for cache in kept)
full = resident() - before
kept.clear(); del cache, layer
gc.collect()
print(full - (resident() - before), held)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read from /proc")
def test_caches_that_are_kept_go_back_to_the_system_when_they_are_dropped():
    ended = subprocess.run(
        [sys.executable, "-c", FRAGMENTS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    given_back, held = map(int, ended.stdout.split())
    assert given_back > 0.6 * held
