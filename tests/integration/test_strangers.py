"""What strangers, foreign pages and broken clients get of the running page, with a scripted engine."""

import inspect
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from gradio import processing_utils
from gradio_client import Client
from gradio_client.exceptions import AppError, AuthenticationError

from hfdemo import answering
from hfdemo.page.gradio_private import set_queue_poll_interval
from hfdemo.page.page import launch
from hfdemo.page.program_clients import ProgramClients
from hfdemo.settings import Settings
from hfdemo.web import slow_headers
from hfdemo.web.failures import few_a_second
from hfdemo.web.routes import GRADIO_ROUTES
from tests.conftest import free_port, wait_until
from tests.fakes import ScriptedEngine, scripted_page

SECRET = "SYSTEM-PROMPT-OF-THE-HOST"
CANARY = "what a visitor wrote"


class Served:
    """A page that is served in this process."""

    def __init__(self, settings: Settings) -> None:
        self.engine = ScriptedEngine()
        self.page = scripted_page(self.engine, settings)
        port = free_port()
        launch(self.page, settings, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
        set_queue_poll_interval(self.page, 0.002)  # the events are many, and each would wait for 15 ms
        self.url = f"http://127.0.0.1:{port}"
        self.own = {"origin": self.url}

    @property
    def clients(self) -> ProgramClients:
        """What the server keeps of programs."""
        chat = next(event.fn for event in self.page.fns.values() if event.api_name == "chat")
        return inspect.unwrap(chat).__self__._clients

    def index(self, name: str) -> int:
        return next(index for index, event in self.page.fns.items() if event.api_name == name)

    def inputs(self, name: str) -> int:
        return len(self.page.fns[self.index(name)].inputs)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def open_page() -> Iterator[Served]:
    served = Served(Settings(system_prompt=SECRET))
    yield served
    served.page.close()


@pytest.fixture(scope="module")
def closed_page() -> Iterator[Served]:
    served = Served(Settings(system_prompt=SECRET, password="open sesame", users=(("anna", "비밀"),)))
    yield served
    served.page.close()


def test_a_foreign_host_or_origin_gets_nothing_of_a_private_page(open_page):
    for path in ("/", "/config", "/gradio_api/info", "/healthz", "/assets/x.js"):
        for headers in ({"host": "rebound.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            answer = httpx.get(open_page.url + path, headers=headers)
            assert answer.status_code == 403 and SECRET not in answer.text
            assert "access-control-allow-origin" not in answer.headers


def test_a_foreign_page_is_not_told_before_it_asks_that_it_may(open_page):
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = httpx.options(f"{open_page.url}/gradio_api/queue/join", headers=asked)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_an_event_of_the_pages_own_needs_the_pages_origin(open_page):
    event = {"data": [], "fn_index": open_page.index("_stop"), "session_hash": "s"}
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
        assert open_page.post(path, event).status_code == 403
        assert open_page.post(path, event, origin="http://localhost:1").status_code == 403
        assert open_page.post(path, event, **open_page.own).status_code == 200


def test_a_strangers_word_for_the_host_is_not_on_the_page(open_page):
    told = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "x-gradio-server": "http://evil.example"}
    for path in ("/", "/config"):
        answer = httpx.get(open_page.url + path, headers=told)
        assert answer.status_code == 200 and "evil.example" not in answer.text


def test_programs_and_the_page_are_served(open_page):
    assert Client(open_page.url, verbose=False).predict("Hi", api_name="/chat") == "ok"
    page = httpx.get(open_page.url)
    assert page.status_code == 200 and "content-security-policy" in page.headers


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_before_signing_in_no_route_tells_anything_of_the_host(closed_page, method):
    for route in (*GRADIO_ROUTES, "/gradio_api/mcp/", "/nowhere", "/config/", "//config"):
        answer = httpx.request(method, closed_page.url + route)
        assert SECRET not in answer.text and "scripted" not in answer.text
        allowed = (200, 400, 405) if GRADIO_ROUTES.get(route) == "anyone" or route == "/" else ()
        assert answer.status_code in (401, 303, *allowed), route


def test_signing_in_opens_the_page_for_one_session(closed_page):
    with pytest.raises(AuthenticationError, match="Could not login"):
        Client(closed_page.url, verbose=False, auth=("anna", "wrong"))
    with pytest.raises(AuthenticationError, match="credentials were not provided"):
        Client(closed_page.url, verbose=False)
    anna = Client(closed_page.url, verbose=False, auth=("anna", "비밀"))
    other = Client(closed_page.url, verbose=False, auth=("anna", "비밀"))
    assert anna.predict("Hi", api_name="/chat") == "ok"
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    httpx.get(f"{closed_page.url}/logout", cookies=anna.cookies, headers=foreign)
    assert anna.predict("Hi", api_name="/chat") == "ok"
    foreign["origin"] = "https://evil.example"
    assert httpx.post(f"{closed_page.url}/logout", cookies=anna.cookies, headers=foreign).status_code == 403
    assert httpx.post(f"{closed_page.url}/logout", cookies=anna.cookies).status_code == 303
    assert httpx.get(f"{closed_page.url}/config", cookies=anna.cookies).status_code == 401
    assert other.predict("Hi", api_name="/chat") == "ok"


def test_a_browser_signs_in_with_the_form(closed_page):
    with httpx.Client(base_url=closed_page.url, follow_redirects=True) as browser:
        assert "<form" in browser.get("/").text
        form = {"username": "hfdemo", "password": "open sesame", "from_page": "1"}
        assert SECRET in browser.post("/login", data=form, headers=closed_page.own).text
        assert browser.post("/login", data=form, headers={"origin": "https://evil.example"}).status_code == 403


def test_strangers_bodies_take_no_memory(closed_page):
    """Four anonymous bodies of 30 MB took 3 GB, and stalled the server for seconds."""
    body = b'{"data": [' + b"1," * 15_000_000 + b"1]}"
    before = psutil.Process().memory_info().rss

    def send(_: int) -> int:
        try:
            return httpx.post(f"{closed_page.url}/gradio_api/queue/join", content=body, timeout=60).status_code
        except httpx.WriteError:  # refused while it was still being sent
            return 413

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, range(4))) <= {401, 413}
    assert psutil.Process().memory_info().rss - before < 150_000_000  # the four senders are in this process


def test_a_door_that_is_none_is_said_so(open_page):
    for path in ("/gradio_api/call/nosuch", "/gradio_api/call/v2/nosuch", "/gradio_api/run/nosuch"):
        answer = open_page.post(path, {"data": []})
        assert (answer.status_code, answer.json()["error"]) == (
            404,
            "There is no such endpoint. The endpoints are: /chat, /receipt.",
        )
    assert httpx.get(f"{open_page.url}/pwa_icon/999999").status_code == 403
    assert httpx.get(f"{open_page.url}/gradio_api/call/chat/nosuch").status_code == 404


def test_programs_keep_their_conversations_whoever_else_comes(open_page):
    """After 500 other sessions, a conversation was silently forgotten."""
    client = Client(open_page.url, verbose=False)
    client.predict("one", api_name="/chat")
    clients = open_page.clients
    kept = clients._kept[client.session_hash]
    for n in range(600):
        clients.keep(f"other{n}", "203.0.113.7", kept.client)
    client.predict("two", api_name="/chat")
    assert [message.content for message in open_page.engine.requests[-1].messages] == ["one", "ok", "two"]
    clients._forget(client.session_hash)
    with pytest.raises(AppError, match="The server no longer has this conversation"):
        client.predict("three", api_name="/chat")
    client.predict("four", api_name="/chat")
    assert [message.content for message in open_page.engine.requests[-1].messages] == ["four"]


def test_a_call_without_a_session_leaves_nothing_behind(open_page):
    clients = open_page.clients
    before = len(clients._kept)
    event = open_page.post("/gradio_api/call/v2/chat", {"message": "Hi"}).json()["event_id"]
    assert "complete" in httpx.get(f"{open_page.url}/gradio_api/call/v2/chat/{event}", timeout=30).text
    assert len(clients._kept) == before


def test_of_two_calls_of_a_session_at_once_the_second_is_refused(open_page):
    """Gradio gave each call's reader some of what both told, and none of them its end."""
    open_page.engine.enqueue("first ", 0.5, "reply")
    call, session = "/gradio_api/call/chat", {"session_hash": "two-calls"}
    first = open_page.post(call, {"data": ["one"]} | session).json()["event_id"]
    second = open_page.post(call, {"data": ["two"]} | session)
    assert second.status_code == 409 and second.json()["error"].startswith("This session_hash has a call")
    told = httpx.get(f"{open_page.url}{call}/{first}", timeout=30).text
    assert "first reply" in told and told.count("event: complete") == 1


def test_of_two_readers_of_a_call_the_second_is_refused(open_page):
    """Gradio gave each some of what was told; whoever missed the end waited for it for ever."""
    open_page.engine.enqueue("first ", 1.0, "reply")
    call = f"{open_page.url}/gradio_api/call/chat"
    address = f"{call}/{open_page.post('/gradio_api/call/chat', {'data': ['one']}).json()['event_id']}"
    with httpx.stream("GET", address, timeout=30) as first:
        second = httpx.get(address + "/", timeout=30)
        told = first.read().decode()
    assert second.status_code == 409 and second.json()["error"].startswith("Another request reads the result")
    assert "first reply" in told and told.count("event: complete") == 1
    assert httpx.get(address, timeout=30).status_code == 404


def test_a_result_that_nobody_read_is_not_told_to_the_next_call(open_page):
    replied = len(open_page.engine.stopped)
    open_page.engine.enqueue("not for you")
    call, session = "/gradio_api/call/chat", {"session_hash": "unread"}
    open_page.post(call, {"data": ["one"]} | session)
    wait_until(lambda: len(open_page.engine.stopped) > replied, 30)
    answers = []

    def taken() -> bool:
        answers.append(open_page.post(call, {"data": ["two"]} | session))
        return answers[-1].status_code == 200

    wait_until(taken, 30)
    event = answers[-1].json()["event_id"]
    told = httpx.get(f"{open_page.url}{call}/{event}", timeout=30).text
    assert "not for you" not in told and told.count("event: complete") == 1


def test_an_unknown_parameter_is_named(open_page):
    answer = open_page.post("/gradio_api/call/v2/chat", {"message": "Hi", "tempreature": 1})
    assert answer.status_code == 400 and answer.json()["error"].startswith('There is no parameter "tempreature".')


@pytest.mark.parametrize("sent", [["Hi"], ["Hi", "Be kind."], ["Hi", "", None, None, 9]])
def test_the_last_values_of_a_call_may_be_left_out(open_page, sent):
    """As curl's users send it: no type, and the message alone. Each value that was left out was refused as null."""
    answer = httpx.post(f"{open_page.url}/gradio_api/call/chat", content=json.dumps({"data": sent}))
    told = httpx.get(f"{open_page.url}/gradio_api/call/chat/{answer.json()['event_id']}", timeout=30).text
    assert "event: complete" in told


def test_null_is_said_to_be_no_value(open_page):
    client = Client(open_page.url, verbose=False)
    with pytest.raises(AppError, match="max_new_tokens must be a number from 1 to 4096; it was null"):
        client.predict(message="Hi", max_new_tokens=None, api_name="/chat")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return what the log and the terminal have got."""
    seen: list[str] = []

    def read() -> str:
        captured = capfd.readouterr()
        seen.extend([captured.out, captured.err])
        return "".join(seen) + caplog.text

    caplog.set_level(logging.INFO)
    return read


def ended(page: Served, body: dict[str, Any]) -> Any:
    """Send an event of the page, and return what its stream tells in the end."""
    session = f"s{time.monotonic_ns()}"
    assert page.post("/gradio_api/queue/join", body | {"session_hash": session}, **page.own).status_code == 200
    with httpx.stream("GET", f"{page.url}/gradio_api/queue/data", params={"session_hash": session}) as told:
        for line in told.iter_lines():
            message = json.loads(line.removeprefix("data:") or "{}")
            if message.get("msg") == "process_completed":
                return message["output"]
    raise AssertionError("the stream ended")


FILES = [
    {"path": "http://192.0.2.1/x", "meta": {"_type": "gradio.FileData"}},
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}, "url": "http://192.0.2.1/x"},
    {"path": "x", "meta": CANARY},
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("wrap", [lambda file: file, lambda file: [[{"a": [file]}]]], ids=["plain", "nested"])
def test_no_value_lets_the_server_fetch_a_file(open_page, log, monkeypatch, file, wrap):
    """A message in the form of Gradio's own files let it fetch any address of the net, and keep what it got."""
    fetched: list[str] = []
    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", lambda url, _: fetched.append(url))
    refused = "This page does not offer this. It accepts no uploads and fetches no files."
    sentences = {"en": refused, "ko": "이 페이지에서 제공하지 않는 기능입니다. 파일을 받거나 가져오지 않습니다."}
    for language, sentence in sentences.items():
        headers = {"accept-language": language}
        event = open_page.post("/gradio_api/call/v2/chat", {"message": wrap(file)}, **headers).json()["event_id"]
        told = httpx.get(f"{open_page.url}/gradio_api/call/v2/chat/{event}").text
        assert told.startswith("event: error\ndata: ")
        assert json.loads(told.partition("data: ")[2].splitlines()[0])["error"] == sentence
    for event in [event for event in open_page.page.fns.values() if event.fn is not None and event.inputs]:
        body = {"data": [None] * (len(event.inputs) - 1) + [wrap(file)], "fn_index": event._id}
        if event.queue:
            assert ended(open_page, body)["error"] == refused
        else:
            answer = open_page.post("/gradio_api/run/predict", body, **open_page.own)
            assert (answer.status_code, answer.json()["error"]) == (400, refused)
    assert fetched == [] and "failed" not in log()


@pytest.mark.parametrize("told", [None, {}, {"value": CANARY}, {"index": None}, {"index": [CANARY]}, {"_data": 1}])
def test_a_starter_that_is_none_is_said_so(open_page, log, told):
    starter = open_page.page.fns[open_page.index("_start")]
    values = [None, "en", *(block.value for block in starter.inputs[2:])]
    output = ended(open_page, {"data": values, "fn_index": starter._id, "event_data": told})
    assert "index must be one of 0-4; it was " in output["error"]
    assert "failed" not in log()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("reset", '{"event_id": NaN}'),
        ("reset", '{"other": [Infinity, "\\ud800"]}'),
        ("queue/join", '{"data": [], "fn_index": INDEX, "session_hash": "s", "trigger_id": NaN}'),
        ("queue/join", '{"data": [], "fn_index": INDEX, "session_hash": "s", "simple_format": -Infinity}'),
        ("run/predict", '{"data": [], "fn_index": INDEX, "batched": [NaN]}'),
        ("call/receipt", '{"data": [], "oauth_token": {"a": NaN}}'),
    ],
)
def test_what_gradio_does_not_take_is_refused_with_a_sentence(open_page, log, path, body):
    """What was sent was repeated in the answer, which failed if it had a number that JSON hasn't."""
    content = body.replace("INDEX", str(open_page.index("_stop"))).encode()
    headers = {**open_page.own, "content-type": "application/json"}
    answer = httpx.post(f"{open_page.url}/gradio_api/{path}", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"] == "The request is not an event of this page. Reload the page."
    assert "failed" not in log()


def test_names_of_files_that_no_system_has_are_not_looked_for(open_page, log):
    for path in ("/static/" + "x" * 300, "/assets/" + "가" * 90, "/assets/" + "a/" * 3000):
        assert httpx.get(open_page.url + path).status_code == 404
    assert "failed" not in log()


def test_strange_forms_write_nothing_into_the_log(closed_page, log):
    for boundary, body in (("x", CANARY), ("\xe9", "--x"), ("x", f"--x\r\n{CANARY}\r\n\r\n--x--")):
        kind = b"multipart/form-data; boundary=" + boundary.encode("latin-1")
        answer = httpx.post(f"{closed_page.url}/login", content=body.encode(), headers={"content-type": kind})
        assert answer.status_code == 400
    assert [line for line in log().splitlines() if "httpx:" not in line] == []


VALUES: list[Any] = [
    *(None, True, 0, -1, 1e300, 10**400, CANARY, "", [], {}, [CANARY], {CANARY: CANARY}),
    {"turns": [{"id": CANARY, "role": CANARY}], "head": CANARY},
    {"turns": [CANARY], "head": None},
    [{"role": "user", "content": CANARY}],
    [[[[[[CANARY]]]]]],
]
"""What may be sent in the place of any value."""


def test_no_private_event_fails_with_a_traceback_or_writes_a_visitors_words(open_page, log, monkeypatch):
    """172 of 400 such events answered 500, with tracebacks that quoted what was sent."""
    monkeypatch.setattr(answering, "STOP_WAITS_S", 0.02)  # no Stop of these has a reply to wait for
    events = [event for event in open_page.page.fns.values() if event.fn is not None]
    statuses: list[int] = []
    with httpx.Client(base_url=open_page.url, headers=open_page.own, timeout=30) as http:
        for number, value in enumerate(VALUES):
            for event in events:
                body = {"data": [value] * len(event.inputs), "fn_index": event._id, "session_hash": f"fuzz{number}"}
                if event.queue:
                    body["event_data"] = value if isinstance(value, dict) else {"index": value, "value": value}
                path = "/gradio_api/queue/join" if event.queue else "/gradio_api/run/predict"
                content = json.dumps(body).encode()
                answer = http.post(path, content=content, headers={"content-type": "application/json"})
                statuses.append(answer.status_code)
    assert {status for status in statuses if status >= 500} <= {503}  # the queue may be full
    wait_until(
        lambda: (
            not open_page.page._queue.event_ids_to_events
            or all(not jobs for jobs in open_page.page._queue.active_jobs)
        ),
        30,
    )
    written = log()
    assert CANARY not in written and "Traceback" not in written
    assert Client(open_page.url, verbose=False).predict("Hi", api_name="/chat") == "ok"


def test_what_fails_is_a_few_lines_a_second(open_page, log):
    few_a_second.__init__()
    with httpx.Client(base_url=open_page.url, timeout=30) as http:
        begun = time.monotonic()
        for _ in range(40):
            http.post("/gradio_api/call/chat", content=b"\xff" + CANARY.encode())
            http.get("/gradio_api/queue/data?session_hash=nosuch")
    seconds = time.monotonic() - begun
    lines = [line for line in log().splitlines() if "a request failed" in line]
    assert len(lines) <= 3 * (seconds + 2)
    assert CANARY not in log() and "Traceback" not in log()


def test_a_connection_without_whole_headers_is_closed(monkeypatch):
    monkeypatch.setattr(slow_headers.bound_headers, "__defaults__", (0.3,))
    served = Served(Settings())
    port = int(served.url.rpartition(":")[2])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            assert slow.recv(10) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as drops, pytest.raises(OSError):
            for _ in range(200):
                drops.sendall(b"X")
                time.sleep(0.02)
        assert threading.active_count() < 200
        assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok"}
    finally:
        served.page.close()
