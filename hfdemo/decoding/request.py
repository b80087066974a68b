"""A reply that is to be made, as plain data: what it takes is found out in one process and may be used in another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from hfdemo.chat.messages import ChatRequest, Options, ShownPrompt
from hfdemo.chat.prompt import Prompt, PromptBuilder

if TYPE_CHECKING:
    from hfdemo.decoding.prefix_cache import KeptReply
    from hfdemo.decoding.streamer import TokenStreamer
    from hfdemo.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Order:
    """What to make."""

    prompt: Prompt
    options: Options
    reply_ids: tuple[int, ...] = ()
    """The tokens of a reply that goes on; the prompt ends in them."""
    reply_start: str = ""
    """The text that the prompt ends in, if its tokens aren't known."""
    time_limit_s: float = math.inf
    """How long it may take from when the model begins to read."""

    @property
    def asked_tokens(self) -> int:
        """How many tokens of the prompt aren't part of the reply."""
        return len(self.prompt.ids) - len(self.reply_ids)


def take_order(prompts: PromptBuilder, request: ChatRequest, kept: KeptReply | None = None) -> Order:
    """Build the prompt of a request, and find out whether the reply goes on exactly where it was cut off.

    Args:
        prompts: the model's.
        request: what is asked.
        kept: the last reply of the chat; it is of use only if the request goes on with it, unchanged.

    Raises:
        InvalidInput: the request doesn't fit the model.
        GenerationFailed: the chat template refuses the conversation.
    """
    options = _within_context(request.options, prompts.context_limit)
    goes_on = kept is not None and request.continues and kept.finished.text == request.reply_start
    reply_ids = kept.token_ids if kept is not None and goes_on else ()  # none if another model wrote it
    prompt = prompts.build(
        request.messages,
        request.system_prompt,
        options.max_new_tokens,
        reply_start=request.reply_start,
        reply_ids=reply_ids,
        thinking=options.thinking,
    )
    return Order(prompt, options, reply_ids, reply_start="" if reply_ids else request.reply_start)


def make_streamer(model: LoadedModel, order: Order, stop: Event) -> TokenStreamer:
    """Return what takes the reply's tokens; what the reply begins with is its first piece."""
    from hfdemo.decoding.streamer import TokenStreamer

    streamer = TokenStreamer(
        model.tokenizer,
        stop,
        stop_texts=(*model.prompts.stop_texts, *order.options.stop_texts),
        time_limit_s=order.time_limit_s,
        before=order.prompt.ids[-8:] if order.reply_start else (),
    )
    if order.reply_ids:
        streamer.resume(order.reply_ids)
    elif order.reply_start:
        streamer.begin_with(order.reply_start)
    return streamer


def show_prompt(prompts: PromptBuilder, request: ChatRequest) -> ShownPrompt:
    """Return exactly what the model would read for a request.

    Raises:
        InvalidInput: the request doesn't fit the model.
        GenerationFailed: the chat template refuses the conversation.
    """
    prompt = take_order(prompts, request).prompt
    return ShownPrompt(tuple(prompts.show(prompt.ids)), prompt.dropped, prompts.context_limit)


def _within_context(options: Options, limit: int | None) -> Options:
    """Return the options with at most half of the model's context for the reply.

    Else a model with a small context would refuse every message, at the page's usual `max_new_tokens`.
    """
    if limit is None or options.max_new_tokens <= limit // 2:
        return options
    return replace(options, max_new_tokens=max(1, limit // 2))
