"""What breaks behind the door is told with a sentence, and logged in one line without a visitor's text."""

import json
import logging

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from hfdemo.settings import Settings
from hfdemo.web.failures import LINES_A_SECOND, Failures, FewASecond, few_a_second, keep_words_out, without_their_words
from hfdemo.web.guard import Guarded, guard
from hfdemo.web.health import Health
from tests.unit.web import NO_EVENTS, Recorder, request, scope_of

SECRET = "a visitor's words"


async def broken(_: object) -> None:
    raise ValueError(SECRET)


@pytest.fixture(autouse=True)
def _fresh_second(monkeypatch):
    monkeypatch.setattr(few_a_second, "_passed", 0)
    monkeypatch.setattr(few_a_second, "_left_out", 0)


@pytest.mark.parametrize("app", [Starlette(routes=[Route("/", broken)]), broken], ids=["in an app", "bare"])
def test_a_failure_is_one_line_without_the_text_and_a_sentence(app, caplog):
    async def bare(scope, receive, send) -> None:
        await broken(scope)

    inner = bare if app is broken else app
    scope = scope_of("/", root_path="", http_version="1.1")
    status, _, body = request(Failures(inner), scope)
    assert (status, json.loads(body)["error"]) == (500, "Something went wrong on our side. Try again.")
    [record] = caplog.records
    assert record.getMessage().startswith("a request failed: ValueError at broken, test_web_failures.py:")
    assert SECRET not in caplog.text and "\n" not in record.getMessage() and record.exc_info is None


@pytest.mark.parametrize("library", ["mcp", "python_multipart", "asyncio", "root"])
def test_what_libraries_log_of_a_request_is_one_line_without_the_text(library):
    def record(level: int, error: Exception | None = None) -> logging.LogRecord:
        name = "root" if library == "root" else f"{library}.parts"
        info = (type(error), error, None) if error else None
        where = "/site-packages/mcp/shared/session.py"
        return logging.LogRecord(name, level, where, 430, f"Failed: {SECRET}\n%s", (SECRET,), info, "_loop")

    kept = [record(logging.WARNING), record(logging.ERROR, ValueError(SECRET))]
    assert [without_their_words.filter(one) for one in kept] == [True, True]
    told = [logging.Formatter().format(one) for one in kept]
    name = "mcp" if library == "root" else library
    assert told == [
        f"a request failed: warning of {name} at _loop, session.py:430",
        f"a request failed: ValueError of {name} at _loop, session.py:430",
    ]
    assert not without_their_words.filter(record(logging.INFO))
    assert [without_their_words.filter(record(logging.ERROR)) for _ in range(LINES_A_SECOND)].count(True) <= 1


def test_what_others_log_is_left_as_it_is():
    record = logging.LogRecord("root", logging.INFO, "/hfdemo/app.py", 1, "ready %s", ("now",), None)
    assert without_their_words.filter(record) and record.getMessage() == "ready now"


def test_an_answer_that_breaks_off_is_ended(caplog):
    async def stream(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError(SECRET)

    assert request(Failures(stream), scope_of("/"))[::2] == (200, b"half")
    assert len(caplog.records) == 1


def test_a_stream_whose_session_is_gone_is_nothing_to_log(caplog):
    async def stream(scope, receive, send) -> None:
        raise HTTPException(404)

    async def begun(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("response already started") from HTTPException(404)

    assert request(Failures(stream), scope_of("/"))[0] == 500
    assert request(Failures(begun), scope_of("/"))[0] == 200
    assert caplog.records == []


def test_a_few_lines_a_second_are_written_and_the_others_are_counted():
    now = 5.0
    few = FewASecond(lambda: now)
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "it is %s", ("so",), None)
    assert [few.filter(record) for _ in range(10)] == [True] * LINES_A_SECOND + [False] * (10 - LINES_A_SECOND)
    now = 6.0
    assert few.filter(record)
    assert record.getMessage() == f"it is so ({10 - LINES_A_SECOND} more lines left out)"


def test_what_uvicorn_warns_of_is_written_a_few_times_a_second_too():
    keep_words_out()
    uvicorn = logging.getLogger("uvicorn.error")
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "f", 1, "Invalid HTTP request received.", (), None)
    assert [bool(uvicorn.filter(record)) for _ in range(10)].count(True) <= 2 * LINES_A_SECOND  # a second may begin


def test_health_tells_whether_it_runs_and_whether_it_can_answer():
    ready = False
    app = Health(Recorder(), lambda: ready)
    assert request(app, scope_of("/healthz"))[::2] == (200, b'{"status":"ok"}')
    assert request(app, scope_of("/readyz"))[::2] == (503, b'{"ready":false}')
    ready = True
    assert request(app, scope_of("/readyz"))[::2] == (200, b'{"ready":true}')
    assert request(app, scope_of("/config"))[2] == b'"here"'


def test_the_guard_refuses_in_its_order_and_marks_what_has_passed():
    app = Recorder()
    told = Guarded(Settings(password="pw"), NO_EVENTS, lambda: None, lambda: True)
    guarded = guard(app, told)
    large = {"content-length": str(5 * 2**20)}

    def ask(path: str, **headers: str) -> int:
        status, sent, _ = request(guarded, scope_of(path, "POST", headers))
        assert (sent["x-content-type-options"], sent["referrer-policy"]) == ("nosniff", "same-origin")
        return status

    assert ask("/healthz", host="evil.example") == 403
    assert ask("/healthz", host="localhost") == 200
    assert ask("/gradio_api/queue/join", host="localhost", **large) == 413
    assert ask("/gradio_api/upload", host="localhost") == 401
    assert app.scopes == []
    assert ask("/robots.txt", host="localhost") == 200
    assert app.scopes[0]["hfdemo.guarded"] is True
