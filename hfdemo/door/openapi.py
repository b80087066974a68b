"""What the API takes and answers, as an OpenAPI document: for programs that read one, and to try them all."""

from collections.abc import Iterable

from hfdemo.door.operation import Operation
from hfdemo.door.schemas import COUNT, TEXT, Schema, object_of


def make_document(operations: Iterable[Operation]) -> Schema:
    """Return the document of the API with its operations."""
    return {
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
            **{operation.path: {"post": _makes(operation.asked, operation.answer)} for operation in operations},
        },
    }


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


def _list_of(schema: Schema) -> Schema:
    return object_of({"object": {"const": "list"}, "data": {"type": "array", "items": schema}})


_TOLD = {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")}

_ERROR = object_of({"error": object_of(_TOLD)})

_MODEL = object_of(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT}, {"max_model_len": COUNT}
)
