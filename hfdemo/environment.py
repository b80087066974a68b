"""Prepare this folder's own Python environment and run the chat or the tests in it.

Only the standard library is used here: this runs before anything is installed. Everything goes to `.venv` beside
`app.py`, unless a virtual environment is active already; then that one is used.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP_REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"


def start(arguments: Sequence[str] = ()) -> int:
    """Install what the chat needs, start it, and return its exit status."""
    return _run_in_environment([APP_REQUIREMENTS], [str(ROOT / "app.py"), *arguments])


def test(arguments: Sequence[str] = ()) -> int:
    """Install what the tests need, run them all, and return pytest's exit status."""
    return _run_in_environment([APP_REQUIREMENTS, TEST_REQUIREMENTS], ["-m", "pytest", *arguments])


def run_command(arguments: Sequence[str]) -> int:
    """Install what the chat needs, run one of the other commands, and return its exit status."""
    return _run_in_environment([APP_REQUIREMENTS], ["-m", "hfdemo", *arguments])


def _run_in_environment(requirements: Sequence[Path], arguments: Sequence[str]) -> int:
    python = _environment_python()
    _install(python, requirements)
    try:
        return subprocess.run([python, *arguments], cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:  # Ctrl-C reached the program, too, and ended it
        return 130


def _environment_python() -> Path:
    """Return the interpreter to use, making `.venv` if there is no environment yet."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Making a virtual environment in {folder}", flush=True)
        try:
            venv.create(folder, with_pip=True, symlinks=os.name != "nt", clear=True)
        except BaseException as error:  # half an environment would be taken for a whole one at the next start
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, subprocess.CalledProcessError):
                raise
            sys.exit("This Python can't make virtual environments. On Debian and Ubuntu: apt install python3-venv")
    return python


def _install(python: Path, requirements: Sequence[Path]) -> None:
    """Install the requirements, unless the environment has them since an earlier run."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in requirements)).hexdigest()
    stamp = python.parent.parent / f"hfdemo-{len(requirements)}.installed"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    print("Installing what is needed; the first time this takes some minutes", flush=True)
    options = [option for path in requirements for option in ("--requirement", str(path))]
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("pip could not install the requirements; its message above says why. Then run this again.")
    stamp.write_text(wanted, "utf-8")
