"""What stands between the net and Gradio: limits, headers, and a policy for what the page may run and fetch."""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 32 * 1024 * 1024
"""An event sends the whole chat. A text of some megabytes is let in, to be refused with its token count."""

# Gradio would take uploads although the page has none, and fetch any public address for anyone.
_CLOSED = re.compile(r"/gradio_api/(upload|process_recording|file[=/]https?:|proxy=|stream/|custom_component/)")

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


class Guard:
    """ASGI middleware; see the module.

    Args:
        app: what it guards.
        scripts: JavaScript to run in the page before Gradio's own.
    """

    def __init__(self, app: ASGIApp, scripts: Sequence[str] = ()) -> None:
        self._app = app
        self._scripts = b"".join(f"<script>{script}</script>".encode() for script in scripts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        if _CLOSED.search(scope["path"]):
            await PlainTextResponse("This page does not accept uploads or fetch files.", 403)(scope, receive, send)
        elif int(Headers(scope=scope).get("content-length") or 0) > MAX_BODY_BYTES:
            refusal = PlainTextResponse("The request is too large.", 413, {"connection": "close"})
            await refusal(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"] in ("", "/"):
            await self._app(_uncompressed(scope), receive, _PageSender(send, self._scripts))
        else:
            await self._app(scope, _limited(receive), send)


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
            self._body = self._body.replace(b"<head>", b"<head>" + self._scripts, 1)
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


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
        await send(message)

    return sender


def _uncompressed(scope: Scope) -> Scope:
    """Return the request without its Accept-Encoding header: the page is changed on its way."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}


def _limited(receive: Receive) -> Receive:
    """Return `receive`, ended where a body that didn't tell its length grows too large."""
    taken = 0

    async def receiver() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= MAX_BODY_BYTES else {"type": "http.disconnect"}

    return receiver
