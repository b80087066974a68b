"""Prepare a Python environment for this folder, and run the chat or the tests in it.

This runs before anything is installed, so it uses only the standard library. Everything is installed into `.venv` next
to `app.py`, or into the virtual environment that is already active; with uv where that is installed, else with pip.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hfdemo.interrupt import hold_interrupts
from hfdemo.python_version import OLDEST
from hfdemo.words import Language, language_of_terminal, say

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app.py"
"""Where there is none, hfdemo is an installed package, which has it as `hfdemo.app`, and all that it requires."""
APP_REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"

PAGE_PACKAGES = ("gradio", "huggingface_hub")
"""What a page needs whose model runs elsewhere: a tenth of what is needed to run one."""
MODEL_PACKAGES = ("psutil", "torch", "transformers")
"""What a model needs besides that runs here."""


def start(page_only: bool = False, variables: Mapping[str, str] | None = None) -> int:
    """Install the chat's requirements, start it, and return its exit status.

    Args:
        page_only: whether the model runs elsewhere.
        variables: what the command line sets, by the names of the environment variables.
    """
    os.environ.update(variables or {})
    if not APP.exists():
        return _become([sys.executable, "-P", "-m", "hfdemo.app"])
    return _run_in_environment([APP_REQUIREMENTS], [str(APP)], PAGE_PACKAGES if page_only else ())


def test(arguments: Sequence[str] = ()) -> int:
    """Install the tests' requirements, run the tests, and return pytest's exit status."""
    if not TEST_REQUIREMENTS.exists():
        sys.exit(say("start.no_tests", _language()))
    command = ["-m", "pytest", *arguments]
    return _run_in_environment([APP_REQUIREMENTS, TEST_REQUIREMENTS], command, takes_interrupts=False)


def run_command(arguments: Sequence[str], page_only: bool = False) -> int:
    """Install the chat's requirements, run another command, and return its exit status; see `start`."""
    return _run_in_environment([APP_REQUIREMENTS], ["-m", "hfdemo", *arguments], PAGE_PACKAGES if page_only else ())


def is_elsewhere(page_only: bool = False) -> bool:
    """Tell whether what a command needs is in the environment that `start` makes, and not in this Python's own.

    Outside of a virtual environment, libraries may be there that other programs brought, in any version.
    """
    if not APP.exists():  # an installed package has what it requires
        return False
    wanted = PAGE_PACKAGES if page_only else (*PAGE_PACKAGES, *MODEL_PACKAGES)
    if any(importlib.util.find_spec(package) is None for package in wanted):
        return True
    is_active = sys.prefix != sys.base_prefix
    return not is_active and (_own_python().exists() or not all(map(_is_in_range, wanted)))


def _is_in_range(package: str) -> bool:
    """Tell whether this Python has a package in the range of versions that the requirements give."""
    asked = re.search(rf"^{package}>=([\d.]+),<([\d.]+)$", APP_REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    try:
        found = _numbers(version(package))
    except PackageNotFoundError:
        return False
    return asked is None or _numbers(asked[1]) <= found < _numbers(asked[2])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _run_in_environment(
    requirements: Sequence[Path], arguments: Sequence[str], only: Sequence[str] = (), takes_interrupts: bool = True
) -> int:
    python = _environment_python()
    _install(python, requirements, only)
    os.chdir(ROOT)
    return _become([str(python), *arguments], takes_interrupts)


def _become(command: list[str], takes_interrupts: bool = True) -> int:
    """Let another program take the place of this one, so that it gets the signals; on Windows, run it and wait.

    Args:
        command: the program.
        takes_interrupts: whether it takes those that are held while it starts.
    """
    if os.name == "nt":
        return subprocess.run(command, check=False).returncode
    sys.stdout.flush()
    sys.stderr.flush()
    if takes_interrupts:
        hold_interrupts()
    os.execv(command[0], command)


def _environment_python() -> Path:
    """Return the interpreter to use, creating `.venv` if there is none that works."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folder, python = ROOT / ".venv", _own_python()
    if not _works(python):
        print(say("start.creating", _language(), folder=folder), flush=True)
        try:
            venv.create(folder, with_pip=True, symlinks=os.name != "nt", clear=True)
        except BaseException as error:  # the next start would use a half-made environment
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, subprocess.CalledProcessError):
                sys.exit(say("start.no_venv", _language()))
            if isinstance(error, OSError | ValueError):  # the latter where a link or a file lies
                problem = getattr(error, "strerror", None) or error
                sys.exit(say("start.no_place_for_venv", _language(), folder=folder, problem=problem))
            raise
    return python


def _own_python() -> Path:
    return ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _works(python: Path) -> bool:
    """Tell whether an environment's Python runs, is new enough and has pip: someone may have stopped half-way."""
    if not python.exists():
        return False
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([python, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def _install(python: Path, requirements: Sequence[Path], only: Sequence[str] = ()) -> None:
    """Install the requirements, unless an earlier run already did; of them these packages only, if any are named.

    What an earlier run installed and is gone is installed again.
    """
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in requirements)).hexdigest()
    prefix = python.parent.parent
    whole = prefix / f"hfdemo-{len(requirements)}.installed"
    stamp = prefix / "hfdemo-page.installed" if only else whole
    made = next((lines for lines in map(_lines, (stamp, whole)) if lines[:1] == [wanted]), None)
    if made:
        gone = {*made[1:]} - _packages(prefix)
        if not gone:
            return
        _forget(prefix, gone)
    print(say("start.installing", _language()), flush=True)
    options = [option for path in requirements for option in ("--requirement", str(path))]
    if only:
        lines = [line.strip() for path in requirements for line in path.read_text("utf-8").splitlines()]
        options = [line for line in lines if re.split(r"[^\w-]", line)[0] in only]
    uv = shutil.which("uv")
    installer = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    command = [*installer, *([] if uv else ["--disable-pip-version-check"]), *options]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        if proxies := [] if uv else _socks_proxies():
            sys.exit(say("start.not_through_socks", _language(), names=", ".join(proxies)))
        sys.exit(say("start.not_installed", _language(), installer="uv" if uv else "pip"))
    with suppress(OSError):  # else the next start asks again what is installed
        stamp.write_text("\n".join([wanted, *sorted(_packages(prefix))]), "utf-8")


def _socks_proxies() -> list[str]:
    """Return the variables that name a proxy which pip needs a package for."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    named = {name: value for name, value in os.environ.items() if name.lower() in proxies}
    return sorted(name for name, value in named.items() if value.strip().lower().startswith("socks"))


def _lines(stamp: Path) -> list[str]:
    return stamp.read_text("utf-8").splitlines() if stamp.exists() else []


def _site_packages(prefix: Path) -> list[Path]:
    return [*prefix.glob("lib/python*/site-packages"), *prefix.glob("Lib/site-packages")]


def _packages(prefix: Path) -> set[str]:
    """Return the names of an environment's packages, and of what describes each, without the version."""
    names = {path.name for folder in _site_packages(prefix) for path in folder.iterdir()}
    passing = {name for name in names if name.startswith((".", "~", "__pycache__"))}
    return {re.sub(r"-.*(?=\.dist-info$)", "", name) for name in names - passing}


def _forget(prefix: Path, gone: set[str]) -> None:
    """Remove what describes the packages of which something is gone: pip and uv would take them for installed."""
    for record in (path for folder in _site_packages(prefix) for path in folder.glob("*.dist-info/RECORD")):
        if gone & {re.split("[/,]", line)[0] for line in record.read_text("utf-8").splitlines()}:
            shutil.rmtree(record.parent)


def _language() -> Language:
    return language_of_terminal(os.environ)
