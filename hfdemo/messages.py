"""The words of one turn: what a visitor sends, with its limits, and what an engine sends back."""

import json
import math
from dataclasses import dataclass, fields
from typing import Literal

from hfdemo.errors import HfdemoError, InvalidInput

Role = Literal["user", "assistant"]

FinishReason = Literal["end_of_turn", "max_new_tokens", "stopped"]
"""Why a reply ended: the model ended it, it reached `max_new_tokens`, or somebody stopped it."""

MAX_MESSAGE_CHARS = 1_000_000
"""More than this can't be meant for a language model; the context limit refuses most texts far earlier."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said, exactly as it was typed or generated."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Limit:
    """The range of one option; the page's sliders and the server's check both read it."""

    low: float
    high: float
    step: float
    default: float

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return float(self.step).is_integer()


LIMITS: dict[str, Limit] = {
    "temperature": Limit(low=0, high=2, step=0.05, default=0.7),
    "top_p": Limit(low=0, high=1, step=0.01, default=0.9),
    "max_new_tokens": Limit(low=1, high=4096, step=1, default=512),
    "top_k": Limit(low=0, high=1000, step=1, default=50),
    "repetition_penalty": Limit(low=0.5, high=2, step=0.05, default=1),
    "seed": Limit(low=-1, high=2**32 - 1, step=1, default=-1),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a reply is sampled. The order of the fields is the order of the API's parameters."""

    temperature: float = LIMITS["temperature"].default
    """0 always takes the most likely token (greedy)."""
    top_p: float = LIMITS["top_p"].default
    max_new_tokens: int = int(LIMITS["max_new_tokens"].default)
    top_k: int = int(LIMITS["top_k"].default)
    """0 switches it off."""
    repetition_penalty: float = LIMITS["repetition_penalty"].default
    seed: int = int(LIMITS["seed"].default)
    """-1 draws a new seed for each reply."""


OPTION_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Options))


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to answer: the conversation, whose last message is the user's, and how to answer it."""

    messages: tuple[Message, ...]
    system_prompt: str
    options: Options


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a reply. One without text says that the engine is alive and still at work."""

    text: str = ""
    finish_reason: FinishReason | None = None
    """Set on the last piece only."""
    ahead: int = 0
    """How many replies have to be finished before this one is begun."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the engine is doing with its model: the way from 'not there' to 'ready'."""

    stage: Literal["resolving", "downloading", "converting", "loading", "ready", "failed"]
    model: str = ""
    """The model's name, once it is known."""
    device: str = ""
    """Where it runs, once it is ready."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0 while the size isn't known."""
    fallback: HfdemoError | None = None
    """Why the embedded demo model stands in for the default model."""
    error: HfdemoError | None = None
    """Why loading failed."""


def read_options(*values: object) -> Options:
    """Check a visitor's option values, in the order of `OPTION_NAMES`.

    Raises:
        InvalidInput: a value isn't a finite number in its range; the text names the value and the range.
    """
    read = {name: _read_number(name, value) for name, value in zip(OPTION_NAMES, values, strict=True)}
    return Options(**read)  # type: ignore[arg-type]  # whole limits give int, the others float


def read_message(value: object) -> str:
    """Check the message a visitor sends.

    Raises:
        InvalidInput: it isn't text, is empty, or is too long for any model.
    """
    text = _read_text("message", value)
    if not text.strip():
        raise InvalidInput("empty_message")
    return text


def read_system_prompt(value: object) -> str:
    """Check the system prompt a visitor sends.

    Raises:
        InvalidInput: it isn't text, or is too long for any model.
    """
    return _read_text("system_prompt", value)


def replace_surrogates(text: str) -> str:
    """Return `text` with lone surrogates, which no tokenizer and no JSON encoder takes, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_number(name: str, value: object) -> float | int:
    limit = LIMITS[name]
    facts = {"name": name, "value": _short(value), "low": _plain(limit.low), "high": _plain(limit.high)}
    # Python compares a whole number of any size with a float, so 10**400 needs no conversion to be refused.
    if not isinstance(value, int | float) or isinstance(value, bool) or not limit.low <= value <= limit.high:
        raise InvalidInput("bad_number", **facts)
    if not limit.whole:
        return float(value)
    if value != int(value):
        raise InvalidInput("not_whole", **facts)
    return int(value)


def _read_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput("not_text", name=name, value=_short(value))
    if len(value) > MAX_MESSAGE_CHARS:
        raise InvalidInput("too_many_chars", name=name, chars=f"{len(value):,}", limit=f"{MAX_MESSAGE_CHARS:,}")
    return replace_surrogates(value)


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _short(value: object, chars: int = 40) -> str:
    """Show a refused value without sending all of a huge one back."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"{'-' if value < 0 else ''}10^{int(value.bit_length() * math.log10(2))}"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return replace_surrogates(text if len(text) <= chars else text[:chars] + "…")
