"""What the API takes and answers, as an OpenAPI document: for programs that read one, and to try them all."""

from typing import Any

from hfdemo.chat.options import LIMITS, MAX_STOP_TEXT_CHARS, MAX_STOP_TEXTS
from hfdemo.door.asked import MAX_LIKELIEST
from hfdemo.door.tools import CHOICES, MAX_TOOLS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
FINISH: Schema = {"type": ["string", "null"], "enum": ["stop", "length", "tool_calls", None]}


def _reads(answer: Schema, *statuses: int) -> Schema:
    return {"responses": {"200": _as_json("what was asked for", answer)} | _errors(401, *statuses)}


def _makes(asked: Schema, answer: Schema) -> Schema:
    """Return an operation that makes a reply: whole, or as a stream of events where `stream` is true."""
    made = _as_json("the reply", answer)
    made["content"]["text/event-stream"] = {"schema": {}}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": made} | _errors(400, 401, 404, 413, 429, 500, 502, 503),
    }


def _as_json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> Schema:
    return {str(status): _as_json("why there is no answer", _ERROR) for status in statuses}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": [*required], "properties": required | (optional or {})}


def _reply(kind: str, told: dict[str, Schema]) -> Schema:
    """Return the schema of a reply with its one choice.

    Args:
        kind: what the API calls it.
        told: what the choice has beside its index and its end.
    """
    choice = _object({"index": {"const": 0}, **told, "finish_reason": FINISH})
    choices = {"type": "array", "minItems": 1, "maxItems": 1, "items": choice}
    return _object(
        {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT, "choices": choices, "usage": _USAGE}
    )


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list_of(schema: Schema) -> Schema:
    return _object({"object": {"const": "list"}, "data": {"type": "array", "items": schema}})


def _number(option: str, low: float | None = None) -> Schema:
    limit = LIMITS[option]
    kind = "integer" if limit.whole else "number"
    return {"type": [kind, "null"], "minimum": limit.low if low is None else low, "maximum": limit.high}


def _length() -> Schema:
    """Return the schema of a length; more than the longest reply is taken as that."""
    return {"type": ["integer", "null"], "minimum": 1}


_TOLD = {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")}

_ERROR = _object({"error": _object(_TOLD)})

_MODEL = _object(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT}, {"max_model_len": COUNT}
)

_PART = _object({"type": {"enum": ["text"]}, "text": TEXT})

_CONTENT = {"anyOf": [TEXT, {"type": "array", "items": _PART}]}

_MESSAGE = _object({"role": {"enum": ["system", "developer", "user", "assistant"]}, "content": _CONTENT})

_MESSAGES = {"type": "array", "minItems": 1, "items": _MESSAGE}

_CALL = _object(
    {"id": TEXT, "type": {"const": "function"}, "function": _object({"name": TEXT, "arguments": {"type": "string"}})}
)

_CALLS = {"type": "array", "items": _CALL}

_CALLING = _object({"role": {"const": "assistant"}, "tool_calls": _CALLS}, {"content": _or_null(_CONTENT)})

_RESULT = _object({"role": {"const": "tool"}, "tool_call_id": TEXT, "content": _CONTENT})

_TOOL_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}

_TOOL = _object(
    {
        "type": {"const": "function"},
        "function": _object({"name": _TOOL_NAME}, {"description": TEXT, "parameters": {"type": "object"}}),
    }
)

_FORMAT = _object(
    {"type": {"enum": ["text", "json_object", "json_schema"]}},
    {"json_schema": _object({"schema": {"type": "object"}}, {"name": TEXT, "strict": FLAG})},
)

_STOP_TEXT = {"type": "string", "maxLength": MAX_STOP_TEXT_CHARS}

_SAMPLING: dict[str, Schema] = {
    "model": {"type": ["string", "null"], "description": "the one that is served, or nothing"},
    "stream": FLAG,
    "temperature": _number("temperature"),
    "top_p": _number("top_p"),
    "top_k": _number("top_k", low=-1),
    "min_p": _number("min_p"),
    "repetition_penalty": _number("repetition_penalty"),
    "seed": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**64},
    "stop": {"anyOf": [_STOP_TEXT, {"type": "array", "items": _STOP_TEXT, "maxItems": MAX_STOP_TEXTS}]},
    "n": {"enum": [1, None]},
    "presence_penalty": {"enum": [0, None]},
    "frequency_penalty": {"enum": [0, None]},
    "reasoning_effort": {"enum": ["none", "minimal", "low", "medium", "high", None]},
}

_STREAM_OPTIONS = {"stream_options": _or_null(_object({}, {"include_usage": FLAG}))}

_LIKELIEST = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_LIKELIEST}

_CHAT = _object(
    {"messages": {"type": "array", "minItems": 1, "items": {"anyOf": [_MESSAGE, _CALLING, _RESULT]}}},
    _SAMPLING
    | _STREAM_OPTIONS
    | {
        "max_completion_tokens": _length(),
        "max_tokens": _length(),
        "logprobs": FLAG,
        "top_logprobs": _LIKELIEST,
        "response_format": _or_null(_FORMAT),
        "continue_final_message": FLAG,
        "tools": _or_null({"type": "array", "items": _TOOL, "maxItems": MAX_TOOLS}),
        "tool_choice": {"enum": [*CHOICES, None]},
        "parallel_tool_calls": FLAG,
    },
)

_COMPLETION = _object(
    {"prompt": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}]}},
    _SAMPLING
    | _STREAM_OPTIONS
    | {"max_tokens": _length(), "logprobs": _LIKELIEST, "response_format": _or_null(_FORMAT)},
)

_RESPONSE = _object(
    {"input": {"anyOf": [TEXT, _MESSAGES]}},
    _SAMPLING
    | {
        "instructions": {"type": ["string", "null"]},
        "max_output_tokens": _length(),
        "reasoning": _or_null(_object({}, {"effort": _SAMPLING["reasoning_effort"]})),
        "text": _or_null(_object({}, {"format": _or_null(_object({"type": {"enum": ["text", "json_object"]}}))})),
    },
)

_USAGE = _object(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": _object({"cached_tokens": COUNT}),
    }
)

_TOKEN = _object(
    {"token": TEXT, "logprob": {"type": "number"}, "bytes": {"type": "array", "items": {"type": "integer"}}}
)

_CHAT_ANSWER = _reply(
    "chat.completion",
    {
        "message": _object(
            {"role": {"const": "assistant"}, "content": {"type": ["string", "null"]}},
            {"reasoning_content": TEXT, "refusal": {"type": "null"}, "tool_calls": _CALLS},
        ),
        "logprobs": _or_null(_object({"content": {"type": "array", "items": _TOKEN}})),
    },
)

_COMPLETION_ANSWER = _reply(
    "text_completion",
    {"text": TEXT, "logprobs": _or_null(_object({"tokens": {"type": "array", "items": TEXT}}))},
)

_RESPONSE_ANSWER = _object(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": COUNT,
        "status": {"enum": ["completed", "incomplete"]},
        "model": TEXT,
        "output": {"type": "array", "items": _object({"id": TEXT, "type": {"enum": ["reasoning", "message"]}})},
        "usage": _object({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}),
    }
)

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "hfdemo", "version": "1"},
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "security": [{"key": []}],
    "paths": {
        "/v1/models": {"get": _reads(_list_of(_MODEL))},
        "/v1/models/{model}": {
            "parameters": [{"name": "model", "in": "path", "required": True, "schema": TEXT}],
            "get": _reads(_MODEL, 404),
        },
        "/v1/chat/completions": {"post": _makes(_CHAT, _CHAT_ANSWER)},
        "/v1/completions": {"post": _makes(_COMPLETION, _COMPLETION_ANSWER)},
        "/v1/responses": {"post": _makes(_RESPONSE, _RESPONSE_ANSWER)},
    },
}
