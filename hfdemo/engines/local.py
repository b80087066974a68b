"""The engine that runs the model in this process, one reply after the other or several at once (`batch.py`).

Loading and every reply run in one thread made for it: PyTorch computes at half its speed as soon as a second
thread that lives has computed, too. Importing this module imports no torch, so that the page is there first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from threading import Event, RLock
from typing import TYPE_CHECKING

from hfdemo.chat.messages import (
    ChatRequest,
    Delta,
    FinishedReply,
    ShownPrompt,
    Status,
)
from hfdemo.chat.reply_format import ThoughtSplitter
from hfdemo.compute.thread import ComputeThread
from hfdemo.decoding.prefix_cache import KeptReplies, KeptReply
from hfdemo.decoding.request import make_streamer, show_prompt, take_order
from hfdemo.engines.model_host import KeptModel, not_there_error
from hfdemo.engines.protocol import HEARTBEAT_S
from hfdemo.errors import Busy, HfdemoError, explain_failure
from hfdemo.settings import Settings

if TYPE_CHECKING:
    from hfdemo.decoding.generation import Turn
    from hfdemo.decoding.loop import Batch
    from hfdemo.decoding.streamer import TokenStreamer
    from hfdemo.models.load import LoadedModel
    from hfdemo.models.plan import Machine

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Place:
    """A place in the line."""

    job: Future[FinishedReply] | None = None
    """The reply's generation, once it is its turn or waits for it."""


class LocalEngine:
    """Keeps one model and answers with it, first come, first served.

    Several replies are made at once where the settings say so and the model can.

    Args:
        settings: the host's.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._compute = ComputeThread()
        self._lock = RLock()
        self._line: list[_Place] = []  # whose reply is being made, then who waits
        self._kept = KeptReplies(settings.prefix_cache_bytes)
        self._batch: Batch | None = None
        self._working: dict[str, Future[FinishedReply]] = {}  # the replies being made, by chat
        self._streamers: list[TokenStreamer] = []  # of the replies being made, and of those whose prompt is ready
        self._keeper = KeptModel(
            settings,
            self._compute,
            self._lock,
            is_used=lambda: bool(self._line),
            leave=self._model_leaves,
            end_replies=self._end_replies,
        )

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        self._keeper.load()

    def status(self) -> Status:
        """Return how far loading is."""
        return self._keeper.status

    def choose(self, model: str) -> None:
        """Change to another model; see `protocol.Engine.choose`."""
        self._keeper.choose(model)

    def cancel(self) -> None:
        """Stop whatever brings a model here; see `protocol.Engine.cancel`."""
        self._keeper.cancel()

    def machine(self) -> Machine:
        """Return what this machine has for another model."""
        return self._keeper.machine()

    def last_reply(self, chat: str) -> FinishedReply | None:
        """Return the last reply of a chat; while it is being stopped, wait for its end, two seconds at most."""
        if working := self._working.get(chat):
            wait([working], timeout=2)
        kept = self._kept.get(chat)
        return kept.finished if kept else None

    def forget(self, chat: str) -> None:
        """Drop what is kept of a chat that is over."""
        self._kept.forget(chat)

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        """Yield the reply to a request; see `protocol.Engine.stream`."""
        place = self._join_line()
        try:
            answered = False
            while not answered and not stop.is_set():
                yield from self._wait_for_model(stop)
                answered = yield from self._answer(request, stop, place)
        except HfdemoError:
            raise
        except Exception as error:
            if not stop.is_set():
                raise explain_failure(error) from None
        finally:
            stop.set()  # never wait here for the generation: it sees `stop` by itself
            self._leave_line(place)

    def check(self, request: ChatRequest) -> None:
        """Refuse a request that doesn't fit the model; while the model isn't there, all is let through."""
        if model := self._keeper.model:
            take_order(model.prompts, request)

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request; see `protocol.Engine.show_prompt`."""
        model = self._keeper.model
        if model is None:
            raise not_there_error(self.status())
        return show_prompt(model.prompts, request)

    def _answer(self, request: ChatRequest, stop: Event, place: _Place) -> Generator[Delta, None, bool]:
        """Yield the reply of the model that is there; return False if it was changed before it wrote anything."""
        model = self._keeper.model
        if model is None:
            return False
        turn = self._prepare(model, request, stop)
        with self._lock:
            if self._keeper.model is not model:
                return False
            place.job = job = self._submit(turn, request.chat)
        streamer, prompt_tokens = turn.streamer, len(turn.prompt.ids) - turn.begun_with
        splitter = ThoughtSplitter(turn.prompt.open_thought)
        del model, turn  # whoever reads slowly must not keep a model in memory that was changed for another
        for piece in streamer.pieces(HEARTBEAT_S):
            thought, text = splitter.add(piece)
            used = prompt_tokens + len(streamer.token_ids)
            yield Delta(text, thought, used, ahead=0 if piece else self._ahead(place))
        receipt = job.result().receipt
        if receipt.finish_reason == "model_changed" and not receipt.new_tokens and not request.reply_start:
            return False
        thought, text = splitter.end()
        yield Delta(text, thought, prompt_tokens + len(streamer.token_ids), receipt=receipt)
        return True

    def _model_leaves(self) -> None:
        """Let go of what belongs to the model; called in the compute thread."""
        if self._batch:
            self._batch.finish()
            self._batch = None
        self._kept.model_leaves()

    def _end_replies(self) -> None:
        """Let all replies under way end with what they have, because the model is changed."""
        for streamer in list(self._streamers):
            streamer.end_soon("model_changed")

    def _join_line(self) -> _Place:
        place = _Place()
        with self._lock:
            if len(self._line) >= self._settings.max_waiting:
                raise Busy("busy", waiting=len(self._line))
            self._line.append(place)
        return place

    def _leave_line(self, place: _Place) -> None:
        """Leave the line as soon as the generation has ended, too."""

        def leave(*_: object) -> None:
            with self._lock:
                self._line.remove(place)
                self._keeper.last_used = time.monotonic()

        if place.job is None:
            leave()
        else:
            place.job.add_done_callback(leave)

    def _ahead(self, place: _Place) -> int:
        """Return how many replies have to end before this one is begun."""
        with self._lock:
            before = sum(other.job is None or not other.job.done() for other in self._line[: self._line.index(place)])
        batch = self._batch
        return max(0, before - (batch.most - 1 if batch else 0))

    def _wait_for_model(self, stop: Event) -> Generator[Delta, None, None]:
        """Yield heartbeats until the model is there or somebody stops."""
        if self.status().stage != "failed":
            self.load()
        while self._keeper.model is None and not stop.is_set():
            stage = self.status().stage
            if stage in ("failed", "cancelled"):
                raise not_there_error(self.status())
            if stage == "unloaded":
                self.load()
            yield Delta()
            stop.wait(HEARTBEAT_S)

    def _prepare(self, model: LoadedModel, request: ChatRequest, stop: Event) -> Turn:
        """Build the prompt, and find out whether the model can go on where it was."""
        from hfdemo.decoding.generation import Turn

        order = take_order(model.prompts, request, self._kept.get(request.chat))
        order = replace(order, time_limit_s=self._settings.time_limit_s)
        streamer = make_streamer(model, order, stop)
        turn = Turn(model, order.prompt, order.options, streamer, stop, begun_with=len(order.reply_ids))
        turn.cache, turn.cached_tokens = self._kept.take_prefix(request.chat, order.prompt.ids)
        return turn

    def _submit(self, turn: Turn, chat: str) -> Future[FinishedReply]:
        if self._settings.batched and turn.model.step:
            job = self._batched(turn.model).add(turn, lambda reply: self._keep(chat, reply, turn))
        else:
            job = self._compute.submit(self._generate, turn, chat)
        streamer = turn.streamer  # not the turn, which holds the model: a future keeps its callbacks
        self._streamers.append(streamer)
        job.add_done_callback(lambda _: self._streamers.remove(streamer))
        if chat:
            self._working[chat] = job
            job.add_done_callback(lambda _: self._no_longer_working(chat, job))
        return job

    def _batched(self, model: LoadedModel) -> Batch:
        from hfdemo.decoding.loop import Batch

        self._batch = self._batch or Batch(self._compute, model.chats)
        return self._batch

    def _no_longer_working(self, chat: str, job: Future[FinishedReply]) -> None:
        if self._working.get(chat) is job:  # the chat may have begun another reply
            del self._working[chat]

    def _generate(self, turn: Turn, chat: str) -> FinishedReply:
        """Make one reply and keep it; runs in the compute thread."""
        from hfdemo.decoding.generation import generate_reply

        reply = generate_reply(turn)
        self._keep(chat, reply, turn)
        return reply

    def _keep(self, chat: str, reply: FinishedReply, turn: Turn) -> None:
        """Keep a reply for its receipt, what it takes to go on with it, and what the next prompt begins with."""
        from hfdemo.decoding.generation import bytes_of

        receipt = reply.receipt
        logger.info(
            "reply: %d prompt tokens, %d of them known, %d new tokens, first after %.2f s, then %.1f/s, %s",
            receipt.prompt_tokens,
            receipt.cached_tokens,
            receipt.new_tokens,
            receipt.first_token_s,
            receipt.tokens_per_s,
            receipt.finish_reason,
        )
        if not chat:
            return
        token_ids = tuple(turn.streamer.token_ids)
        prompt_ids = turn.prompt.ids[: len(turn.prompt.ids) - turn.begun_with]
        read_whole = turn.streamer.first_token_at > 0  # else some layers have read more of it than others
        cache = turn.cache if read_whole else None
        self._kept.put(chat, KeptReply(reply, token_ids, prompt_ids, cache, bytes_of(cache)))
