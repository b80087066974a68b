"""How a reply is made: the sampling options with their ranges, and how a visitor's values are checked."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from hfdemo.chat.messages import read_text, shorten
from hfdemo.errors import InvalidInput

Thinking = Literal["auto", "off", "on", "low", "medium", "high"]
"""Whether and how hard a thinking model thinks before it answers; `auto` is off where it can be off."""

THINKING: tuple[Thinking, ...] = get_args(Thinking)

MAX_STOP_TEXTS = 16
MAX_STOP_TEXT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """The range of one option; the page's sliders and the server's check both read it."""

    low: float
    high: float
    spacing: float
    """The distance between two values that the slider can have."""
    default: float
    off: float | None = None
    """The value that changes nothing, if there is one."""
    narrows: bool = False
    """Whether it leaves out unlikely tokens: it says nothing where the most likely one is always taken."""

    @property
    def whole(self) -> bool:
        """Whether the option takes integers only."""
        return float(self.spacing).is_integer()


LIMITS: dict[str, Limit] = {
    "temperature": Limit(low=0, high=2, spacing=0.05, default=0.7),
    "top_p": Limit(low=0, high=1, spacing=0.01, default=0.9, off=1, narrows=True),
    "max_new_tokens": Limit(low=1, high=4096, spacing=1, default=512),
    "top_k": Limit(low=0, high=1000, spacing=1, default=50, off=0, narrows=True),
    "repetition_penalty": Limit(low=0.5, high=2, spacing=0.05, default=1, off=1),
    "seed": Limit(low=-1, high=2**32 - 1, spacing=1, default=-1),
    "min_p": Limit(low=0, high=1, spacing=0.01, default=0, off=0, narrows=True),
}

RECOMMENDED: tuple[str, ...] = ("temperature", "top_p", "top_k", "repetition_penalty", "min_p")
"""The options for which a model may recommend values: these are its defaults, in place of those of `LIMITS`."""


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
    min_p: float = LIMITS["min_p"].default
    """0 switches it off."""
    left_out: tuple[str, ...] = ()
    """Options that nobody chose: the model that answers, or the server that has it, may have better values than the
    defaults."""

    def with_recommended(self, recommended: Mapping[str, float]) -> "Options":
        """Return these options with a model's recommended values, by name, in place of what was left out."""
        known: dict[str, Any] = {name: recommended[name] for name in self.left_out if name in recommended}
        return replace(self, **known, left_out=())


OPTION_NAMES: tuple[str, ...] = tuple(LIMITS)
"""The options that are numbers, in the order in which the page and the API send them."""


def defaults(recommended: Mapping[str, float]) -> dict[str, float]:
    """Return the value of each option that a model may recommend: the model's, or else hfdemo's own."""
    return {name: recommended.get(name, LIMITS[name].default) for name in RECOMMENDED}


def read_options(
    *values: object, stop_texts: object = "", thinking: object = "auto", left_out: Collection[str] = ()
) -> Options:
    r"""Check a visitor's option values.

    Args:
        values: the numbers, in the order of `OPTION_NAMES`.
        stop_texts: one on each line, where `\n` and `\t` stand for a new line and a tab; or a list.
        thinking: one of `Thinking`.
        left_out: the options of `RECOMMENDED` that nobody chose; their values don't matter.

    Raises:
        InvalidInput: a value isn't a finite number in its range, or one of those allowed; the text says which.
    """
    read = {
        name: read_number(name, LIMITS[name].default if name in left_out else value)
        for name, value in zip(OPTION_NAMES, values, strict=True)
    }
    return Options(
        **read,  # type: ignore[arg-type]  # whole limits give int, the others float
        stop_texts=_read_stop_texts(stop_texts),
        thinking=_read_thinking(thinking),
        left_out=tuple(left_out),
    )


def read_number(name: str, value: object) -> float | int:
    """Check the value of one option that is a number.

    Raises:
        InvalidInput: it isn't a finite number in its range.
    """
    limit = LIMITS[name]
    facts = {"name": name, "value": shorten(value), "low": _plain(limit.low), "high": _plain(limit.high)}
    # Python compares a whole number of any size with a float, so 10**400 needs no conversion to be refused.
    if not isinstance(value, int | float) or isinstance(value, bool) or not limit.low <= value <= limit.high:
        raise InvalidInput("bad_number", **facts)
    if not limit.whole:
        return float(value)
    if value != int(value):
        raise InvalidInput("not_whole", **facts)
    return int(value)


def check_stop_texts(texts: Iterable[str], **facts: str) -> tuple[str, ...]:
    """Return the stop texts that aren't empty.

    Args:
        texts: as they were read.
        facts: what else the error says.

    Raises:
        InvalidInput: they are too many, or too long.
    """
    read = tuple(filter(None, texts))
    if len(read) > MAX_STOP_TEXTS or any(len(text) > MAX_STOP_TEXT_CHARS for text in read):
        raise InvalidInput("too_many_stop_texts", texts=MAX_STOP_TEXTS, chars=MAX_STOP_TEXT_CHARS, **facts)
    return read


def _read_stop_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        lines = read_text("stop_texts", value).split("\n")
        value = [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines]
    return check_stop_texts([read_text("stop_texts", item) for item in value])


def _read_thinking(value: object) -> Thinking:
    for thinking in THINKING:
        if thinking == value:
            return thinking
    raise InvalidInput("not_one_of", name="thinking", value=shorten(value), allowed=", ".join(THINKING))


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
