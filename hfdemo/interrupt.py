"""What happens on Ctrl-C: one line, also while the program is being imported. Runs on Python 3.8 and newer."""

import os
import signal
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
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def hold_interrupts() -> None:
    """Keep interrupts back until the program that takes the place of this one calls `tell_interrupts`.

    Python would answer with a traceback while it starts.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def end_on_interrupt() -> None:
    """Let an interrupt end the program at once: of an exception, libraries that are imported make other errors."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not behind a shell that has it ignored
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Let an interrupt be an exception again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    try:
        os.write(2, stopped_line().encode())
    finally:
        os._exit(INTERRUPTED)


def _tell(kind: "type[BaseException]", error: BaseException, traceback: "TracebackType | None") -> None:
    if issubclass(kind, KeyboardInterrupt):
        _end(signal.SIGINT, None)  # Python's own status would be 1
    sys.__excepthook__(kind, error, traceback)
