"""What an operation of the API makes of a reply that comes; pure."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hfdemo.chat.messages import ToolCall
from hfdemo.chat.reply import Delta, FinishReason, Receipt, Token
from hfdemo.chat.request import ChatRequest


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream."""

    data: dict[str, Any]
    name: str = ""


class ReplyForm(Protocol):
    """Makes the answer to one request."""

    ends_with_done: bool
    """Whether `[DONE]` stands at the end of its stream."""

    def begin(self) -> Iterator[StreamEvent]:
        """Yield the events before the reply."""
        ...

    def add(self, delta: Delta) -> Iterator[StreamEvent]:
        """Take the next piece and yield its events."""
        ...

    def end(self, receipt: Receipt) -> Iterator[StreamEvent]:
        """Yield the events behind the last piece."""
        ...

    def whole(self, receipt: Receipt) -> dict[str, Any]:
        """Return the answer to a request that doesn't stream, behind the last piece."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of a reply adds."""

    text: str
    thought: str
    tokens: tuple[Token, ...]


class Told:
    """What has been told of a reply. What it goes on from, the program has already.

    Args:
        request: what is answered.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._start, self._thought_start = len(request.reply_start), len(request.thought_start)
        self._all_text = self._all_thought = ""
        self._text_told, self._thought_told = self._start, self._thought_start
        self.tokens: list[Token] = []
        self.calls: list[ToolCall] = []

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._all_text[self._start :]

    @property
    def thought(self) -> str:
        """The thought so far."""
        return self._all_thought[self._thought_start :]

    def add(self, delta: Delta) -> Piece:
        """Take the next piece and return what is new in it.

        What was streamed as an answer and turns out to be a thought can't be taken back, and is not told twice.
        """
        before = len(self._all_text), len(self._all_thought)
        self._all_text, self._all_thought = delta.added_to(self._all_text, self._all_thought)
        if delta.answer_was_thought:  # of the thought, all is told that was told as answer before
            self._thought_told = sum(before)
            self._start = self._text_told = 0
        self.tokens += delta.tokens
        self.calls += delta.calls
        text, thought = self._all_text[self._text_told :], self._all_thought[self._thought_told :]
        self._text_told = max(self._text_told, len(self._all_text))
        self._thought_told = max(self._thought_told, len(self._all_thought))
        return Piece(text, thought, delta.tokens)


def logprob(token: Token) -> float:
    """Return how likely a token was, as the API tells it: JSON has no infinity.

    Source: https://platform.openai.com/docs/api-reference/chat/object, "the value -9999.0 is used to signify that the
    token is very unlikely".
    """
    return max(token.logprob, -9999.0)


def finish_word(reason: FinishReason) -> str:
    """Return why a reply ended, as the API calls it."""
    if reason == "content_filter":
        return reason
    return "stop" if reason in ("end_of_turn", "stop_text") else "length"


def usage(receipt: Receipt) -> dict[str, Any] | None:
    """Return what a reply took; None where a server elsewhere didn't tell, as one that was left at a stop text."""
    if not receipt.prompt_tokens:
        return None
    return {
        "prompt_tokens": receipt.prompt_tokens,
        "completion_tokens": receipt.new_tokens,
        "total_tokens": receipt.used_tokens,
        "prompt_tokens_details": {"cached_tokens": receipt.cached_tokens},
    }


def new_id(kind: str) -> str:
    """Return an id that no other answer has."""
    return f"{kind}-{secrets.token_hex(12)}"


def now() -> int:
    """Return the time as the API tells it, in seconds."""
    return int(time.time())
