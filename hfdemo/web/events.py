"""The shape of an event: what Gradio would only find out by failing is refused with a sentence.

The page's own events are not part of the API. They need the page's own origin, which browsers tell with every event;
foreign origins have been refused before (`hosts.py`).
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfdemo.chat.messages import parse_object, shorten
from hfdemo.web.bodies import again
from hfdemo.web.refusals import refusal

MAX_NAME_CHARS = 100
"""Of a session or an event; Gradio's have about 10 and 32."""

MAX_READ = 1000
"""How many calls whose result was read are remembered."""

_CALL = re.compile(r"/gradio_api/call/(?P<v2>v2/)?(?P<name>[^/]+)/?")
_RESULT = re.compile(r"/gradio_api/call/(v2/)?[^/]+/(?P<event>[^/]+)/?")
_RUN = re.compile(r"/gradio_api/(run|api)/(?P<name>[^/]+)/?")
_JOIN = re.compile(r"/gradio_api/queue/join/?")
_STREAM = re.compile(r"/gradio_api/(queue/data|heartbeat/(?P<session>[^/]+))/?", re.DOTALL)
_CANCEL = re.compile(r"/gradio_api/cancel/?")


@dataclass(frozen=True, slots=True)
class PageEvent:
    """One event that the server takes part in."""

    index: int
    inputs: int
    """How many values the page sends for it."""
    queued: bool
    name: str | None = None
    """What programs call it; None if it is the page's own."""
    parameters: Mapping[str, bool] | None = None
    """What programs send, in its order; True where they must."""
    defaults: Mapping[str, Any] | None = None
    """The values of what they don't send."""


@dataclass(frozen=True, slots=True)
class EventTable:
    """What the page's events are, and which of them run.

    Args:
        events: those that the server takes part in.
        is_pending: tells whether there is an event of that name, to read its result.
        is_free: tells whether no call of a session of that name is still being answered.
    """

    events: Sequence[PageEvent]
    is_pending: Callable[[str], bool]
    is_free: Callable[[str], bool]

    def at(self, index: object) -> PageEvent | None:
        """Return the event with that index."""
        return next((event for event in self.events if event.index == index and not isinstance(index, bool)), None)

    def named(self, name: str) -> PageEvent | None:
        """Return the event that programs call so."""
        return next((event for event in self.events if event.name == name), None)

    @property
    def names(self) -> str:
        """What programs can call, to be shown to them."""
        return ", ".join(f"/{event.name}" for event in self.events if event.name)


class Refused(Exception):
    """A request can't be used.

    Args:
        key: the name of the sentence that says so.
        status: the HTTP status.
        facts: what goes into its gaps.
    """

    def __init__(self, key: str, status: int = 400, **facts: Any) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.facts = facts


class Events:
    """ASGI middleware; see the module.

    Args:
        app: what it guards.
        table: the page's events.
    """

    def __init__(self, app: ASGIApp, table: EventTable) -> None:
        self._app = app
        self._table = table
        self._being_read: set[str] = set()
        self._read: deque[str] = deque(maxlen=MAX_READ)  # the last ones; Gradio forgets them a little later

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        check = self._check_of(scope) if scope["type"] == "http" else None
        if check is None:
            await self._app(scope, receive, send)
            return
        try:
            if scope["method"] == "POST":
                body = await _read_body(receive)
                whole = check(_parse(body))
                receive = again(json.dumps(whole).encode() if whole else body, receive)
                scope = _as_json(scope)
            else:
                check({})
        except Refused as error:
            await refusal(error.key, error.status, scope, **error.facts)(scope, receive, send)
            return
        found = _RESULT.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        with self._one_reader(found["event"]) if found else nullcontext():
            await self._app(scope, receive, _RunSender(send) if _RUN.fullmatch(scope["path"]) else send)

    @contextmanager
    def _one_reader(self, event: str) -> Iterator[None]:
        """Note that a call's result is being read. Of two readers each would get some of it, and one wait for ever."""
        self._being_read.add(event)
        try:
            yield
        finally:
            self._being_read.discard(event)
            self._read.append(event)

    def _check_of(self, scope: Scope) -> Callable[[dict[str, Any]], dict[str, Any] | None] | None:
        """Return what checks the body of a request, and returns what to take for it; None if there is no need."""
        path, method = scope["path"], scope["method"]
        if method == "GET":
            if found := _STREAM.fullmatch(path):
                session = found["session"] or QueryParams(scope["query_string"]).get("session_hash")
                return partial(_check_session, session)
            found = _RESULT.fullmatch(path)
            return partial(self._check_pending, found["event"]) if found else None
        if method != "POST":
            return None
        from_page = "origin" in Headers(scope=scope)
        if found := _CALL.fullmatch(path):
            check = self._check_named_call if found["v2"] else self._check_call
            return partial(check, found["name"])
        if found := _RUN.fullmatch(path):
            return partial(self._check_run, found["name"], from_page)
        if _JOIN.fullmatch(path):
            return partial(self._check_join, from_page)
        return _check_cancel if _CANCEL.fullmatch(path) else None

    def _check_pending(self, event: str, _: dict[str, Any]) -> None:
        if event in self._read or not self._table.is_pending(event):
            raise Refused("no_such_call", 404)
        if event in self._being_read:
            raise Refused("call_being_read", 409)

    def _check_call(self, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Check a program's call with a list of values, and put in the last ones if they are left out.

        Gradio would take null for them.
        """
        event = self._public(name)
        _check_names(body)
        _check_values(event, body)
        session = body.get("session_hash")
        if session and not self._table.is_free(session):
            raise Refused("call_in_progress", 409)
        left_out = list(event.parameters or {})[len(body["data"]) :]
        known = event.defaults or {}
        return {**body, "data": [*body["data"], *(known.get(name) for name in left_out)]} if left_out else None

    def _check_named_call(self, name: str, body: dict[str, Any]) -> None:
        """Check a program's call with named values."""
        parameters = self._public(name).parameters or {}
        known = ", ".join(parameters) or "-"
        for given in body:
            if given not in parameters:
                raise Refused("unknown_parameter", name=shorten(given), known=known)
        for parameter, needed in parameters.items():
            if needed and parameter not in body:
                raise Refused("missing_parameter", name=parameter)

    def _check_run(self, name: str, from_page: bool, body: dict[str, Any]) -> None:
        """Check an event that doesn't go through the queue; programs have none."""
        index = body.get("fn_index")
        event = self._table.named(name) if index is None else self._table.at(index)
        if event is None or event.queued:
            raise Refused("no_such_endpoint", 404, known=self._table.names)
        self._check_event(event, from_page, body)

    def _check_join(self, from_page: bool, body: dict[str, Any]) -> None:
        event = self._table.at(body.get("fn_index"))
        if event is None:
            raise Refused("no_such_endpoint", 404, known=self._table.names)
        if not body.get("session_hash"):
            raise Refused("bad_event")
        self._check_event(event, from_page, body)

    def _check_event(self, event: PageEvent, from_page: bool, body: dict[str, Any]) -> None:
        if event.name is None and not from_page:
            raise Refused("page_only", 403)
        _check_names(body)
        _check_values(event, body)

    def _public(self, name: str) -> PageEvent:
        event = self._table.named(name)
        if event is None:
            raise Refused("no_such_endpoint", 404, known=self._table.names)
        return event


def _check_session(session: str | None, _: dict[str, Any]) -> None:
    """Check whose stream of events is asked for. Gradio fails with some names, and keeps the others."""
    if not _is_name(session):
        raise Refused("bad_event")


def _check_cancel(body: dict[str, Any]) -> None:
    index = body.get("fn_index")
    named = all(_is_name(body.get(key)) for key in ("session_hash", "event_id"))
    if not named or not isinstance(index, int) or isinstance(index, bool):
        raise Refused("bad_event")


def _check_names(body: dict[str, Any]) -> None:
    """Check what stands beside the values. Gradio takes any value here, and fails with some."""
    for key in ("session_hash", "event_id"):
        if body.get(key) is not None and not _is_name(body[key]):
            raise Refused("bad_event")
    if not isinstance(body.get("event_data"), dict | None):
        raise Refused("bad_event")


def _check_values(event: PageEvent, body: dict[str, Any]) -> None:
    values = body.get("data")
    parameters = event.parameters or {}
    if not isinstance(values, list):
        raise Refused("no_values", known=", ".join(parameters) or "-")
    # A program may lack the last parameters, and may send Gradio's own inputs in between, as gradio_client does.
    fewest = event.inputs if event.name is None else sum(parameters.values())
    if not fewest <= len(values) <= event.inputs:
        raise Refused("wrong_count", count=event.inputs if event.name is None else len(parameters), given=len(values))


def _as_json(scope: Scope) -> Scope:
    """Return a request that says what it holds, as it was found to: curl calls all that it sends a form."""
    others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", b"application/json")]}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("bad_json")  # nobody reads this
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _parse(body: bytes) -> dict[str, Any]:
    found = parse_object(body)
    if found is None:
        raise Refused("bad_json")
    return found


class _RunSender:
    """Sends an answer on. Gradio sends a sentence for the visitor as a failure of the server's, which it isn't."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            await self._send({**start, "status": 400 if _has_sentence(message.get("body", b"")) else 500})
        await self._send(message)


def _has_sentence(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("error"), str)
