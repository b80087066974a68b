"""What an endpoint doesn't take of a request's parameters, learned from what it refuses; pure."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfdemo.chat.options import RECOMMENDED
from hfdemo.chat.reply_reader import THOUGHT_FIELD
from hfdemo.engines.remote.events import find_param

OPENAI = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
"""The sampling options of OpenAI's own protocol."""

EXTRAS = (
    *(name for name in RECOMMENDED if name not in OPENAI),
    *("chat_template_kwargs", "continue_final_message", "add_generation_prompt"),
)
"""What OpenAI's own protocol doesn't have, but servers for open models do."""

SYSTEM = "system"
"""The system message, as something that may be refused: then its text stands before the first message."""

PREFILL = "prefill"
"""A last message of the model, as something that may be refused: then one of the user asks it to go on with that."""

NEVER_LEFT_OUT = {"model", "messages", "prompt", "stream", "response_format", "tools", "tool_choice"}
"""Without one of these, the reply would be another than what is asked for."""

OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
"""What takes the place of a parameter that is refused."""

LENGTHS = {*OTHER_NAMES, *OTHER_NAMES.values()}
"""Without one of these, a reply would have no end that anybody asked for."""

_ALIASES = {"enable_thinking": "chat_template_kwargs", "repeat_penalty": "repetition_penalty"}
_ABOUT_SYSTEM = re.compile(r"system (?:role|message|prompt)|developer instruction|roles must alternate", re.I)
_ABOUT_PREFILL = re.compile(r"\bprefill|\blast (?:role|message)\b|\bends? with an? user\b", re.I)
_ABOUT_THINKING = re.compile(r"\b(?:think(?:ing)?|reasoning)\b", re.I)
_UNKNOWN = re.compile(
    r"\bun(?:known|expected|supported|recogni[sz]ed)\b|\bextra\b|\bdeprecated\b|\binstead\b|"
    r"(?:\bnot|n't)(?: \w+)? (?:support|permit|allow|recogni[sz]e|implement|accept|expect)",
    re.I,
)
"""That a parameter isn't known, in whatever words; else it is its value that isn't taken."""

_TAKEN = re.compile(
    r"(?<!not )(?<!n't )\b(?:supported|allowed|valid|accepted|known|permitted|available)\b[^.:\n]{0,40}:.*",
    re.I | re.S,
)
"""A list of what a server does take."""

_MOST = re.compile(
    r"(?:at most|up to|less than|maximum|max\b|limit|exceed|between \d+ and|\d-|<(?!\d+>)|\d >)"
    r"[^\d.:;]{0,40}(\d{1,9})(?!\d)|"
    r"\[\s*\d+\s*,\s*(\d{1,9})\s*\]",
    re.I,
)
"""A greatest length, in whatever words, or as the end of a range."""

_SHORTEST_QUOTE = 12
"""How many characters a text of the conversation has at least to be known again in a server's words."""


@dataclass(frozen=True, slots=True)
class Untaken:
    """What an endpoint doesn't take for a model, as far as that is known.

    A value that one visitor chose may be refused where another's is taken; after the second one, none is tried again.
    """

    names: frozenset[str] = frozenset()
    values: frozenset[tuple[str, str]] = frozenset()
    """Names with a value of theirs as JSON."""

    def holds(self, name: str, value: object = None) -> bool:
        """Tell whether a parameter isn't taken, or this value of it."""
        return name in self.names or (name, _written(value)) in self.values

    @property
    def all_names(self) -> set[str]:
        """The parameters of which at least a value isn't taken."""
        return {*self.names, *(name for name, _ in self.values)}

    def joined(self, other: "Untaken") -> "Untaken":
        """Return both."""
        values = self.values | other.values
        often = {name for name, count in Counter(name for name, _ in values).items() if count > 1}
        return Untaken(self.names | other.names | often, values)


ALL_TAKEN = Untaken()


def read_untaken(said: str, body: Mapping[str, Any], sent: Mapping[str, Any]) -> Untaken:
    """Return what a server doesn't take of what was sent; nothing if it names nothing that can be left out.

    Args:
        said: the server's words.
        body: all of its answer.
        sent: the body that it refused.
    """
    refused = _refused(said, body, sent)
    if refused <= {SYSTEM, PREFILL, THOUGHT_FIELD} or _UNKNOWN.search(_without_quotes(said, sent)):
        return Untaken(names=frozenset(refused))
    return Untaken(values=frozenset((name, _written(sent[name])) for name in refused))


def shorter_length(said: str, wanted: int) -> int | None:
    """Return how long a reply may be, where a server's words for a length it doesn't take tell it."""
    numbers = (int(one or other) for one, other in _MOST.findall(said))
    return max((number for number in numbers if 0 < number < wanted), default=None)


def _refused(said: str, body: Mapping[str, Any], sent: Mapping[str, Any]) -> set[str]:
    known = (set(sent) - NEVER_LEFT_OUT) | set(_ALIASES)
    named = [find_param(body).split(".")[0]]
    details = body.get("detail")
    for detail in details if isinstance(details, list) else []:
        place = detail.get("loc") if isinstance(detail, dict) else None
        named += map(str, place) if isinstance(place, list) else []
    found = {name for name in named if name in known}
    if THOUGHT_FIELD in said and any(THOUGHT_FIELD in message for message in sent.get("messages", ())):
        return {THOUGHT_FIELD}  # some servers want it of earlier replies that called tools, others refuse it
    words = _TAKEN.sub("", _without_quotes(said, sent))
    if _ABOUT_PREFILL.search(words) and "messages" in sent and sent["messages"][-1]["role"] == "assistant":
        return {PREFILL}
    found = found or {name for name in known if re.search(rf"(?<![\w.])(?:{_spellings(name)})(?!\w)", words, re.A)}
    if not found and _ABOUT_SYSTEM.search(words) and "messages" in sent and sent["messages"][0]["role"] == SYSTEM:
        return {SYSTEM}
    if not found and _ABOUT_THINKING.search(words):  # Ollama: "..." does not support thinking
        found = {"reasoning_effort", "chat_template_kwargs"}
    return {_ALIASES.get(name, name) for name in found} & set(sent)


def _spellings(name: str) -> str:
    """Return a pattern for a parameter, which xAI writes in camelCase."""
    first, *others = name.split("_")
    return f"{name}|{first}{''.join(map(str.capitalize, others))}"


def _without_quotes(said: str, sent: Mapping[str, Any]) -> str:
    """Return a server's words without those of the conversation."""
    messages: Sequence[Mapping[str, Any]] = sent.get("messages", ())
    texts = [sent.get("prompt"), *(message.get("content") for message in messages)]
    quoted = (text for text in texts if isinstance(text, str) and len(text.strip()) >= _SHORTEST_QUOTE)
    for text in sorted(quoted, key=len, reverse=True):
        said = said.replace(text, "").replace(json.dumps(text)[1:-1], "")
    return said


def _written(value: object) -> str:
    return json.dumps(value, sort_keys=True)
