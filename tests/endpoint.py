"""An endpoint of OpenAI's protocol on this machine that sends what it is told to, byte by byte."""

import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = object()
"""In a script: the connection breaks off here."""

Step = str | bytes | float | object
"""Text that is sent, seconds of silence, or `CUT`."""


def delta(text: str = "", finish: str | None = None, **fields: object) -> str:
    """Return the event of one piece of a reply."""
    choice = {"index": 0, "delta": {"content": text, **fields}, "finish_reason": finish}
    return event({"model": "served", "choices": [choice]})


def event(body: object) -> str:
    return f"data: {json.dumps(body)}\n\n"


def usage(prompt: int, new: int, cached: int = 0) -> str:
    counts = {"prompt_tokens": prompt, "completion_tokens": new, "prompt_tokens_details": {"cached_tokens": cached}}
    return event({"choices": [], "usage": counts})


DONE = "data: [DONE]\n\n"
HELLO = (delta(role="assistant"), delta("Hel"), delta("lo"), delta(finish="stop"), usage(12, 2, 5), DONE)
"""A usual reply."""


@dataclass
class Answer:
    """What is sent for one request."""

    steps: Sequence[Step]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})


@dataclass
class Asked:
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    closed_at: float | None = None
    """When the other side closed the connection before the end."""
    ended: threading.Event = field(default_factory=threading.Event)


class Endpoint:
    """What is served, and what was asked.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.reset()

    def reset(self) -> None:
        """Forget what was asked, and what is to be answered."""
        self.chats: list[Asked] = []
        self.gets: list[Asked] = []
        self.answers: deque[Answer] = deque()
        self.pages: dict[str, Answer] = {}
        self.offer({"id": "org/model", "max_model_len": 4096})

    def offer(self, *models: Mapping[str, object], path: str = "/v1/models") -> None:
        """List these models."""
        self.pages[path] = json_answer({"object": "list", "data": list(models)})

    def answer_to(self, asked: Asked) -> Answer:
        """Return what a request is answered with."""
        return self.answers.popleft() if self.answers else Answer(HELLO)

    def page_for(self, asked: Asked) -> Answer:
        """Return what is at an address."""
        return self.pages.get(asked.path.partition("?")[0]) or json_answer({"detail": "Not Found"}, 404)

    def enqueue(self, *steps: Step) -> None:
        """Add a reply."""
        self.answers.append(Answer(steps))

    def refuse(self, status: int, body: object, **headers: str) -> None:
        """Add a refusal."""
        self.answers.append(json_answer(body, status, **headers))


def json_answer(body: object, status: int = 200, **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer([text], status, {"Content-Type": "application/json", **named})


@contextmanager
def serve_endpoint() -> Iterator[Endpoint]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = Asked(self.path, dict(self.headers), {})
            endpoint.gets.append(asked)
            self._answer(asked, endpoint.page_for(asked))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = Asked(self.path, dict(self.headers), json.loads(self.rfile.read(length)))
            endpoint.chats.append(asked)
            self._answer(asked, endpoint.answer_to(asked))

        def _answer(self, asked: Asked, answer: Answer) -> None:
            """Send the pieces; without a length, the end of the connection is the end of the content."""
            self.close_connection = True
            try:
                if answer.steps[:1] == (CUT,):
                    self._cut()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.send_header("Connection", "close")
                self.end_headers()
                for step in answer.steps:
                    if step is CUT:
                        self._cut()
                        return
                    self._play(step, asked)
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                asked.closed_at = asked.closed_at or time.monotonic()
            finally:
                asked.ended.set()

        def _play(self, step: Step, asked: Asked) -> None:
            if isinstance(step, int | float):
                readable, _, _ = select.select([self.connection], [], [], step)
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    asked.closed_at = time.monotonic()
                    raise ConnectionResetError
                return
            piece = step.encode() if isinstance(step, str) else step
            assert isinstance(piece, bytes)
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()

        def _cut(self) -> None:
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    Handler.protocol_version = "HTTP/1.1"
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        yield endpoint
        server.shutdown()
