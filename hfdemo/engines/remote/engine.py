"""The engine that asks an endpoint. A reader takes from a queue what comes in the host's event loop."""

import asyncio
import logging
import secrets
import time
from collections.abc import Generator, Iterator
from queue import Empty, SimpleQueue

from hfdemo.chat.reply import HEARTBEAT_S, Delta, FinishReason, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.protocol import Status
from hfdemo.engines.receipts import log_receipt
from hfdemo.engines.remote.asking import Asking
from hfdemo.engines.remote.events import Chunk
from hfdemo.engines.remote.host import RemoteHost
from hfdemo.engines.remote.reply import RemoteReply
from hfdemo.errors import GenerationFailed, HfdemoError, explain_failure
from hfdemo.settings import Settings

logger = logging.getLogger(__name__)

POLL_S = 0.05
"""How soon a stopped reply closes its connection."""

Event = Chunk | BaseException | None
"""A piece of a reply, why it failed, or its end."""


class RemoteEngine:
    """Answers with the model that an endpoint has.

    Args:
        settings: the host's.
        host: knows the endpoint.
    """

    def __init__(self, settings: Settings, host: RemoteHost) -> None:
        self._settings = settings
        self._host = host

    def status(self) -> Status:
        """Return the model in use, or what is known of the endpoint so far."""
        return self._host.status

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        """Yield the reply to a request; see `protocol.Engine.stream`."""
        events: SimpleQueue[Event] = SimpleQueue()
        seed = request.options.seed if request.options.seed >= 0 else secrets.randbelow(2**31)
        asking = Asking(self._host, request, seed, events.put)
        task = asyncio.run_coroutine_threadsafe(asking.run(), self._host.loop)
        task.add_done_callback(lambda ended: events.put(None if ended.cancelled() else ended.exception()))
        reply = RemoteReply(request)
        try:
            reason = yield from self._read(request, reply, events, stop)
        except HfdemoError:
            raise
        except Exception as error:
            raise explain_failure(error) from None
        finally:
            task.cancel()  # closes the connection
        status = self.status()
        receipt = reply.receipt(reason, asking.model, status.device, asking.seed, status.context_limit, asking.dropped)
        log_receipt(logger, receipt)
        yield Delta(used_tokens=receipt.used_tokens, receipt=receipt)

    def _read(
        self, request: ChatRequest, reply: RemoteReply, events: "SimpleQueue[Event]", stop: StopSignal
    ) -> Generator[Delta, None, FinishReason]:
        """Yield what comes, and return why the reply ends."""
        told, told_at = reply.begin(), time.monotonic()
        limit_at, interval_s = told_at + self._settings.time_limit_s, request.update_interval_s
        reason: FinishReason | None = None
        while reason is None:
            try:
                event = events.get(timeout=min(POLL_S, interval_s or POLL_S))
                if isinstance(event, BaseException):
                    raise event
                told = told.then(reply.add(event) if event else Delta())
                reason = reply.finish_reason() if event is None or reply.stop_text_found else None
            except Empty:
                reason = None
            except Exception:
                if reply.has_begun:  # what came is kept
                    yield told.then(reply.end())
                raise
            reason = stop.reason if stop.is_set() else reason or self._overdue(reply, limit_at, stop)
            pause_s = interval_s if told.text or told.thought else HEARTBEAT_S
            if reason is None and time.monotonic() - told_at >= pause_s:
                yield told
                told, told_at = Delta(used_tokens=reply.used_tokens), time.monotonic()
        yield told.then(reply.end())
        return reason

    def _overdue(self, reply: RemoteReply, limit_at: float, stop: StopSignal) -> FinishReason | None:
        """Return why a reply must end that takes too long; None if it doesn't.

        Raises:
            GenerationFailed: not a word of it has come.
        """
        if time.monotonic() <= limit_at:
            return None
        if not reply.has_begun:
            host, seconds = self._host.address.host, self._settings.time_limit_s
            raise GenerationFailed("endpoint_silent", host=host, seconds=seconds)
        stop.set("time_limit")
        return stop.reason
