"""The server's side of the API: requests come in, answers go out, a closed connection stops the reply."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.answering import Answer, Answering
from hfdemo.chat.messages import parse_object
from hfdemo.door.asked import Asked, cache_key, served_name
from hfdemo.door.chat_completions import CHAT
from hfdemo.door.completions import COMPLETION
from hfdemo.door.fields import Fields
from hfdemo.door.forms import ReplyForm, StreamEvent
from hfdemo.door.openapi import make_document
from hfdemo.door.operation import Operation
from hfdemo.door.responses import RESPONSE
from hfdemo.engines.protocol import Status
from hfdemo.errors import Busy, GenerationFailed, HfdemoError, InvalidInput, ModelLoadError, NoGpu, explain_failure
from hfdemo.web.bodies import SMALL_BYTES
from hfdemo.web.keys import KEY_NAME
from hfdemo.web.refusals import error_body, refusal
from hfdemo.words import Language, choose_language, say

SILENT_S = 10.0
"""After so long without an event a comment is sent, so that no proxy takes the connection for dead; before the first
event, the answer begins."""

STATUSES: dict[type[HfdemoError], int] = {
    InvalidInput: 400,
    Busy: 429,
    ModelLoadError: 503,
    NoGpu: 503,
    GenerationFailed: 500,
}

OTHER_STATUSES = {
    "unknown_model": 404,
    "credit_sign_in": 403,
    "busy": 503,
    "busy_for": 503,
    "closing": 503,
    "gpu_quota": 429,
    "gpu_runs": 429,
    "gpu_stranger": 429,
    "gpu_pending": 429,
    "template": 400,
    "endpoint_refused": 400,
    "endpoint_filtered": 400,
    "endpoint_too_long": 400,
    "endpoint_busy": 429,
    "endpoint_busy_for": 429,
    "endpoint_loading": 503,
}
"""What errors mean that aren't like others of their class."""

CODES = {
    "unknown_model": "model_not_found",
    "too_many_tokens": "context_length_exceeded",
    "endpoint_too_long": "context_length_exceeded",
    "endpoint_filtered": "content_filter",
}
"""How the API calls what programs look for; other errors keep their own names."""

OTHER_WORDS = (
    *("too_many_tokens", "endpoint_too_long"),
    *("endpoint_cut", "endpoint_empty", "endpoint_failed", "endpoint_stalled"),
)
"""The errors whose usual sentence tells people what to do on the page."""


OPERATIONS = {operation.path: operation for operation in (CHAT, COMPLETION, RESPONSE)}


DESCRIPTION = "/v1/openapi.json"
"""Where the API is described."""

MODELS = "/v1/models"
"""Where the models are told."""


def make_door(answering: Answering) -> ASGIApp:
    """Return what serves the API. It serves only requests that `web.keys` has let through."""
    return _Door(answering)


class _Door:
    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        operation = OPERATIONS.get(path)
        if path == "/health":
            answer: Response | None = JSONResponse({"status": "ok"})
        elif path == "/load_model":  # `transformers chat` waits for this; here a message waits for the model itself
            answer = Response('data: {"status": "ready", "cached": true}\n\n', media_type="text/event-stream")
        elif KEY_NAME not in scope:
            answer = refusal("invalid_api_key", 401, scope)
        elif operation is None:
            answer = self._read(scope, path)
        elif scope["method"] != "POST":
            answer = refusal("wrong_method", 405, scope, {"allow": "POST"}, allowed="POST")
        else:
            answer = None
            await self._serve(operation, scope, receive, send)
        if answer:
            await answer(scope, receive, send)

    def _read(self, scope: Scope, path: str) -> Response:
        """Return what describes the API, or its models: a list of the one that answers, or that alone, by its name."""
        if path not in (DESCRIPTION, MODELS) and not path.startswith(f"{MODELS}/"):
            return refusal("no_such_route", 404, scope)
        if scope["method"] not in ("GET", "HEAD"):
            return refusal("wrong_method", 405, scope, {"allow": "GET"}, allowed="GET")
        if path == DESCRIPTION:
            return JSONResponse(make_document(OPERATIONS.values()))
        status = self._answering.status()
        served = [_model(status)] if status.model else []
        own_name = served_name(status)
        name = path.removeprefix(MODELS).removeprefix("/")
        if not name:
            return JSONResponse({"object": "list", "data": served})
        if name == own_name:
            return JSONResponse(served[0])
        error = InvalidInput("unknown_model", name="model", model=name, served=own_name)
        return _error_answer(error, _language(scope))

    async def _serve(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
            read = partial(_read_asked, operation, body, self._answering.status())
            # A conversation of many thousand messages takes a second, in which others are served.
            asked = await asyncio.to_thread(read) if len(body) > SMALL_BYTES else read()
            key = cache_key(scope[KEY_NAME], asked.request)
            # Whoever has a key counts as an address does: many people may be behind a program.
            answer = self._answering.answer(replace(asked.request, cache_key=key), address=f"key {scope[KEY_NAME]}")
        except ClientDisconnect:
            return
        except HfdemoError as error:
            await _error_answer(error, _language(scope))(scope, receive, send)
            return
        gone = asyncio.create_task(_stop_when_gone(receive, answer))
        try:
            await _Reply(answer, operation.form(asked), scope, send).send(asked.streams)
        finally:
            gone.cancel()
            answer.stop.set()


class _Reply:
    """Sends one reply, whole or as a stream."""

    def __init__(self, answer: Answer, form: ReplyForm, scope: Scope, send: Send) -> None:
        self._answer = answer
        self._form = form
        self._scope = scope
        self._send = send
        self._started = False
        self._sent_at = 0.0

    async def send(self, streams: bool) -> None:
        """Send it; an error before the first piece is an answer with its status, later an event in the stream."""
        try:
            await (self._stream() if streams else self._whole())
        except Exception as error:
            told = error if isinstance(error, HfdemoError) else explain_failure(error)
            if self._started:
                await self._put([StreamEvent(_error_body(told, _language(self._scope)))])
                await self._finish()
            else:
                await _error_answer(told, _language(self._scope))(self._scope, _nothing, self._send)

    async def _whole(self) -> None:
        async with aclosing(self._answer.deltas()) as deltas:
            async for delta in deltas:
                for _ in self._form.add(delta):
                    pass
                if delta.receipt:
                    body = self._form.whole(delta.receipt)
                    await JSONResponse(body)(self._scope, _nothing, self._send)

    async def _stream(self) -> None:
        begun_at = asyncio.get_running_loop().time()
        opening = [*self._form.begin()]  # some forms number their events
        async with aclosing(self._answer.deltas()) as deltas:
            async for delta in deltas:
                events = [*self._form.add(delta)]
                if delta.receipt:
                    events += self._form.end(delta.receipt)
                if not self._started:
                    if not events and asyncio.get_running_loop().time() - begun_at < SILENT_S:
                        continue  # an error may still have a status, by which programs know whether to ask again
                    events = [*opening, *events]
                await self._put(events)
                if delta.receipt:
                    await self._finish()

    async def _put(self, events: Iterable[StreamEvent]) -> None:
        """Send events in one piece; where there is none, a comment now and then."""
        # JSON in ASCII alone: huggingface_hub takes U+2028 and its like for the end of a line.
        text = "".join(
            f"event: {event.name}\n" * bool(event.name) + f"data: {json.dumps(event.data)}\n\n" for event in events
        )
        now = asyncio.get_running_loop().time()
        if not self._started:
            headers = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"}
            pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": pairs})
            self._started, self._sent_at = True, now
        if not text and now - self._sent_at > SILENT_S:
            text = ": the reply is coming\n\n"
        if text:
            self._sent_at = now
            await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _finish(self) -> None:
        done = b"data: [DONE]\n\n" if self._form.ends_with_done else b""
        await self._send({"type": "http.response.body", "body": done})


async def _stop_when_gone(receive: Receive, answer: Answer) -> None:
    """Stop a reply when its reader closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.stop.set()


async def _nothing() -> Any:
    raise RuntimeError("the body is read already")


def _read_asked(operation: Operation, body: bytes, status: Status) -> Asked:
    """Return what is asked for; not a matter for the event loop if it is long.

    Raises:
        InvalidInput: it can't be read; the text says why.
    """
    found = parse_object(body)
    if found is None:
        raise InvalidInput("not_an_object")
    return operation.read(Fields(found), status)


def _model(status: Status) -> dict[str, Any]:
    limit = {"max_model_len": status.context_limit} if status.context_limit else {}  # as vLLM tells it
    return {"id": served_name(status), "object": "model", "created": 0, "owned_by": "hfdemo", **limit}


def _error_answer(error: HfdemoError, language: Language) -> JSONResponse:
    status = _status_of(error)
    seconds = error.fields.get("seconds", "1" if isinstance(error, Busy) else "")
    tells_when = status in (429, 503) and seconds.isdecimal()  # others tell how long they waited
    return JSONResponse(_error_body(error, language), status, {"retry-after": seconds} if tells_when else {})


def _error_body(error: HfdemoError, language: Language) -> dict[str, Any]:
    param = error.fields.get("name") if isinstance(error, InvalidInput) else None
    said = say(f"program.{error.key}", language, **error.fields) if error.key in OTHER_WORDS else error.text(language)
    return error_body(said, _status_of(error), param, CODES.get(error.key, error.key))


def _status_of(error: HfdemoError) -> int:
    usual = 502 if error.key.startswith("endpoint_") else STATUSES.get(type(error), 500)
    return OTHER_STATUSES.get(error.key, usual)


def _language(scope: Scope) -> Language:
    return choose_language(Headers(scope=scope).get("accept-language"))
