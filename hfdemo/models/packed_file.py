"""The packed weights of a model in a file, so that its next start needn't pack them again."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hfdemo.compute.cpu_weights import PackedWeight, Weight
from hfdemo.compute.packed_weights import PackedWeights

_MODEL, _AHEAD, _SHAPE = "model", "tokens ahead", "shape of "
"""Entries of the file's header."""

_PARTS = ("packed0", "scales0", "packed1", "scales1", "bias")
"""The tensors of a weight, as far as it has them."""


class PackedFile(PackedWeights):
    """Packed weights that are read from a file if it is there, and made otherwise.

    Args:
        path: of a file that `save` wrote; a missing or broken one is as good as none.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        told: dict[str, str] = {}
        if path.is_file():
            with suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
                told = file.metadata() or {}
        self.is_there = bool(told)
        self.model = told.get(_MODEL, "")
        """What people call the model whose they are."""
        self.tokens_ahead = int(told[_AHEAD]) if _AHEAD in told else None
        self._shapes = {
            name.removeprefix(_SHAPE): shape.split() for name, shape in told.items() if name.startswith(_SHAPE)
        }

    def weight(self, name: str, dtype: torch.dtype, make: Callable[[], Weight]) -> Weight:
        """Return a weight from the file, or make it; see `PackedWeights`."""
        if name in self._shapes:
            with suppress(OSError, SafetensorError, KeyError):  # another program needed the room on the disk
                return self._read(name, dtype, *map(int, self._shapes[name]))
        return super().weight(name, dtype, make)

    def _read(self, name: str, dtype: torch.dtype, outputs: int, group: int) -> PackedWeight:
        """Read one weight; the file is opened for it alone, so that no more than this is ever mapped into memory."""
        with safe_open(self.path, "pt") as file:
            there = set(file.keys())
            own = [part for part in _PARTS if f"{name}.{part}" in there]
            # Copies, because mapped pages are slower, and are gone if the file shrinks.
            tensors = {part: file.get_tensor(f"{name}.{part}").clone() for part in own}
        packed = [(tensors[f"packed{term}"], tensors[f"scales{term}"]) for term in range(len(tensors) // 2)]
        return PackedWeight(packed, outputs, group, dtype, tensors.get("bias"))

    def save(self, path: Path, model: str) -> None:
        """Write what was made to a file.

        Args:
            path: of the file.
            model: what people call the model.

        Raises:
            OSError: it can't be written.
        """
        tensors, told = dict[str, Tensor](), {_MODEL: model}
        if self.tokens_ahead is not None:
            told[_AHEAD] = str(self.tokens_ahead)
        for name, weight in self.made.items():
            tensors |= {f"{name}.{part}": tensor for part, tensor in weight.named_buffers()}
            told[_SHAPE + name] = f"{weight.outputs} {weight.group}"
        try:
            save_file(tensors, path, told)
        except SafetensorError as error:  # a full disk is one
            raise OSError(str(error)) from None
