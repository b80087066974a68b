"""The models of the stand-in, and what the Hub says of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, Literal

COMMIT = "a" * 40
REVISIONS = ("main", "v1", COMMIT)
"""The names of the one commit that every model has."""

STORED_APART = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx")
"""Files that Git LFS keeps outside the repository, on the CDN."""

A_DAY = "2026-01-01T00:00:00.000Z"


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class File:
    """A file of a model. A folder's files are read when they are asked for: weights can be large.

    Args:
        name: its path in the repository.
        content: what is in it, or where that is on this disk.
        size: its size as the Hub tells it, where that isn't the true one.
    """

    def __init__(self, name: str, content: bytes | Path, size: int | None = None) -> None:
        self.name = name
        self._content = content
        self.true_size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self.size = self.true_size if size is None else size
        self.is_apart = name.endswith(STORED_APART)

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes from `start` to before `end`."""
        if isinstance(self._content, bytes):
            return self._content[start:end]
        with self._content.open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(end - start)

    @cached_property
    def sha256(self) -> str:
        if isinstance(self._content, bytes):
            return hashlib.sha256(self._content).hexdigest()
        with self._content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def blob_id(self) -> str:
        """The hash of what is in the repository: of a file stored apart, that is a pointer to it."""
        return git_hash(self._pointer if self.is_apart else self.read())

    @property
    def lfs(self) -> dict[str, Any]:
        """The fields that a file stored apart has besides; the tree calls the hash `oid`."""
        return {"sha256": self.sha256, "size": self.size, "pointerSize": len(self._pointer)}

    @property
    def _pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()


@dataclass
class Model:
    """A model on the Hub."""

    files: Mapping[str, bytes] | Path
    """By their paths in the repository, or a folder."""
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    disabled: bool = False
    hides_info: bool = True
    """Whether a disabled model's description is refused as well as its files."""
    pipeline_tag: str | None = "text-generation"
    library_name: str | None = "transformers"
    safetensors: dict[str, Any] | None = None
    """By default, what is in the headers of the safetensors files; {} for a model of which the Hub doesn't know."""
    gguf: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    """By default, the part of config.json that the Hub shows."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes to tell instead of the true ones, also of files that aren't there: a model too big for any disk."""
    downloads: int = 0

    def __post_init__(self) -> None:
        contents: dict[str, bytes | Path] = {name: name.encode() for name in self.sizes}
        contents |= _files_of(self.files) if isinstance(self.files, Path) else self.files
        self.contents = {name: File(name, contents[name], self.sizes.get(name)) for name in sorted(contents)}
        if self.safetensors is None:
            self.safetensors = _count_parameters(self.contents.values())
        if self.config is None and "config.json" in self.contents:
            self.config = _shown_config(self.contents["config.json"].read())

    def describe(self, model_id: str, blobs: bool = False) -> dict[str, Any]:
        """Return all that the Hub says of the model; with `blobs`, also its files' sizes and hashes."""
        fields = {
            "_id": "1",
            "id": model_id,
            "modelId": model_id,
            "author": model_id.split("/")[0],
            "sha": COMMIT,
            "createdAt": A_DAY,
            "lastModified": A_DAY,
            "private": self.private,
            "gated": self.gated,
            "disabled": self.disabled,
            "downloads": self.downloads,
            "likes": 0,
            "tags": [tag for tag in (self.library_name, self.pipeline_tag) if tag],
            "pipeline_tag": self.pipeline_tag,
            "library_name": self.library_name,
            "config": self.config,
            "safetensors": self.safetensors or None,
            "gguf": self.gguf,
            "usedStorage": sum(file.size for file in self.contents.values()),
            "siblings": [_sibling(file, blobs) for file in self.contents.values()],
        }
        return {name: value for name, value in fields.items() if value is not None}

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """Return what is in a folder of the repository; "" is its root. Nothing if there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        folders = {str(parent) for name in self.contents for parent in PurePosixPath(name).parents} - {"."}
        entries = [_tree_file(file) for file in self.contents.values()]
        entries += [_tree_folder(name) for name in sorted(folders)]
        inside = [entry for entry in entries if entry["path"].startswith(prefix)]
        return [entry for entry in inside if recursive or "/" not in entry["path"].removeprefix(prefix)]


def _files_of(folder: Path) -> dict[str, bytes | Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _sibling(file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.name}
    sizes = {"rfilename": file.name, "size": file.size, "blobId": file.blob_id}
    return sizes | ({"lfs": file.lfs} if file.is_apart else {})


def _tree_file(file: File) -> dict[str, Any]:
    entry = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.name}
    if file.is_apart:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.lfs["pointerSize"]}
    return entry


def _tree_folder(name: str) -> dict[str, Any]:
    return {"type": "directory", "oid": git_hash(name.encode()), "size": 0, "path": name}


def _count_parameters(files: Any) -> dict[str, Any]:
    """Return how many numbers of each type are in the safetensors files; nothing if there are none."""
    counts: Counter[str] = Counter()
    for file in files:
        if file.name.endswith(".safetensors"):
            tensors = _safetensors_header(file)
            for tensor in tensors.values():
                counts[tensor["dtype"]] += prod(tensor["shape"])
    return {"parameters": dict(counts), "total": sum(counts.values())} if counts else {}


def _safetensors_header(file: File) -> dict[str, Any]:
    """Return the tensors that a file tells of: the length of its header, then the header, in JSON."""
    length = int.from_bytes(file.read(0, 8), "little")
    if length > file.true_size - 8:
        return {}  # not safetensors but for its name
    try:
        tensors = json.loads(file.read(8, 8 + length))
    except ValueError:
        return {}
    return {name: tensor for name, tensor in tensors.items() if name != "__metadata__"}


def _shown_config(content: bytes) -> dict[str, Any] | None:
    try:
        config = json.loads(content)
    except ValueError:
        return None
    return {name: config[name] for name in ("architectures", "model_type", "quantization_config") if name in config}
