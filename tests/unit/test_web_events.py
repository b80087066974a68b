"""An event that can't be one is refused with a sentence, before Gradio fails with it."""

import asyncio
import json
from urllib.parse import urlencode

import pytest

from hfdemo.web.events import Events, EventTable, PageEvent
from tests.unit.web import Recorder, request, scope_of

CHAT = PageEvent(41, 3, queued=True, name="chat", parameters={"message": True, "seed": False}, defaults={"seed": -1})
SHOW = PageEvent(3, inputs=2, queued=False)
SEND = PageEvent(7, inputs=1, queued=True)
TABLE = EventTable([CHAT, SHOW, SEND], {"abc"}.__contains__, lambda session: session != "busy")
OWN = {"origin": "http://localhost:7860"}


def post(path: str, body: object, headers: dict[str, str] | None = None, app: Recorder | None = None):
    """Return status, the sentence if there is one, and the app."""
    app = app or Recorder()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = request(Events(app, TABLE), scope_of(f"/gradio_api/{path}", "POST", headers), [content])
    found = json.loads(answer)
    return status, found["error"] if isinstance(found, dict) else "", app


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("call/chat", {"data": ["Hi", 1]}, {}),
        ("call/chat/", {"data": ["Hi", None, 1], "session_hash": "s"}, {}),
        ("call/v2/chat", {"message": "Hi"}, {}),
        ("call/v2/chat", {"message": None, "seed": None}, {}),
        ("queue/join", {"data": ["Hi", None, 1], "fn_index": 41, "session_hash": "s"}, {}),
        ("queue/join", {"data": [1], "fn_index": 7, "session_hash": "s", "event_data": {"index": 1}}, OWN),
        ("queue/join", {"data": [1], "fn_index": 7, "session_hash": "s", "event_data": None, "trigger_id": 3}, OWN),
        ("run/predict", {"data": [1, 2], "fn_index": 3, "session_hash": "s"}, OWN),
        ("cancel", {"session_hash": "s", "fn_index": 41, "event_id": "e"}, {}),
        ("reset", {"anything": 1}, {}),
    ],
)
def test_what_the_page_and_programs_send_is_let_through_as_it_is(path, body, headers):
    status, _, app = post(path, body, headers)
    assert status == 200
    assert [json.loads(seen) for seen in app.bodies] == [body]


def test_a_call_of_a_session_that_is_being_answered_is_refused():
    status, error, app = post("call/chat", {"data": ["Hi", 1], "session_hash": "busy"})
    assert (status, app.bodies) == (409, [])
    assert "Read it first" in error


def test_values_that_are_left_out_are_the_defaults():
    status, _, app = post("call/chat", {"data": ["Hi"], "session_hash": "s"})
    assert status == 200
    assert [json.loads(seen) for seen in app.bodies] == [{"data": ["Hi", -1], "session_hash": "s"}]


@pytest.mark.parametrize("path", ["call/chat", "call/v2/chat"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", None])
def test_what_is_json_is_handed_on_as_json_whatever_it_is_called(path, kind):
    """`curl -d` calls it a form; Gradio refuses it then, without a word of why."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await Recorder()(scope, receive, send)

    body = json.dumps({"message": "Hi"} if "v2" in path else {"data": ["Hi"]}).encode()
    sent = scope_of(f"/gradio_api/{path}", "POST", {"content-type": kind} if kind else {})
    assert request(Events(app, TABLE), sent, [body])[0] == 200
    assert [value for name, value in scopes[0]["headers"] if name == b"content-type"] == [b"application/json"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "sentence"),
    [
        ("call/nosuch", {"data": []}, {}, 404, "There is no such endpoint. The endpoints are: /chat."),
        ("call/_send", {"data": [1]}, OWN, 404, "There is no such endpoint. The endpoints are: /chat."),
        ("call/v2/nosuch", {}, {}, 404, "There is no such endpoint. The endpoints are: /chat."),
        ("run/chat", {"data": ["x"]}, {}, 404, "There is no such endpoint. The endpoints are: /chat."),
        (
            "run/predict",
            {"data": [1], "fn_index": 7},
            OWN,
            404,
            "There is no such endpoint. The endpoints are: /chat.",
        ),
        ("api/x", {"data": []}, {}, 404, "There is no such endpoint. The endpoints are: /chat."),
        ("run/predict", {"data": [1, 2], "fn_index": 3}, {}, 403, "Only the chat's own page can send this event."),
        (
            "queue/join",
            {"data": [1], "fn_index": 7, "session_hash": "s"},
            {},
            403,
            "Only the chat's own page can send this event.",
        ),
        ("call/chat", {}, {}, 400, 'The request must have a list "data" with the values of: message, seed.'),
        ("call/chat", {"data": {}}, {}, 400, 'The request must have a list "data" with the values of: message, seed.'),
        ("call/chat", {"data": []}, {}, 400, '"data" must hold 2 values; it holds 0.'),
        ("call/chat", {"data": [1] * 9}, {}, 400, '"data" must hold 2 values; it holds 9.'),
        (
            "call/v2/chat",
            {"message": "Hi", "tempreature": 1},
            {},
            400,
            'There is no parameter "tempreature". The parameters are: message, seed.',
        ),
        ("call/v2/chat", {"seed": 1}, {}, 400, "The parameter message is missing."),
        ("run/predict", {"data": [1], "fn_index": 3}, OWN, 400, '"data" must hold 2 values; it holds 1.'),
    ],
)
def test_what_is_wrong_is_said(path, body, headers, status, sentence):
    assert post(path, body, headers)[:2] == (status, sentence)
    assert post(path, body, headers)[2].bodies == []


@pytest.mark.parametrize("index", [None, 999, -1, "41", 41.5, True, [41], {}, 10**400])
def test_an_index_that_is_none_names_no_event(index):
    body = {"data": [1], "session_hash": "s", "fn_index": index}
    assert post("queue/join", body, OWN)[0] == 404


@pytest.mark.parametrize(
    "more",
    [
        *({"session_hash": bad} for bad in (None, "", 5, [], "x" * 101, "a\nb", "\x1b[31m")),
        *({"event_id": bad} for bad in (5, {}, "a\nb")),
        *({"event_data": bad} for bad in (5, [], "x", True)),
    ],
)
def test_what_stands_beside_the_values_is_looked_at(more):
    body = {"data": [1], "fn_index": 7, "session_hash": "s"} | more
    assert post("queue/join", body, OWN)[:2] == (400, "The request is not an event of this page. Reload the page.")


@pytest.mark.parametrize("session", ["", "a\x00b", "a\nb", "\x1b[31m", "x" * 101, "\u2028"])
@pytest.mark.parametrize("path", ["queue/data?session_hash={}", "heartbeat/{}"])
def test_a_stream_is_for_a_session_that_may_be_one(path, session):
    """With a control character in it, Gradio's heartbeat broke off with an error in the log."""
    if not session and path.startswith("heartbeat"):
        return  # there is no such route
    asked = scope_of("/gradio_api/" + path.partition("?")[0].format(session))
    asked["query_string"] = urlencode({"session_hash": session}).encode() if "?" in path else b""
    app = Recorder()
    status, _, body = request(Events(app, TABLE), asked)
    assert (status, app.scopes) == (400, [])
    assert json.loads(body)["error"] == "The request is not an event of this page. Reload the page."


def test_the_streams_of_pages_and_programs_are_let_through():
    app = Events(Recorder(), TABLE)
    for path in ("queue/data?session_hash=3n0w5m4xk", "heartbeat/3n0w5m4xk", "heartbeat/3n0w5m4xk/"):
        assert request(app, scope_of(f"/gradio_api/{path}"))[0] == 200
    for path in ("queue/data", "queue/data?session=x"):
        assert request(app, scope_of(f"/gradio_api/{path}"))[0] == 400


@pytest.mark.parametrize("path", ["call/chat", "call/v2/chat", "queue/join", "run/predict", "cancel"])
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"],
    ids=lambda body: str(body[:12]),
)
def test_a_body_that_is_no_object_is_refused(path, body):
    assert post(path, body)[:2] == (400, "The request must be a JSON object.")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session_hash": "s", "fn_index": "1", "event_id": "e"},
        {"session_hash": "s", "fn_index": True, "event_id": "e"},
        {"session_hash": 1, "fn_index": 1, "event_id": "e"},
        {"session_hash": "s", "fn_index": 1},
    ],
)
def test_a_cancel_names_what_it_cancels(body):
    assert post("cancel", body)[0] == 400


def test_a_result_is_there_until_it_is_read():
    app = Events(Recorder(), TABLE)
    assert request(app, scope_of("/gradio_api/call/chat/abc"))[0] == 200
    for path in ("call/chat/nosuch", "call/v2/chat/nosuch/", "call/nosuch/1"):
        status, _, body = request(app, scope_of(f"/gradio_api/{path}"))
        assert status == 404
        assert json.loads(body)["error"] == "There is no such call, or its result has been read already."


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b'{"error": "Write a message first."}', 400), (b'{"error": null}', 500), (b"oops", 500), (b"[]", 500)],
)
def test_a_sentence_for_the_visitor_is_no_failure_of_the_server(answer, status):
    app = Events(Recorder(500, answer), TABLE)
    content = json.dumps({"data": [1, 2], "fn_index": 3}).encode()
    got = request(app, scope_of("/gradio_api/run/predict", "POST", OWN), [content])
    assert (got[0], got[2]) == (status, answer)


def test_a_caller_that_hangs_up_is_no_event():
    async def receive() -> dict:
        return {"type": "http.disconnect"}

    app, sent = Recorder(), []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(Events(app, TABLE)(scope_of("/gradio_api/call/chat", "POST"), receive, send))
    assert app.bodies == []


def test_the_sentence_is_in_the_callers_language():
    assert post("call/v2/chat", {}, {"accept-language": "ko"})[1] == "매개변수 message가 빠졌습니다."
