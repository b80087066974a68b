"""The weights of a GGUF file, read a part of the model at a time.

transformers unpacks all of a file into 16 bit, which takes several times its size. Here, what is stored in 4 bit is
packed as it is, and of the rest only what is being packed is ever there in 16 bit (`compute/decoder.py`).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from hfdemo.chat.notes import Note
from hfdemo.compute.architectures import FAST_ARCHITECTURES
from hfdemo.compute.packing import StoredLevels
from hfdemo.compute.transformers_private import (
    loads_lazily,
    making_a_model,
    name_gguf_tensors,
    read_gguf_fields,
    read_gguf_table,
    unpack_gguf,
)
from hfdemo.models.gguf_levels import STORED_IN_LEVELS, GgufLevels
from hfdemo.models.progress import SILENT, Progress
from hfdemo.models.tensors import refuse_gaps, refuse_hollow, telling_weights, tensor_notes

NUMBERS_AT_ONCE = 1 << 18
"""About how many weights are unpacked at once: so few that they stay in a core's cache."""

BYTES_LOOKED_AT = 1 << 16
"""At the begin, in the middle and at the end of a weight, to tell whether there is anything."""

NAMED_FULLY = ("falcon", "gemma2", "gpt2", "nemotron", "stablelm", "starcoder2")
"""The architectures without a fast step, as files name them, of which transformers tells what each tensor is called.

Of mixtures of experts it doesn't: it makes one tensor of several of a file's, and names the file's otherwise.
"""


class GgufWeights:
    """A GGUF file and the model that it is the weights of.

    Args:
        path: the file; see `can_be_read_in_parts`.
        config: the model's, as transformers reads it from the file.
        dtype: of the numbers in memory.
        progress: told of each weight that is read; it may end the reading.
    """

    def __init__(self, path: Path, config: Any, dtype: torch.dtype, progress: Progress) -> None:
        with making_a_model, init_empty_weights():
            self.model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        """The model, without any weights at first."""
        self.model.tie_weights()
        self._path, self._dtype, self._progress = path, dtype, progress
        table = _table(path)
        names, self._process = name_gguf_tensors(table.architecture, self.model)
        self._begin = table.data_start
        self._stored = {names[info.name]: info for info in table.tensors if info.name in names}
        layers = next((its.partition("0.")[0] for name, its in names.items() if name.startswith("blk.0.")), "")
        unread = (info.name for info in table.tensors if info.name not in names)
        self._unread = [name.replace("blk.", layers, 1) for name in unread]
        self._bytes_read, self._bytes = 0, sum(info.nbytes for info in table.tensors)
        self._read_before: set[str] = set()
        self._owners: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
        self._names_of: dict[tuple[int, str], str] = {}
        first: dict[int, str] = {}
        for prefix, module in self.model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                self._owners[id(parameter)].append((module, name))  # more than one if they are tied
                self._names_of[id(module), name] = first.setdefault(id(parameter), f"{prefix}.{name}")

    @property
    def found(self) -> dict[str, list[Any]]:
        """What is missing from the file, or has another shape, or isn't read, as transformers tells it."""
        shapes = {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()}
        misfits = [
            (name, self._stored[name].shape, shape)
            for name, shape in shapes.items()
            if name in self._stored and tuple(self._stored[name].shape) != shape
        ]
        missing = [name for name in shapes if name not in self._stored]
        return {"missing_keys": missing, "mismatched_keys": misfits, "unexpected_keys": self._unread}

    def stored(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return some bytes of some weights, from all over each, as rows; they are zeros if the weights are."""
        return {name: self._some_blocks(self._stored[name]) for name in names if name in self._stored}

    def _some_blocks(self, info: Any) -> Tensor:
        length = min(BYTES_LOOKED_AT, info.nbytes)
        begins = (0, (info.nbytes - length) // 2, info.nbytes - length)
        pieces = (np.fromfile(self._path, np.uint8, length, offset=self._begin + info.offset + b) for b in begins)
        return torch.from_numpy(np.stack(list(pieces)))

    def read(self, part: nn.Module) -> None:
        """Read the weights of a part of the model that haven't been read yet.

        Raises:
            Cancelled: `progress` ended it.
        """
        for module in part.modules():
            for name, _ in list(module.named_parameters(recurse=False)):
                self._give(module, name)

    def levels_of(self, module: nn.Module) -> StoredLevels | None:
        """Return the weight of a linear layer or an embedding as it is stored, if that is in 4 bit; see `GgufLevels`.

        Raises:
            Cancelled: `progress` ended it.
        """
        info = self._stored[self._names_of[id(module), "weight"]]
        if info.ggml_type not in STORED_IN_LEVELS:
            return None
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            self._give(module, "bias")
        rows, inputs = info.shape
        return GgufLevels(self._ordered(info.name, self._blocks(info).view(rows, -1)), info.ggml_type, inputs)

    def _give(self, module: nn.Module, name: str) -> None:
        """Give a module, and those that share it, one of its weights."""
        parameter = getattr(module, name)
        if parameter.device.type != "meta":
            return
        info = self._stored[self._names_of[id(module), name]]
        weight = nn.Parameter(self._unpacked(info), requires_grad=False)
        for owner, its_name in self._owners[id(parameter)]:
            setattr(owner, its_name, weight)

    def _unpacked(self, info: Any) -> Tensor:
        """Return a tensor's numbers; some rows at a time, because 32 bit for each are up to eight times the file's."""
        blocks = self._blocks(info)
        if len(info.shape) == 1:
            return self._ordered(info.name, _numbers(blocks, info.ggml_type)).to(self._dtype)
        rows, inputs = info.shape
        weight, at_once = torch.empty(rows, inputs, dtype=self._dtype), max(1, NUMBERS_AT_ONCE // inputs)
        for some, their in zip(torch.split(weight, at_once), torch.split(blocks.view(rows, -1), at_once), strict=True):
            some.copy_(_numbers(their.flatten(), info.ggml_type).view(-1, inputs))
        return self._ordered(info.name, weight)

    def _ordered(self, name: str, numbers: Tensor) -> Tensor:
        """Return a tensor in transformers' order; numpy, which changes it, has no bfloat16."""
        same_size = numbers.view(torch.int16) if numbers.dtype is torch.bfloat16 else numbers
        return torch.from_numpy(self._process(name, same_size.numpy())).view(numbers.dtype)

    def _blocks(self, info: Any) -> Tensor:
        """Return the bytes of a tensor."""
        if info.name not in self._read_before:
            self._progress.report("loading", self._bytes_read, self._bytes)
            self._read_before.add(info.name)
            self._bytes_read += info.nbytes
        return torch.from_numpy(np.fromfile(self._path, np.uint8, info.nbytes, offset=self._begin + info.offset))


def check_gguf_weights(name: str, path: Path, config: Any) -> tuple[Note, ...]:
    """Refuse a GGUF file that lacks tensors, or has some that hold nothing; return what else there is to say of it.

    Args:
        name: the model's name.
        path: the file; of one that can't be read in parts, little is known before it is loaded.
        config: the model's, as transformers reads it from the file.

    Raises:
        ModelLoadError: the text names the tensors.
    """
    in_parts = can_be_read_in_parts(path, config.model_type)
    if not in_parts and _architecture(path) not in NAMED_FULLY:
        return ()
    weights = GgufWeights(path, config, torch.float32, SILENT)
    found = weights.found if in_parts else weights.found | {"mismatched_keys": []}  # GPT-2's are stored transposed
    refuse_gaps(name, found, in_gguf=True)
    refuse_hollow(name, weights.stored(telling_weights(weights.model)))
    return tensor_notes(weights.model, found)


def _table(path: Path) -> Any:
    """Return where each tensor of a file is; the package gguf takes longer, but knows all ways to store numbers."""
    try:
        return read_gguf_table(str(path))
    except ValueError:
        from hfdemo.models.gguf_private import QuickGgufReader  # which imports gguf

        reader = QuickGgufReader(path)
        tensors = [
            SimpleNamespace(
                name=tensor.name,
                shape=tuple(int(size) for size in reversed(tensor.shape)),
                ggml_type=int(tensor.tensor_type),
                offset=int(tensor.data_offset),
                nbytes=int(tensor.n_bytes),
            )
            for tensor in reader.tensors
        ]
        architecture = reader.fields["general.architecture"].contents()
        return SimpleNamespace(architecture=architecture, tensors=tensors, data_start=0)


def _numbers(blocks: Tensor, ggml_type: int) -> Tensor:
    """Return the numbers of some blocks, in 32 bit."""
    try:
        numbers: Tensor = unpack_gguf(blocks, ggml_type)
    except ValueError:
        from gguf import GGMLQuantizationType, quants

        numbers = torch.from_numpy(quants.dequantize(blocks.numpy(), GGMLQuantizationType(ggml_type)))
    return numbers


def can_be_read_in_parts(path: Path, model_type: str) -> bool:
    """Tell whether `GgufWeights` can read a file: the fast step knows its model, whose tensors it can name.

    Args:
        path: the file.
        model_type: as the model's configuration says.
    """
    return model_type in FAST_ARCHITECTURES and not loads_lazily(_architecture(path))


def _architecture(path: Path) -> str:
    return str(read_gguf_fields(str(path))["general.architecture"])
