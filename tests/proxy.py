"""Requests passed on to another server, as a reverse proxy does; and connections that break on one side only."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, create_connection, socket
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import urlsplit

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


class HalfOpenProxy:
    """Passes connections on to another server, which doesn't hear that they broke."""

    def __init__(self, target: str) -> None:
        self._port = urlsplit(target).port
        self._clients: list[socket] = []
        self._held: list[socket] = []
        self.url = ""

    def drop_clients(self) -> None:
        """Break all connections on the side of their clients."""
        while self._clients:
            _shut(self._clients.pop())

    def _serve(self, client: socket) -> None:
        server = create_connection(("127.0.0.1", self._port))
        self._clients.append(client)
        self._held.append(server)
        Thread(target=_pass_on, args=(server, client), daemon=True).start()
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)

    @contextmanager
    def serve(self) -> Iterator["HalfOpenProxy"]:
        """Serve until the context ends."""
        passing_on = self._serve

        class Connection(BaseRequestHandler):
            def handle(self) -> None:
                passing_on(self.request)

        with ThreadingTCPServer(("127.0.0.1", 0), Connection) as listener:
            listener.daemon_threads = True
            Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
            self.url = f"http://127.0.0.1:{listener.server_address[1]}"
            try:
                yield self
            finally:
                listener.shutdown()
                self.drop_clients()
                for server in self._held:
                    _shut(server)
                    server.close()


def _pass_on(server: socket, client: socket) -> None:
    """Pass on what a server sends, and read the rest of it when the client is gone."""
    with suppress(OSError):
        while data := server.recv(65536):
            with suppress(OSError):
                client.sendall(data)
    _shut(client)


def _shut(one: socket) -> None:
    with suppress(OSError):
        one.shutdown(SHUT_RDWR)
