"""What one side said, and how the text that a visitor sends is checked."""

import json
import math
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

from hfdemo.errors import InvalidInput

Role = Literal["user", "assistant", "tool", "system"]
"""Who speaks; a tool speaks only to the model, and so does a program that puts a word in between (`system`)."""

MAX_MESSAGE_CHARS = 10_000_000
"""More than this can't be meant for a language model; the context limit refuses most texts far earlier."""


def new_call_id() -> str:
    """Return an id that no other call has; Mistral's templates take nine letters and digits only."""
    return secrets.token_hex(5)[:9]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for."""

    name: str
    arguments: str
    """A JSON object; what a model elsewhere wrote in its place may be broken."""
    id: str = field(default_factory=new_call_id)
    extra_content: str = ""
    """What the server that told it wants back beside it, as JSON, such as Gemini's signature of the thought before it.
    Templates don't see it."""

    def as_openai(self) -> dict[str, Any]:
        """Return the call as OpenAI's API tells it."""
        call = {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}
        return call | ({"extra_content": json.loads(self.extra_content)} if self.extra_content else {})


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said, exactly as it was typed or generated."""

    role: Role
    content: str
    thought: str = ""
    """What a model thought before it said this; some templates show it to the model again."""
    calls: tuple[ToolCall, ...] = ()
    """The tools that a model asked for with this."""
    answers: ToolCall | None = None
    """The call that a tool answers."""


def read_message(value: object) -> str:
    """Check the message a visitor sends.

    Raises:
        InvalidInput: it isn't text, is empty, or is too long for any model.
    """
    text = read_text("message", value)
    if not text.strip():
        raise InvalidInput("empty_message")
    return text


def read_system_prompt(value: object) -> str:
    """Check the system prompt a visitor sends.

    Raises:
        InvalidInput: it isn't text, or is too long for any model.
    """
    return read_text("system_prompt", value)


def read_reply_start(value: object) -> str:
    """Check the text a reply shall begin with.

    Raises:
        InvalidInput: it isn't text, or is too long for any model.
    """
    return read_text("reply_start", value)


def replace_surrogates(text: str) -> str:
    """Return `text` with lone surrogates, which no tokenizer and no JSON encoder takes, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_text(name: str, value: object) -> str:
    """Check any text a visitor sends; lone surrogates become U+FFFD.

    Raises:
        InvalidInput: it isn't text, or is too long for any model.
    """
    if not isinstance(value, str):
        raise InvalidInput("not_text", name=name, value=shorten(value))
    if len(value) > MAX_MESSAGE_CHARS:
        raise InvalidInput("too_many_chars", name=name, chars=f"{len(value):,}", limit=f"{MAX_MESSAGE_CHARS:,}")
    return replace_surrogates(value)


def write_json(value: object) -> str:
    """Return a value as JSON; lone surrogates in it become U+FFFD."""
    return replace_surrogates(json.dumps(value, ensure_ascii=False))


def parse_object(written: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object in a text; None if it is anything else, or nested too deeply."""
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def shorten(value: object, chars: int = 40) -> str:
    """Show a refused value without sending all of a huge one back."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"{'-' if value < 0 else ''}10^{int(value.bit_length() * math.log10(2))}"
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):  # nested too deeply, or nothing that JSON has
        text = type(value).__name__
    return replace_surrogates(text if len(text) <= chars else text[:chars] + "…")
