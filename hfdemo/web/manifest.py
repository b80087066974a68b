"""What a browser is told to install the page as an app: `/manifest.json`, and where the page's icon is.

Gradio's own page names them from the root of the host, or not at all; behind a proxy, another page may be there.
Source: https://www.w3.org/TR/appmanifest/.
"""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/manifest.json"

GRADIOS_LINK = b'<link rel="manifest" href="/manifest.json" />'
LINKS = (
    b'<link rel="icon" href="favicon.ico" /><link rel="manifest" href="manifest.json" crossorigin="use-credentials" />'
)
"""The same from where the page is, and the icon; a browser asks for a manifest without cookies unless told."""


class Manifest:
    """ASGI middleware: serves the manifest.

    Args:
        app: what it stands before.
        title: the page's.
    """

    def __init__(self, app: ASGIApp, title: str) -> None:
        self._app = app
        icon = {"src": "pwa_icon", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}
        self._manifest = {"name": title, "icons": [icon], "start_url": "./", "display": "standalone"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope.get("path") != PATH:
            await self._app(scope, receive, send)
            return
        await JSONResponse(self._manifest, media_type="application/manifest+json")(scope, receive, send)
