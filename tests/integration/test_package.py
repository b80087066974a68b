"""The wheel holds all that the chat needs, and starts it in an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from hfdemo.publish.requirements import PEFT
from tests.conftest import ROOT, free_port, wait_until

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def required(file: Path) -> set[str]:
    return {line for line in file.read_text("utf-8").splitlines() if line and line[0] != "#"}


def test_the_package_requires_what_requirements_txt_does():
    assert set(PROJECT["dependencies"]) == required(ROOT / "requirements.txt")


def test_what_the_tests_share_with_an_extra_has_the_same_range():
    extras = {line for lines in PROJECT["optional-dependencies"].values() for line in lines}
    names = {line.split(">")[0] for line in extras}
    assert {line for line in required(ROOT / "tests" / "requirements.txt") if line.split(">")[0] in names} <= extras
    assert PEFT in extras, "what publish adds for an adapter"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = folder.glob("hfdemo-*.whl")
    return path


def test_the_wheel_holds_the_program_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    program = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hfdemo").rglob("*") if path.is_file()}
    program = {name for name in program if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == program | {"hfdemo/app.py"}
    assert zipfile.ZipFile(wheel).read("hfdemo/app.py") == (ROOT / "app.py").read_bytes()


def test_the_installed_script_starts_the_chat(wheel, tiny, tmp_path):
    """The requirements are those of the tests: only the program itself comes from the wheel."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    [packages] = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    script = tmp_path / "env" / "bin" / "hfdemo"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model").symlink_to(tiny.folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HFDEMO_"))}
    told = subprocess.run([script, "--version"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("hfdemo ")
    port = free_port()
    command = [script, "start", "./model", "--port", str(port), "--host", "127.0.0.1"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, env=environ, cwd=tmp_path / "elsewhere", stdout=log, stderr=log)

    def log_text() -> str:
        return (tmp_path / "log").read_text("utf-8")

    try:
        wait_until(lambda: "CPU" in log_text() or running.poll() is not None, 120, "the model")
        assert running.poll() is None, log_text()
        assert httpx.get(f"http://127.0.0.1:{port}").status_code == 200
        assert ": hfdemo start --share\n" in log_text(), "there may be no python -m hfdemo outside its environment"
    finally:
        running.terminate()
        running.wait()
    with pytest.raises(httpx.TransportError):  # what ran has ended, too
        httpx.get(f"http://127.0.0.1:{port}")
