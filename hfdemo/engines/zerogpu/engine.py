"""The engine of a Space with ZeroGPU: the model is there from the start, and each reply borrows a GPU.

`spaces` makes a generator run in a worker: a fork of this process, which has the model, and for some seconds a GPU.
What goes there and back is plain data. Imported after `spaces`, which has to come before torch.
"""

import logging
import mmap
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Event, RLock
from typing import Any

from hfdemo.background import in_thread
from hfdemo.chat.messages import ChatRequest, Delta, FinishedReply, ShownPrompt, Status
from hfdemo.chat.reply_format import ThoughtSplitter
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding.prefix_cache import KeptReplies, KeptReply
from hfdemo.decoding.request import Order, show_prompt, take_order
from hfdemo.engines.model_host import KeptModel, not_there_error
from hfdemo.engines.protocol import HEARTBEAT_S
from hfdemo.engines.zerogpu.duration import GpuTime
from hfdemo.engines.zerogpu.refusal import explain_refusal
from hfdemo.engines.zerogpu.worker import Ended, FromWorker, Piece, SharedStop, make_reply
from hfdemo.errors import Busy, GenerationFailed, HfdemoError, InvalidInput
from hfdemo.models.load import LoadedModel
from hfdemo.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Loan:
    """A GPU that is asked for, or lent, for one reply."""

    order: Order
    chat: str
    place: int
    """Which of the shared stops is this reply's."""
    items: SimpleQueue[FromWorker] = field(default_factory=SimpleQueue)
    """What came from the worker."""
    job: Future[None] | None = None
    """Done when the GPU was given back."""


class ZeroGpuEngine:
    """Keeps one model, and answers each request in a worker that has a GPU; several at a time, if there are several.

    Args:
        settings: the host's.
        gpu: `spaces.GPU`.
    """

    def __init__(self, settings: Settings, gpu: Callable[..., Callable[..., Any]]) -> None:
        self._settings = replace(settings, idle_unload_s=0)  # what is unloaded could not be loaded again
        self._lock = RLock()
        memory = mmap.mmap(-1, settings.max_waiting)
        self._stops = [SharedStop(memory, place) for place in range(settings.max_waiting)]
        self._free = list(range(settings.max_waiting))  # the places that no reply has
        self._loans: dict[str, Loan] = {}  # the last one of each chat that has an unfinished one
        self._kept = KeptReplies()
        self._time = GpuTime()
        self._keeper = KeptModel(
            self._settings,
            CallingThread(),
            self._lock,
            is_used=lambda: True,
            leave=self._kept.model_leaves,
            end_replies=lambda: None,
        )
        self._make_reply_on_gpu = gpu(duration=self._duration_s)(self._make_reply)

    def load(self) -> None:
        """Load the model, the first time; return when it is there or has failed.

        To be called in the thread that imported `spaces`, before the page is served. Only in that thread does torch
        believe that there is a GPU; and when the page is served, `spaces` puts away what was moved there until then.
        """
        if self.status().stage != "resolving":
            return
        self._keeper.load()
        if plan := self.status().plan:
            self._time = GpuTime(plan.tokens_per_s, plan.weights_bytes, duration_factor())

    def status(self) -> Status:
        """Return how loading went."""
        return self._keeper.status

    def choose(self, model: str) -> None:
        """Refuse another model: none can be loaded any more.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("model_not_offered", models=self.status().model)

    def cancel(self) -> None:
        """Do nothing: when somebody can ask for it, loading is over."""

    def last_reply(self, chat: str) -> FinishedReply | None:
        """Return the last reply of a chat; while it is being stopped, wait for its end, two seconds at most."""
        loan = self._loans.get(chat)
        if loan and loan.job:
            wait([loan.job], timeout=2)
        kept = self._kept.get(chat)
        return kept.finished if kept else None

    def forget(self, chat: str) -> None:
        """Drop what is kept of a chat that is over, and of a reply to it that still comes."""
        self._loans.pop(chat, None)
        self._kept.forget(chat)

    def check(self, request: ChatRequest) -> None:
        """Refuse a request that doesn't fit the model; that takes no GPU."""
        if model := self._keeper.model:
            take_order(model.prompts, request)

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request; see `protocol.Engine.show_prompt`."""
        return show_prompt(self._model().prompts, request)

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        """Yield the reply to a request; see `protocol.Engine.stream`.

        While a GPU is waited for, and while it starts, heartbeats are yielded, too.

        Raises:
            NoGpu: ZeroGPU lends none for this reply now.
        """
        loan = self._ask_for_gpu(request)
        try:
            yield from self._deltas(loan, stop)
        finally:
            self._stops[loan.place].set()  # never wait here for the worker: it sees this by itself
            if loan.job:
                loan.job.add_done_callback(lambda _: self._end(loan))

    def _deltas(self, loan: Loan, stop: Event) -> Generator[Delta, None, None]:
        asked, tokens = loan.order.asked_tokens, 0
        splitter = ThoughtSplitter(loan.order.prompt.open_thought)
        while not stop.is_set():
            try:
                item = loan.items.get(timeout=HEARTBEAT_S)
            except Empty:
                item = Piece(tokens=tokens)
            if isinstance(item, HfdemoError):
                raise item
            if isinstance(item, Ended):
                thought, text = splitter.end()
                yield Delta(text, thought, asked + len(item.token_ids), receipt=item.reply.receipt)
                return
            tokens = item.tokens
            thought, text = splitter.add(item.text)
            yield Delta(text, thought, asked + tokens)

    def _model(self) -> LoadedModel:
        if self._keeper.model is None:
            raise not_there_error(self.status())
        return self._keeper.model

    def _ask_for_gpu(self, request: ChatRequest) -> Loan:
        """Begin to make a reply, in a thread that may wait for the GPU as long as it takes."""
        model = self._model()
        order = take_order(model.prompts, request, self._kept.get(request.chat))
        work_s = self._time.work_s(len(order.prompt.ids), order.options.max_new_tokens, self._settings.time_limit_s)
        order = replace(order, time_limit_s=work_s)
        with self._lock:
            if not self._free:
                raise Busy("busy", waiting=len(self._stops))
            loan = Loan(order, request.chat, self._free.pop())
            self._kept.forget(request.chat)
            self._loans[request.chat] = loan
        self._stops[loan.place].clear()
        context = copy_context()  # in it, `spaces` finds the token with which the visitor pays
        loan.job = in_thread(lambda: context.run(self._use_gpu, loan), "gpu-loan")
        return loan

    def _duration_s(self, order: Order, place: int) -> int:
        """Return for how long a reply needs the GPU; `spaces` asks with what it gives to `_make_reply`."""
        return self._time.duration_s(order.time_limit_s)

    def _use_gpu(self, loan: Loan) -> None:
        """Ask for a GPU and hand on what comes from the worker, to its end: then the GPU was given back."""
        try:
            for item in self._make_reply_on_gpu(loan.order, loan.place):
                if isinstance(item, Ended):
                    self._keep(loan, item)
                loan.items.put(item)
        except Exception as error:
            loan.items.put(explain_refusal(error))
        finally:
            loan.items.put(GenerationFailed("generation"))  # nobody reads this if the end was told

    def _make_reply(self, order: Order, place: int) -> Generator[FromWorker, None, None]:
        """Make a reply; runs in a worker."""
        yield from make_reply(self._model(), order, self._stops[place])

    def _keep(self, loan: Loan, ended: Ended) -> None:
        """Keep a reply for its receipt, and what it takes to go on with it."""
        receipt, prompt = ended.reply.receipt, loan.order.prompt
        self._time.learn(receipt.new_tokens, receipt.tokens_per_s)
        with self._lock:
            if loan.chat and self._loans.get(loan.chat) is loan:  # else the chat is over, or has asked again
                prompt_ids = prompt.ids[: loan.order.asked_tokens]
                self._kept.put(loan.chat, KeptReply(ended.reply, ended.token_ids, prompt_ids))
        logger.info(
            "reply: %d prompt tokens, %d new tokens, first after %.2f s, then %.1f/s, %s, of %.0f s that it had",
            receipt.prompt_tokens,
            receipt.new_tokens,
            receipt.first_token_s,
            receipt.tokens_per_s,
            receipt.finish_reason,
            loan.order.time_limit_s,
        )

    def _end(self, loan: Loan) -> None:
        """Take back what a reply had, once nobody reads it and its GPU was given back."""
        with self._lock:
            self._free.append(loan.place)
            if self._loans.get(loan.chat) is loan:
                del self._loans[loan.chat]


def duration_factor() -> float:
    """Return how many seconds `spaces` asks for, for each second of `duration`: on today's GPUs 1.5.

    That is because durations are meant for the faster GPUs that there were before. What isn't known is taken for 1,
    by which more is asked for than needed, and never less.
    """
    try:
        from spaces.zero.config import get_config

        return float(get_config()["duration_factor"])
    except (ImportError, KeyError):
        return 1.0
