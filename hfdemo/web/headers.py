"""Headers of every answer, and the policy for what the page may run and fetch."""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfdemo.web.manifest import GRADIOS_LINK, LINKS
from hfdemo.web.refusals import refusal

GUARDED = "hfdemo.guarded"
"""Marks a request that has passed the guard."""

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


class SafeHeaders:
    """ASGI middleware: adds the headers of every answer.

    Args:
        app: what it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "same-origin"  # without any, a browser names no origin with a form
            await send(message)

        await self._app(scope, receive, sender if scope["type"] == "http" else send)


class PagePolicy:
    """ASGI middleware: adds scripts to the page, and the policy that allows them and nothing else.

    It stands behind Gradio's compression, and serves only what has passed the guard.

    Args:
        app: what it guards.
        scripts: JavaScript to run in the page before Gradio's own.
    """

    def __init__(self, app: ASGIApp, scripts: Sequence[str] = ()) -> None:
        self._app = app
        self._scripts = b"".join(f"<script>{script}</script>".encode() for script in scripts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not scope.get(GUARDED):
            await refusal("unexpected", 503, scope)(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in ("", "/"):
            await self._app(_uncompressed(scope), receive, _PageSender(send, self._scripts))
        else:
            await self._app(scope, receive, send)


class _PageSender:
    """Collects the page's HTML, adds the scripts, and sends it with its policy."""

    def __init__(self, send: Send, scripts: bytes) -> None:
        self._send = send
        self._scripts = scripts
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = MutableHeaders(scope=self._start)
        if headers.get("content-type", "").startswith("text/html"):
            self._body = self._body.replace(b"<head>", b"<head>" + self._scripts, 1).replace(GRADIOS_LINK, LINKS)
            headers["content-security-policy"] = content_security_policy(self._body)
            headers["content-length"] = str(len(self._body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})


def content_security_policy(html: bytes) -> str:
    """Return the policy of a page: its own scripts and nothing from elsewhere.

    Each inline script is allowed by its hash, so that none slips in. Gradio's own code needs `unsafe-eval`. There is
    no `frame-ancestors`, because a Space is shown in a frame.
    """
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _INLINE_SCRIPT.findall(html)
    ]
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'self' 'unsafe-eval' blob: {' '.join(hashes)}",
            "style-src 'self' 'unsafe-inline'",
            "font-src 'self' data:",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "form-action 'self'",
            "object-src 'none'",
            "base-uri 'self'",
            "frame-src 'none'",
        ]
    )


def _uncompressed(scope: Scope) -> Scope:
    """Return the request without its Accept-Encoding header: the page is changed on its way."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
