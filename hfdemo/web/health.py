"""Whether the server runs, and whether it can answer: for whoever watches over it."""

from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Health:
    """ASGI middleware: answers `/healthz` and `/readyz`, and tells strangers nothing else.

    Args:
        app: what it stands before.
        is_ready: tells whether messages can be answered now.
    """

    def __init__(self, app: ASGIApp, is_ready: Callable[[], bool]) -> None:
        self._app = app
        self._is_ready = is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/readyz":
            ready = self._is_ready()
            await JSONResponse({"ready": ready}, 200 if ready else 503)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
