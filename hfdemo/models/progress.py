"""How far a model's loading is, and how to cancel it."""

import time
from collections import deque
from collections.abc import Callable
from threading import Event
from typing import Literal

WINDOW_S = 8.0
"""Over how many of the last seconds the rate is measured: long enough to be steady, short enough to be current."""

LoadStage = Literal["checking", "downloading", "converting", "loading"]


class Cancelled(Exception):
    """Raised inside the work when somebody cancelled it."""


class Progress:
    """Takes reports of how far a stage is, computes the rate, and shows both.

    Args:
        show: called with the stage, the bytes done and in all (0 if unknown), the file's name, and bytes per second.
        cancel: anyone may set it to end the work; the next report then raises `Cancelled`.
    """

    def __init__(self, show: Callable[[LoadStage, int, int, str, float], None], cancel: Event | None = None) -> None:
        self._show = show
        self._cancel = cancel or Event()
        self._stage: LoadStage | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def report(self, stage: LoadStage, done_bytes: int = 0, total_bytes: int = 0, file: str = "") -> None:
        """Show how far a stage is.

        Raises:
            Cancelled: somebody cancelled the work.
        """
        self.raise_if_cancelled()
        if stage != self._stage:
            self._stage = stage
            self._samples.clear()
        self._show(stage, done_bytes, total_bytes, file, self._rate(done_bytes))

    def raise_if_cancelled(self) -> None:
        """End the work if somebody cancelled it.

        Raises:
            Cancelled: somebody did.
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
"""Shows nothing and is never cancelled."""
