"""One reply: from a prompt, through transformers' pipeline, to a finished text with its receipt.

All of it runs in the compute thread.
"""

import logging
import secrets
import time
from dataclasses import dataclass
from threading import Event
from typing import Any

import torch
from transformers import DynamicCache

from hfdemo.engines.streaming import Finished, FiniteLogits, Stopped, TokenStreamer, interruptible
from hfdemo.engines.thought import split_thought
from hfdemo.messages import FinishedReply, FinishReason, Options, Receipt
from hfdemo.models.load import LoadedModel
from hfdemo.prompt import Prompt

GREEDY_BELOW = 0.01
"""Lower temperatures are greedy: dividing by them overflows, and no one could tell the difference."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply to make."""

    model: LoadedModel
    prompt: Prompt
    options: Options
    streamer: TokenStreamer
    stop: Event
    cache: Any
    """Keys and values of the beginning of the prompt, from the reply that goes on; or None."""
    begun_with: int
    """How many tokens of the reply the prompt holds already."""


def generate_reply(turn: Turn) -> tuple[FinishedReply, Any]:
    """Make a reply; return it with the model's cache of keys and values, or None if it has none of that kind.

    The turn's streamer learns of the end or the error, always.

    Raises:
        BaseException: what the model raised.
    """
    model, streamer = turn.model, turn.streamer
    seed = turn.options.seed if turn.options.seed >= 0 else secrets.randbits(32)
    cache = _usable_cache(turn)
    cached_tokens = int(cache.get_seq_length()) if cache is not None else 0
    reason: FinishReason = "max_new_tokens"
    started = time.monotonic()
    try:
        if turn.stop.is_set():
            raise Stopped
        torch.manual_seed(seed)
        with interruptible(model.layers, streamer.check) as streamer.on_first_token:
            model.pipeline(
                turn.prompt,
                streamer=streamer,
                cache=cache,
                return_tensors=True,
                eos_token_id=list(model.end_ids),
                logits_processor=[FiniteLogits()],
                **_sampling(turn.options),
            )
    except Finished as finished:
        reason = finished.reason
        streamer.end()
    except Stopped as stopped:
        reason = "stopped"
        streamer.fail(stopped)
    except BaseException as error:
        streamer.fail(error)
        raise
    written = streamer.token_ids[turn.begun_with :]
    if reason == "max_new_tokens" and written and written[-1] in model.end_ids:
        reason = "end_of_turn"
        streamer.token_ids.pop()
    receipt = Receipt(
        prompt_tokens=len(turn.prompt.ids),
        cached_tokens=cached_tokens,
        new_tokens=len(written),
        first_token_s=max(0.0, streamer.first_token_at - started),
        tokens_per_s=_rate(len(written), streamer.last_token_at - streamer.first_token_at),
        finish_reason=reason,
        seed=seed,
        model=model.name,
        device=model.device,
        context_limit=model.prompts.context_limit,
        dropped_messages=turn.prompt.dropped,
    )
    thought, text = split_thought(streamer.text, turn.prompt.open_thought)
    return FinishedReply(text, thought, receipt), cache


def _usable_cache(turn: Turn) -> Any:
    """Return a cache for a turn's keys and values: the one of the reply that goes on, an empty one, or None.

    None lets `generate` make its own; some models (Mamba, sliding windows) keep something else or can't be cut.
    """
    model = turn.model.pipeline.model
    if not model._supports_default_dynamic_cache():
        return None
    if turn.cache is not None:
        surplus = turn.cache.get_seq_length() - (len(turn.prompt.ids) - 1)
        try:
            if surplus > 0:
                turn.cache.crop(-surplus)
            return turn.cache
        except ValueError:
            logger.info("this model's cache can't be cut: the prompt is read again")
    return DynamicCache(config=model.config)


def bytes_of(cache: Any) -> int:
    """Return the bytes of a cache's keys and values."""
    if cache is None:
        return 0
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.keys is not None)


def _rate(tokens: int, seconds: float) -> float:
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else 0.0


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
