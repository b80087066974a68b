"""The engine of a Space with ZeroGPU: the model is there from the start, and each reply borrows a GPU.

`spaces` makes a generator run in a worker: a fork of this process, which has the model, and for some seconds a GPU.
What goes there and back is plain data. Imported after `spaces`, which has to come before torch.
"""

import logging
import mmap
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from hfdemo.background import in_thread
from hfdemo.chat.reply import HEARTBEAT_S, Delta, StopSignal
from hfdemo.chat.request import ChatRequest, ShownPrompt
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding.prefix_cache import CachedReply, PrefixCache
from hfdemo.decoding.request import DecodeRequest, make_decode_request, show_prompt
from hfdemo.engines.model_host import LocalModelHost, not_there_error
from hfdemo.engines.protocol import Status
from hfdemo.engines.receipts import log_receipt, nothing_written
from hfdemo.engines.zerogpu.duration import GpuTime
from hfdemo.engines.zerogpu.refusal import explain_gpu_refusal
from hfdemo.engines.zerogpu.spaces_private import duration_factor, waits_for
from hfdemo.engines.zerogpu.worker import FromWorker, SharedStop, write_reply
from hfdemo.errors import Busy, GenerationFailed, HfdemoError
from hfdemo.models.load import LoadedModel
from hfdemo.settings import Settings

logger = logging.getLogger(__name__)

SLOT_WAITS_S = 1.0
"""How long a reply waits for the slot of one that has just ended: its GPU is given back a moment later."""


@dataclass(eq=False, slots=True)
class Loan:
    """A GPU that is asked for, or lent, for one reply."""

    request: DecodeRequest
    slot: int
    """Which of the shared stops is this reply's."""
    items: SimpleQueue[FromWorker] = field(default_factory=SimpleQueue)
    """What came from the worker."""
    returned: Future[None] | None = None
    """Done when the GPU was given back."""


class ZeroGpuEngine:
    """Keeps one model, and answers each request in a worker that has a GPU; several at a time, if there are several.

    Args:
        settings: the host's.
        gpu: `spaces.GPU`.
    """

    def __init__(self, settings: Settings, gpu: Callable[..., Callable[..., Any]]) -> None:
        self._settings = settings
        memory = mmap.mmap(-1, settings.max_waiting)
        self._stops = [SharedStop(memory, slot) for slot in range(settings.max_waiting)]
        self._free: SimpleQueue[int] = SimpleQueue()  # the slots that no reply has
        for slot in range(settings.max_waiting):
            self._free.put(slot)
        self._prefixes = PrefixCache()
        self._time = GpuTime()
        never_idle = replace(settings, idle_unload_s=0)  # what is unloaded could not be loaded again
        self._host = LocalModelHost(never_idle, CallingThread())
        self._write_reply_on_gpu = gpu(duration=self._duration_s)(self._write_reply)

    def load(self) -> None:
        """Load the model, the first time; return when it is there or has failed.

        To be called in the thread that imported `spaces`, before the page is served. Only in that thread does torch
        believe that there is a GPU; and when the page is served, `spaces` puts away what was moved there until then.
        """
        if self.status().stage != "resolving":
            return
        self._host.load()
        if plan := self.status().plan:
            self._time = GpuTime(plan.tokens_per_s, plan.weights_bytes, duration_factor())

    def status(self) -> Status:
        """Return how loading went."""
        return self._host.status

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request; see `protocol.PromptViewer.show_prompt`."""
        return show_prompt(self._model().prompts, request)

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        """Yield the reply to a request; see `protocol.Engine.stream`.

        While a GPU is waited for, and while it starts, heartbeats are yielded, too.

        Raises:
            Busy: more replies are asked for than the host allows.
            NoGpu: ZeroGPU lends none for this reply now.
        """
        loan = self._ask_for_gpu(request, stop)
        try:
            yield from self._deltas(loan, request, stop)
        finally:
            self._stops[loan.slot].set()  # never wait here for the worker: it sees this by itself
            if loan.returned:
                loan.returned.add_done_callback(lambda _: self._free_slot(loan))

    def _deltas(self, loan: Loan, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        last = Delta(used_tokens=loan.request.prompt_tokens)
        has_gpu = False
        yield last
        while True:
            if stop.is_set():
                self._stops[loan.slot].set(stop.reason)
                if not has_gpu:
                    yield Delta(receipt=nothing_written(stop.reason, self.status()))
                    return
            try:
                item = loan.items.get(timeout=HEARTBEAT_S)
            except Empty:
                item = Delta(used_tokens=last.used_tokens)
            else:
                has_gpu = True
            if isinstance(item, HfdemoError):
                raise item
            if isinstance(item, CachedReply):
                self._prefixes.put(request.cache_key, item)
                continue
            last = item
            if item.receipt:
                self._time.learn(item.receipt.new_tokens, item.receipt.tokens_per_s)
                log_receipt(logger, item.receipt, loan.request.time_limit_s)
            yield item
            if item.receipt:
                return

    def _model(self) -> LoadedModel:
        if self._host.model is None:
            raise not_there_error(self.status())
        return self._host.model

    def _ask_for_gpu(self, request: ChatRequest, stop: StopSignal) -> Loan:
        """Begin a reply, in a thread that may wait for the GPU as long as it takes."""
        model = self._model()
        reply_ids = self._prefixes.continued_ids(request)
        decode_request = make_decode_request(model.prompts, request, reply_ids, recommended=model.defaults.recommended)
        new_tokens = decode_request.options.max_new_tokens
        work_s = self._time.work_s(len(decode_request.prompt.ids), new_tokens, self._settings.time_limit_s)
        try:
            slot = self._free.get(timeout=SLOT_WAITS_S)
        except Empty:
            raise Busy("busy", waiting=len(self._stops)) from None
        loan = Loan(replace(decode_request, time_limit_s=work_s), slot)
        self._stops[loan.slot].clear()
        context = copy_context()  # in it, `spaces` finds the token with which the visitor pays
        try:
            loan.returned = in_thread(lambda: context.run(self._use_gpu, loan, stop), "gpu-loan")
        except BaseException:  # the system gives no thread
            self._free_slot(loan)
            raise
        return loan

    def _duration_s(self, request: DecodeRequest, slot: int) -> int:
        """Return for how long a reply needs the GPU; `spaces` asks with what it gives to `_write_reply`."""
        return self._time.duration_s(request.time_limit_s)

    def _use_gpu(self, loan: Loan, stop: StopSignal) -> None:
        """Ask for a GPU and hand on what comes from the worker, to its end: then the GPU was given back."""
        waits_for.set(stop)
        is_lent = False
        try:
            for item in self._write_reply_on_gpu(loan.request, loan.slot):
                is_lent = True
                loan.items.put(item)
        except Exception as error:
            if is_lent or not stop.is_set():  # else it has left the line
                loan.items.put(explain_gpu_refusal(error))
        finally:
            loan.items.put(GenerationFailed("generation"))  # nobody reads this if the end was told

    def _write_reply(self, request: DecodeRequest, slot: int) -> Generator[FromWorker, None, None]:
        """Write a reply; runs in a worker."""
        yield from write_reply(self._model(), request, self._stops[slot])

    def _free_slot(self, loan: Loan) -> None:
        """Let another reply have the slot, once nobody reads this one and its GPU was given back."""
        self._free.put(loan.slot)
