"""How large a request may be, by its route, how long its body may take, and how many large ones are read at once.

Gradio reads a body whole and makes Python values of it, which take some 25 times its size.
"""

import asyncio
import re
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfdemo.web.refusals import refusal

SMALL_BYTES = 64 * 1024
"""More than any request needs that brings no conversation."""

MOST_LARGE = 2
"""How many bodies that aren't small are read at one time; others wait unread."""

CHUNK_WAITS_S = 20.0
"""How long the next part of a body may take."""

BODY_WAITS_S = 120.0
"""How long a whole body may take."""

_EVENT = re.compile(
    r"/gradio_api/(queue/join|(call|run|api)/[^/]+|call/v2/[^/]+)/?|/v1/(chat/completions|completions|responses)/?"
)


class BodyRefused(Exception):
    """A body is too large, or didn't come in time."""


TOO_LARGE = ("too_large", 413)
TOO_SLOW = ("too_slow", 408)


class BodyLimits:
    """ASGI middleware: refuses bodies that are too large or too slow, before they are in memory.

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

    Args:
        app: what it guards.
        most: how many are read at one time.
        waits_s: how long another one waits for its turn.
    """

    def __init__(self, app: ASGIApp, most: int = MOST_LARGE, waits_s: float = CHUNK_WAITS_S) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(most)
        self._waits_s = waits_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not may_be_large(scope):
            await self._app(scope, receive, send)
            return
        try:
            await asyncio.wait_for(self._turns.acquire(), self._waits_s)
        except TimeoutError:
            await refusal("too_many_large", 503, scope, {"retry-after": "5"})(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.release()


def _told_bytes(scope: Scope) -> int:
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() and len(told) < 18 else 2**63


def may_be_large(scope: Scope) -> bool:
    """Tell whether a request may have a body that isn't small."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or _told_bytes(scope) > SMALL_BYTES
