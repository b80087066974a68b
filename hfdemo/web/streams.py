"""How many event streams may be open at once, from one address and in all: each holds a connection.

A page that is open has one to show that it is there, and one while a reply comes.
"""

import re
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.clients import client_of
from hfdemo.web.refusals import refusal

MAX_OF_ONE_ADDRESS = 256
"""Behind one address may be a classroom."""

MAX_STREAMS = 4096

_STREAM = re.compile(r"/gradio_api/(queue/data|heartbeat/[^/]+|call/(v2/)?[^/]+/[^/]+)/?")


class FewStreams:
    """ASGI middleware: refuses event streams beyond the bounds.

    Args:
        app: what it guards.
        of_one_address: how many may be open from one address.
        in_all: how many may be open.
    """

    def __init__(self, app: ASGIApp, of_one_address: int = MAX_OF_ONE_ADDRESS, in_all: int = MAX_STREAMS) -> None:
        self._app = app
        self._of_one_address = of_one_address
        self._in_all = in_all
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not _STREAM.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        address = client_of((scope.get("client") or ("", 0))[0])
        if self._open[address] >= self._of_one_address or self._open.total() >= self._in_all:
            await refusal("too_many_streams", 429, scope, {"retry-after": "10"})(scope, receive, send)
            return
        self._open[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
