"""One reply while it is written: what it has, how its next token is chosen, and why it ends.

All of it runs in the compute thread; only the streamer's reader is in another.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import Module
from transformers import DynamicCache

from hfdemo.chat.reply import FinishReason, Receipt, StopSignal, Token
from hfdemo.compute.chat_cache import ChatCache
from hfdemo.compute.transformers_private import takes_dynamic_cache
from hfdemo.decoding.grammar import Grammar
from hfdemo.decoding.likely_tokens import describe
from hfdemo.decoding.prefix_cache import CachedReply
from hfdemo.decoding.prompt_lookup import Speculation
from hfdemo.decoding.request import DecodeRequest, make_streamer
from hfdemo.decoding.sampling import Sampler, make_sampler
from hfdemo.decoding.streamer import TokenStreamer
from hfdemo.models.load import LoadedModel

logger = logging.getLogger(__name__)


class Interrupted(BaseException):
    """Raised between two layers of a model to leave it, because the reply has to end now; no error of the model's."""


@dataclass(eq=False, slots=True)
class RunningReply:
    """One reply that is written, or waits for that."""

    model: LoadedModel
    request: DecodeRequest
    stop: StopSignal
    cache: Any = None
    """Keys and values of a beginning of the prompt; at first what an earlier reply left, or None."""
    cached_tokens: int = 0
    """How many tokens of the prompt need not be read again."""
    keep: Callable[[RunningReply, Receipt], None] = lambda reply, receipt: None
    """Called when it has ended well, before anyone is told so."""
    done: Future[Receipt] = field(default_factory=Future)
    """Done when nothing is computed for it any more."""
    streamer: TokenStreamer = field(init=False)
    unread: list[int] = field(default_factory=list)
    """What is left of the prompt."""
    seed: int = 0
    _ids: list[int] = field(default_factory=list)
    _grammar: Grammar | None = None
    _follows: bool = False  # the grammar: it is for the answer, and a prompt may have begun a thought
    _sampler: Sampler | None = None
    _speculation: Speculation | None = None
    _told: Token | None = None  # of the token that was chosen
    _started: float = 0.0

    def __post_init__(self) -> None:
        self.streamer = make_streamer(self.model, self.request)
        if self.request.schema:
            self._grammar = Grammar(
                self.model.tokenizer, self.model.end_ids, self.request.schema, self.request.schema_field
            )

    def begin(self) -> None:
        """Begin the work: find out what need not be read again, and draw what is random."""
        options = self.request.options
        self._started = time.monotonic()
        self.seed = options.seed if options.seed >= 0 else secrets.randbits(32)
        self._sampler = make_sampler(options, self.seed)
        self._ids = list(self.request.prompt.ids)
        self._speculation = Speculation(self._ids)
        self.cache = usable_cache(self.model, self.cache, self.cached_tokens)
        self.cached_tokens = int(self.cache.get_seq_length()) if self.cache is not None else 0
        self.unread = self._ids[self.cached_tokens :]

    def choose(self, logits: Tensor) -> int:
        """Choose the next token.

        Args:
            logits: of the next token, of shape [vocabulary].

        Raises:
            GenerationFailed: the logits contain NaN or infinity.
        """
        assert self._sampler is not None
        self._follows = self._grammar is not None and (self._follows or not self.streamer.in_thought)
        allowed = self._grammar.allowed(logits) if self._grammar and self._follows else logits
        token_id = self._sampler(allowed, self._ids)
        if self.request.likeliest is not None:
            self._told = describe(token_id, logits, self.request.likeliest, self.model.prompts)
        return token_id

    def write(self, token_id: int) -> None:
        """Take the token that was chosen."""
        self._ids.append(token_id)
        if self._grammar and self._follows:
            self._grammar.take(token_id)
        self.streamer.add(token_id, self._told)

    @property
    def last_id(self) -> int:
        """The last token that was written; the model has not read it yet."""
        return self._ids[-1]

    def draft(self, most: int) -> list[int]:
        """Return what the next tokens may be, if checking that pays; no more of them than may be written.

        Args:
            most: how many tokens the step may read beside the last one.
        """
        assert self._speculation is not None
        left = self.request.options.max_new_tokens - len(self.written)
        return self._speculation.draft(min(most, left - 1))

    def took(self, drafted: int, written: int, seconds: float) -> None:
        """Learn what a step took that read a draft of some length, and how many tokens were written after it."""
        assert self._speculation is not None
        self._speculation.took(drafted, written, seconds)

    @property
    def written(self) -> Sequence[int]:
        """The tokens that were written now; a reply that goes on had others before."""
        return self.streamer.token_ids[len(self.request.reply_ids) :]

    def finish_reason(self) -> FinishReason | None:
        """Return why the reply ends here, or None if it goes on: the only place that knows."""
        token_ids = self.streamer.token_ids
        written = len(token_ids) - len(self.request.reply_ids)
        if written:
            if token_ids[-1] in self.model.end_ids or (self._grammar and self._grammar.is_complete):
                return "end_of_turn"
            if self.streamer.stop_text_found:
                return "stop_text"
            if written >= self.request.options.max_new_tokens:
                return "max_new_tokens"
        if time.monotonic() > self._deadline:
            self.stop.set("time_limit")
        return self.stop.reason if self.stop.is_set() else None

    @contextmanager
    def interruptible(self) -> Iterator[Callable[[], None]]:
        """Let the reply's end interrupt a forward pass between two modules; reading a long prompt takes seconds.

        What is yielded takes the checks out: once the prompt is read, a look between two tokens is enough, and free.

        Raises:
            Interrupted: the reply has to end.
        """
        with hooked(self.model.layers, self._interrupt) as lift:
            yield lift

    def finish(self, reason: FinishReason) -> None:
        """End the reply as it is now: keep it, and tell whoever waits for it."""
        streamer, model, written = self.streamer, self.model, len(self.written)
        if written and streamer.token_ids[-1] in model.end_ids:
            streamer.token_ids.pop()
        was_found = streamer.stop_text_found
        streamer.complete()
        if streamer.stop_text_found and not was_found:  # in what was held back, as it might have been a mark
            reason = "stop_text"
        receipt = Receipt(
            prompt_tokens=len(self.request.prompt.ids),
            cached_tokens=self.cached_tokens,
            new_tokens=written,
            first_token_s=max(0.0, streamer.first_token_at - self._started),
            tokens_per_s=_rate(written, streamer.last_token_at - streamer.first_token_at),
            finish_reason=reason,
            seed=self.seed,
            model=model.name,
            device=model.device,
            context_limit=model.prompts.context_limit,
            dropped_messages=self.request.prompt.dropped,
            thought_s=self._thought_s(),
        )
        self.keep(self, receipt)
        self.done.set_result(receipt)
        streamer.finish(receipt)

    def cached(self, with_cache: bool = True) -> CachedReply:
        """Return what the next turn of the conversation can use of this one, when it has ended.

        Args:
            with_cache: whether keys and values are part of it, which can't go to another process.
        """
        cache = self._whole_cache() if with_cache else None
        token_ids = tuple(self.streamer.token_ids)
        streamer, request = self.streamer, self.request
        return CachedReply(
            streamer.text,
            token_ids,
            request.asked_ids,
            cache,
            bytes_of(cache),
            thought=streamer.thought,
            begins_in_prompt=bool(request.reply_start or request.thought_start) and not request.reply_ids,
        )

    def _whole_cache(self) -> Any:
        """Return the keys and values of the tokens that all layers have read; None if that can't be told."""
        if self.streamer.first_token_at > 0:
            return self.cache
        if not isinstance(self.cache, ChatCache):  # some layers may have read more of the prompt than others
            return None
        tokens = self.cache.tokens if self._started else min(self.cache.tokens, self.cached_tokens)
        self.cache.set_tokens(tokens)
        return self.cache if tokens else None

    def fail(self, error: BaseException) -> None:
        """End the reply by an error."""
        if not self.done.done():
            self.done.set_exception(error)
        self.streamer.fail(error)

    @property
    def _deadline(self) -> float:
        """When its time is over. What it waited in the queue doesn't count."""
        return self._started + self.request.time_limit_s if self._started else math.inf

    def _interrupt(self) -> None:
        if self.finish_reason():
            raise Interrupted

    def _thought_s(self) -> float:
        streamer = self.streamer
        if not streamer.thought or not streamer.first_token_at:
            return 0.0
        return max(0.0, (streamer.first_text_at or streamer.last_token_at) - streamer.first_token_at)


@contextmanager
def hooked(layers: Sequence[Module], check: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call `check` before each module of a model's layers; yield what ends that."""
    handles = [module.register_forward_pre_hook(lambda *_: check()) for layer in layers for module in layer.modules()]

    def lift() -> None:
        while handles:
            handles.pop().remove()

    try:
        yield lift
    finally:
        lift()


def usable_cache(model: LoadedModel, cache: Any, tokens: int) -> Any:
    """Return a cache for a reply's keys and values: what an earlier one left of so many tokens, an empty one, or None.

    None lets `generate` make its own; some models (Mamba) keep nothing that grows with the tokens, or could be cut.
    """
    network = model.pipeline.model
    if not takes_dynamic_cache(network):
        return None
    if cache is not None and _crop(cache, tokens):
        return cache
    if model.step:
        return model.step.new_cache()
    empty = DynamicCache(config=network.config)
    return None if all(empty.is_linear) and empty.layers else empty


def _crop(cache: Any, tokens: int) -> bool:
    """Cut a cache to so many tokens; tell whether that can be done (a sliding window has forgotten the others)."""
    surplus = cache.get_seq_length() - tokens
    try:
        if surplus > 0:
            cache.crop(-surplus)
    except (RuntimeError, ValueError):
        logger.info("this model's cache can't be cut: the prompt is read again")
        return False
    return bool(cache.get_seq_length() == tokens)


def _rate(tokens: int, seconds: float) -> float:
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else 0.0


def bytes_of(cache: Any) -> int:
    """Return the bytes of a cache's keys and values."""
    if cache is None:
        return 0
    if isinstance(cache, ChatCache):
        return cache.nbytes
    return sum(tensor.nbytes for layer in cache.layers for tensor in _tensors(vars(layer)))


def _tensors(held: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a layer of a cache holds: keys and values, or states in a dictionary of their own."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from _tensors(value)
