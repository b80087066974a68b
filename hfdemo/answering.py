"""One turn, for every door: a page, a program's call, whatever comes next.

A door hands over a request and reads an async stream of pieces, whose last one carries the receipt. Stop, a closed
tab, a cut connection and a time limit all set one event, and the same stream then ends by itself with its reason.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
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

BACK_WITHIN_S = 1.0
"""How long a reply goes on after its page was closed: one that is loaded again asks for it by then."""

MAX_ENDED = 1000
"""How many replies are kept at most for pages that lost their connection."""

STOPPED_WITHIN_S = 1.0
"""How long an engine may take to stop when the program ends."""

DELIVERED_WITHIN_S = 0.5
"""How long the end of a reply may take to reach its reader."""

MAX_READERS = 4
"""How many pages may show one reply at one time: each of them is drawn to anew."""

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
        unread_s: how long a reply goes on, and is kept, that nobody reads but somebody may ask for again.
    """

    def __init__(
        self,
        engine: Engine,
        max_waiting: int = 32,
        max_of_one_address: int | None = None,
        per_minute: int = 0,
        unread_s: float = 60,
    ) -> None:
        self._engine = engine
        self._unread_s = unread_s
        self._by_turn: OrderedDict[str, Answer] = OrderedDict()
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

    def answer(
        self,
        request: ChatRequest,
        visitor: str = "",
        address: str = "",
        turn: str = "",
        earlier: Receipt | None = None,
    ) -> "Answer":
        """Begin to answer, and return the reply that comes; called in the event loop that will read it.

        Args:
            request: the turn.
            visitor: whose it is, for `stop`; empty if that isn't known.
            address: from where it comes; empty if that isn't known.
            turn: a secret name of what is answered, by which a page that lost its connection can ask for the reply
                again; without it, the reply ends when nobody reads it.
            earlier: of what there was of a reply that goes on.

        Raises:
            Busy: too many visitors wait already, or this one has enough replies that come.
        """
        answer = Answer(visitor, address, self._unread_s if turn else 0, request.cache_key, earlier)
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
        if turn and self._unread_s:
            self._remember(turn, answer)
        answer.ended.add_done_callback(lambda _: self._remove(answer))
        answer.begin(self._engine, request)
        return answer

    def find(self, turn: str, visitor: str = "") -> "Answer | None":
        """Return the reply to a turn, if it comes or has ended lately; it is this visitor's, too, from now on.

        Raises:
            Busy: as many pages show it as may.
        """
        answer = self._by_turn.get(turn)
        if answer:
            if answer.readers >= MAX_READERS:
                raise Busy("busy_visitor")
            answer.visitors.add(visitor)
            answer.came_back()
        return answer

    def leave(self, turn: str) -> None:
        """Let a reply end whose page is closed, unless it is opened again at once."""
        if answer := self._by_turn.get(turn):
            answer.leave()

    def close(self, wait_s: float) -> None:
        """Answer no new messages, and let the replies that come end; those that take longer reach a time limit."""
        self._closing = True
        if not self._answers:
            return
        self._wait_until_ended(wait_s)
        for answer in list(self._answers):
            answer.cut_off()
        self._wait_until_ended(STOPPED_WITHIN_S)
        time.sleep(DELIVERED_WITHIN_S)

    def _wait_until_ended(self, wait_s: float) -> None:
        """Wait until no reply comes any more, or so many seconds."""
        deadline = time.monotonic() + wait_s
        while self._answers and time.monotonic() < deadline:
            time.sleep(0.05)

    def _admit(self, visitor: str, address: str) -> None:
        """Raise what is to be told to a visitor who can't be answered now."""
        if self._closing:
            raise Busy("closing")
        if len(self._answers) >= self._max_waiting:
            raise self._too_many()
        if visitor and sum(visitor in answer.visitors for answer in self._answers) >= MAX_OF_ONE_VISITOR:
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
        while not (answers := [answer for answer in self._answers if visitor in answer.visitors]):
            too_late = begun - self._ended_at.get(visitor, 0.0) < STOP_WAITS_S  # it was meant for the one that ended
            if too_late or time.monotonic() - begun > STOP_WAITS_S:
                return
            await asyncio.sleep(0.05)
        for answer in answers:
            answer.stop.set()

    def _remember(self, turn: str, answer: "Answer") -> None:
        """Keep a reply for who asks again, until some time after its end."""
        self._by_turn[turn] = answer
        if len(self._by_turn) > MAX_ENDED:
            self._by_turn.popitem(last=False)

        def forget() -> None:
            if self._by_turn.get(turn) is answer:
                del self._by_turn[turn]

        answer.ended.add_done_callback(lambda _: answer.later(self._unread_s, forget))

    def _remove(self, answer: "Answer") -> None:
        now = time.monotonic()
        with self._lock:
            self._answers.remove(answer)
            self._pace.one_ended(others=bool(self._answers))
            if self._watcher:
                self._watcher.ended(answer.ended.result(), now - answer.began_at)
            recent = {visitor: at for visitor, at in self._ended_at.items() if now - at < STOP_WAITS_S}
            self._ended_at = recent | dict.fromkeys(answer.visitors, now)


class Answer:
    """One reply that comes. A thread of its own follows the engine to the end, whether anyone reads or not.

    Args:
        visitor: whose it is; another page of the same browser may show it, too, and stop it.
        address: from where it was asked for.
        unread_s: how long it goes on when nobody reads it.
        cache_key: of its request; a page that finds the reply goes on with it.
        earlier: of what there was of a reply that goes on, for a page that finds it.
    """

    def __init__(
        self,
        visitor: str = "",
        address: str = "",
        unread_s: float = 0,
        cache_key: str = "",
        earlier: Receipt | None = None,
    ) -> None:
        self.visitors = {visitor}
        self.address = address
        self.cache_key = cache_key
        self.earlier = earlier
        self.stop = StopSignal()
        self.ended: Future[Receipt | None] = Future()
        """Done when the engine has ended, with the receipt; None if it failed."""
        self._so_far: Delta | None = None
        self._unread_s = unread_s
        self.began_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._readers: list[asyncio.Queue[Delta | BaseException]] = []
        self._failure: BaseException | None = None
        self._stopping: asyncio.TimerHandle | None = None
        self._left = False
        self._cut_off = False

    @property
    def thought(self) -> str:
        """What the model has thought so far."""
        return self._so_far.thought if self._so_far else ""

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def begin(self, engine: Engine, request: ChatRequest) -> None:
        """Let the engine write, in the caller's context: there ZeroGPU keeps a visitor's quota token."""
        context = copy_context()
        try:
            in_thread(lambda: context.run(self._follow, engine, request), "reply")
        except BaseException as error:  # the system gives no thread
            self._hand_on(error)  # to who finds this reply by its turn
            self.ended.set_result(None)
            raise

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the reply in pieces; pieces that arrive together are merged.

        Who begins to read later gets what came so far as one piece. When nobody reads any more, the reply ends: at
        once, or after `unread_s` if nobody comes back.

        Raises:
            HfdemoError: it failed; the text says why.
        """
        pieces = self._open()
        try:
            while True:
                piece = await pieces.get()
                together: Delta | None = None
                while isinstance(piece, Delta):
                    together = together.then(piece) if together else piece
                    if piece.receipt or pieces.empty():
                        break
                    piece = pieces.get_nowait()
                if together:
                    yield together
                if isinstance(piece, BaseException):
                    raise piece
                if piece.receipt:
                    return
        finally:
            with self._lock:
                self._readers.remove(pieces)
                unread = not self._readers
            if unread and not self._left:
                self._stop_in(self._unread_s)

    def leave(self) -> None:
        """Let the reply end soon: its page was closed, and no other one shows it."""
        if self.readers > 1:
            return
        self._left = True
        self._stop_in(BACK_WITHIN_S)

    def came_back(self) -> None:
        """Let the reply go on: somebody is there for it again."""
        self._left = False
        if self._stopping:
            self._stopping.cancel()
        if not self._readers:
            self._stop_in(self._unread_s)

    def cut_off(self) -> None:
        """Let the reply end with what it has, as the program does; with nothing it fails, and is no empty reply."""
        self._cut_off = True
        self.stop.set("time_limit")

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in the reader's event loop after some time; called from any thread."""
        with suppress(RuntimeError):  # the loop has ended, and everything with it
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, action)

    def _stop_in(self, seconds: float) -> None:
        if self._stopping:
            self._stopping.cancel()
        if seconds:
            self._stopping = self._loop.call_later(seconds, self.stop.set)
        else:
            self.stop.set()

    def _open(self) -> "asyncio.Queue[Delta | BaseException]":
        """Return a queue with what came so far, in which the rest will follow."""
        pieces: asyncio.Queue[Delta | BaseException] = asyncio.Queue()
        with self._lock:
            self._readers.append(pieces)
            if self._so_far:
                pieces.put_nowait(self._so_far)
            if self._failure:
                pieces.put_nowait(self._failure)
        if self._stopping and not self._left:
            self._stopping.cancel()
        return pieces

    def _follow(self, engine: Engine, request: ChatRequest) -> None:
        """Hand on what the engine gives; runs in a thread of its own."""
        receipt: Receipt | None = None
        try:
            for delta in engine.stream(request, self.stop):
                if self._cut_off and delta.receipt and not _has_something(self._so_far, delta):
                    raise Busy("closing")
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
        with self._lock:
            if isinstance(piece, Delta):
                self._so_far = self._so_far.then(piece) if self._so_far else piece
            else:
                self._failure = piece
            with suppress(RuntimeError):  # the event loop has ended: nobody reads any more
                for reader in self._readers:
                    self._loop.call_soon_threadsafe(reader.put_nowait, piece)


def _has_something(*pieces: Delta | None) -> bool:
    return any(piece and (piece.text or piece.thought or piece.calls) for piece in pieces)
