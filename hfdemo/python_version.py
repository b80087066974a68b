"""One sentence for whoever starts hfdemo with a Python that is too old. Runs on Python 3.8 and newer."""

import shutil
import subprocess
import sys

OLDEST = (3, 11)

NEWER = ("3.14", "3.13", "3.12", "3.11")
"""The versions to look for, the newest first."""


def require_python(version: "tuple[int, ...] | None" = None) -> None:  # quoted, because old Pythons can't read it
    """End the program with one sentence if this Python is too old.

    Args:
        version: this Python's version, as in `sys.version_info`.
    """
    found = tuple(version or sys.version_info)[:2]
    if found >= OLDEST:
        return
    newer = next((name for name in map("python{}".format, NEWER) if _runs(name)), None)
    remedy, korean = (
        "Install it from https://www.python.org/downloads/",
        "https://www.python.org/downloads/ 에서 설치하세요.",
    )
    if newer:
        remedy, korean = "You have it as " + newer + ": " + newer + " -m hfdemo start", newer + " -m hfdemo start"
    this, oldest = ".".join(map(str, found)), ".".join(map(str, OLDEST))
    sys.exit(
        "hfdemo needs Python " + oldest + " or newer, and this is Python " + this + ". " + remedy + "\n"
        "hfdemo에는 Python " + oldest + " 이상이 필요한데 지금은 Python " + this + "입니다. " + korean
    )


def _runs(name: str) -> bool:
    """Tell whether a Python is there and runs: pyenv has stand-ins that only say which versions could be chosen."""
    path = shutil.which(name)
    try:
        return path is not None and subprocess.call([path, "-c", ""], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False
