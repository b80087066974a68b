"""A page tells that it is closed, or that it is there again, while a reply comes.

What a closing page sends is sent by the browser after the page is gone (`navigator.sendBeacon`), which no event of
Gradio's is. Source: https://www.w3.org/TR/beacon/.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_NAME_BYTES = 64


class Presence:
    """ASGI middleware: takes `POST /presence/left` and `/presence/back`, whose body names the turn that is answered.

    Args:
        app: what it stands before.
        left: is told the turn whose page was closed.
        back: is told the turn whose page was opened again.
    """

    def __init__(self, app: ASGIApp, left: Callable[[str], object], back: Callable[[str], object]) -> None:
        self._app = app
        self._told = {"/presence/left": left, "/presence/back": back}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        tell = self._told.get(scope.get("path", ""))
        if scope["type"] != "http" or tell is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.method != "POST":
            await Response(status_code=405, headers={"allow": "POST"})(scope, receive, send)
            return
        turn = await request.body()
        if len(turn) <= MAX_NAME_BYTES:
            tell(turn.decode("utf-8", "replace"))
        await Response(status_code=204)(scope, receive, send)
