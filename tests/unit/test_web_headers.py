"""Every answer has its headers, and the page its policy."""

import base64
import hashlib
import re

import pytest
from gradio.brotli_middleware import BrotliMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from hfdemo.web.headers import GUARDED, PagePolicy, SafeHeaders, content_security_policy

OWN = "const 안녕 = 1; // </b> <head>"
PAGE = (
    "<!doctype html>\n<html><head><title>한국어</title>"
    "<script>window.a = 1 < 2;\nlet b;</script>"
    '<script type="module" crossorigin src="/assets/x.js"></script>'
    '<script type="module">import "/b.js"</script>'
    "<script></script>"
    "</head><body>" + "<p>안녕하세요</p>" * 500 + "<header><head></header></body></html>"
)


def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


def streamed_page(request: Request) -> StreamingResponse:
    encoded = PAGE.encode()
    return StreamingResponse((encoded[i : i + 7] for i in range(0, len(encoded), 7)), media_type="text/html")


def data(request: Request) -> JSONResponse:
    return JSONResponse({"html": "<head>"})


async def echo_length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


class Marked:
    """Stands for the rest of the guard."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        await self.app({**scope, GUARDED: True}, receive, send)


async def greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


MARKED = (Middleware(Marked),)


def client(home=page, outside=MARKED, inside=()) -> TestClient:
    anything = Mount("/gradio_api", routes=[Route("/{path:path}", echo_length, methods=["GET", "POST"])])
    app = Starlette(
        routes=[
            Route("/", home),
            Route("/data", data),
            Route("/away", lambda request: RedirectResponse("/data", 302)),
            WebSocketRoute("/socket", greet),
            anything,
        ],
        middleware=[*outside, Middleware(SafeHeaders), Middleware(PagePolicy, scripts=[OWN]), *inside],
    )
    return TestClient(app, follow_redirects=False)


def allowed_hashes(policy: str) -> set[str]:
    return set(re.findall(r"'sha256-([^']*)'", policy))


def hash_of(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@pytest.mark.parametrize("home", [page, streamed_page])
def test_the_page_has_the_scripts_first_and_its_new_length(home):
    answer = client(home).get("/")
    assert answer.text == PAGE.replace("<head>", f"<head><script>{OWN}</script>", 1)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_exactly_the_inline_scripts_are_allowed():
    policy = client().get("/").headers["content-security-policy"]
    assert allowed_hashes(policy) == {
        hash_of(script) for script in (OWN, "window.a = 1 < 2;\nlet b;", 'import "/b.js"', "")
    }


def test_the_policy_lets_nothing_in_from_elsewhere():
    policy = dict(part.split(" ", 1) for part in content_security_policy(b"").split("; "))
    assert {policy[name] for name in ("default-src", "base-uri", "form-action")} == {"'self'"}
    assert {policy[name] for name in ("object-src", "frame-src")} == {"'none'"}
    assert "unsafe-inline" not in policy["script-src"]
    sources = {source for part in policy.values() for source in part.split()}
    assert sources <= {"'self'", "'none'", "'unsafe-eval'", "'unsafe-inline'", "data:", "blob:"}


@pytest.mark.parametrize("compression", [Middleware(GZipMiddleware, minimum_size=1), Middleware(BrotliMiddleware)])
@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize("accepted", ["gzip", "br", "gzip, deflate, br", "identity", "*"])
def test_a_page_that_may_be_compressed_stays_readable(compression, place, accepted):
    places = {"outside": [Middleware(Marked)], "inside": []}
    places[place].append(compression)
    with client(**places) as browser:
        answer = browser.get("/", headers={"accept-encoding": accepted})
    assert answer.text == PAGE.replace("<head>", f"<head><script>{OWN}</script>", 1)
    assert allowed_hashes(answer.headers["content-security-policy"]) >= {hash_of(OWN)}
    sent = answer.headers.get("content-length")
    assert sent is None or "content-encoding" in answer.headers or int(sent) == len(answer.content)
    assert place == "outside" or "content-encoding" not in answer.headers


def test_other_answers_may_be_compressed():
    with client(inside=[Middleware(GZipMiddleware, minimum_size=1)]) as browser:
        answer = browser.get("/data", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == {"html": "<head>"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/data", 200),
        ("GET", "/away", 302),
        ("GET", "/nowhere", 404),
        ("POST", "/data", 405),
        ("POST", "/gradio_api/queue/join", 200),
    ],
)
def test_every_answer_has_the_headers(method, path, status):
    answer = client().request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


def test_home_may_be_something_else_than_a_page():
    answer = client(home=data).get("/")
    assert answer.json() == {"html": "<head>"}
    assert "content-security-policy" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/data", "/gradio_api/queue/join"])
def test_nothing_is_served_that_has_not_passed_the_guard(path):
    answer = client(outside=()).get(path)
    assert answer.status_code == 503
    assert answer.json()["error"] == "Something went wrong on our side. Try again."


def test_a_web_socket_is_left_alone():
    with client().websocket_connect("/socket") as socket:
        assert socket.receive_text() == "hello"
