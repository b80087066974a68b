"""Packed weights on this disk: which file is whose, and how much of the disk all together may take.

A file belongs to one model, one way to pack it, and one CPU. To compare all bytes of a model would take as long as to
pack them, so it counts as the same as long as its files have the same names, sizes, times of change, and samples.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hfdemo import compute
from hfdemo.compute.faster import this_cpu
from hfdemo.compute.packed_weights import PackedWeights
from hfdemo.compute.packing import layout
from hfdemo.models.disk import ModelFiles
from hfdemo.models.hub_private import constants
from hfdemo.models.packed_file import PackedFile

logger = logging.getLogger(__name__)

SAMPLES, SAMPLE_BYTES = 64, 4096
"""At how many places of a file bytes are compared, and how many at each."""

SHARE_OF_FREE_DISK = 0.5
"""How much of the free disk one file may take."""

WORTH_S = 0.3
"""What took less time to pack is packed again at the next start: nobody notices, and a file less lies about."""

ABANDONED_S = 3600
"""How old an unfinished file is that nobody is writing any more."""

_WEIGHTS_AND_CONFIGS = (".safetensors", ".bin", "config.json")
_END, _PARTIAL = ".safetensors", ".partial"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The packed weights of one model, on this disk."""

    name: str
    """What people call the model."""
    size_bytes: int


class PackedCache:
    """The packed weights of all models on this disk.

    Args:
        most_bytes: how much of the disk they may take; 0 keeps none.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    def find(self, files: ModelFiles, packing: str) -> PackedWeights:
        """Return the packed weights of a model; where they aren't there, they are to be made, and given to `keep`.

        Args:
            files: the model.
            packing: how it is packed.
        """
        if not self._most_bytes:
            return PackedWeights()
        try:
            path = packed_folder() / f"{_fingerprint(files, packing)}{_END}"
        except OSError:  # of which the loader has told
            return PackedWeights()
        with suppress(OSError):
            os.utime(path)  # those that nobody needed for the longest time go first
        return PackedFile(path)

    def keep(self, weights: PackedWeights, name: str) -> None:
        """Write the weights that were made to the disk, if there is room; otherwise the next start packs again.

        Args:
            weights: what `find` returned.
            name: what people call the model.
        """
        if not isinstance(weights, PackedFile) or weights.is_there or weights.made_s < WORTH_S:
            return
        shelf = weights.path.parent
        try:
            shelf.mkdir(parents=True, exist_ok=True)
            if self._make_room(shelf, weights.made_bytes):
                with tempfile.TemporaryDirectory(dir=shelf, suffix=_PARTIAL) as folder:
                    weights.save(Path(folder, "weights"), name)
                    os.replace(Path(folder, "weights"), weights.path)
        except OSError as error:
            logger.warning("the packed weights aren't kept for the next start: %s", type(error).__name__)

    def _make_room(self, shelf: Path, needed: int) -> bool:
        """Delete what a killed start left behind, and as many models as needed; tell whether there is room."""
        for folder in shelf.glob(f"*{_PARTIAL}"):
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
        if needed > self._most_bytes:
            return False
        kept = _kept_files(shelf)
        while kept and needed + sum(path.stat().st_size for path in kept) > self._most_bytes:
            kept.pop(0).unlink(missing_ok=True)
        return needed <= SHARE_OF_FREE_DISK * shutil.disk_usage(shelf).free


def kept_models() -> list[KeptModel]:
    """Return whose packed weights are on this disk, the last that was needed first."""
    found = []
    with suppress(OSError):  # without a disk to read, none
        for path in reversed(_kept_files(packed_folder())):
            found.append(KeptModel(PackedFile(path).model, path.stat().st_size))
    return found


def _kept_files(shelf: Path) -> list[Path]:
    """Return the files, the one that nobody needed for the longest time first."""
    return sorted(shelf.glob(f"*{_END}"), key=lambda path: path.stat().st_mtime)


def packed_folder() -> Path:
    """Return the folder in which packed weights are kept."""
    return Path(constants.HF_ASSETS_CACHE, "hfdemo", "packed")


def _fingerprint(files: ModelFiles, packing: str) -> str:
    """Return what stands for all that packed weights depend on: the model, the program, the CPU."""
    digest = hashlib.sha256()
    for text in (packing, this_cpu(), str(layout()), version("torch"), version("transformers")):
        digest.update(f"{text}\n".encode())
    sources = ((Path(compute.__path__[0]), "*.py"), (Path(__file__).parent, "gguf_*.py"))
    for path in (path for folder, names in sources for path in sorted(folder.glob(names))):
        digest.update(path.read_bytes())  # of what reads, packs and multiplies
    for path in _of_model(files):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        with path.open("rb") as file:
            for place in range(SAMPLES):
                file.seek(status.st_size * place // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:32]


def _of_model(files: ModelFiles) -> Iterator[Path]:
    """Yield the files on which the numbers of a model depend."""
    if files.gguf_file:
        yield files.folder / files.gguf_file
        return
    for folder in filter(None, (files.folder, files.adapter)):
        yield from sorted(path for path in folder.iterdir() if path.name.endswith(_WEIGHTS_AND_CONFIGS))
