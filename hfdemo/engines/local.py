"""The engine that runs the model in this process, one reply at a time.

Loading and every reply run in one thread made for it: PyTorch computes at half its speed as soon as a second
thread that lives has computed, too. Importing this module imports no torch, so that the page is there first.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal

from hfdemo.engines.compute import ComputeThread
from hfdemo.engines.kept_replies import KeptReplies, KeptReply
from hfdemo.engines.thought import ThoughtSplitter
from hfdemo.errors import Busy, GenerationFailed, HfdemoError, ModelLoadError, hide_tokens
from hfdemo.messages import (
    CUT_OFF,
    ChatRequest,
    Delta,
    FinishedReply,
    ShownPrompt,
    Status,
)
from hfdemo.words import say

if TYPE_CHECKING:
    from hfdemo.engines.generation import Turn
    from hfdemo.models.choose import ModelSource
    from hfdemo.models.load import LoadedModel
    from hfdemo.prompt import Prompt

HEARTBEAT_S = 0.25
"""The longest silence of `stream`: how soon a closed tab is noticed."""

logger = logging.getLogger(__name__)


class LocalEngine:
    """Loads one model and answers with it, first come, first served.

    Args:
        model: the model the host named (`HFDEMO_MODEL`), or None for the default.
        max_waiting: how many requests may be answered or wait at one time.
        time_limit_s: how long one reply may take.
    """

    def __init__(self, model: str | None = None, max_waiting: int = 32, time_limit_s: float = 300) -> None:
        self._named = model
        self._max_waiting = max_waiting
        self._time_limit_s = time_limit_s
        self._compute = ComputeThread()
        self._lock = Lock()
        self._status = Status("resolving", model=model or "")
        self._loading: Future[None] | None = None
        self._model: LoadedModel | None = None
        self._line: list[object] = []  # whose reply is being made, then who waits
        self._kept = KeptReplies()
        self._working: dict[str, Future[FinishedReply]] = {}  # the replies being made, by chat

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        with self._lock:
            if self._model is None and (self._loading is None or self._loading.done()):
                self._status = Status("resolving", model=self._named or "")
                self._loading = self._compute.submit(self._load)

    def status(self) -> Status:
        """Return how far loading is."""
        return self._status

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
        ticket = self._join_line()
        job: Future[FinishedReply] | None = None
        try:
            yield from self._wait_for_model(stop)
            if self._model is None:  # stopped before it was there
                return
            turn = self._prepare(self._model, _within_context(self._model, request), stop)
            self._kept.forget(request.chat)
            job = self._submit(turn, request.chat)
            job.add_done_callback(lambda _: self._leave_line(ticket))
            splitter = ThoughtSplitter(turn.prompt.open_thought)
            for piece in turn.streamer.pieces(HEARTBEAT_S):
                thought, text = splitter.add(piece)
                yield Delta(text, thought, turn.used_tokens(), ahead=0 if piece else self._ahead(ticket))
            thought, text = splitter.end()
            yield Delta(text, thought, turn.used_tokens(), receipt=job.result().receipt)
        except HfdemoError:
            raise
        except Exception as error:
            if not stop.is_set():
                raise _explain_failure(error) from None
        finally:
            stop.set()  # never wait here for the generation: it sees `stop` by itself
            if job is None:
                self._leave_line(ticket)

    def check(self, request: ChatRequest) -> None:
        """Refuse a request that doesn't fit the model; while the model isn't there, all is let through."""
        if self._model is not None:
            _build_prompt(self._model, _within_context(self._model, request))

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request; see `protocol.Engine.show_prompt`."""
        if self._model is None:
            raise self._status.error or ModelLoadError("not_ready")
        prompts = self._model.prompts
        prompt = _build_prompt(self._model, _within_context(self._model, request))
        return ShownPrompt(tuple(prompts.show(prompt.ids)), prompt.dropped, prompts.context_limit)

    def _join_line(self) -> object:
        ticket = object()
        with self._lock:
            if len(self._line) >= self._max_waiting:
                raise Busy("busy", waiting=len(self._line))
            self._line.append(ticket)
        return ticket

    def _leave_line(self, ticket: object) -> None:
        with self._lock:
            if ticket in self._line:
                self._line.remove(ticket)

    def _ahead(self, ticket: object) -> int:
        with self._lock:
            return self._line.index(ticket) if ticket in self._line else 0

    def _wait_for_model(self, stop: Event) -> Iterator[Delta]:
        """Yield heartbeats until the model is there or somebody stops."""
        if self._status.stage != "failed":
            self.load()
        while self._model is None and not stop.is_set():
            if self._status.error:
                raise self._status.error
            yield Delta()
            stop.wait(HEARTBEAT_S)

    def _load(self) -> None:
        """Find, fetch and load the model; runs in the compute thread."""
        from hfdemo.models.explain import explain_load_error

        source: ModelSource | None = None
        try:
            from hfdemo.models.choose import EmbeddedModel, choose_model
            from hfdemo.models.download import fetch_model

            source = choose_model(self._named, _has_gpu)
            fallback = source.reason if isinstance(source, EmbeddedModel) else None
            self._status = replace(self._status, model=source.name, fallback=fallback)
            if fallback:
                logger.warning("%s", say("status.embedded", reason=fallback))
            files = fetch_model(source, self._report)
            self._report("loading", 0, 0)
            from hfdemo.models.load import load_model

            self._model = load_model(files.folder, source.name, files.gguf_file)
            self._status = _ready(self._status, self._model)
            logger.info("%s", say("status.ready", model=source.name, device=self._model.device))
        except Exception as error:
            explained = explain_load_error(error, source)
            if explained is not error:
                _log_failure("loading the model", error)
            logger.error("%s", explained)
            self._status = replace(self._status, stage="failed", error=explained)

    def _report(
        self, stage: Literal["downloading", "converting", "loading"], done_bytes: int, total_bytes: int
    ) -> None:
        if stage != self._status.stage:
            logger.info("%s", say(f"status.{stage}", model=self._status.model))
        self._status = replace(self._status, stage=stage, done_bytes=done_bytes, total_bytes=total_bytes)

    def _prepare(self, model: LoadedModel, request: ChatRequest, stop: Event) -> Turn:
        """Build the prompt, and find out whether the model can go on where it was."""
        from hfdemo.engines.generation import Turn
        from hfdemo.engines.streaming import TokenStreamer

        kept = self._kept.get(request.chat) if request.continues else None
        if kept and kept.finished.text != request.reply_start:  # it was edited, or the server was restarted
            kept = None
        reply_ids = kept.token_ids if kept else ()
        prompt = _build_prompt(model, request, reply_ids)
        goes_on_from_text = bool(request.reply_start) and not kept
        streamer = TokenStreamer(
            model.tokenizer,
            stop,
            stop_texts=(*model.prompts.stop_texts, *request.options.stop_texts),
            time_limit_s=self._time_limit_s,
            before=prompt.ids[-8:] if goes_on_from_text else (),
        )
        if kept:
            streamer.resume(kept.token_ids)
        elif request.reply_start:
            streamer.begin_with(request.reply_start)
        cache = kept.cache if kept and prompt.ids == (*kept.prompt_ids, *kept.token_ids) else None
        return Turn(model, prompt, request.options, streamer, stop, cache, begun_with=len(reply_ids))

    def _submit(self, turn: Turn, chat: str) -> Future[FinishedReply]:
        job = self._compute.submit(self._generate, turn, chat)
        if chat:
            self._working[chat] = job
            job.add_done_callback(lambda _: self._no_longer_working(chat, job))
        return job

    def _no_longer_working(self, chat: str, job: Future[FinishedReply]) -> None:
        if self._working.get(chat) is job:  # the chat may have begun another reply
            del self._working[chat]

    def _generate(self, turn: Turn, chat: str) -> FinishedReply:
        """Make one reply and keep it; runs in the compute thread."""
        from hfdemo.engines.generation import generate_reply

        reply, cache = generate_reply(turn, self._time_limit_s)
        if chat:
            self._keep(chat, reply, turn, cache)
        receipt = reply.receipt
        logger.info(
            "reply: %d prompt tokens, %d new tokens, first after %.2f s, then %.1f/s, %s",
            receipt.prompt_tokens,
            receipt.new_tokens,
            receipt.first_token_s,
            receipt.tokens_per_s,
            receipt.finish_reason,
        )
        return reply

    def _keep(self, chat: str, reply: FinishedReply, turn: Turn, cache: Any) -> None:
        """Keep a reply for its receipt, and what it takes to go on with it if it was cut off."""
        token_ids = tuple(turn.streamer.token_ids)
        prompt_ids = turn.prompt.ids[: len(turn.prompt.ids) - turn.begun_with]
        from hfdemo.engines.generation import bytes_of

        read_whole = turn.streamer.first_token_at > 0  # else some layers have read more of it than others
        if reply.receipt.finish_reason not in CUT_OFF or not read_whole:
            cache = None
        self._kept.put(chat, KeptReply(reply, token_ids, prompt_ids, cache, bytes_of(cache)))


def _within_context(model: LoadedModel, request: ChatRequest) -> ChatRequest:
    """Return the request with at most half of the model's context for the reply.

    Else a model with a small context would refuse every message, at the page's usual `max_new_tokens`.
    """
    limit = model.prompts.context_limit
    if limit is None or request.options.max_new_tokens <= limit // 2:
        return request
    return replace(request, options=replace(request.options, max_new_tokens=max(1, limit // 2)))


def _build_prompt(model: LoadedModel, request: ChatRequest, reply_ids: Sequence[int] = ()) -> Prompt:
    return model.prompts.build(
        request.messages,
        request.system_prompt,
        request.options.max_new_tokens,
        reply_start=request.reply_start,
        reply_ids=reply_ids,
        thinking=request.options.thinking,
    )


def _explain_failure(error: Exception) -> GenerationFailed:
    """Return what to tell a person of an error in the midst of a reply."""
    _log_failure("a reply", error)
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return GenerationFailed("out_of_memory" if out_of_memory else "generation")


def _log_failure(what: str, error: Exception) -> None:
    """Log where an error happened, without its text, which may quote a visitor; free what its frames hold."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.warning("%s failed: %s\n%s", what, type(error).__name__, hide_tokens(where))
    traceback.clear_frames(error.__traceback__)


def _ready(status: Status, model: LoadedModel) -> Status:
    """Return the status of a model that is there, with what people should know of it."""
    from hfdemo.models.siblings import instruct_sibling

    prompts = model.prompts
    return replace(
        status,
        stage="ready",
        device=model.device,
        context_limit=prompts.context_limit,
        thinking_modes=prompts.thinking_modes,
        base_model=prompts.base_model,
        takes_system_prompt=prompts.takes_system_prompt,
        instruct_sibling=instruct_sibling(model.name) if prompts.base_model else None,
    )


def _has_gpu() -> bool:
    from hfdemo.models.load import has_gpu

    return has_gpu()
