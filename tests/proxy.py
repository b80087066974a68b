"""Requests passed on to another server, as a reverse proxy does."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.asgi import serve_app

NOT_PASSED_ON = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")


async def pass_on(request: Request, url: httpx.URL, **headers: str) -> Response:
    """Return another server's answer to a request, with more headers, as it comes."""
    client = httpx.AsyncClient(timeout=None, trust_env=False)
    kept = [(name, value) for name, value in request.headers.items() if name not in NOT_PASSED_ON]
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    asked = client.build_request(request.method, url, headers=kept + more, content=await request.body())
    answer = await client.send(asked, stream=True)
    told = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(client.aclose))
    told.raw_headers = [pair for pair in answer.headers.raw if pair[0].decode().lower() not in NOT_PASSED_ON]
    return told


class SubPathProxy:
    """A reverse proxy that serves another server below a path, which that server doesn't see."""

    def __init__(self, target: str, prefix: str) -> None:
        self._target, self._prefix = target, prefix
        self.answers: list[tuple[int, str, str]] = []
        """Of each request: the status, method and path; what is not below the path has status 404."""
        self.origin = ""

    @property
    def url(self) -> str:
        """Where the page is, with the slash to which such proxies lead who leaves it out."""
        return f"{self.origin}{self._prefix}/"

    async def _serve(self, request: Request) -> Response:
        path = request.url.path
        if path.startswith(f"{self._prefix}/"):
            url = httpx.URL(self._target + path.removeprefix(self._prefix), query=request.url.query.encode())
            address = {"x_forwarded_for": "192.0.2.1", "x_forwarded_proto": "http"}
            answer = await pass_on(request, url, host=request.headers["host"], **address)
        else:
            answer = PlainTextResponse("nothing here", 404)
        self.answers.append((answer.status_code, request.method, path))
        return answer

    @contextmanager
    def serve(self) -> Iterator["SubPathProxy"]:
        """Serve until the context ends."""
        routes = [Route("/{path:path}", self._serve, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])]
        with serve_app(Starlette(routes=routes)) as self.origin:
            yield self
