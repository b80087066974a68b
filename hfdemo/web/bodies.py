"""How long an address and how large a body may be, how long it may take, and how many large ones are read at once.

Gradio reads a body whole and makes Python values of it, which take some 25 times its size.
"""

import asyncio
import re
from collections import Counter
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfdemo.web.clients import client_of
from hfdemo.web.refusals import refusal

MOST_ADDRESS_BYTES = 60_000
"""How long path and query of an address may be: httpx, by which Gradio reads it, takes 65,536 with the host's name."""

SMALL_BYTES = 64 * 1024
"""More than any request needs that brings no conversation."""

MOST_LARGE = 2
"""How many bodies that aren't small are parsed at one time; others wait."""

MOST_BYTES = 128 * 1024 * 1024
"""How much of them may be there at one time, before and while they are parsed; half of it from one address, so
that one sender doesn't keep all others out."""

CHUNK_WAITS_S = 20.0
"""How long the next part of a body may take."""

BODY_WAITS_S = 120.0
"""How long a whole body may take."""

_EVENT = re.compile(r"/gradio_api/(queue/join|(call|run|api)/[^/]+|call/v2/[^/]+)/?|/v1/.*")


class BodyRefused(Exception):
    """A body is too large, or didn't come in time."""


TOO_LARGE = ("too_large", 413)
TOO_SLOW = ("too_slow", 408)


class BodyLimits:
    """ASGI middleware: refuses addresses that are too long, and bodies that are too large or too slow.

    Of a body nothing is in memory then.

    Args:
        app: what it guards.
        max_event_bytes: how large a message may be, with the conversation.
        chunk_s: how long the next part of a body may take.
        body_s: how long a whole body may take.
    """

    def __init__(
        self, app: ASGIApp, max_event_bytes: int, chunk_s: float = CHUNK_WAITS_S, body_s: float = BODY_WAITS_S
    ) -> None:
        self._app = app
        self._max_event_bytes = max_event_bytes
        self._chunk_s = chunk_s
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > MOST_ADDRESS_BYTES:
            await refusal("address_too_long", 414, scope)(scope, receive, send)
            return
        limit = self._max_event_bytes if _EVENT.fullmatch(scope["path"]) else SMALL_BYTES
        body = _Body(receive, limit, self._chunk_s, self._body_s)
        started = False

        async def sender(message: Message) -> None:
            nonlocal started
            if body.problem and not started:
                return  # what the app makes of the body that broke off
            started = True
            await send(message)

        try:
            if _told_bytes(scope) > limit:
                body.refuse(*TOO_LARGE)
            await self._app(scope, body.receive, sender)
        except BodyRefused:
            pass
        if body.problem and not started:
            key, status = body.problem
            answer = refusal(key, status, scope, {"connection": "close"}, limit=f"{limit / 2**20:g}")
            await answer(scope, receive, send)


class _Body:
    """Hands on a body up to its limits."""

    def __init__(self, receive: Receive, limit: int, chunk_s: float, body_s: float) -> None:
        self.problem: tuple[str, int] | None = None
        self._receive = receive
        self._limit = limit
        self._chunk_s = chunk_s
        self._body_s = body_s
        self._taken = 0
        self._complete = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """Return the next message of a request."""
        if self._complete:  # what is waited for now is the end of the connection
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._body_s
        try:
            message = await asyncio.wait_for(self._receive(), min(self._chunk_s, max(0.0, self._deadline - now)))
        except TimeoutError:
            self.refuse(*TOO_SLOW)
        self._taken += len(message.get("body", b""))
        self._complete = not message.get("more_body")
        if self._taken > self._limit:
            self.refuse(*TOO_LARGE)
        return message

    def refuse(self, key: str, status: int) -> NoReturn:
        """Break off.

        Raises:
            BodyRefused: always.
        """
        self.problem = (key, status)
        raise BodyRefused(key)


class FewLargeBodies:
    """ASGI middleware: serves a few requests with large bodies at a time.

    It is a body's turn when all of it is there, so that nobody waits for a slow sender; and its turn ends when the
    answer begins, so that nobody waits for a reader either: an event stream may last for hours.

    Args:
        app: what it guards.
        most: how many are served at one time.
        waits_s: how long another one waits for its turn.
        most_bytes: how much of large bodies may be there at one time.
        most_of_one: how much of that may be from one address.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int = MOST_LARGE,
        waits_s: float = CHUNK_WAITS_S,
        most_bytes: int = MOST_BYTES,
        most_of_one: int = MOST_BYTES // 2,
    ) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(most)
        self._waits_s = waits_s
        self._most_bytes = most_bytes
        self._most_of_one = most_of_one
        self._bytes: Counter[str] = Counter()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _may_be_large(scope):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        address = client_of((scope.get("client") or ("", 0))[0])
        try:
            came = await self._read(receive, body, address)
            if came and await self._is_its_turn():
                await self._hand_on(scope, body, receive, send)
            else:
                await refusal("too_many_large", 503, scope, {"retry-after": "5"})(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody waits for an answer
        finally:
            self._bytes[address] -= len(body)
            if not self._bytes[address]:
                del self._bytes[address]

    async def _read(self, receive: Receive, body: bytearray, address: str) -> bool:
        """Read a body; tell whether there is room for it."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            body += part
            self._bytes[address] += len(part)
            if self._bytes[address] > self._most_of_one or self._bytes.total() > self._most_bytes:
                return False
            more = message.get("more_body", False)
        return True

    async def _is_its_turn(self) -> bool:
        try:
            await asyncio.wait_for(self._turns.acquire(), self._waits_s)
        except TimeoutError:
            return False
        return True

    async def _hand_on(self, scope: Scope, body: bytearray, receive: Receive, send: Send) -> None:
        has_turn = True

        def end_turn() -> None:
            nonlocal has_turn
            if has_turn:
                self._turns.release()
            has_turn = False

        async def sender(message: Message) -> None:
            end_turn()
            await send(message)

        try:
            await self._app(scope, again(bytes(body), receive), sender)
        finally:
            end_turn()


def again(body: bytes, receive: Receive) -> Receive:
    """Return what hands on a body that was read, and then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiver() -> Message:
        return first.pop() if first else await receive()

    return receiver


def _told_bytes(scope: Scope) -> int:
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() and len(told) < 18 else 2**63


def _may_be_large(scope: Scope) -> bool:
    """Tell whether a request may have a body that isn't small."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or _told_bytes(scope) > SMALL_BYTES
