"""Before signing in, nothing is told; a session each; guessing is slow."""

import asyncio
import base64

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hfdemo.web.routes import ROUTES
from hfdemo.web.sessions import LASTS_S, MAX_SESSIONS, Accounts, Sessions
from hfdemo.web.sign_in import SignIn
from hfdemo.web.throttle import FORGOTTEN_AFTER_S, LONGEST_WAIT_S, MAX_CLIENTS, Throttle
from tests.unit.web import Recorder, request, scope_of, send_request

PASSWORDS = {"hfdemo": "open sesame", "anna": "비밀"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def inside() -> Recorder:
    return Recorder(body=b'"the host\'s settings"')


@pytest.fixture
def door(inside) -> SignIn:
    return SignIn(inside, PASSWORDS)


def browser(door: SignIn) -> TestClient:
    return TestClient(door, follow_redirects=False)


def sign_in(door: SignIn, user: str = "hfdemo", password: str = "open sesame") -> TestClient:
    client = browser(door)
    assert client.post("/login", data={"username": user, "password": password}).json() == {"success": True}
    return client


def test_a_session_ends_with_its_token():
    clock = Clock()
    sessions = Sessions(clock)
    secret, other = sessions.begin("anna", "hf_secret", 60), sessions.begin("ben")
    assert (sessions.user(secret), sessions.token(secret), sessions.token(other)) == ("anna", "hf_secret", "")
    assert "hf_secret" not in repr(vars(sessions))
    clock.now += 61
    assert (sessions.user(secret), sessions.token(secret), sessions.user(other)) == (None, "", "ben")


def test_without_passwords_everybody_is_let_in(inside):
    client = browser(SignIn(inside, {}))
    assert client.get("/config").text == inside.answer[1].decode()


@pytest.mark.parametrize("route", [*ROUTES, "/nowhere", "/healthz/../config", "//", "/config/"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS"])
def test_a_stranger_gets_the_form_and_nothing_else(route, method, door, inside):
    status, _, body = request(door, scope_of(route, method))
    if ROUTES.get(route) == "anyone" and route not in ("/login", "/logout"):
        assert status == 200
        return
    assert inside.scopes == [] and b"settings" not in body
    assert status in (200, 303, 400, 401)
    assert status != 200 or route in ("/", "//")


def test_the_form_is_in_the_language_of_the_browser_and_runs_nothing(door):
    answer = browser(door).get("/", headers={"accept-language": "ko-KR"})
    assert answer.status_code == 200 and "<h1>로그인</h1>" in answer.text and '<html lang="ko">' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text
    assert "Sign in" in browser(door).get("/").text


def test_a_stranger_is_told_what_to_do(door):
    answer = browser(door).post("/gradio_api/call/chat", json={"data": []})
    assert (answer.status_code, answer.json()["error"]) == (
        401,
        "Sign in first. From a program: Client(..., auth=(user, password)).",
    )


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_a_monitor_says_name_and_password_with_each_request(door):
    client = browser(door)
    assert client.get("/metrics", headers=basic("anna", "비밀")).status_code == 200
    assert client.get("/metrics").status_code == 401
    for wrong in (
        basic("anna", "x"),
        {"authorization": "Basic ü"},
        {"authorization": "Basic /w=="},
        {"authorization": "Bearer x"},
    ):
        assert client.get("/metrics", headers={k: v.encode() for k, v in wrong.items()}).status_code == 401


def test_guessing_with_each_request_is_slow_too(door):
    client = browser(door)
    for _ in range(6):
        client.get("/config", headers=basic("anna", "guess"))
    answer = client.get("/config", headers=basic("anna", "비밀"))
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"].startswith("Too many wrong passwords.")


def test_a_wrong_password_with_a_request_is_told_to_be_wrong(door):
    answer = browser(door).get("/config", headers=basic("anna", "guess"))
    assert (answer.status_code, answer.json()["error"]) == (401, "The user name or the password is wrong.")


def test_a_strangers_body_is_not_read(door):
    async def receive() -> dict:
        raise AssertionError("nothing is to be read")

    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(door(scope_of("/gradio_api/queue/join", "POST"), receive, send))
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(("user", "password"), PASSWORDS.items())
def test_each_user_signs_in_from_a_program_and_from_the_form(user, password, door, inside):
    assert sign_in(door, user, password).get("/config").status_code == 200
    client = browser(door)
    answer = client.post("/login", data={"username": user, "password": f" {password} ", "from_page": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert client.get("/config").status_code == 200


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("hfdemo", "비밀"),
        ("anna", "open sesame"),
        ("", ""),
        ("hfdemo", ""),
        ("nobody", "x"),
        ("hfdemo", "open sesame2"),
    ],
)
def test_a_wrong_password_is_refused(user, password, door, inside):
    client = browser(door)
    answer = client.post("/login", data={"username": user, "password": password})
    assert (answer.status_code, answer.json()["error"]) == (401, "The user name or the password is wrong.")
    page = client.post("/login", data={"username": user, "password": password, "from_page": "1"})
    assert page.status_code == 401 and "The user name or the password is wrong." in page.text and "<form" in page.text
    assert client.get("/config").status_code == 401 and inside.scopes == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"x", "multipart/form-data"),
        (b"{}", "application/json"),
        (b"", "text/plain"),
        (b"&".join(b"a=%d" % n for n in range(99)), "application/x-www-form-urlencoded"),
        (
            b'--x\r\nContent-Disposition: form-data; name="username"; filename="f"\r\n\r\nx\r\n--x--',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_form_that_is_none_is_refused(content, kind, door):
    answer = browser(door).post("/login", content=content, headers={"content-type": kind})
    assert answer.status_code in (400, 401) and answer.json()["error"]


def test_a_form_in_parts_is_read_too(door):
    answer = browser(door).post("/login", files={"username": (None, "anna"), "password": (None, "비밀")})
    assert answer.json() == {"success": True}


def test_signing_out_ends_one_session_only(door):
    here, there = sign_in(door), sign_in(door)
    assert here.post("/logout").status_code == 303
    assert (here.get("/config").status_code, there.get("/config").status_code) == (401, 200)


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_who_opens_the_address_is_signed_out(door, site):
    client = sign_in(door)
    answer = client.get("/logout", headers={"sec-fetch-site": site})
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert client.get("/config").status_code == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", None])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_foreign_page_signs_nobody_out(door, site, method):
    client = sign_in(door)
    answer = client.request(method, "/logout", headers={} if site is None else {"sec-fetch-site": site})
    assert answer.status_code == 200 and "set-cookie" not in answer.headers
    assert client.get("/config").status_code == 200


def test_who_comes_from_elsewhere_is_asked_whether_to_sign_out(door):
    client = sign_in(door)
    answer = client.get("/logout", headers={"sec-fetch-site": "cross-site", "accept-language": "ko"})
    assert 'method="post" action="logout"' in answer.text and "로그아웃</button>" in answer.text
    assert "password" not in answer.text and "<script" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "Sign out</button>" in client.get("/logout").text


def test_an_ended_session_stays_ended_even_if_its_cookie_is_kept(door):
    client = sign_in(door)
    kept = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    client.post("/logout")
    assert browser(door).get("/config", headers={"cookie": kept}).status_code == 401


def test_the_cookies_are_for_frames_and_for_plain_http(door):
    answer = browser(door).post("/login", data={"username": "anna", "password": "비밀"})
    in_frame, plain = answer.headers.get_list("set-cookie")
    assert "Secure; SameSite=None; Partitioned" in in_frame and "HttpOnly" in in_frame
    assert "SameSite=Lax" in plain and "HttpOnly" in plain and "Secure" not in plain


@pytest.mark.parametrize("cookie", ["", "nonsense", "a=b; c", "hfdemo=x", "\xff", "=;=;"])
def test_a_strange_cookie_is_no_session(cookie, door):
    status, _, _ = request(door, scope_of("/config", headers={"cookie": cookie}))
    assert status == 401


@pytest.mark.parametrize(
    "other",
    ["a,b=1", "x/y=1", "@=1", "a(b)=c", "version=1", "path=/", "hello world", '{"a": 1}=2', '"', "=", "\xe9=\xff"],
)
def test_other_pages_cookies_end_no_session(other, door):
    """All pages of one machine share their cookies; some of these failed, and others signed the visitor out."""
    client = sign_in(door)
    own = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    for cookie in (f"{other}; {own}", f"{own}; {other}", f"{other};{own}"):
        headers = [(b"cookie", cookie.encode("latin-1"))]
        assert request(door, {**scope_of("/config"), "headers": headers})[0] == 200
    two = [(b"cookie", other.encode("latin-1")), (b"cookie", own.encode())]
    assert request(door, {**scope_of("/config"), "headers": two})[0] == 200
    assert request(door, {**scope_of("/config"), "headers": two[:1]})[0] == 401


@pytest.mark.parametrize("path", ["/login", "/login/", "/login//", "/logout", "/logout/"])
def test_a_form_that_is_opened_again_leads_to_the_page(door, path):
    answer = TestClient(door).get(path)
    assert answer.url.path == "/" and answer.status_code == 200
    assert "<form" in answer.text


def test_whoever_signs_in_behind_a_slash_is_led_to_the_page(door):
    sent = {"username": "hfdemo", "password": "open sesame", "from_page": "1"}
    assert TestClient(door).post("/login/", data=sent).url.path == "/"


def test_a_web_socket_needs_a_session(door):
    with pytest.raises(WebSocketDisconnect), browser(door).websocket_connect("/socket"):
        pass


def test_five_wrong_passwords_are_free_then_even_the_right_one_waits(door):
    client = browser(door)
    wrong = {"username": "hfdemo", "password": "no"}
    assert [client.post("/login", data=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    answer = client.post("/login", data={"username": "hfdemo", "password": "open sesame"})
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "Too many wrong passwords. Try again in 1 s."


def test_whoever_has_an_account_guesses_no_faster_at_others(door):
    """Signing in with one's own account after each four guesses undid the slowing: 300 a minute were served."""
    client, statuses = browser(door), []
    for n in range(4):
        for guess in range(2):
            form = {"username": "anna", "password": f"guess {n} {guess}"}
            statuses.append(client.post("/login", data=form).status_code)
        client.post("/login", data={"username": "hfdemo", "password": "open sesame"})
    assert statuses == [401] * 5 + [429] * 3


def test_whoever_signs_in_is_forgiven_what_was_wrong_with_the_same_name(door):
    client = browser(door)
    for _ in range(3):
        form = {"username": "hfdemo", "password": "mistyped"}
        assert [client.post("/login", data=form).status_code for _ in range(4)] == [401] * 4
        assert client.post("/login", data=form | {"password": "open sesame"}).status_code == 200


def test_forms_that_were_begun_at_one_time_are_slowed_too(door):
    form = {"content-type": "application/x-www-form-urlencoded"}

    async def guess() -> list[int]:
        body = (0.05, b"username=hfdemo&password=no")
        tries = [send_request(door, scope_of("/login", "POST", form), body) for _ in range(20)]
        return sorted(status for status, _, _ in await asyncio.gather(*tries))

    assert asyncio.run(guess()) == [401] * 5 + [429] * 15


def test_the_wait_doubles_up_to_its_limit():
    clock = Clock()
    throttle, waits = Throttle(clock), []
    for _ in range(14):
        throttle.failed("1.2.3.4", "anna")
        waits.append(throttle.wait_s("1.2.3.4"))
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, *[LONGEST_WAIT_S] * 4]
    assert throttle.wait_s("1.2.3.5") == 0


def test_a_client_has_all_addresses_of_its_ipv6_network():
    throttle = Throttle(Clock())
    for n in range(5):
        throttle.failed(f"2001:db8::{n}", "anna")
    assert throttle.wait_s("2001:db8::ffff") == 1
    assert throttle.wait_s("2001:db8:0:1::") == 0


def test_a_right_password_and_time_are_forgiving():
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.failed("a", "anna")
        throttle.failed("b", "anna")
    throttle.succeeded("a", "anna")
    assert (throttle.wait_s("a"), throttle.wait_s("b")) == (0, 1)
    clock.now += FORGOTTEN_AFTER_S + 1
    throttle.failed("c", "anna")
    throttle.failed("b", "anna")
    assert throttle.wait_s("b") == 0


def test_guessers_from_everywhere_take_bounded_memory():
    throttle = Throttle(Clock())
    for n in range(MAX_CLIENTS + 50):
        throttle.failed(str(n), "anna")
    assert len(throttle._wrong) == MAX_CLIENTS


def test_a_session_ends_when_it_is_long_unused_and_the_oldest_when_there_are_too_many():
    clock = Clock()
    sessions = Sessions(clock)
    secret = sessions.begin("anna")
    clock.now += LASTS_S - 1
    assert sessions.user(secret) == "anna"
    clock.now += LASTS_S - 1
    assert sessions.user(secret) == "anna"
    clock.now += LASTS_S + 1
    assert sessions.user(secret) is None
    first, *_ = [sessions.begin("anna") for _ in range(MAX_SESSIONS + 1)]
    assert sessions.user(first) is None and len(sessions._sessions) == MAX_SESSIONS


def test_nobody_signs_others_out_by_signing_in_over_and_over():
    sessions = Sessions(Clock())
    other = sessions.begin("ben")
    first, *_, last = [sessions.begin("anna") for _ in range(MAX_SESSIONS)]
    assert [sessions.user(secret) for secret in (other, first, last)] == ["ben", None, "anna"]


def test_secrets_are_long_and_differ():
    sessions = Sessions()
    assert len({sessions.begin("anna") for _ in range(100)}) == 100
    assert len(sessions.begin("anna")) >= 40


def test_every_account_is_compared_whole(monkeypatch):
    compared = []
    monkeypatch.setattr("hfdemo.web.sessions.hmac.compare_digest", lambda a, b: bool(compared.append(a)) or a == b)
    accounts = Accounts(PASSWORDS)
    for name, password in (("hfdemo", "open sesame"), ("hfdemo", "x"), ("nobody", "x"), ("anna", "비밀\ud800")):
        compared.clear()
        accounts.holds(name, password)
        assert len(compared) == 4 and {len(digest) for digest in compared} == {32}
