"""Several replies at once, a token of each at a time.

One step of the model reads all weights once, for however many tokens (continuous batching as in Orca,
https://www.usenix.org/conference/osdi22/presentation/yu). A reply joins when its prompt is read and leaves when it
ends, at any step; nobody waits for anybody else's end. All of it runs in the compute thread, one round after the
other, so that a change of models comes in between.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

import torch

from hfdemo.chat.messages import FinishedReply
from hfdemo.compute.thread import ComputeThread
from hfdemo.decoding.generation import Turn, read
from hfdemo.decoding.streamer import Finished, Stopped, interruptible

CHUNK_TOKENS = 256
"""So much of a prompt is read between two steps of the others; it takes about a quarter of a second on two cores."""


@dataclass(eq=False, slots=True)
class _Running:
    """A reply that is being made."""

    turn: Turn
    keep: Callable[[FinishedReply], None]
    job: Future[FinishedReply] = field(default_factory=Future)
    unread: list[int] = field(default_factory=list)
    """What is left of the prompt."""
    token: int = -1
    """The last token that was written; the model has not read it yet."""


class Batch:
    """The replies that one model makes at the same time.

    Args:
        compute: the thread in which torch works.
        most: how many replies there are at one time; the others wait, first come, first served.
    """

    def __init__(self, compute: ComputeThread, most: int) -> None:
        self._compute = compute
        self.most = most
        self._lock = Lock()
        self._waiting: deque[_Running] = deque()
        self._running: list[_Running] = []
        self._goes_round = False

    def add(self, turn: Turn, keep: Callable[[FinishedReply], None]) -> Future[FinishedReply]:
        """Make a reply, beside those that are being made. Its streamer learns of the end or the error, always.

        Args:
            turn: the reply to make.
            keep: called with it in the compute thread, before its future is done.
        """
        running = _Running(turn, keep)
        with self._lock:
            self._waiting.append(running)
            if not self._goes_round:
                self._goes_round = True
                self._compute.submit(self._round)
        return running.job

    def finish(self) -> None:
        """Make all replies to their end, which was said to be near; called in the compute thread."""
        while self._running or self._waiting:
            self._advance()

    def _round(self) -> None:
        self._advance()
        with self._lock:
            self._goes_round = bool(self._running or self._waiting)
            if self._goes_round:
                self._compute.submit(self._round)

    def _advance(self) -> None:
        """Begin what can begin, read on in one prompt, and write a token of each reply."""
        try:
            with torch.inference_mode():
                self._begin()
                self._read_on()
                self._step()
        except BaseException as error:  # the model failed for all
            for running in list(self._running):
                self._fail(running, error)

    def _begin(self) -> None:
        while len(self._running) < self.most:
            with self._lock:
                if not self._waiting:
                    return
                running = self._waiting.popleft()
            self._running.append(running)
            turn = running.turn
            try:
                turn.start()
                turn.streamer.begin()
                running.unread = list(turn.prompt.ids[turn.cached_tokens :])
            except BaseException as error:
                self._end(running, error)

    def _read_on(self) -> None:
        """Read a piece of the prompt that came first."""
        running = next((running for running in self._running if running.unread), None)
        if running is None:
            return
        turn, piece = running.turn, running.unread[:CHUNK_TOKENS]
        try:
            with interruptible(turn.model.layers, turn.streamer.check):
                logits = read(turn, piece)
            running.unread = running.unread[CHUNK_TOKENS:]
            if not running.unread:
                running.token = turn.take(logits)
        except BaseException as error:
            self._end(running, error)

    def _step(self) -> None:
        """Write the next token of each reply whose prompt is read."""
        for running in list(self._running):
            try:
                running.turn.streamer.check()
            except BaseException as error:
                self._end(running, error)
        writing = [running for running in self._running if not running.unread]
        if not writing:
            return
        step = writing[0].turn.model.step
        assert step is not None
        tokens = torch.tensor([running.token for running in writing])
        logits = step(tokens, [running.turn.cache for running in writing])
        for running, scores in zip(writing, logits, strict=True):
            try:
                running.token = running.turn.take(scores)
            except BaseException as error:
                self._end(running, error)

    def _end(self, running: _Running, error: BaseException) -> None:
        """End a reply by what was raised: it is complete, somebody stopped it, or it failed."""
        streamer = running.turn.streamer
        try:
            if isinstance(error, Finished):
                streamer.end()
            elif isinstance(error, Stopped):
                streamer.fail(error)
            else:
                raise error
            reply = running.turn.finish(error.reason if isinstance(error, Finished) else "stopped")
            running.keep(reply)
        except BaseException as failure:
            self._fail(running, failure)
            return
        self._running.remove(running)
        running.job.set_result(reply)

    def _fail(self, running: _Running, error: BaseException) -> None:
        self._running.remove(running)
        running.turn.streamer.fail(error)
        running.job.set_exception(error)
