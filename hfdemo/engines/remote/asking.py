"""One turn asked of an endpoint: what is tried again, what is left out, and when it is given up.

Nothing is sent again once a token has come: what a person reads would change under their eyes.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import httpx2

from hfdemo.chat.request import ChatRequest
from hfdemo.engines.remote.address import Address
from hfdemo.engines.remote.body import (
    Ask,
    droppable,
    make_body,
    tokens_that_fit,
    worth_saying,
)
from hfdemo.engines.remote.events import DONE, Chunk, EndlessEventError, EventReader, SaidError, read_chunk
from hfdemo.engines.remote.host import RemoteHost
from hfdemo.engines.remote.refusal import Refusal, explain_endpoint_refusal, explain_unreachable, read_said
from hfdemo.engines.remote.reply import FILTERED, ends_well
from hfdemo.engines.remote.untaken import (
    ALL_TAKEN,
    EXTRAS,
    LENGTHS,
    OTHER_NAMES,
    Untaken,
    read_untaken,
    shorter_length,
)
from hfdemo.errors import GenerationFailed, HfdemoError


class _NoEnd(httpx2.RemoteProtocolError):
    """An answer stops without a reply's end, though the connection didn't break."""


class Asking:
    """Asks for one reply; all of it runs in the host's event loop.

    Args:
        host: knows the endpoint.
        request: the turn.
        seed: the one to send.
        put: takes each piece that comes.
    """

    def __init__(self, host: RemoteHost, request: ChatRequest, seed: int, put: Callable[[Chunk], None]) -> None:
        self._host = host
        self._request = request
        self._put = put
        self.seed = seed
        """-1 where the endpoint takes none."""
        self.model = host.status.model
        self.dropped = 0
        """How many of the oldest messages are not shown, because they don't fit the model."""
        self._most_tokens: int | None = None
        self._untaken = ALL_TAKEN
        self._sent: dict[str, Any] = {}
        self._told: set[str] = set()
        self._begun = self._said = False
        self._swapped = self._looked_again = False
        self._finish = ""
        self._retries = 0
        self._pause_s = host.patience.pause_s
        self._begun_at = time.monotonic()

    async def run(self) -> None:
        """Ask until the reply has come to its end.

        Raises:
            HfdemoError: it doesn't come, or not to its end; the text says why.
        """
        try:
            while not await self._try():
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(5.0, 2 * self._pause_s)
        finally:
            self._host.end_loading()

    async def _try(self) -> bool:
        """Ask once; tell whether the reply has come, and not whether it is worth asking again after a while."""
        try:
            await self._host.find()
            return await self._ask_as_taken()
        except HfdemoError as error:
            if error.key != "endpoint_loading" or self._begun or self._waited_long():
                raise
            self._host.show_loading()
            return False
        except httpx2.HTTPError as error:
            if self._begun:
                raise GenerationFailed("endpoint_cut", host=self._host.address.host) from None
            if not self._may_retry():
                if isinstance(error, _NoEnd):
                    raise GenerationFailed("endpoint_empty", host=self._host.address.host) from None
                raise explain_unreachable(error, self._host.address) from None
            return False

    async def _ask_as_taken(self) -> bool:
        """Ask for what the endpoint takes, of messages that fit the model; tell whether the reply has come.

        Raises:
            HfdemoError: it does not even answer that; the text says why.
            httpx2.HTTPError: there is no answer.
        """
        self.model = self._host.status.model
        while True:
            untaken = self._host.untaken(self.model).joined(self._untaken)
            limit = self._host.status.context_limit
            ask = Ask(self._request, self.model, self.seed, limit, self._host.program, self._most_tokens)
            self._sent = body = make_body(ask, untaken, self.dropped)
            try:
                await self._ask(body)
            except Refusal as refusal:
                if not self._begun and (
                    await self._looks_elsewhere(refusal)
                    or any(helps(refusal, body) for helps in (self._shortens, self._drops, self._leaves))
                ):
                    continue
                if not self._begun and refusal.status == 502 and self._may_retry():
                    return False  # a server behind the endpoint is gone; there may be another
                raise explain_endpoint_refusal(refusal, self._address(), self.model) from None
            return True

    def _address(self) -> Address:
        """Return where the endpoint is, with the key that this request shows it."""
        return self._host.address.shown(self._request.access_token)

    async def _ask(self, body: dict[str, Any]) -> None:
        """Send a request, and hand on what comes.

        Raises:
            Refusal: the endpoint says no, by its status or in the stream.
            GenerationFailed: the reply isn't whole.
            httpx2.HTTPError: the connection broke, or nothing came.
        """
        self._finish = ""
        path = "/completions" if self._request.completes else "/chat/completions"
        session = hashlib.sha256(self._request.cache_key.encode()).hexdigest()[:32] if self._request.cache_key else ""
        address = self._address()
        async with self._host.server.ask(address.url(path), body, session, address.key) as response:
            if "html" in response.headers.get("content-type", ""):
                raise Refusal(404, "", {})  # a page for people
            done = False
            async with aclosing(self._events(response)) as events:
                async for data in events:
                    if data.strip() == DONE:
                        done = True
                        break
                    self._take(data)
        if self._finish in FILTERED and not self._said:
            raise GenerationFailed("endpoint_filtered", host=self._host.address.host)
        if not (ends_well(self._finish) or (done and self._begun and not self._finish)):
            raise _NoEnd("the stream has no end")

    def _take(self, data: str) -> None:
        try:
            chunk = read_chunk(data)
        except SaidError as error:
            raise read_said(error) from None
        if not self._begun and data.lstrip().startswith("<"):
            raise Refusal(404, "", {})  # a page for people that isn't called one
        self._finish = chunk.finish or self._finish
        self._said = self._said or chunk.says_something
        if not self._begun and (chunk.says_something or chunk.finish):
            self._begin()
        if chunk != Chunk():
            self._put(chunk)

    def _begin(self) -> None:
        """Remember what led to a reply."""
        self._begun = True
        self._host.end_loading()
        self._host.learn(self.model, self._untaken, frozenset(self._told), frozenset(self._sent))
        if "seed" not in self._sent:
            self.seed = -1

    async def _events(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        """Yield the data of each event, and end where a server that said its last word is silent."""
        reader, patience = EventReader(), self._host.patience
        async with aclosing(response.aiter_bytes()) as pieces:
            while True:
                may_stall = not self._begun or self._request.tools
                limit_s = patience.usage_s if self._finish else None if may_stall else patience.stalled_s
                try:
                    async with asyncio.timeout(limit_s):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    break
                except (httpx2.TransportError, TimeoutError) as error:
                    if self._finish:
                        return
                    if isinstance(error, httpx2.TransportError):
                        raise
                    host, seconds = self._host.address.host, round(patience.stalled_s)
                    raise GenerationFailed("endpoint_stalled", host=host, seconds=seconds) from None
                try:
                    for data in reader.add(piece):
                        yield data
                except EndlessEventError:
                    raise httpx2.RemoteProtocolError("an event without end") from None
        for data in reader.end():
            yield data

    async def _looks_elsewhere(self, refusal: Refusal) -> bool:
        """Find another place or model if nothing is where it was asked for; tell whether that may help.

        Raises:
            HfdemoError: the endpoint doesn't tell which models it has.
        """
        if refusal.status in (404, 405) and self._host.swap_bases():
            self._swapped = not self._swapped  # a second time, it is where it was
            return self._swapped
        if self._looked_again or not (refusal.is_about_model and self._host.forget_models()):
            return False
        self._looked_again = True
        await self._host.find()
        self.model = self._host.status.model
        return True

    def _shortens(self, refusal: Refusal, body: dict[str, Any]) -> bool:
        """Shorten a program's reply if it doesn't fit beside the prompt; tell whether that may help."""
        if not refusal.is_too_long or not (self._request.keeps_all or self._request.completes):
            return False
        self._most_tokens = tokens_that_fit(refusal.said, body, self._host.status.context_limit)
        return self._most_tokens is not None

    def _drops(self, refusal: Refusal, body: dict[str, Any]) -> bool:
        """Drop half of the older messages if the conversation is too long; tell whether that may help."""
        left = droppable(self._request) - self.dropped
        if not refusal.is_too_long or left <= 0:
            return False
        self.dropped += max(2, left // 4 * 2)
        return True

    def _leaves(self, refusal: Refusal, body: dict[str, Any]) -> bool:
        """Leave out what the endpoint doesn't take; tell whether there is anything that may help.

        Where it names nothing, it may be any of what OpenAI's own protocol doesn't have.
        """
        if refusal.status not in (0, 400, 422, 500) or refusal.is_too_long:
            return False
        untaken = read_untaken(refusal.said, refusal.body, body)
        refused = untaken.all_names
        if not refused and refusal.status != 500:
            refused = set(EXTRAS) & set(body)
            untaken = Untaken(frozenset(refused))
        for length in LENGTHS & refused - untaken.names:  # without any, a reply might cost whatever it costs
            self._most_tokens = shorter_length(refusal.said, body[length])
            if self._most_tokens or length not in OTHER_NAMES:
                return self._most_tokens is not None
            untaken = Untaken(frozenset(refused))
        known = {name for name, other in OTHER_NAMES.items() if other in refused}
        self._told |= {name for name in refused if worth_saying(name, body)} | known
        self._untaken = self._untaken.joined(untaken)
        return bool(refused)

    def _waited_long(self) -> bool:
        return time.monotonic() - self._begun_at + self._pause_s > self._host.patience.loading_s

    def _may_retry(self) -> bool:
        self._retries += 1
        return self._retries <= self._host.patience.retries
