"""What the tests of the guard's parts share: an app that says what it got, and requests to it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from hfdemo.web.events import EventTable

NO_EVENTS = EventTable([], lambda _: False, lambda _: True)


class Recorder:
    """An ASGI app that reads each request whole and answers 200; remembers what it got."""

    def __init__(self, status: int = 200, body: bytes = b'"here"') -> None:
        self.scopes: list[dict] = []
        self.bodies: list[bytes] = []
        self.answer = (status, body)

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.scopes.append(scope)
        self.bodies.append(body)
        status, text = self.answer
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def scope_of(path: str, method: str = "GET", headers: dict[str, str] | None = None, **more: Any) -> dict:
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": pairs,
        "client": ("127.0.0.1", 50000),
        **more,
    }


def request(app: Any, scope: dict, body: Iterable[bytes | float] = ()) -> tuple[int, dict[str, str], bytes]:
    """Send a request and return status, headers and body; a number among the body's parts is a wait."""
    return asyncio.run(send_request(app, scope, body))


async def send_request(app: Any, scope: dict, body: Iterable[bytes | float] = ()) -> tuple[int, dict[str, str], bytes]:
    coming = iter(body)
    sent: list[dict] = []

    async def receive() -> dict:
        for part in coming:
            if isinstance(part, bytes):
                return {"type": "http.request", "body": part, "more_body": True}
            await asyncio.sleep(part)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])
