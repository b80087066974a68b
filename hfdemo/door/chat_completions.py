"""`/v1/chat/completions`; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hfdemo.chat.messages import ToolCall
from hfdemo.chat.reply import Delta, Receipt, Token
from hfdemo.door.asked import (
    Asked,
    go_on,
    model_to_answer,
    read_effort,
    read_messages,
    read_sampling,
    read_schema,
    read_template_kwargs,
)
from hfdemo.door.fields import MAX_LIKELIEST, Fields
from hfdemo.door.forms import StreamEvent, Told, logprob, new_id, now, usage
from hfdemo.door.operation import Operation
from hfdemo.door.schemas import (
    FLAG,
    FORMAT,
    LENGTH,
    LIKELIEST,
    MESSAGE,
    SAMPLING,
    STREAM_OPTIONS,
    TEXT,
    object_of,
    or_null,
    reply_of,
)
from hfdemo.door.tools import CALLING, CALLS, RESULT, TOOL_CHOICE, TOOLS, CallsTold, read_tools
from hfdemo.engines.protocol import Status


def read_chat(fields: Fields, status: Status) -> Asked:
    """Return what a program asks for.

    Raises:
        InvalidInput: a field can't be used; the text names it.
    """
    model = model_to_answer(fields, status)
    fields.refuse(modalities=["text"], functions=[])
    tools = read_tools(fields)
    request = read_messages(list(fields.objects("messages")), "messages", status)
    request = go_on(request, "messages", fields.flag("continue_final_message"))
    likeliest = fields.whole("top_logprobs", 0, MAX_LIKELIEST) or 0
    schema, strict = read_schema(fields.object("response_format"))
    request = replace(
        request,
        options=read_sampling(fields, status, ("max_completion_tokens", "max_tokens")),
        likeliest=likeliest if fields.flag("logprobs") else None,
        effort=read_effort(fields),
        chat_template_kwargs=read_template_kwargs(fields),
        schema=tools.schema or schema,
        schema_strict=strict,
        schema_field="tool_choice" if tools.schema else "response_format",
        tools=tools.definitions,
        must_call=tools.must_call,
        one_call=fields.has("parallel_tool_calls") and not fields.flag("parallel_tool_calls"),
    )
    tells_usage = fields.object("stream_options").flag("include_usage")
    return Asked(request, model, fields.flag("stream"), tells_usage)


class ChatForm:
    """Makes the answer; see `forms.ReplyForm`.

    Args:
        asked: what is answered.
    """

    ends_with_done = True

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._told = Told(asked.request)
        self._calls = CallsTold(asked.request)
        self._head = {"id": new_id("chatcmpl"), "created": now(), "model": asked.model}

    def begin(self) -> Iterator[StreamEvent]:
        """Yield the event that says who speaks."""
        yield self._chunk({"role": "assistant", "content": ""})

    def add(self, delta: Delta) -> Iterator[StreamEvent]:
        """Take the next piece and yield its event, if there is anything to tell."""
        piece = self._told.add(delta)
        yield from self._tell(piece.thought, self._calls.add(piece.text, delta.calls), piece.tokens)

    def end(self, receipt: Receipt) -> Iterator[StreamEvent]:
        """Yield why the reply ended, and what it took if that is asked for."""
        yield from self._tell("", self._calls.end())
        yield self._chunk({}, finish=self._calls.finish_word(receipt.finish_reason))
        if self._asked.tells_usage and (took := usage(receipt)):
            yield StreamEvent(self._head | {"object": "chat.completion.chunk", "choices": [], "usage": took})

    def whole(self, receipt: Receipt) -> dict[str, Any]:
        """Return the reply."""
        told = CallsTold(self._asked.request)
        (text, calls), (rest, more) = told.add(self._told.text, self._told.calls), told.end()
        message: dict[str, Any] = {"role": "assistant", "content": text + rest, "refusal": None}
        if self._told.thought:
            message["reasoning_content"] = self._told.thought
        if calls or more:
            message["content"] = message["content"].strip() or None
            message["tool_calls"] = [call.as_openai() for call in (*calls, *more)]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs(self._told.tokens),
            "finish_reason": told.finish_word(receipt.finish_reason),
        }
        head = self._head | {"model": receipt.model or self._asked.model}
        return head | {"object": "chat.completion", "choices": [choice], "usage": usage(receipt)}

    def _tell(
        self, thought: str, read: tuple[str, list[ToolCall]], tokens: Sequence[Token] = ()
    ) -> Iterator[StreamEvent]:
        """Yield the event of what is new, if anything is."""
        text, calls = read
        told: dict[str, Any] = {
            **({"reasoning_content": thought} if thought else {}),
            **({"content": text} if text else {}),
            **({"tool_calls": self._calls.numbered(calls)} if calls else {}),
        }
        if told or tokens:
            yield self._chunk(told or {"content": ""}, tokens)

    def _chunk(self, delta: dict[str, Any], tokens: Sequence[Token] = (), finish: str | None = None) -> StreamEvent:
        choice = {"index": 0, "delta": delta, "logprobs": self._logprobs(tokens), "finish_reason": finish}
        usage_later = {"usage": None} if self._asked.tells_usage else {}
        return StreamEvent(self._head | {"object": "chat.completion.chunk", "choices": [choice]} | usage_later)

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if self._asked.request.likeliest is None or not tokens:
            return None
        content = [_token(token) | {"top_logprobs": [_token(other) for other in token.others]} for token in tokens]
        return {"content": content, "refusal": None}


def _token(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logprob": logprob(token), "bytes": list(token.data)}


ASKED = object_of(
    {"messages": {"type": "array", "minItems": 1, "items": {"anyOf": [MESSAGE, CALLING, RESULT]}}},
    SAMPLING
    | STREAM_OPTIONS
    | {
        "max_completion_tokens": LENGTH,
        "max_tokens": LENGTH,
        "logprobs": FLAG,
        "top_logprobs": LIKELIEST,
        "response_format": or_null(FORMAT),
        "continue_final_message": FLAG,
        "tools": or_null(TOOLS),
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": FLAG,
    },
)

_TOKEN = object_of(
    {"token": TEXT, "logprob": {"type": "number"}, "bytes": {"type": "array", "items": {"type": "integer"}}}
)


ANSWER = reply_of(
    "chat.completion",
    {
        "message": object_of(
            {"role": {"const": "assistant"}, "content": {"type": ["string", "null"]}},
            {"reasoning_content": TEXT, "refusal": {"type": "null"}, "tool_calls": CALLS},
        ),
        "logprobs": or_null(object_of({"content": {"type": "array", "items": _TOKEN}})),
    },
)

CHAT = Operation("/v1/chat/completions", read_chat, ChatForm, ASKED, ANSWER)
