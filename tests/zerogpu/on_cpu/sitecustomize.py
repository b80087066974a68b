"""Lets a worker of ZeroGPU use the CPU as its GPU. Python runs this at its start, where the path leads here.

The process that serves the page believes in a GPU by the emulation of `spaces`, as on a Space. In a worker `spaces`
ends the emulation, starts CUDA and moves the weights; here they come back from the disk to the CPU.
"""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from itertools import chain
from types import ModuleType
from typing import Any


class AfterImport(importlib.abc.MetaPathFinder):
    """Changes a module as soon as it was imported."""

    def __init__(self, name: str, change: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._change = change
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            self._change(module)

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


def look_for_torch(_: ModuleType) -> None:
    assert "torch" not in sys.modules, "spaces has to be imported before torch"


def name_a_cuda(torch: Any) -> None:
    """Let a torch without CUDA have what `spaces` looks for."""
    torch.version.cuda = torch.version.cuda or "12.8"
    if not hasattr(torch._C, "_cuda_init"):
        torch._C._cuda_init = None


def name_a_gpu(config: Any) -> None:
    """Say what the driver of a Space says today."""
    config._read_gpu_information = lambda: "Model: \t NVIDIA RTX PRO 6000 Blackwell Server Edition\n"


def use_the_cpu(spaces_torch: Any) -> None:
    spaces_torch.is_in_bad_fork = lambda: False
    spaces_torch.init = lambda nvidia_uuid: None
    spaces_torch.move = bring_weights_back


def bring_weights_back(callback: object = None) -> None:
    """Do what `spaces.zero.torch.patching.move` does, with the CPU in place of the GPU."""
    import torch
    import transformers
    from spaces.zero.torch.patching import cuda_aliases, tensor_packs

    for pack in tensor_packs:
        with open(pack.path(), "rb") as file:
            for tensor, size, aligned_size in [*chain(*pack.batches), *pack.big_tensors]:
                stored = torch.frombuffer(bytearray(file.read(aligned_size)), dtype=torch.uint8)[:size]
                data = torch.empty(0, dtype=tensor.dtype)
                data.set_(stored.untyped_storage(), 0, tensor.shape, tensor.stride())
                for fake in pack.fakes[tensor]:
                    fake.data = data
    for fake, original in cuda_aliases.items():
        if original is not None:
            fake.data = original
    transformers.Pipeline.device = property(lambda self: torch.device("cpu"))


AfterImport("spaces.config", look_for_torch)
AfterImport("torch", name_a_cuda)
AfterImport("spaces.zero.config", name_a_gpu)
AfterImport("spaces.zero.torch", use_the_cpu)
