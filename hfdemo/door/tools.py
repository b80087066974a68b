"""The tools of a request, the calls in its conversation and in the reply, in the API's form; pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfdemo.chat.messages import Message, ToolCall, parse_object, replace_surrogates, write_json
from hfdemo.chat.reply import FinishReason
from hfdemo.chat.request import ChatRequest
from hfdemo.chat.tool_calls import CallReader
from hfdemo.door.fields import FORMATS, Fields
from hfdemo.door.forms import finish_word
from hfdemo.door.schemas import CONTENT, TEXT, object_of, or_null
from hfdemo.errors import InvalidInput

MAX_TOOLS = 128

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)

CHOICES = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a program lets the model ask for."""

    definitions: str = ""
    """As JSON; empty if there is nothing."""
    schema: str = ""
    """The JSON schema that the answer has to follow, as JSON, where it has to be a call."""
    must_call: tuple[str, ...] = ()
    """Of which ones it has to be, by their names."""


def read_tools(fields: Fields) -> Tools:
    """Return the tools of a request, and whether the model has to ask for one.

    Raises:
        InvalidInput: a field can't be used; the text names it.
    """
    listed = [_read_tool(tool) for tool in fields.objects("tools")] if fields.has("tools") else []
    if len(listed) > MAX_TOOLS:
        raise InvalidInput("bad_field", name="tools")
    definitions = write_json(listed) if listed else ""
    wanted = _read_choice(fields, _parameters(listed))
    if wanted is None:
        return Tools(definitions)
    if not wanted:
        return Tools()
    if fields.object("response_format").choice("type", FORMATS) not in ("", "text"):
        raise InvalidInput("unsupported_parameter", name="response_format")
    try:
        schema = json.dumps(_call_schema(wanted))
    except RecursionError:
        raise InvalidInput("bad_field", name="tools") from None
    return Tools(definitions, schema, tuple(wanted))


def calls_in(message: Fields, as_written: bool) -> tuple[ToolCall, ...]:
    """Return the calls that an earlier reply asked for.

    Args:
        message: the reply.
        as_written: whether arguments may be broken JSON, which models elsewhere write now and then.

    Raises:
        InvalidInput: one of them can't be read.
    """
    calls = message.objects("tool_calls") if message.has("tool_calls") else ()
    return tuple(_read_call(call, as_written) for call in calls)


def read_result(message: Fields, content: str, calls: Mapping[str, ToolCall]) -> Message:
    """Return what a tool said.

    Args:
        message: the tool's.
        content: its text.
        calls: those before it in the conversation, by id.

    Raises:
        InvalidInput: nobody asked for it.
    """
    wanted = message.text("tool_call_id")
    if wanted not in calls:
        raise InvalidInput("bad_field", name=message.name("tool_call_id"))
    return Message("tool", content, answers=calls[wanted])


class CallsTold:
    """Takes the answer of a reply piece by piece, and knows which calls were told.

    Args:
        request: what is answered; without tools, all of the answer is text.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._reader = CallReader(_parameters(json.loads(request.tools))) if request.tools else None
        self._most = 1 if request.one_call else MAX_TOOLS
        self._found = self._numbered = 0

    def add(self, text: str, calls: Sequence[ToolCall] = ()) -> tuple[str, list[ToolCall]]:
        """Take the next piece; return the text in what is known by now, and the calls.

        Args:
            text: in which calls may be written.
            calls: what came as calls already.
        """
        told, found = self._reader.add(text) if self._reader else (text, [])
        return told, self._count([*found, *calls])

    def end(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back."""
        told, found = self._reader.end() if self._reader else ("", [])
        return told, self._count(found)

    def numbered(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Return calls as a stream tells them, each with its place."""
        self._numbered += len(calls)
        first = self._numbered - len(calls)
        return [{"index": first + place, **call.as_openai()} for place, call in enumerate(calls)]

    def finish_word(self, reason: FinishReason) -> str:
        """Return why the reply ended, as the API calls it."""
        word = finish_word(reason)
        return "tool_calls" if self._found and word == "stop" else word

    def _count(self, calls: list[ToolCall]) -> list[ToolCall]:
        calls = calls[: self._most - self._found]
        self._found += len(calls)
        return calls


def _parameters(tools: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each tool's arguments, by its name."""
    return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}


def _read_tool(tool: Fields) -> dict[str, Any]:
    if (tool.text("type") or "function") != "function":
        raise InvalidInput("unsupported_parameter", name=tool.name("type"))
    function = tool.object("function")
    if not _NAME.fullmatch(function.text("name")):
        raise InvalidInput("bad_field", name=function.name("name"))
    function.text("description")  # these for their types
    function.object("parameters").object("$defs")
    return {"type": "function", "function": tool.raw("function")}


def _read_choice(fields: Fields, tools: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tools of which the model has to ask for one; none if it may not, None if it may or may not."""
    choice = fields.raw("tool_choice")
    if isinstance(choice, dict):
        function = fields.object("tool_choice").object("function")
        name = function.text("name")
        if name not in tools:
            raise InvalidInput("bad_field", name=function.name("name"))
        return {name: tools[name]}
    choice = fields.choice("tool_choice", CHOICES)
    if choice == "required":
        if not tools:
            raise InvalidInput("bad_field", name="tools")
        return dict(tools)
    return {} if choice == "none" else None


def _call_schema(tools: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call of one of some tools, in the one form that needs no marks.

    What a tool's schema refers to in itself, wherever that is, it refers to at its place in this one.
    """
    return {
        "$defs": {name: _moved(parameters, f"#/$defs/{name}") for name, parameters in tools.items()},
        "anyOf": [
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for name in tools
        ],
    }


def _moved(parameters: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the schema of a tool's arguments, an object, as it stands at another place."""

    def move(value: Any) -> Any:
        if isinstance(value, list):
            return [move(one) for one in value]
        if not isinstance(value, dict):
            return value
        moved = {key: move(one) for key, one in value.items()}
        target = value.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            moved["$ref"] = place + target.removeprefix("#").rstrip("/")
        return moved

    return {"type": "object", **move(parameters)}


def _read_call(call: Fields, as_written: bool) -> ToolCall:
    function = call.object("function")
    name, arguments = function.text("name"), function.text("arguments") or "{}"
    found = parse_object(arguments)
    if found is None and not as_written:
        raise InvalidInput("bad_field", name=function.name("arguments"))
    if not name:
        raise InvalidInput("bad_field", name=function.name("name"))
    written = json.dumps(found, ensure_ascii=False)
    clean = replace_surrogates(written)  # JSON has them as escapes
    call.object("extra_content")  # for its type
    extra = write_json(call.raw("extra_content")) if call.raw("extra_content") else ""
    return ToolCall(name, arguments if clean == written else clean, call.text("id"), extra)


_CALL = object_of(
    {
        "id": TEXT,
        "type": {"const": "function"},
        "function": object_of({"name": TEXT, "arguments": {"type": "string"}}),
    },
    {"extra_content": {"type": "object"}},
)

CALLS = {"type": "array", "items": _CALL}

CALLING = object_of({"role": {"const": "assistant"}, "tool_calls": CALLS}, {"content": or_null(CONTENT)})

RESULT = object_of({"role": {"const": "tool"}, "tool_call_id": TEXT, "content": CONTENT})

_TOOL_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}

_TOOL = object_of(
    {
        "type": {"const": "function"},
        "function": object_of({"name": _TOOL_NAME}, {"description": TEXT, "parameters": {"type": "object"}}),
    }
)

TOOLS = {"type": "array", "items": _TOOL, "maxItems": MAX_TOOLS}

TOOL_CHOICE = {"enum": [*CHOICES, None]}
