"""A page answers under its own names, to its own pages, and believes only the proxies that it knows."""

import ipaddress
import json

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hfdemo.settings import Settings, from_env
from hfdemo.web.hosts import HostRules, Hosts, host_rules
from tests.unit.web import Recorder, request, scope_of

PRIVATE = host_rules(Settings())
PUBLIC = host_rules(Settings(private=False, allowed_hosts=("chat.example.com", ".lan")))
SPACE = host_rules(from_env({"SPACE_ID": "me/chat", "SPACE_HOST": "me-chat.hf.space"}))
COLAB = host_rules(from_env({"COLAB_RELEASE_TAG": "release"}))


def ask(rules: HostRules, headers: dict[str, str], share: str | None = None, **more) -> tuple[int, str, Recorder]:
    app = Recorder()
    status, _, body = request(Hosts(app, rules, lambda: share), scope_of("/", headers=headers, **more))
    return status, json.loads(body)["error"] if status != 200 else "", app


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "LOCALHOST:1", "127.0.0.1:7860", "[::1]:7860", "localhost."]
)
def test_a_private_page_answers_as_this_machine(host):
    assert ask(PRIVATE, {"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:7860", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example"),
        *("192.168.1.5:7860", "0.0.0.0:7860", "", "localhost@evil.example", "evil.example/localhost", "[::2]"),
        *("localhost:x", "localhost#", "chat.example.com", "localhost, evil.example"),
    ],
)
def test_a_private_page_refuses_every_other_host(host):
    status, sentence, app = ask(PRIVATE, {"host": host})
    assert (status, app.scopes) == (403, [])
    assert sentence.startswith("This page is not served under this host name.")


def test_a_request_without_a_host_is_refused():
    assert ask(PRIVATE, {})[0] == 403


def test_the_refusal_is_in_the_language_of_the_browser():
    assert ask(PRIVATE, {"host": "evil.example", "accept-language": "ko"})[1].startswith("이 호스트 이름으로는")


@pytest.mark.parametrize("host", ["192.168.1.5:7860", "[fe80::1]:7860", "chat.example.com", "laptop.lan", "localhost"])
def test_a_page_for_others_answers_by_address_and_by_the_names_it_was_given(host):
    assert ask(PUBLIC, {"host": host})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "lan", "sub.chat.example.com", "evillan"])
def test_a_page_for_others_refuses_other_names(host):
    assert ask(PUBLIC, {"host": host})[0] == 403


def test_a_star_allows_every_name():
    assert ask(host_rules(Settings(allowed_hosts=("*",))), {"host": "any.example"})[0] == 200


def test_the_name_that_the_page_listens_as_is_its_own():
    rules = host_rules(from_env({"GRADIO_SERVER_NAME": "Box.home.arpa"}))
    assert ask(rules, {"host": "box.home.arpa:7860"})[0] == 200
    assert ask(rules, {"host": "evil.example"})[0] == 403


def test_a_space_answers_under_its_name_and_by_address():
    assert ask(SPACE, {"host": "me-chat.hf.space"})[0] == 200
    assert ask(SPACE, {"host": "10.1.2.3:7860"})[0] == 200
    assert ask(SPACE, {"host": "other.hf.space"})[0] == 403


def test_colab_may_call_its_machine_as_it_likes_but_not_let_other_pages_in():
    assert ask(COLAB, {"host": "gpu-t4-s-abc:7860", "origin": "https://x-colab.googleusercontent.com"})[0] == 200
    assert ask(COLAB, {"host": "gpu-t4-s-abc:7860", "origin": "https://evil.example"})[0] == 403


def test_a_share_link_is_the_pages_own_as_soon_as_it_is_there():
    headers = {"host": "abc.gradio.live", "origin": "https://abc.gradio.live"}
    assert ask(PRIVATE, headers)[0] == 403
    assert ask(PRIVATE, headers, share="https://abc.gradio.live")[0] == 200
    assert ask(PRIVATE, headers, share="https://other.gradio.live")[0] == 403
    assert (
        ask(PRIVATE, {"host": "localhost", "origin": "https://abc.gradio.live"}, "https://abc.gradio.live")[0] == 200
    )


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:7860", "http://localhost:7860"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("localhost", "http://localhost:80"),
        ("localhost:7860", "http://LOCALHOST:7860"),
    ],
)
def test_the_own_origin_is_let_in(host, origin):
    assert ask(PRIVATE, {"host": host, "origin": origin})[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "http://evil.example",
            "https://evil.example:7860",
            "null",
            "http://localhost:3000",
            "http://127.0.0.1:7860",
        ),
        *("file://", "http://localhost:7860.evil.example", "chrome-extension://abc", "", "http://[", "localhost:7860"),
    ],
)
def test_a_foreign_origin_is_refused(origin):
    status, sentence, app = ask(PRIVATE, {"host": "localhost:7860", "origin": origin})
    assert (status, app.scopes) == (403, [])
    assert sentence.startswith("Another website sent this request")


@pytest.mark.parametrize(
    ("name", "own", "foreign", "status"),
    [
        ("origin", "http://localhost:7860", "http://evil.example", 403),
        ("origin", "http://localhost:7860", "http://localhost:7860", 200),
        ("host", "localhost:7860", "evil.example", 403),
    ],
)
def test_a_header_that_comes_twice_is_foreign_if_one_is(name, own, foreign, status):
    others = [(b"host", b"localhost:7860")] if name == "origin" else []
    for values in ((own, foreign), (foreign, own)):
        pairs = [*others, *((name.encode(), value.encode()) for value in values)]
        assert request(Hosts(Recorder(), PRIVATE), {**scope_of("/"), "headers": pairs})[0] == status


def test_nobody_gets_a_tunnel():
    """A server that answers such a request with 200 has promised one; the connection hung, and the log told so."""
    app = Recorder()
    status, headers, _ = request(Hosts(app, PRIVATE), scope_of("/healthz", "CONNECT", {"host": "localhost"}))
    assert (status, headers["allow"], app.scopes) == (405, "GET, POST", [])


def test_a_proxy_that_says_nothing_of_the_host_needs_its_name_only():
    assert ask(PUBLIC, {"host": "127.0.0.1:7860", "origin": "https://chat.example.com"})[0] == 200


def test_a_strangers_word_about_host_and_address_counts_for_nothing():
    told = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-proto": "https",
        "x-gradio-server": "http://evil.example",
    }
    status, _, app = ask(PRIVATE, {"host": "localhost", **told})
    assert status == 200
    assert app.scopes[0]["headers"] == [(b"host", b"localhost")]
    assert (app.scopes[0]["client"][0], app.scopes[0]["scheme"]) == ("127.0.0.1", "http")


PROXIED = host_rules(
    Settings(private=False, trusted_proxies=("10.0.0.0/8", "::1"), allowed_hosts=("chat.example.com",))
)
BY_PROXY = {"client": ("10.0.0.9", 1)}


def test_a_known_proxy_tells_host_scheme_and_visitor():
    told = {
        "x-forwarded-host": "chat.example.com",
        "x-forwarded-for": "9.9.9.9, 1.2.3.4",
        "x-forwarded-proto": "https",
    }
    status, _, app = ask(PROXIED, {"host": "10.0.0.2:7860", "origin": "https://chat.example.com", **told}, **BY_PROXY)
    assert status == 200
    assert (app.scopes[0]["client"][0], app.scopes[0]["scheme"]) == ("1.2.3.4", "https")  # the left one is a visitor's
    assert (b"x-forwarded-host", b"chat.example.com") in app.scopes[0]["headers"]


def test_a_visitor_cannot_name_another_host_through_a_known_proxy():
    assert ask(PROXIED, {"host": "chat.example.com", "x-forwarded-host": "evil.example"}, **BY_PROXY)[0] == 403
    two = {"host": "chat.example.com", "x-forwarded-host": "chat.example.com, evil.example"}
    _, _, app = ask(PROXIED, two, **BY_PROXY)
    assert (b"x-forwarded-host", b"chat.example.com") in app.scopes[0]["headers"]


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.3", "1.2.3.4"),
        ("10.0.0.4", "10.0.0.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),  # a listener for both kinds of addresses
        ("1.2.3.4, ::ffff:10.0.0.3", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4:50000", "1.2.3.4"),  # some proxies add ports
        ("1.2.3.4:50000, 10.0.0.3:80", "1.2.3.4"),
        ("[2001:db8::1]:50000", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("nonsense:1", "10.0.0.9"),
        ("nonsense", "10.0.0.9"),
        ("1.2.3.4, nonsense", "10.0.0.9"),
        ("", "10.0.0.9"),
    ],
)
def test_the_visitor_is_the_last_address_that_is_no_known_proxy(forwarded, address):
    _, _, app = ask(PROXIED, {"host": "chat.example.com", "x-forwarded-for": forwarded}, **BY_PROXY)
    assert app.scopes[0]["client"][0] == address


def test_addresses_in_the_form_of_the_other_kind_are_the_same():
    headers = {"host": "chat.example.com", "x-forwarded-for": "1.2.3.4"}
    assert ask(PROXIED, headers, client=("::ffff:10.0.0.9", 1))[2].scopes[0]["client"][0] == "1.2.3.4"
    assert ask(PROXIED, headers, client=("::ffff:5.6.7.8", 1))[2].scopes[0]["client"] == ("5.6.7.8", 1)


def test_on_a_space_the_visitor_is_the_last_public_address():
    headers = {"host": "me-chat.hf.space", "x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.20.30.40"}
    assert ask(SPACE, headers, client=("10.1.1.1", 1))[2].scopes[0]["client"][0] == "1.2.3.4"


def test_all_the_platforms_proxies_are_believed_and_at_home_none():
    assert SPACE.believes("203.0.113.7") and COLAB.believes("::1")
    assert not PRIVATE.believes("127.0.0.1") and not PUBLIC.believes("10.0.0.1") and not SPACE.believes("unix")
    assert host_rules(from_env({"GRADIO_SHARE": "true"})).proxies == (ipaddress.ip_network("127.0.0.1"),)


def test_a_web_socket_needs_an_own_host_and_origin_too():
    async def greet(scope, receive, send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    client = TestClient(Hosts(greet, PRIVATE), base_url="http://localhost")
    with client.websocket_connect("ws://localhost/socket"):
        pass
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://localhost/socket", headers={"origin": "http://evil.test"}),
    ):
        pass
