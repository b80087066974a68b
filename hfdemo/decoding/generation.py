"""One reply: from a prompt to a finished text with its receipt.

All of it runs in the compute thread. `generate_reply` makes a whole reply through transformers' pipeline; `batch.py`
makes several at once, a token of each at a time, from the same parts.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from hfdemo.chat.messages import FinishedReply, FinishReason, Options, Receipt
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply_format import split_thought
from hfdemo.compute.chat_cache import ChatCache
from hfdemo.decoding.sampling import choose_token, is_greedy
from hfdemo.decoding.streamer import Finished, FiniteLogits, Stopped, TokenStreamer, interruptible
from hfdemo.models.load import LoadedModel

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Turn:
    """One reply to make."""

    model: LoadedModel
    prompt: Prompt
    options: Options
    streamer: TokenStreamer
    stop: Event
    begun_with: int
    """How many tokens of the reply the prompt holds already."""
    cache: Any = None
    """Keys and values of a beginning of the prompt; at first what an earlier reply left, or None."""
    cached_tokens: int = 0
    """How many tokens of the prompt need not be read again."""
    seed: int = 0
    started: float = 0.0
    random: torch.Generator = field(default_factory=torch.Generator)

    def start(self) -> None:
        """Begin the work: find out what need not be read again, and draw what is random."""
        self.started = time.monotonic()
        self.seed = self.options.seed if self.options.seed >= 0 else secrets.randbits(32)
        self.random.manual_seed(self.seed)
        self.cache = _usable_cache(self)
        self.cached_tokens = int(self.cache.get_seq_length()) if self.cache is not None else 0

    def take(self, logits: Tensor) -> int:
        """Choose the next token, and hand it to the streamer.

        Args:
            logits: of the next token, of shape [vocabulary].

        Raises:
            Finished, Stopped: it was the last one.
            GenerationFailed: the logits are no numbers.
        """
        written = self.streamer.token_ids
        seen = logits
        if self.options.repetition_penalty != 1:
            seen = torch.tensor([*self.prompt.ids, *written[self.begun_with :]], device=logits.device)
        token = choose_token(logits, self.options, seen, self.random)
        self.streamer.add(token)
        if token in self.model.end_ids:
            raise Finished("end_of_turn")
        if len(written) - self.begun_with >= self.options.max_new_tokens:
            raise Finished("max_new_tokens")
        return token

    def finish(self, reason: FinishReason) -> FinishedReply:
        """Return the reply as it is now."""
        streamer, model = self.streamer, self.model
        written = streamer.token_ids[self.begun_with :]
        if reason in ("max_new_tokens", "end_of_turn") and written and written[-1] in model.end_ids:
            reason = "end_of_turn"
            streamer.token_ids.pop()
        receipt = Receipt(
            prompt_tokens=len(self.prompt.ids),
            cached_tokens=self.cached_tokens,
            new_tokens=len(written),
            first_token_s=max(0.0, streamer.first_token_at - self.started),
            tokens_per_s=_rate(len(written), streamer.last_token_at - streamer.first_token_at),
            finish_reason=reason,
            seed=self.seed,
            model=model.name,
            device=model.device,
            context_limit=model.prompts.context_limit,
            dropped_messages=self.prompt.dropped,
        )
        thought, text = split_thought(streamer.text, self.prompt.open_thought)
        return FinishedReply(text, thought, receipt)


def generate_reply(turn: Turn) -> FinishedReply:
    """Make a whole reply. Its turn's streamer learns of the end or the error, always.

    Raises:
        BaseException: what the model raised.
    """
    streamer = turn.streamer
    reason: FinishReason = "max_new_tokens"
    try:
        try:
            _generate(turn)
        except Finished as finished:
            reason = finished.reason
            streamer.end()
    except Stopped as stopped:
        reason = "stopped"
        streamer.fail(stopped)
    except BaseException as error:
        streamer.fail(error)
        raise
    return turn.finish(reason)


def _generate(turn: Turn) -> None:
    """Run the pipeline; it ends the streamer, unless it is ended by what the streamer raises."""
    model, streamer = turn.model, turn.streamer
    turn.start()
    if turn.stop.is_set():
        raise Stopped
    torch.manual_seed(turn.seed)
    with torch.inference_mode(), interruptible(model.layers, streamer.check) as streamer.on_first_token:
        model.pipeline(
            turn.prompt,
            streamer=streamer,
            cache=turn.cache,
            return_tensors=True,
            eos_token_id=list(model.end_ids),
            logits_processor=[FiniteLogits()],
            custom_generate=_decoding(turn) if model.step else None,
            **_sampling(turn.options),
        )


def read(turn: Turn, ids: Sequence[int]) -> Tensor:
    """Let the model read some tokens of a prompt, and return the logits of the next one, of shape [vocabulary].

    The last token is read by the step that writes, so that a reply which is made again, or goes on where it was cut
    off, is computed as it was the first time.
    """
    model, step = turn.model.pipeline.model, turn.model.step
    assert step is not None
    last = len(ids) == len(turn.prompt.ids) - turn.cache.get_seq_length()
    begin = ids[:-1] if last and len(turn.prompt.ids) > 1 else ids
    if begin:
        rows = torch.tensor([list(begin)], device=model.device)
        output = model(rows, cache=turn.cache, use_cache=True, logits_to_keep=1)
    if begin == ids:
        logits: Tensor = output.logits[0, -1]
        return logits
    return step(torch.tensor(ids[-1:]), [turn.cache])[0]


def _decoding(turn: Turn) -> Any:
    """Return the loop that `generate` runs in place of its own, which copies what grows at each step.

    Source: https://huggingface.co/docs/transformers/generation_strategies#custom-generation-methods
    """

    def decode(_model: Any, input_ids: Tensor, **_: Any) -> Tensor:
        step = turn.model.step
        assert step is not None
        logits = read(turn, turn.prompt.ids[turn.cached_tokens :])
        while True:
            token = turn.take(logits)
            logits = step(torch.tensor([token]), [turn.cache])[0]

    return decode


def _usable_cache(turn: Turn) -> Any:
    """Return a cache for a turn's keys and values: the one of an earlier reply, an empty one, or None.

    None lets `generate` make its own; some models (Mamba) keep nothing that grows with the tokens, or could be cut.
    """
    model = turn.model.pipeline.model
    if not model._supports_default_dynamic_cache():
        return None
    if turn.cache is not None and _crop(turn.cache, turn.cached_tokens):
        return turn.cache
    if turn.model.step:
        return turn.model.step.new_cache()
    cache = DynamicCache(config=model.config)
    return None if all(cache.is_linear) and cache.layers else cache


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


def _rate(tokens: int, seconds: float) -> float:
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else 0.0


def _sampling(options: Options) -> dict[str, Any]:
    """Return the arguments of `generate` for a visitor's options."""
    arguments: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens,
        "repetition_penalty": options.repetition_penalty,
    }
    if is_greedy(options):
        return arguments | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return arguments | {
        "do_sample": True,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
    }
