"""The words of one turn: what a visitor sends, with its limits, and what an engine sends back."""

import json
import math
from dataclasses import dataclass
from typing import Literal, get_args

from hfdemo.errors import HfdemoError, InvalidInput
from hfdemo.models.plan import Plan

Role = Literal["user", "assistant"]

FinishReason = Literal["end_of_turn", "max_new_tokens", "stopped", "stop_text", "time_limit", "model_changed"]
"""Why a reply ended: the model ended it, it reached `max_new_tokens`, somebody stopped it, a stop text came, the
host's time limit passed, or somebody chose another model."""

CUT_OFF: tuple[FinishReason, ...] = ("max_new_tokens", "stopped", "time_limit", "model_changed")
"""The reasons after which there is more to say."""

Thinking = Literal["auto", "off", "on", "low", "medium", "high"]
"""Whether and how hard a thinking model thinks before it answers; `auto` is off where it can be off."""

THINKING: tuple[Thinking, ...] = get_args(Thinking)

MAX_MESSAGE_CHARS = 10_000_000
"""More than this can't be meant for a language model; the context limit refuses most texts far earlier."""

MAX_STOP_TEXTS = 16
MAX_STOP_TEXT_CHARS = 200


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
    stop_texts: tuple[str, ...] = ()
    """Texts that end the reply; they are not part of it."""
    thinking: Thinking = "auto"


OPTION_NAMES: tuple[str, ...] = tuple(LIMITS)
"""The options that are numbers, in the order in which the page and the API send them."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to answer: the conversation, whose last message is the user's, and how to answer it."""

    messages: tuple[Message, ...]
    system_prompt: str
    options: Options
    chat: str = ""
    """A secret name of the conversation, made by the server; under it the engine keeps its last reply."""
    reply_start: str = ""
    """What the reply begins with; the model goes on from there."""
    continues: bool = False
    """Whether `reply_start` is the last reply of this chat, which was cut off and is to go on."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one reply took."""

    prompt_tokens: int
    cached_tokens: int
    """How many of the prompt's tokens were not read again."""
    new_tokens: int
    first_token_s: float
    """From the beginning of the work, without the time in the line."""
    tokens_per_s: float
    """After the first token; 0 if there was one only."""
    finish_reason: FinishReason
    seed: int
    model: str
    device: str
    context_limit: int | None
    """How many tokens the model can hold."""
    dropped_messages: int
    """How many of the oldest messages the model was not shown, because its context was full."""


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """A reply as it ended, kept by the engine for its receipt and to go on from."""

    text: str
    thought: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt for people to look at."""

    tokens: tuple[tuple[str, bool], ...]
    """Each token as text, and whether it is a control token."""
    dropped_messages: int
    context_limit: int | None


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a reply. One without text says that the engine is alive and still at work."""

    text: str = ""
    thought: str = ""
    """What a thinking model thinks before it answers."""
    used_tokens: int = 0
    """How many tokens of the model's context are used up to now; 0 before the prompt is built."""
    receipt: Receipt | None = None
    """Set on the last piece only."""
    ahead: int = 0
    """How many replies have to be finished before this one is begun."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that can be chosen."""

    name: str
    """As in `HFDEMO_MODEL`."""
    stored_bytes: int | None
    """How much is to be downloaded, or lies on the disk; None if that isn't known."""
    on_disk: bool
    fits: bool | None
    """Whether it fits this machine; None if that isn't known."""


Stage = Literal[
    "resolving", "checking", "downloading", "converting", "loading", "ready", "unloaded", "cancelled", "failed"
]
"""The way of a model from 'not there' to 'ready', and how it may end. `unloaded`: it left the memory because nobody
used it, and comes back with the next message. `cancelled`: somebody stopped the download."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the engine is doing with its model: the way from 'not there' to 'ready'."""

    stage: Stage
    model: str = ""
    """The model's name, once it is known."""
    device: str = ""
    """Where it runs, once it is ready."""
    file: str = ""
    """Which file is being downloaded."""
    done_bytes: int = 0
    """Of all that is to be downloaded or loaded."""
    total_bytes: int = 0
    """0 while the size isn't known."""
    bytes_per_s: float = 0.0
    """How fast the download is; 0 while that isn't known."""
    plan: Plan | None = None
    """What the model needs and how it will run, once that is known."""
    context_limit: int | None = None
    """How many tokens the model can hold, once it is ready."""
    thinking_modes: tuple[Thinking, ...] = ()
    """What the model's chat template can be asked for; empty if it can't be asked."""
    base_model: bool = False
    """Whether the model has no chat template: it was not tuned for chat."""
    takes_system_prompt: bool = True
    """Whether the chat template has a place for a system prompt; if not, it goes before the first message."""
    instruct_sibling: str | None = None
    """The model tuned for chat that belongs to this base model, if one is known."""
    fallback: HfdemoError | None = None
    """Why the embedded demo model stands in for the default model."""
    error: HfdemoError | None = None
    """Why loading failed."""


def read_options(*values: object, stop_texts: object = "", thinking: object = "auto") -> Options:
    r"""Check a visitor's option values.

    Args:
        values: the numbers, in the order of `OPTION_NAMES`.
        stop_texts: one on each line, where `\n` and `\t` stand for a new line and a tab; or a list.
        thinking: one of `Thinking`.

    Raises:
        InvalidInput: a value isn't a finite number in its range, or one of those allowed; the text says which.
    """
    read = {name: _read_number(name, value) for name, value in zip(OPTION_NAMES, values, strict=True)}
    return Options(
        **read,  # type: ignore[arg-type]  # whole limits give int, the others float
        stop_texts=_read_stop_texts(stop_texts),
        thinking=_read_thinking(thinking),
    )


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


def read_reply_start(value: object) -> str:
    """Check the text a reply shall begin with.

    Raises:
        InvalidInput: it isn't text, or is too long for any model.
    """
    return _read_text("reply_start", value)


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


def _read_stop_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        lines = _read_text("stop_texts", value).split("\n")
        value = [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines]
    texts = tuple(text for text in (_read_text("stop_texts", item) for item in value) if text)
    if len(texts) > MAX_STOP_TEXTS or any(len(text) > MAX_STOP_TEXT_CHARS for text in texts):
        raise InvalidInput("too_many_stop_texts", texts=MAX_STOP_TEXTS, chars=MAX_STOP_TEXT_CHARS)
    return texts


def _read_thinking(value: object) -> Thinking:
    for thinking in THINKING:
        if thinking == value:
            return thinking
    raise InvalidInput("not_one_of", name="thinking", value=_short(value), allowed=", ".join(THINKING))


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
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):  # nested too deeply, or nothing that JSON has
        text = type(value).__name__
    return replace_surrogates(text if len(text) <= chars else text[:chars] + "…")
