"""Every answer has its headers, the page its policy, and what the page doesn't need is refused."""

import asyncio
import base64
import hashlib
import re

import pytest
from gradio.brotli_middleware import BrotliMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from hfdemo.web.guard import MAX_BODY_BYTES, Guard, content_security_policy

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
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("cut", 400)


async def greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(home=page, outside=(), inside=()) -> TestClient:
    anything = Mount("/gradio_api", routes=[Route("/{path:path}", echo_length, methods=["GET", "POST"])])
    app = Starlette(
        routes=[
            Route("/", home),
            Route("/data", data),
            Route("/away", lambda request: RedirectResponse("/data", 302)),
            WebSocketRoute("/socket", greet),
            anything,
        ],
        middleware=[*outside, Middleware(Guard, scripts=[OWN]), *inside],
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
    with client(**{place: [compression]}) as browser:
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
        ("POST", "/gradio_api/upload", 403),
        ("POST", "/gradio_api/queue/join", 200),
    ],
)
def test_every_answer_has_the_headers(method, path, status):
    answer = client().request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_an_answer_that_is_too_large_to_read_has_the_headers_too():
    answer = client().post("/gradio_api/queue/join", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_home_may_be_something_else_than_a_page():
    answer = client(home=data).get("/")
    assert answer.json() == {"html": "<head>"}
    assert "content-security-policy" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "upload",
        "upload?upload_id=1",
        "upload_progress",
        "process_recording",
        "file=https://example.org/x.png",
        "file=http://127.0.0.1/",
        "file=https%3A//example.org",
        "%66ile=http://example.org",
        "file/https://example.org/x.png",
        "proxy=https://example.org",
        "stream/1/2/3/playlist.m3u8",
        "custom_component/a/client/b/c.js",
    ],
)
def test_what_would_take_or_fetch_files_is_refused(method, path):
    answer = client().request(method, f"/gradio_api/{path}")
    assert (answer.status_code, answer.text) == (403, "This page does not accept uploads or fetch files.")


@pytest.mark.parametrize("path", ["file=/tmp/gradio/icon.svg", "file=icon.svg", "queue/join", "call/chat", "info"])
def test_what_the_page_needs_is_let_through(path):
    assert client().post(f"/gradio_api/{path}", content=b"12345").text == "5"


def test_a_body_up_to_the_limit_is_read():
    answer = client().post("/gradio_api/queue/join", content=b"x" * MAX_BODY_BYTES)
    assert (answer.status_code, answer.text) == (200, str(MAX_BODY_BYTES))


@pytest.mark.parametrize("path", ["/", "/data", "/gradio_api/queue/join"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(path):
    answer = client().post(path, content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.text) == (413, "The request is too large.")
    assert answer.headers["connection"] == "close"


def messages_received(chunks: list[bytes]) -> list[str]:
    """Return the kinds of message the app gets of a body in chunks, which doesn't tell its length."""
    seen: list[str] = []

    async def app(scope, receive, send) -> None:
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect" or not message["more_body"]:
                return

    coming = iter(chunks)

    async def receive() -> dict:
        body = next(coming)
        return {"type": "http.request", "body": body, "more_body": bool(body)}

    async def send(message) -> None:
        raise AssertionError("nothing is to be sent")

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/queue/join", "headers": []}
    asyncio.run(Guard(app)(scope, receive, send))
    return seen


def test_a_body_of_untold_length_is_cut_where_it_grows_too_large():
    half = b"x" * (MAX_BODY_BYTES // 2)
    assert messages_received([half, half, b""]) == ["http.request"] * 3
    assert messages_received([half, half, b"x", half, b""]) == ["http.request"] * 2 + ["http.disconnect"]


def test_a_client_that_goes_on_sending_is_cut_off():
    answer = client().post("/gradio_api/queue/join", content=(b"x" * 2**20 for _ in range(34)))
    assert (answer.status_code, answer.text) == (400, "cut")


def test_a_web_socket_is_left_alone():
    with client().websocket_connect("/socket") as socket:
        assert socket.receive_text() == "hello"
