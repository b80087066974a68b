"""`/v1/completions`: the model goes on with a text, without a chat template; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hfdemo.chat.messages import Message, read_text
from hfdemo.chat.reply import Delta, Receipt, Token
from hfdemo.chat.request import ChatRequest
from hfdemo.door.asked import Asked, model_to_answer, read_sampling, read_schema
from hfdemo.door.fields import MAX_LIKELIEST, Fields
from hfdemo.door.forms import StreamEvent, Told, finish_word, logprob, new_id, now, usage
from hfdemo.door.operation import Operation
from hfdemo.door.schemas import FORMAT, LENGTH, LIKELIEST, SAMPLING, STREAM_OPTIONS, TEXT, object_of, or_null, reply_of
from hfdemo.engines.protocol import Status
from hfdemo.errors import InvalidInput

_LENGTHS = ("max_completion_tokens", "max_tokens")

USUAL_LENGTH = 16
"""How many tokens such a reply has if nothing is said, as in OpenAI's API."""


def read_completion(fields: Fields, status: Status) -> Asked:
    """Return what a program asks for.

    Raises:
        InvalidInput: a field can't be used; the text names it.
    """
    model = model_to_answer(fields, status)
    fields.refuse(echo=False, suffix="")
    sampling = read_sampling(fields, status, _LENGTHS)
    schema, strict = read_schema(fields.object("response_format"))
    request = ChatRequest(
        (Message("user", _prompt(fields)),),
        "",
        sampling if any(map(fields.has, _LENGTHS)) else replace(sampling, max_new_tokens=USUAL_LENGTH),
        completes=True,
        likeliest=fields.whole("logprobs", 0, MAX_LIKELIEST),
        schema=schema,
        schema_strict=strict,
    )
    tells_usage = fields.object("stream_options").flag("include_usage")
    return Asked(request, model, fields.flag("stream"), tells_usage)


class CompletionForm:
    """Makes the answer; see `forms.ReplyForm`.

    Args:
        asked: what is answered.
    """

    ends_with_done = True

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._told = Told(asked.request)
        self._head = {"id": new_id("cmpl"), "object": "text_completion", "created": now(), "model": asked.model}
        self._offset = 0  # where the next token begins in the text

    def begin(self) -> Iterator[StreamEvent]:
        """Yield nothing: the first event has text already."""
        yield from ()

    def add(self, delta: Delta) -> Iterator[StreamEvent]:
        """Take the next piece and yield its event, if there is anything to tell."""
        piece = self._told.add(delta)
        if piece.text or piece.tokens:
            yield self._chunk(piece.text, piece.tokens)

    def end(self, receipt: Receipt) -> Iterator[StreamEvent]:
        """Yield why the reply ended, and what it took if that is asked for."""
        yield self._chunk("", (), finish_word(receipt.finish_reason))
        if self._asked.tells_usage and (took := usage(receipt)):
            yield StreamEvent(self._head | {"choices": [], "usage": took})

    def whole(self, receipt: Receipt) -> dict[str, Any]:
        """Return the reply."""
        self._offset = 0
        choice = self._choice(self._told.text, self._told.tokens, finish_word(receipt.finish_reason))
        head = self._head | {"model": receipt.model or self._asked.model}
        return head | {"choices": [choice], "usage": usage(receipt)}

    def _chunk(self, text: str, tokens: Sequence[Token], finish: str | None = None) -> StreamEvent:
        usage_later = {"usage": None} if self._asked.tells_usage else {}
        return StreamEvent(self._head | {"choices": [self._choice(text, tokens, finish)]} | usage_later)

    def _choice(self, text: str, tokens: Sequence[Token], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": self._logprobs(tokens), "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if self._asked.request.likeliest is None or not tokens:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [logprob(token) for token in tokens],
            "top_logprobs": [{other.text: logprob(other) for other in token.others} for token in tokens],
            "text_offset": offsets,
        }


def _prompt(fields: Fields) -> str:
    """Return the text to go on with; a list of one text may stand for it."""
    value = fields.raw("prompt")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value in ([], None):
        raise InvalidInput("no_question", name="prompt")
    if isinstance(value, list):
        raise InvalidInput("one_text", name="prompt")
    text = read_text("prompt", value)
    if not text:
        raise InvalidInput("no_question", name="prompt")
    return text


ASKED = object_of(
    {"prompt": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}]}},
    SAMPLING | STREAM_OPTIONS | {"max_tokens": LENGTH, "logprobs": LIKELIEST, "response_format": or_null(FORMAT)},
)

ANSWER = reply_of(
    "text_completion",
    {"text": TEXT, "logprobs": or_null(object_of({"tokens": {"type": "array", "items": TEXT}}))},
)

COMPLETION = Operation("/v1/completions", read_completion, CompletionForm, ASKED, ANSWER)
