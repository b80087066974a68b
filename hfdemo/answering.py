"""One turn, for every door: a page, a program's call, whatever comes next.

A door hands over a request and reads an async stream of pieces, whose last one carries the receipt. Stop, a closed
tab, a cut connection and a time limit all set one event, and the same stream then ends by itself with its reason.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from threading import Lock
from typing import Protocol

from hfdemo.background import in_thread
from hfdemo.chat.reply import Delta, Receipt, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.protocol import Engine, Status
from hfdemo.errors import Busy, GenerationFailed, HfdemoError
from hfdemo.rates import MessageRates, Pace

STOP_WAITS_S = 1.0
"""How long Stop waits for a message that has not reached the server yet."""


DELIVERED_WITHIN_S = 0.5
"""How long the end of a reply may take to reach its reader."""

MAX_OF_ONE_VISITOR = 2
"""How many replies of one visitor may come or wait: one comes, and one waits."""


class Watcher(Protocol):
    """Counts what happens; called from any thread, one call at a time."""

    def began(self) -> None:
        """A message was taken."""
        ...

    def refused(self, reason: str) -> None:
        """A message wasn't taken."""
        ...

    def ended(self, receipt: Receipt | None, seconds: float) -> None:
        """A reply ended so long after its message; without a receipt, it failed."""
        ...


class Answering:
    """Lets an engine answer, for a bounded number of visitors at a time.

    Args:
        engine: answers.
        max_waiting: how many replies may come, or wait for their turn, at one time.
        max_of_one_address: how many of them for visitors from one address; None is as many as there are.
        per_minute: how many messages a visitor may send a minute, and a multiple of that from one address and all
            together; 0 is without a limit.
    """

    def __init__(
        self, engine: Engine, max_waiting: int = 32, max_of_one_address: int | None = None, per_minute: int = 0
    ) -> None:
        self._engine = engine
        self._rates = MessageRates(per_minute)
        self._pace = Pace()
        self._watcher: Watcher | None = None
        self._max_waiting = max_waiting
        self._max_of_one_address = max_of_one_address or max_waiting
        self._closing = False
        self._lock = Lock()
        self._answers: list[Answer] = []
        self._ended_at: dict[str, float] = {}  # when a visitor's reply ended, of the last seconds

    def let_watch(self, watcher: Watcher) -> None:
        """Let somebody count what happens from now on; there is one."""
        self._watcher = watcher

    def status(self) -> Status:
        """Return the model in use, or its loading progress."""
        return self._engine.status()

    def is_ready(self) -> bool:
        """Tell whether a message would be answered now, perhaps after the model is loaded again."""
        return not self._closing and self._engine.status().stage in ("ready", "unloaded")

    def answer(self, request: ChatRequest, visitor: str = "", address: str = "") -> "Answer":
        """Begin to answer, and return the reply that comes; called in the event loop that will read it.

        Args:
            request: the turn.
            visitor: whose it is, for `stop`; empty if that isn't known.
            address: from where it comes; empty if that isn't known.

        Raises:
            Busy: too many visitors wait already, or this one has enough replies that come.
        """
        answer = Answer(visitor, address)
        with self._lock:
            try:
                self._admit(visitor, address)
            except Busy as busy:
                if self._watcher:
                    self._watcher.refused(busy.key)
                raise
            self._answers.append(answer)
            if self._watcher:
                self._watcher.began()
        answer.ended.add_done_callback(lambda _: self._remove(answer))
        answer.begin(self._engine, request)
        return answer

    def close(self, wait_s: float) -> None:
        """Answer no new messages, and wait until the replies that come have ended; at most so many seconds."""
        self._closing = True
        if not self._answers:
            return
        deadline = time.monotonic() + wait_s
        while self._answers and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(DELIVERED_WITHIN_S)

    def _admit(self, visitor: str, address: str) -> None:
        """Raise what is to be told to a visitor who can't be answered now."""
        if self._closing:
            raise Busy("closing")
        if len(self._answers) >= self._max_waiting:
            raise self._too_many()
        if visitor and sum(answer.visitor == visitor for answer in self._answers) >= MAX_OF_ONE_VISITOR:
            raise Busy("busy_visitor")
        from_there = sum(answer.address == address for answer in self._answers)
        if address and from_there >= self._max_of_one_address:
            raise Busy("busy_address", waiting=from_there)
        if wait_s := self._rates.wait_s(visitor, address):
            raise Busy("too_many_messages", seconds=math.ceil(wait_s))

    def _too_many(self) -> Busy:
        waiting, soon_s = len(self._answers), self._pace.seconds
        return (
            Busy("busy", waiting=waiting)
            if soon_s is None
            else Busy("busy_for", waiting=waiting, seconds=math.ceil(soon_s))
        )

    async def stop(self, visitor: str) -> None:
        """Stop a visitor's replies. What was generated so far is still delivered."""
        begun = time.monotonic()
        while not (answers := [answer for answer in self._answers if answer.visitor == visitor]):
            too_late = begun - self._ended_at.get(visitor, 0.0) < STOP_WAITS_S  # it was meant for the one that ended
            if too_late or time.monotonic() - begun > STOP_WAITS_S:
                return
            await asyncio.sleep(0.05)
        for answer in answers:
            answer.stop.set()

    def _remove(self, answer: "Answer") -> None:
        now = time.monotonic()
        with self._lock:
            self._answers.remove(answer)
            self._pace.one_ended(others=bool(self._answers))
            if self._watcher:
                self._watcher.ended(answer.ended.result(), now - answer.began_at)
            recent = {visitor: at for visitor, at in self._ended_at.items() if now - at < STOP_WAITS_S}
            self._ended_at = recent | {answer.visitor: now}


class Answer:
    """One reply that comes. A thread of its own follows the engine to the end, whether anyone reads or not.

    Args:
        visitor: whose it is.
        address: from where it was asked for.
    """

    def __init__(self, visitor: str = "", address: str = "") -> None:
        self.visitor = visitor
        self.address = address
        self.stop = StopSignal()
        self.ended: Future[Receipt | None] = Future()
        """Done when the engine has ended, with the receipt; None if it failed."""
        self.text = self.thought = ""
        self.began_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Delta | BaseException] = asyncio.Queue()

    def begin(self, engine: Engine, request: ChatRequest) -> None:
        """Let the engine write, in the caller's context: there ZeroGPU keeps a visitor's quota token."""
        context = copy_context()
        try:
            in_thread(lambda: context.run(self._follow, engine, request), "reply")
        except BaseException:  # the system gives no thread
            self.ended.set_result(None)
            raise

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the reply in pieces; pieces that arrive together are merged. Closing the generator stops the reply.

        Raises:
            HfdemoError: it failed; the text says why.
        """
        try:
            while True:
                piece = await self._pieces.get()
                together: Delta | None = None
                while isinstance(piece, Delta):
                    together = together.then(piece) if together else piece
                    if piece.receipt or self._pieces.empty():
                        break
                    piece = self._pieces.get_nowait()
                if together:
                    yield together
                if isinstance(piece, BaseException):
                    raise piece
                if piece.receipt:
                    return
        finally:
            self.stop.set()

    def _follow(self, engine: Engine, request: ChatRequest) -> None:
        """Hand on what the engine gives; runs in a thread of its own."""
        receipt: Receipt | None = None
        try:
            for delta in engine.stream(request, self.stop):
                self.text, self.thought = delta.added_to(self.text, self.thought)
                receipt = delta.receipt or receipt
                self._hand_on(delta)
            if receipt is None:  # an engine that breaks its promise leaves nobody waiting
                self._hand_on(GenerationFailed("generation"))
        except HfdemoError as error:
            self._hand_on(error.with_traceback(None))  # its frames may hold the model
        except BaseException as error:
            self._hand_on(error)
        finally:
            self.ended.set_result(receipt)

    def _hand_on(self, piece: Delta | BaseException) -> None:
        with suppress(RuntimeError):  # the event loop has ended: nobody reads any more
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
