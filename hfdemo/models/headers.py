"""What the first bytes and the headers of a model's files say: their tensors, and whether a file is whole.

No weights are read.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hfdemo.errors import ModelLoadError, hub_command
from hfdemo.models.plan_text import size_text

POINTER = b"version https://git-lfs.github.com/spec/"
"""How the small file begins that git leaves in place of a large one.
Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""

MAX_POINTER_BYTES = 1024

MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file; safetensors itself refuses a longer one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a file's header describes it."""

    dtype: str
    """As safetensors names it, such as `BF16`."""
    shape: tuple[int, ...]
    path: Path
    """The file."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about its model."""

    architecture: str
    fields: Mapping[str, Any]
    """The architecture's own fields, without its name as prefix; of an array of texts only the length."""
    parameters: int
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Their shapes, by their names."""
    part: int = 1
    parts: int = 1
    """Which of how many files of one model this is."""


def shown_path(path: Path) -> str:
    """Return a path as people read it on the page and in the terminal: whole, but without the owner's name."""
    absolute = path.absolute()
    try:
        return str(Path("~", absolute.relative_to(Path.home())))
    except (ValueError, RuntimeError):
        return str(absolute)


def refuse_pointer(path: Path) -> None:
    """Refuse a file that only stands for the real one, and one without content.

    Raises:
        ModelLoadError: it is one of these.
    """
    if not path.is_file():
        raise ModelLoadError("file_link_broken" if path.is_symlink() else "file_is_folder", **_where(path))
    with path.open("rb") as file:
        start = file.read(MAX_POINTER_BYTES)
    if start.startswith(POINTER):
        sizes = [line.split()[-1] for line in start.decode("utf-8", "replace").splitlines() if line[:5] == "size "]
        size = _size_text(int(sizes[0])) if sizes and sizes[0].isdecimal() else "?"
        raise ModelLoadError("file_pointer", size=size, hf=hub_command(), **_where(path))
    if not start:
        raise ModelLoadError("file_empty", **_where(path))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, by name.

    Source: https://huggingface.co/docs/safetensors/index#format.

    Raises:
        ModelLoadError: the file isn't whole, or can't be opened; the text says what is wrong with it.
    """
    refuse_pointer(path)
    _refuse_odd_name(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ModelLoadError("file_damaged", kind="safetensors", **_where(path))
        if size < 8 + length:
            raise _cut(path, 8 + length)
        header = file.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
        tensors = {name: Tensor(str(entry["dtype"]), _shape(entry["shape"]), path) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelLoadError("file_damaged", kind="safetensors", **_where(path)) from None
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        raise _cut(path, expected)
    try:
        with safe_open(path, "pt"):  # checks the rest: each tensor's type, size and place
            return tensors
    except SafetensorError:
        raise ModelLoadError("file_damaged", kind="safetensors", **_where(path)) from None


def read_rows(name: str, tensor: Tensor, most: int | None = None) -> list[Any]:
    """Return rows of a tensor from its beginning, its middle and its end, so many of each; None are all, at once.

    Of a layer's experts in one tensor, these are rows of its first, its middle and its last expert.
    """
    count, others = tensor.shape[0], tensor.shape[1:-1]
    step = count if most is None else min(1 if others else most, count)
    begins = sorted({0, (count - step) // 2, count - step})
    inner = [slice(most)] * len(others)
    with safe_open(tensor.path, "pt") as file:
        rows = file.get_slice(name)
        return [rows[slice(begin, begin + step), *inner] for begin in begins]


def read_gguf(path: Path) -> GgufHeader:
    """Return what the header of a GGUF file says.

    Raises:
        ModelLoadError: the file isn't whole, or not one that transformers reads; the text says what is wrong with it.
    """
    from hfdemo.compute.transformers_private import read_gguf_fields  # which imports torch

    refuse_pointer(path)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelLoadError("file_damaged", kind="GGUF", **_where(path))
    try:
        metadata = read_gguf_fields(str(path))
        kind = str(metadata["general.architecture"])
        shapes, end = _gguf_shapes(path, kind)
    except (struct.error, UnicodeDecodeError, MemoryError, OverflowError):  # the file ends inside its header
        raise _cut(path, path.stat().st_size + 1) from None
    except (ValueError, TypeError, KeyError, IndexError) as error:
        problem = str(error).replace(str(path), path.name)
        raise ModelLoadError("gguf_unreadable", problem=problem, **_where(path)) from None
    if path.stat().st_size < end:
        raise _cut(path, end)
    fields = {key.removeprefix(f"{kind}."): value for key, value in metadata.items() if key.startswith(f"{kind}.")}
    if words := metadata.get("tokenizer.ggml.tokens"):
        fields.setdefault("vocab_size", words)
    part, parts = (int(metadata.get(f"split.{name}", default)) for name, default in (("no", 0), ("count", 1)))
    return GgufHeader(kind, fields, sum(map(prod, shapes.values())), shapes, part + 1, max(1, parts))


def _gguf_shapes(path: Path, kind: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shapes of a GGUF file's tensors by their names, and where the last of them ends, in bytes.

    Raises:
        ValueError: transformers can't read how they are stored.
    """
    from hfdemo.compute.transformers_private import loads_lazily, read_gguf_table

    try:
        table = read_gguf_table(str(path))
    except ValueError:
        if loads_lazily(kind):
            raise
        from hfdemo.models.gguf_private import QuickGgufReader  # slower, and knows all ways to store numbers

        return {tensor.name: tuple(map(int, tensor.shape)) for tensor in QuickGgufReader(path).tensors}, 0
    ends = (table.data_start + tensor.offset + tensor.nbytes for tensor in table.tensors)
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in table.tensors}
    return shapes, max(ends, default=table.data_start)


def _refuse_odd_name(path: Path) -> None:
    """Refuse a file whose path is no UTF-8: safetensors can't open it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise ModelLoadError("path_no_utf8", **_where(path)) from None


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ValueError
    return sizes


def _size_text(count: int) -> str:
    return size_text(count) if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _cut(path: Path, expected: int) -> ModelLoadError:
    size = path.stat().st_size
    return ModelLoadError("file_cut", size=f"{size:,}", expected=f"{expected:,}", **_where(path))


def _where(path: Path) -> dict[str, str]:
    """Return the fields of an error that name a file."""
    return {"file": path.name, "folder": shown_path(path.parent)}
