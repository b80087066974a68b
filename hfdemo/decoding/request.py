"""A reply that is to be written, as plain data: it is made in one process and may be used in another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt, PromptBuilder
from hfdemo.chat.reply_format import PLAIN
from hfdemo.chat.request import ChatRequest, ShownPrompt

if TYPE_CHECKING:
    from hfdemo.decoding.streamer import TokenStreamer
    from hfdemo.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """What to write."""

    prompt: Prompt
    options: Options
    reply_ids: tuple[int, ...] = ()
    """The tokens of a reply that goes on; the prompt ends in them."""
    reply_start: str = ""
    """The text that the prompt ends in, if its tokens aren't known."""
    thought_start: str = ""
    """The thought before that, or in which the prompt ends."""
    continues: bool = False
    """Whether these are of a reply that goes on."""
    time_limit_s: float = math.inf
    """How long it may take from when the model begins to read."""
    update_interval_s: float = 0.0
    """Pieces of the reply come no more often than this."""
    completes: bool = False
    """Whether the reply goes on with a text, and is no turn of a conversation."""
    schema: str = ""
    """The JSON schema that the answer has to follow."""
    schema_field: str = "response_format"
    """How errors call it."""
    may_call: bool = False
    """Whether the reply may ask for tools."""
    likeliest: int | None = None
    """How many likely tokens are told of beside each token of the reply; None is nothing at all."""

    @property
    def prompt_tokens(self) -> int:
        """How many tokens of the prompt aren't part of the reply."""
        return len(self.prompt.ids) - len(self.reply_ids)

    @property
    def asked_ids(self) -> tuple[int, ...]:
        """The prompt without the tokens of the reply."""
        return self.prompt.ids[: self.prompt_tokens]


def make_decode_request(
    prompts: PromptBuilder,
    request: ChatRequest,
    reply_ids: tuple[int, ...] = (),
    time_limit_s: float = math.inf,
    recommended: Mapping[str, float] | None = None,
) -> DecodeRequest:
    """Build the prompt of a request.

    Args:
        prompts: the model's.
        request: what is asked.
        reply_ids: the tokens of `request.reply_start`, where this model wrote it.
        time_limit_s: how long the reply may take.
        recommended: the model's values for options that were left out.

    Raises:
        InvalidInput: the request doesn't fit the model.
        GenerationFailed: the chat template refuses the conversation.
    """
    wanted = request.options.with_recommended(recommended or {})
    options = prompts.fit(wanted)
    if request.completes:
        prompt = prompts.build_text(request.messages[-1].content)
    else:
        prompt = prompts.build(
            request.messages,
            request.system_prompt,
            1 if request.keeps_all else options.max_new_tokens,
            reply_start=request.reply_start,
            thought_start=request.thought_start,
            reply_ids=reply_ids,
            thinking=options.thinking,
            keeps_all=request.keeps_all,
            tools=request.tools,
        )
    if (request.keeps_all or request.completes) and prompts.context_limit:
        left = prompts.context_limit - len(prompt.ids)
        options = replace(options, max_new_tokens=min(wanted.max_new_tokens, left))
    return DecodeRequest(
        prompt=prompt,
        options=options,
        reply_ids=reply_ids,
        reply_start=request.reply_start,
        thought_start=request.thought_start,
        continues=request.continues,
        time_limit_s=time_limit_s,
        update_interval_s=request.update_interval_s,
        completes=request.completes,
        schema=request.schema,
        schema_field=request.schema_field,
        may_call=bool(request.tools),
        likeliest=request.likeliest,
    )


def make_streamer(model: LoadedModel, request: DecodeRequest) -> TokenStreamer:
    """Return what takes the reply's tokens; what the reply begins with is its first piece."""
    from hfdemo.decoding.streamer import TokenStreamer

    begins_with_text = request.completes or (
        bool(request.reply_start or request.thought_start) and not request.reply_ids
    )
    prompts = model.prompts
    reply_format = prompts.reply_format.with_calls() if request.may_call else prompts.reply_format
    streamer = TokenStreamer(
        model.tokenizer,
        end_ids=model.end_ids,
        stop_texts=(
            *(prompts.makers_stop_texts if request.completes else prompts.stop_texts),
            *request.options.stop_texts,
        ),
        reply_format=PLAIN if request.completes else reply_format,
        opening=request.prompt.opening,
        before=request.prompt.ids[-8:] if begins_with_text else (),
    )
    if request.reply_ids:
        streamer.resume(request.reply_ids)
    elif request.continues:
        streamer.go_on_from(request.reply_start, request.thought_start)
    elif request.reply_start:
        streamer.begin_with(request.reply_start)
    return streamer


def show_prompt(prompts: PromptBuilder, request: ChatRequest) -> ShownPrompt:
    """Return exactly what the model would read for a request.

    Raises:
        InvalidInput: the request doesn't fit the model.
        GenerationFailed: the chat template refuses the conversation.
    """
    prompt = make_decode_request(prompts, request).prompt
    return ShownPrompt(tuple(prompts.show_whole(prompt.ids)), prompt.dropped, prompts.context_limit)
