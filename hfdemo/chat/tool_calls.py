"""Tools that a model may ask for: what it is told of them, and how what it asks for is read from its answer; pure.

Models write a call as text, each family in its own form. Sources: the chat templates of Qwen2.5, Qwen3-Coder and
Hermes 2 Pro, of Llama 3.1, of Mistral's models (https://docs.mistral.ai/capabilities/function_calling), of DeepSeek R1
and V3.1, GLM 4.6 and 4.7, Kimi K2, MiniMax M2, Seed-OSS, and of others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hfdemo.chat.messages import ToolCall
from hfdemo.chat.reply_reader import hold_back

CLOSINGS = {
    "<tool_call>": "</tool_call>",  # Hermes, Qwen, Granite 4, GLM; `ChannelReader` writes gpt-oss's calls like this
    "<tool_calls>": "</tool_calls>",  # Apriel, MiniMax-M1
    "<TOOLCALL>": "</TOOLCALL>",  # Nemotron Nano 2
    "<|python_tag|>": "",  # Llama 3.1, which may also begin its answer with the JSON itself
    "[TOOL_CALLS]": "",  # Mistral
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",  # DeepSeek
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",  # Kimi
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
}
"""What opens a call, or several, and what closes it; nothing where the reply ends behind it."""

MARKS = (
    *(*CLOSINGS, *filter(None, CLOSINGS.values()), "[ARGS]", "[CALL_ID]"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)
"""What is control tokens in some models, and text in others."""

_NAMED = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)")
"""The call of a newer model of Mistral's: `[TOOL_CALLS]name[ARGS]{...}`."""

_TAGGED = tuple(
    (re.compile(call, re.DOTALL), re.compile(argument, re.DOTALL))
    for call, argument in (
        (  # Qwen3-Coder
            r"\s*<function=([\w.-]+)>(.*?)</function>\s*",
            r"\s*<parameter=([^>]+)>\n?(.*?)\n?</parameter>\s*",
        ),
        (  # MiniMax
            r'\s*<invoke name="([\w.-]+)">(.*?)</invoke>\s*',
            r'\s*<parameter name="([^"]+)">\n?(.*?)\n?</parameter>\s*',
        ),
        (  # GLM
            r"\s*([\w.-]+)\s*((?:<arg_key>.*</arg_value>)?)\s*",
            r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*",
        ),
    )
)
"""How a call is written whose arguments are text, each with its name, and how an argument is."""

_MARKED = tuple(
    re.compile(form, re.DOTALL | re.VERBOSE)
    for form in (
        r"""\s* <｜tool▁call▁begin｜> function <｜tool▁sep｜> (?P<name>[\w.-]+) \s*
        ```json \s* (?P<arguments>\{.*?\}) \s* ``` \s* <｜tool▁call▁end｜> \s*""",  # DeepSeek R1
        r"""\s* <｜tool▁call▁begin｜> (?P<name>[\w.-]+) <｜tool▁sep｜>
        (?P<arguments>\{.*?\}) \s* <｜tool▁call▁end｜> \s*""",  # DeepSeek V3.1
        r"""\s* <\|tool_call_begin\|> \s* (?P<id>(?:functions\.)?(?P<name>[\w.-]+):\d+) \s*
        <\|tool_call_argument_begin\|> \s* (?P<arguments>\{.*?\}) \s*
        <\|tool_call_end\|> \s*""",  # Kimi, whose template expects its own id again
    )
)
"""How a call is written of which marks tell the name, and the arguments as JSON."""

_BETWEEN = re.compile(r"[\s,;]*")


class CallReader:
    """Takes an answer piece by piece, and tells its text from the calls in it.

    Args:
        tools: the JSON schema of each tool's arguments, by its name. What looks like a call of another one is text.
    """

    def __init__(self, tools: Mapping[str, Mapping[str, Any]]) -> None:
        self._tools = tools
        self._held = ""
        self._begun = False  # whether there was a text or a call
        self._in_text = False  # blanks count only within a text

    def add(self, text: str) -> tuple[str, list[ToolCall]]:
        """Take the next piece; return the text in what is known by now, and the calls."""
        self._held += text
        return self._read(is_whole=False)

    def end(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back."""
        return self._read(is_whole=True)

    def _read(self, is_whole: bool) -> tuple[str, list[ToolCall]]:
        told, found = "", list[ToolCall]()
        while self._held.strip() or (self._in_text and self._held):
            opening, start = self._next_opening()
            if opening is None:
                shown, self._held = (self._held, "") if is_whole else hold_back(self._held, tuple(CLOSINGS))
                told += self._show(shown)
                break
            end = self._end_of_call(opening, start, is_whole)
            if end is None:
                told += self._show(self._held[:start])
                self._held = self._held[start:]
                break
            calls = self._calls(self._held[start:end], opening)
            told += self._show(self._held[: start if calls else end])
            self._held = self._held[end:]
            self._begun, self._in_text = True, self._in_text and not calls
            found += calls
        return told, found

    def _next_opening(self) -> tuple[str | None, int]:
        """Return what may open the next call, "" for JSON that the answer begins with, and where it stands."""
        if not self._begun and self._held.lstrip().startswith("{"):
            return "", 0
        places = [(self._held.find(opening), opening) for opening in CLOSINGS if opening in self._held]
        start, opening = min(places, default=(0, None))
        return opening, start

    def _end_of_call(self, opening: str, start: int, is_whole: bool) -> int | None:
        """Return where a call ends; None if that isn't known yet."""
        closing = CLOSINGS.get(opening)
        if closing and (end := self._held.find(closing, start)) >= 0:
            return end + len(closing)
        return len(self._held) if is_whole else None

    def _calls(self, written: str, opening: str) -> list[ToolCall]:
        """Return the calls in what a model wrote; none if it is something else."""
        calls: list[ToolCall] = []
        parts = written.split(opening)[1:] if opening else [written]
        for part in parts:
            inner = part.removesuffix(CLOSINGS.get(opening, ""))
            read = self._read_tagged(inner) or _read_marked(inner) or _read_calls(inner)
            if not read or any(call.name not in self._tools for call in read):
                return []
            calls += read
        return calls

    def _read_tagged(self, written: str) -> list[ToolCall]:
        """Return calls whose arguments are text, of the types that the tools' schemas say."""
        for call, argument in _TAGGED:
            found = _all_of(call, written)
            if found and not any(argument.sub("", one[2]).strip() for one in found):
                return [self._typed_call(one[1], argument.findall(one[2])) for one in found]
        return []

    def _typed_call(self, name: str, arguments: Sequence[tuple[str, str]]) -> ToolCall:
        properties = self._tools.get(name, {}).get("properties")
        known = properties if isinstance(properties, dict) else {}
        return ToolCall(name, _dump({key.strip(): _typed(value, known.get(key.strip())) for key, value in arguments}))

    def _show(self, text: str) -> str:
        self._in_text = self._in_text or bool(text.strip())
        self._begun = self._begun or self._in_text
        return text if self._in_text else ""


def _typed(value: str, schema: object) -> Any:
    """Return the value of an argument that a model wrote as text."""
    if not isinstance(schema, dict) or schema.get("type", "string") == "string":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _all_of(form: re.Pattern[str], written: str) -> list[re.Match[str]]:
    """Return how often a form stands in a text; not at all if anything else does."""
    found, place = list[re.Match[str]](), 0
    while one := form.match(written, place):
        found.append(one)
        place = one.end()
    return found if place == len(written) else []


def _read_marked(written: str) -> list[ToolCall]:
    for form in _MARKED:
        if found := _all_of(form, written):
            values = [_read_values(one["arguments"]) for one in found]
            if all(len(each) == 1 for each in values):
                ids = [{"id": one["id"]} if "id" in form.groupindex else {} for one in found]
                return [
                    ToolCall(one["name"], _dump(each[0]), **more)
                    for one, each, more in zip(found, values, ids, strict=True)
                ]
    return []


def _read_calls(written: str) -> list[ToolCall]:
    named = _NAMED.match(written)
    values = _read_values(written[named.end() :] if named else written)
    if named:
        return [ToolCall(named[1], _dump(values[0]))] if len(values) == 1 and isinstance(values[0], dict) else []
    calls = [call for value in values if (call := _read_call(value))]
    return calls if len(calls) == len(values) else []


def _read_values(written: str) -> list[Any]:
    """Return the JSON values in a text, those of a list each by itself; none if there is anything else."""
    decoder, values, place = json.JSONDecoder(), list[Any](), _skip(written, 0)
    while place < len(written):
        try:
            value, place = decoder.raw_decode(written, place)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        place = _skip(written, place)
    return values


def _skip(written: str, place: int) -> int:
    between = _BETWEEN.match(written, place)
    return between.end() if between else place


def _read_call(value: object) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    facts = inner if isinstance(inner, dict) else value
    name = facts.get("name") or (inner if isinstance(inner, str) else None)
    arguments: Any = next((facts[key] for key in ("arguments", "parameters") if key in facts), {})
    if isinstance(arguments, str):  # JSON within JSON
        arguments = next(iter(_read_values(arguments)), None if arguments.strip() else {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(name, _dump(arguments))


def _dump(arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False)
