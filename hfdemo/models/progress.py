"""How far a model is on its way, and the way to stop it."""

import time
from collections import deque
from collections.abc import Callable
from threading import Event
from typing import Literal

WINDOW_S = 8.0
"""Over how many of the last seconds the rate is taken: long enough to be calm, short enough to be true."""

Step = Literal["checking", "downloading", "converting", "loading"]


class Cancelled(Exception):
    """Raised in the midst of the work, because nobody wants the model any more."""


class Progress:
    """Takes what is done of a step, works out the rate, and shows it.

    Args:
        show: called with the step, the bytes done and in all (0 where unknown), the file's name, and bytes per second.
        cancel: set by anyone to end the work; the next report then raises `Cancelled`.
    """

    def __init__(self, show: Callable[[Step, int, int, str, float], None], cancel: Event | None = None) -> None:
        self._show = show
        self._cancel = cancel or Event()
        self._step: Step | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def report(self, step: Step, done_bytes: int = 0, total_bytes: int = 0, file: str = "") -> None:
        """Show how far a step is.

        Raises:
            Cancelled: the work is to end.
        """
        self.check()
        if step != self._step:
            self._step = step
            self._samples.clear()
        self._show(step, done_bytes, total_bytes, file, self._rate(done_bytes))

    def check(self) -> None:
        """Find out whether the work is to end.

        Raises:
            Cancelled: it is.
        """
        if self._cancel.is_set():
            raise Cancelled

    def _rate(self, done_bytes: int) -> float:
        now = time.monotonic()
        self._samples.append((now, done_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        began, first = self._samples[0]
        return (done_bytes - first) / (now - began) if now - began > 0.2 and done_bytes > first else 0.0


SILENT = Progress(lambda *_: None)
"""Shows nothing, for where nobody looks."""
