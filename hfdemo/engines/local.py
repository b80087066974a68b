"""The engine that runs the model in this process, one reply at a time.

Loading and every reply run in one thread made for it: PyTorch computes at half its speed as soon as a second
thread that lives has computed, too. Importing this module imports no torch, so that the page is there first.
"""

from __future__ import annotations

import logging
import secrets
import time
import traceback
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal

from hfdemo.engines.compute import ComputeThread
from hfdemo.errors import Busy, GenerationFailed, HfdemoError, hide_tokens
from hfdemo.messages import ChatRequest, Delta, FinishReason, Options, Status
from hfdemo.words import say

if TYPE_CHECKING:
    from hfdemo.engines.streaming import TokenStreamer
    from hfdemo.models.choose import ModelSource
    from hfdemo.models.load import LoadedModel
    from hfdemo.prompt import Prompt

HEARTBEAT_S = 0.25
"""The longest silence of `stream`: how soon a closed tab is noticed."""

GREEDY_BELOW = 0.01
"""Lower temperatures are greedy: dividing by them overflows, and no one could tell the difference."""

logger = logging.getLogger(__name__)


class LocalEngine:
    """Loads one model and answers with it, first come, first served.

    Args:
        model: the model the host named (`HFDEMO_MODEL`), or None for the default.
        max_waiting: how many requests may be answered or wait at one time.
    """

    def __init__(self, model: str | None = None, max_waiting: int = 32) -> None:
        self._named = model
        self._max_waiting = max_waiting
        self._compute = ComputeThread()
        self._lock = Lock()
        self._status = Status("resolving", model=model or "")
        self._loading: Future[None] | None = None
        self._model: LoadedModel | None = None
        self._line: list[object] = []  # whose reply is being made, then who waits

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        with self._lock:
            if self._model is None and (self._loading is None or self._loading.done()):
                self._status = Status("resolving", model=self._named or "")
                self._loading = self._compute.submit(self._load)

    def status(self) -> Status:
        """Return how far loading is."""
        return self._status

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        """Yield the reply to a request; see `protocol.Engine.stream`."""
        ticket = self._join_line()
        job: Future[None] | None = None
        try:
            yield from self._wait_for_model(stop)
            if self._model is None:  # stopped before it was there
                yield Delta(finish_reason="stopped")
                return
            prompt, streamer = self._prepare(self._model, request, stop)
            job = self._compute.submit(self._generate, self._model, prompt, request.options, streamer, stop)
            job.add_done_callback(lambda _: self._leave_line(ticket))
            for text in streamer.pieces(HEARTBEAT_S):
                yield Delta(text, ahead=0 if text else self._ahead(ticket))
            yield Delta(finish_reason=_finish_reason(self._model, streamer))
        except HfdemoError:
            raise
        except Exception as error:
            if not stop.is_set():
                raise _explain_failure(error) from None
            yield Delta(finish_reason="stopped")
        finally:
            stop.set()  # never wait here for the generation: it sees `stop` by itself
            if job is None:
                self._leave_line(ticket)

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
            self._status = replace(self._status, stage="ready", device=self._model.device)
            logger.info(say("status.ready", model=source.name, device=self._model.device))
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

    def _prepare(self, model: LoadedModel, request: ChatRequest, stop: Event) -> tuple[Prompt, TokenStreamer]:
        from hfdemo.engines.streaming import TokenStreamer

        prompt = model.prompts.build(request.messages, request.system_prompt, request.options.max_new_tokens)
        return prompt, TokenStreamer(model.tokenizer, stop)

    def _generate(
        self, model: LoadedModel, prompt: Prompt, options: Options, streamer: TokenStreamer, stop: Event
    ) -> None:
        """Make one reply; runs in the compute thread. The streamer learns of the end or the error, always."""
        import torch

        from hfdemo.engines.streaming import Stopped, interruptible

        started = time.monotonic()
        try:
            if stop.is_set():
                raise Stopped
            torch.manual_seed(options.seed if options.seed >= 0 else secrets.randbits(32))
            with interruptible(model.layers, stop) as streamer.on_first_token:
                model.pipeline(
                    prompt,
                    streamer=streamer,
                    return_tensors=True,
                    eos_token_id=list(model.end_ids),
                    **_sampling(options),
                )
        except BaseException as error:
            streamer.fail(error)
        finally:
            logger.info(
                "reply: %d prompt tokens, %d new tokens, %.2f s, %s",
                len(prompt.ids),
                len(streamer.token_ids),
                time.monotonic() - started,
                "stopped" if stop.is_set() else "ended",
            )


def _sampling(options: Options) -> dict[str, Any]:
    """Return the arguments of `generate` for a visitor's options."""
    arguments: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens,
        "repetition_penalty": options.repetition_penalty,
    }
    if options.temperature < GREEDY_BELOW:
        return arguments | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return arguments | {
        "do_sample": True,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
    }


def _finish_reason(model: LoadedModel, streamer: TokenStreamer) -> FinishReason:
    ended = streamer.token_ids and streamer.token_ids[-1] in model.end_ids
    return "end_of_turn" if ended else "max_new_tokens"


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


def _has_gpu() -> bool:
    from hfdemo.models.load import has_gpu

    return has_gpu()
