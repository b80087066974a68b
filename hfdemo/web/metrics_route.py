"""Where numbers about the program are. What counts them is in `metrics.py`, which needs a package of its own."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.refusals import refusal


class MetricsRoute:
    """ASGI middleware: answers `/metrics`.

    Args:
        app: what it stands before.
        text: returns the numbers; None where the host doesn't offer them.
    """

    def __init__(self, app: ASGIApp, text: Callable[[], bytes] | None) -> None:
        self._app = app
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != "/metrics":
            await self._app(scope, receive, send)
        elif self._text is None:
            await refusal("no_such_route", 404, scope)(scope, receive, send)
        else:
            from prometheus_client import CONTENT_TYPE_LATEST

            await Response(self._text(), media_type=CONTENT_TYPE_LATEST)(scope, receive, send)
