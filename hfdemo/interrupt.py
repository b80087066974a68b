"""What happens on Ctrl-C: one line, also while the program is being imported. Runs on Python 3.8 and newer."""

import os
import sys
from types import TracebackType

INTERRUPTED = 130
"""The exit status after Ctrl-C, as of programs that SIGINT ends: 128 + 2."""


def stopped_line() -> str:
    """Return what is said after Ctrl-C, in a line of its own."""
    from hfdemo.words import language_of_terminal, say

    return "\n" + say("start.stopped", language_of_terminal(os.environ)) + "\n"


def tell_interrupts() -> None:
    """Let an interrupt that nothing handles end the program with that line instead of a traceback."""
    sys.excepthook = _tell


def _tell(kind: "type[BaseException]", error: BaseException, traceback: "TracebackType | None") -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stderr.write(stopped_line())
    sys.stderr.flush()
    os._exit(INTERRUPTED)  # Python's own status would be 1
