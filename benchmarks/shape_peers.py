"""One of the two that `shapes.py` compares, in a process of its own: what each prompt takes, and the memory.

llama.cpp lives in an environment of its own, so that at import this needs the standard library alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.peers import memory_of_this_process

VOCABULARY = 151_936


class Peer(Protocol):
    """Reads and writes tokens with a model that it has loaded."""

    def begin(self, prompt: list[int]) -> int:
        """Read a prompt, and return the likeliest token behind it."""
        ...

    def go_on(self, token: int) -> int:
        """Read a token, and return the likeliest one behind it."""
        ...


class Ours:
    """hfdemo's step, loaded as its engine does."""

    def __init__(self, files: dict[str, str], bits: str) -> None:
        from pathlib import Path

        import torch

        from hfdemo.compute.allocator import PACKING_BLOCK_BYTES, PROMPT_BLOCK_BYTES, reuse_freed, trim_freed
        from hfdemo.compute.fast_step import make_fast_step
        from hfdemo.models.disk import ModelFiles
        from hfdemo.models.pretrained import load_weights

        self._mode = torch.inference_mode()
        self._mode.__enter__()
        reuse_freed(PACKING_BLOCK_BYTES)
        model, _ = load_weights(ModelFiles(Path(files["model"])), dtype=torch.bfloat16)
        step = make_fast_step(model, bits)
        assert step is not None
        trim_freed()
        reuse_freed(PROMPT_BLOCK_BYTES)
        self._step, self._tensor = step, torch.tensor
        self._cache = step.new_cache()

    def begin(self, prompt: list[int]) -> int:
        """Read a prompt, and return the likeliest token behind it."""
        self._cache = self._step.new_cache()
        return int(self._step.read(self._tensor(prompt), self._cache).argmax())

    def go_on(self, token: int) -> int:
        """Read a token, and return the likeliest one behind it."""
        return int(self._step(self._tensor([token]), [self._cache])[0].argmax())


class LlamaCpp:
    """llama.cpp, with the GGUF file of the same shape."""

    def __init__(self, files: dict[str, str], bits: str) -> None:
        from llama_cpp import Llama

        cores = os.cpu_count()
        self._llama = Llama(files["gguf"], n_ctx=8192 + 256, n_threads=cores, n_threads_batch=cores, verbose=False)

    def begin(self, prompt: list[int]) -> int:
        """Read a prompt, and return the likeliest token behind it."""
        self._llama.reset()
        self._llama.eval(prompt)
        return int(self._llama.sample(temp=0, repeat_penalty=1))

    def go_on(self, token: int) -> int:
        """Read a token, and return the likeliest one behind it."""
        self._llama.eval([token])
        return int(self._llama.sample(temp=0, repeat_penalty=1))


PEERS: dict[str, Callable[[dict[str, str], str], Peer]] = {"ours": Ours, "llama": LlamaCpp}


def measure(peer: Peer, prompt: list[int], new_tokens: int) -> dict[str, float]:
    """Return what the first token took, and the rate of those behind it."""
    began = time.perf_counter()
    token = peer.begin(prompt)
    first_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(new_tokens):
        token = peer.go_on(token % VOCABULARY)
    return {"first_s": first_s, "tokens_per_s": new_tokens / (time.perf_counter() - began)}


def main() -> None:
    """Do the job that comes on the input."""
    job: dict[str, Any] = json.load(sys.stdin)
    if job["peer"] == "ours":
        import torch  # noqa: F401  # the program's own memory
        import transformers  # noqa: F401
    own = memory_of_this_process()["kept_bytes"]
    began = time.perf_counter()
    peer = PEERS[job["peer"]](job["shape"], job["bits"])
    load_s = time.perf_counter() - began
    measure(peer, list(range(100, 140)), 8)
    answers = [
        measure(peer, [number * 7919 % VOCABULARY for number in range(tokens)], job["new_tokens"])
        for tokens in job["prompts"]
    ]
    memory = memory_of_this_process()
    result = {
        "load_s": load_s,
        "answers": answers,
        "most_bytes": memory["peak_bytes"] - own,
        "kept_bytes": memory["kept_bytes"] - own,
    }
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main()
