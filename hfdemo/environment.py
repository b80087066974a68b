"""Prepare a Python environment for this folder, and run the chat or the tests in it.

This runs before anything is installed, so it uses only the standard library. Everything is installed into `.venv` next
to `app.py`, or into the virtual environment that is already active.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP_REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"

PAGE_PACKAGES = ("gradio", "huggingface_hub")
"""What a page needs whose model runs elsewhere: a tenth of what is needed to run one."""


def start(arguments: Sequence[str] = (), page_only: bool = False) -> int:
    """Install the chat's requirements, start it, and return its exit status.

    Args:
        arguments: for the chat.
        page_only: whether the model runs elsewhere.
    """
    only = PAGE_PACKAGES if page_only else ()
    return _run_in_environment([APP_REQUIREMENTS], [str(ROOT / "app.py"), *arguments], only)


def test(arguments: Sequence[str] = ()) -> int:
    """Install the tests' requirements, run the tests, and return pytest's exit status."""
    return _run_in_environment([APP_REQUIREMENTS, TEST_REQUIREMENTS], ["-m", "pytest", *arguments])


def run_command(arguments: Sequence[str], page_only: bool = False) -> int:
    """Install the chat's requirements, run another command, and return its exit status; see `start`."""
    return _run_in_environment([APP_REQUIREMENTS], ["-m", "hfdemo", *arguments], PAGE_PACKAGES if page_only else ())


def languages() -> list[str]:
    """Return the languages that there are words for, without importing what reads them."""
    return sorted(path.stem for path in (ROOT / "hfdemo" / "words").glob("*.toml"))


def _run_in_environment(requirements: Sequence[Path], arguments: Sequence[str], only: Sequence[str] = ()) -> int:
    python = _environment_python()
    _install(python, requirements, only)
    try:
        return subprocess.run([python, *arguments], cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:  # Ctrl-C ended the program, too
        return 130


def _environment_python() -> Path:
    """Return the interpreter to use, creating `.venv` if there is no environment yet."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Creating a virtual environment in {folder}", flush=True)
        try:
            venv.create(folder, with_pip=True, symlinks=os.name != "nt", clear=True)
        except BaseException as error:  # the next start would use a half-made environment
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, subprocess.CalledProcessError):
                raise
            sys.exit("This Python can't create virtual environments. On Debian and Ubuntu: apt install python3-venv")
    return python


def _install(python: Path, requirements: Sequence[Path], only: Sequence[str] = ()) -> None:
    """Install the requirements, unless an earlier run already did; of them these packages only, if any are named."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in requirements)).hexdigest()
    whole = python.parent.parent / f"hfdemo-{len(requirements)}.installed"
    stamp = python.parent.parent / "hfdemo-page.installed" if only else whole
    if any(made.exists() and made.read_text("utf-8") == wanted for made in (stamp, whole)):
        return
    print("Installing the requirements; the first time, this takes a few minutes", flush=True)
    options = [option for path in requirements for option in ("--requirement", str(path))]
    if only:
        lines = [line.strip() for path in requirements for line in path.read_text("utf-8").splitlines()]
        options = [line for line in lines if re.split(r"[^\w-]", line)[0] in only]
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("pip could not install the requirements. Fix what its message above says, then run this again.")
    stamp.write_text(wanted, "utf-8")
