"""The engine that runs the model in this process, one reply after the other or several at once.

Loading and every reply run in one thread made for it: PyTorch computes at half its speed as soon as a second
thread that lives has computed, too. Importing this module imports no torch, so that the page is there first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from hfdemo.background import in_thread
from hfdemo.chat.reply import HEARTBEAT_S, Delta, Receipt, StopSignal
from hfdemo.chat.request import ChatRequest, ShownPrompt
from hfdemo.compute.thread import ComputeThread
from hfdemo.decoding.prefix_cache import PrefixCache
from hfdemo.engines.model_host import LocalModelHost, not_there_error
from hfdemo.engines.protocol import Setup, Status
from hfdemo.engines.receipts import log_receipt, nothing_written
from hfdemo.errors import HfdemoError, explain_failure, is_device_lost
from hfdemo.models.catalog import Catalog
from hfdemo.settings import Settings

if TYPE_CHECKING:
    from hfdemo.decoding.loop import Loop
    from hfdemo.decoding.running import RunningReply
    from hfdemo.models.load import LoadedModel

logger = logging.getLogger(__name__)

EXPIRY_LOOK_S = 30.0
"""How often it is looked whether what is kept of conversations is too old."""


def set_up(settings: Settings, on_device_lost: Callable[[], None]) -> Setup:
    """Return the engine of a model on this machine, which begins to load; see `protocol.Setup`."""
    host = LocalModelHost(settings, ComputeThread())
    host.on_device_lost = on_device_lost
    engine = LocalEngine(settings, host)
    host.load()
    return Setup(engine, host, engine, Catalog(settings, host.machine))


class LocalEngine:
    """Answers with the model that a host has on this machine.

    Several replies are written at once where the settings say so and the model can.

    Args:
        settings: the host's.
        host: has the model, or brings it.
    """

    def __init__(self, settings: Settings, host: LocalModelHost) -> None:
        self._settings = settings
        self._host = host
        self._lock = host.lock
        self._loop: Loop | None = None  # of the model that is there
        self._prefixes = PrefixCache(settings.prefix_cache_bytes)
        self._streams = 0
        self._expires = False
        host.attach(self)

    def status(self) -> Status:
        """Return the model in use, or its loading progress."""
        return self._host.status

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        """Yield the reply to a request; see `protocol.Engine.stream`."""
        with self._lock:
            self._streams += 1
        try:
            answered = False
            while not answered:
                if not (yield from self._wait_for_model(stop)):
                    yield Delta(receipt=nothing_written(stop.reason, self.status()))
                    return
                answered = yield from self._answer(request, stop)
        except HfdemoError:
            raise
        except Exception as error:
            if is_device_lost(error):
                self._host.give_up_device()
            raise explain_failure(error) from None
        finally:
            stop.set()  # never wait here for the model: it sees `stop` by itself
            with self._lock:
                self._streams -= 1
                self._host.last_used = time.monotonic()

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request; see `protocol.PromptViewer.show_prompt`."""
        from hfdemo.decoding.request import show_prompt

        model = self._host.model
        if model is None:
            raise not_there_error(self.status())
        return show_prompt(model.prompts, request)

    def in_use(self) -> bool:
        """Tell whether somebody gets a reply, or waits for one."""
        loop = self._loop  # the compute thread may take it away meanwhile
        return self._streams > 0 or (loop is not None and loop.is_busy)

    def end_replies(self) -> None:
        """Let all replies end with what they have, because the model is changed."""
        if loop := self._loop:
            loop.end_all("model_changed")

    def release(self) -> None:
        """Let go of what belongs to the model; called in the compute thread."""
        if self._loop:
            self._loop.finish()
            self._loop = None
        self._prefixes.clear()

    def _wait_for_model(self, stop: StopSignal) -> Generator[Delta, None, bool]:
        """Yield heartbeats until the model is there, or somebody stops; tell whether it is."""
        if self.status().stage != "failed" or self._host.goes_back():
            self._host.load()
        while self._host.model is None:
            stage = self.status().stage
            if stage in ("failed", "cancelled"):
                raise not_there_error(self.status())
            if stage == "unloaded":
                self._host.load()
            yield Delta()
            if stop.wait(HEARTBEAT_S):
                return False
        return True

    def _answer(self, request: ChatRequest, stop: StopSignal) -> Generator[Delta, None, bool]:
        """Yield the reply of the model that is there; return False if it was changed before it wrote anything."""
        model = self._host.model
        if model is None:
            return False
        reply = self._prepare(model, request, stop)
        with self._lock:
            if self._host.model is not model:
                return False
            loop = self._loop = self._loop or self._make_loop(model)
            loop.add(reply)
        prompt_tokens, interval_s = reply.request.prompt_tokens, request.update_interval_s
        yield Delta(used_tokens=prompt_tokens, ahead=loop.ahead(reply))
        for delta in reply.streamer.deltas(prompt_tokens, interval_s, lambda: loop.ahead(reply)):
            if _was_put_off(delta.receipt, request) and stop.revert("model_changed"):
                return False
            if stop.is_set() and not delta.receipt:
                loop.withdraw(reply)
            yield delta
        return True

    def _prepare(self, model: LoadedModel, request: ChatRequest, stop: StopSignal) -> RunningReply:
        """Build the prompt, and find out whether the model can go on where it was."""
        from hfdemo.decoding.request import make_decode_request
        from hfdemo.decoding.running import RunningReply

        key = request.cache_key
        reply_ids = self._prefixes.continued_ids(request)
        decode_request = make_decode_request(
            model.prompts, request, reply_ids, self._settings.time_limit_s, model.defaults.recommended
        )
        cache, cached_tokens = self._prefixes.take(key, decode_request.prompt.ids)
        return RunningReply(
            model,
            decode_request,
            stop,
            cache,
            cached_tokens,
            keep=lambda reply, receipt: self._keep(key, reply, receipt),
        )

    def _make_loop(self, model: LoadedModel) -> Loop:
        from hfdemo.decoding.loop import Loop

        if model.prefix_bytes is not None:
            self._prefixes.limit(model.prefix_bytes)
        in_batch = self._settings.batched and model.step is not None
        return Loop(self._host.compute, model.chats if in_batch else 1)

    def _keep(self, key: str, reply: RunningReply, receipt: Receipt) -> None:
        """Keep what the next turn can use; runs in the compute thread."""
        log_receipt(logger, receipt)
        self._host.last_used = time.monotonic()
        with self._lock:  # what a model wrote is of no use to the next one
            if self._host.model is reply.model:
                self._prefixes.put(key, reply.cached())
                if not self._expires:
                    self._expires = True
                    in_thread(self._expire, "expiry")

    def _expire(self) -> None:
        """Let go of what belongs to abandoned conversations, as long as anything is kept."""
        while self._expires:
            time.sleep(EXPIRY_LOOK_S)
            with self._lock:
                self._expires = self._prefixes.expire()


def _was_put_off(receipt: Receipt | None, request: ChatRequest) -> bool:
    """Tell whether the model was changed before it wrote anything: then the next one answers."""
    if receipt is None or receipt.finish_reason != "model_changed":
        return False
    return not (receipt.new_tokens or request.reply_start or request.thought_start)
