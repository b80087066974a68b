"""The entrance of the API in OpenAI's form: nobody gets there without a key, even if the page has no password."""

import hmac
from collections.abc import Mapping
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.refusals import refusal
from hfdemo.web.routes import callers_of, is_for_door

KEY_NAME = "hfdemo.key_name"
"""Where a request that showed a key has the name of that key."""


class Keys:
    """ASGI middleware: hands requests for the API to the door, if there is one and they show a key.

    Args:
        app: serves all else.
        door: serves the API; without it, there is none.
        keys: by name; without any, there is no API either.
    """

    def __init__(self, app: ASGIApp, door: ASGIApp | None, keys: Mapping[str, str]) -> None:
        self._app = app
        self._door = door
        self._digests = {name: _digest(key) for name, key in keys.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_for_door(scope["path"]):
            await self._app(scope, receive, send)
            return
        callers = callers_of(scope["path"])
        if self._door is None or not self._digests:
            await refusal("no_such_route", 404, scope)(scope, receive, send)
        elif callers == "anyone":
            await self._door(scope, receive, send)
        elif name := self._name_of(Headers(scope=scope).get("authorization", "")):
            if callers is None:
                await refusal("no_such_route", 404, scope)(scope, receive, send)
            else:
                await self._door({**scope, KEY_NAME: name}, receive, send)
        else:
            answer = refusal("invalid_api_key", 401, scope, {"www-authenticate": "Bearer", "connection": "close"})
            await answer(scope, receive, send)

    def _name_of(self, authorization: str) -> str:
        """Return the name of the key that a request shows; empty if it shows none. Each key is compared."""
        kind, _, key = authorization.partition(" ")
        given, found = _digest(key.strip()), ""
        for name, known in self._digests.items():
            if hmac.compare_digest(given, known):
                found = name
        return found if kind.lower() == "bearer" else ""


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
