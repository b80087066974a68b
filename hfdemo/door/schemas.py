"""Pieces of the JSON schemas that say what the operations of the API take and answer."""

from typing import Any

from hfdemo.chat.options import LIMITS, MAX_STOP_TEXT_CHARS, MAX_STOP_TEXTS, RECOMMENDED
from hfdemo.door.fields import EFFORTS, MAX_LIKELIEST, PENALTIES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}

LENGTH: Schema = {"type": ["integer", "null"], "minimum": 1}
"""How many tokens a reply may have; more than the longest one is taken as that."""

_FINISH: Schema = {"type": ["string", "null"], "enum": ["stop", "length", "tool_calls", "content_filter", None]}


def object_of(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these fields."""
    return {"type": "object", "required": [*required], "properties": required | (optional or {})}


def reply_of(kind: str, told: dict[str, Schema]) -> Schema:
    """Return the schema of a reply with its one choice.

    Args:
        kind: what the API calls it.
        told: what the choice has beside its index and its end.
    """
    choice = object_of({"index": {"const": 0}, **told, "finish_reason": _FINISH})
    choices = {"type": "array", "minItems": 1, "maxItems": 1, "items": choice}
    head = {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT}
    return object_of({**head, "choices": choices, "usage": or_null(_USAGE)})


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def _number(option: str, low: float | None = None) -> Schema:
    limit = LIMITS[option]
    kind = "integer" if limit.whole else "number"
    return {"type": [kind, "null"], "minimum": limit.low if low is None else low, "maximum": limit.high}


_PART = object_of({"type": {"enum": ["text"]}, "text": TEXT})

CONTENT = {"anyOf": [TEXT, {"type": "array", "items": _PART}]}

MESSAGE = object_of({"role": {"enum": ["system", "developer", "user", "assistant"]}, "content": CONTENT})

FORMAT = object_of(
    {"type": {"enum": ["text", "json_object", "json_schema"]}},
    {"json_schema": object_of({"schema": {"type": "object"}}, {"name": TEXT, "strict": FLAG})},
)

_STOP_TEXT = {"type": "string", "maxLength": MAX_STOP_TEXT_CHARS}

SAMPLING: dict[str, Schema] = {
    "model": {"type": ["string", "null"], "description": "the one that is served, or nothing"},
    "stream": FLAG,
    **{option: _number(option) for option in RECOMMENDED},
    "top_k": _number("top_k", low=-1),
    "seed": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**64},
    "stop": {"anyOf": [_STOP_TEXT, {"type": "array", "items": _STOP_TEXT, "maxItems": MAX_STOP_TEXTS}]},
    "n": {"enum": [1, None]},
    **{penalty: {"enum": [0, None]} for penalty in PENALTIES},
    "reasoning_effort": {"enum": [*EFFORTS, None]},
}

STREAM_OPTIONS = {"stream_options": or_null(object_of({}, {"include_usage": FLAG}))}

LIKELIEST = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_LIKELIEST}

_USAGE = object_of(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": object_of({"cached_tokens": COUNT}),
    }
)
