"""A Space lets in whom its host names, by their Hugging Face accounts; others get nothing of the host's."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from hfdemo.web.failures import LINES_A_SECOND
from hfdemo.web.routes import GRADIO_ROUTES
from hfdemo.words import say
from tests.asgi import serve_app
from tests.conftest import App, free_port, start_app
from tests.integration.local import save_tiny_model
from tests.oauth import CLIENT_ID, CLIENT_SECRET, HubOAuth, token_of

SECRET = "Words of the host alone."


@pytest.fixture(scope="module")
def provider() -> Iterator[HubOAuth]:
    provider = HubOAuth()
    with serve_app(provider.app) as provider.url:
        yield provider


def start_space(folder: Path, provider: HubOAuth, scopes: str, **settings: str) -> App:
    """Start the chat as a Space whose visitors sign in at the provider, and allow these scopes."""
    port = free_port()
    return start_app(
        folder,
        port,
        SYSTEM="spaces",
        SPACE_ID="org/space",
        SPACE_HOST=f"127.0.0.1:{port}",
        OAUTH_CLIENT_ID=CLIENT_ID,
        OAUTH_CLIENT_SECRET=CLIENT_SECRET,
        OAUTH_SCOPES=scopes,
        OPENID_PROVIDER_URL=provider.url,
        **settings,
    )


@pytest.fixture(scope="module")
def space(provider, embedded_model, tmp_path_factory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("space")
    running = start_space(
        folder,
        provider,
        "openid profile",
        HFDEMO_ALLOWED_USERS="Anna, friends-of-ours",
        HFDEMO_SYSTEM_PROMPT=SECRET,
        HFDEMO_MODEL=str(save_tiny_model(folder / "model", "llama", embedded_model)),
    )
    yield running
    running.stop()


class Browser:
    """Follows redirects between the Space, which is behind a proxy with TLS, and the Hub; keeps all cookies."""

    def __init__(self, space: App) -> None:
        self.space = space
        self.cookies: dict[str, str] = {}

    def get(self, url: str, more: Mapping[str, str] | None = None) -> httpx.Response:
        headers = dict(more or {}) | {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        headers["x-forwarded-proto"] = "https"
        answer = httpx.get(url, headers=headers, timeout=30)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer

    def sign_in(self) -> httpx.Response:
        answer = self.get(f"{self.space.url}/login/huggingface")
        authorize = answer.headers["location"]
        answer = httpx.get(authorize)
        back = urlsplit(answer.headers["location"])
        return self.get(f"{self.space.url}{back.path}?{back.query}")


@pytest.fixture
def visitor(space, provider) -> Browser:
    provider.user, provider.organisations, provider.refuses, provider.down = "anna", [], False, False
    return Browser(space)


@pytest.mark.parametrize(
    ("user", "organisations"),
    [("anna", []), ("ANNA", ["others"]), ("ben", ["others", "Friends-of-Ours"])],
    ids=["by name", "in another case", "by organisation"],
)
def test_who_is_on_the_list_is_let_in(visitor, provider, user, organisations):
    provider.user, provider.organisations = user, organisations
    answer = visitor.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert SECRET in visitor.get(visitor.space.url).text
    assert visitor.get(f"{visitor.space.url}/logout", {"sec-fetch-site": "none"}).status_code == 303
    assert visitor.get(f"{visitor.space.url}/config").status_code == 401


@pytest.mark.parametrize(("user", "organisations"), [("eve", []), ("eve", ["anna-fans"]), ("anna2", []), ("", [""])])
def test_who_is_not_on_the_list_is_told_so_and_gets_nothing(visitor, provider, user, organisations):
    provider.user, provider.organisations = user, organisations
    answer = visitor.sign_in()
    assert answer.status_code == 403 and SECRET not in answer.text
    assert say("refused.not_on_the_list", user=user).replace("'", "&#x27;") in answer.text
    assert visitor.get(f"{visitor.space.url}/config").status_code == 401
    assert SECRET not in visitor.get(visitor.space.url).text


@pytest.mark.parametrize("trouble", ["refuses", "down"])
def test_a_sign_in_that_does_not_work_says_so(visitor, provider, trouble):
    setattr(provider, trouble, True)
    answer = visitor.sign_in()
    assert answer.status_code == 502 and say("refused.hub_sign_in_failed") in answer.text
    assert visitor.get(f"{visitor.space.url}/config").status_code == 401


def test_a_callback_that_nobody_asked_for_lets_nobody_in(visitor):
    answer = visitor.get(f"{visitor.space.url}/login/callback?code=code&state=made-up")
    assert answer.status_code in (303, 307) and "/login/huggingface" in answer.headers["location"]
    assert visitor.get(f"{visitor.space.url}/config").status_code == 401


@pytest.mark.parametrize("path", ["/login/huggingface?", "/login/callback?error=x&", "/login/callback?state=x&"])
def test_a_strangers_words_are_not_in_the_log_however_often_they_come(visitor, path):
    for _ in range(20):
        assert visitor.get(f"{visitor.space.url}{path}_target_url=canary-of-a-stranger").status_code in (302, 307, 502)
    assert "canary" not in visitor.space.log() and "SPACE_HOST" not in visitor.space.log()


def test_a_sign_in_that_fails_over_and_over_writes_a_few_lines_a_second(visitor):
    begun, before = time.monotonic(), visitor.space.log().count("\n")
    for _ in range(40):
        visitor.get(f"{visitor.space.url}/login/callback?error=x")
    assert visitor.space.log().count("\n") - before <= LINES_A_SECOND * (time.monotonic() - begun + 2)


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/login/huggingface", "/login/callback/"])
def test_signing_in_with_the_hub_is_opened_and_nothing_else(space, method, path):
    answer = httpx.request(method, space.url + path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_the_visitors_token_stays_nowhere(visitor):
    visitor.sign_in()
    assert visitor.cookies["session"] == ""
    assert token_of("anna") not in visitor.space.log()


def test_a_stranger_gets_the_form_and_nothing_of_the_hosts(space):
    page = httpx.get(space.url)
    assert page.status_code == 200 and 'href="login/huggingface"' in page.text and "password" not in page.text
    for route in GRADIO_ROUTES:
        answer = httpx.get(space.url + route)
        assert SECRET not in answer.text, route


def test_where_there_is_no_hub_sign_in_the_page_does_not_open_instead(tmp_path):
    with pytest.raises(AssertionError, match="HFDEMO_ALLOWED_USERS works only on a Space"):
        start_app(tmp_path, HFDEMO_ALLOWED_USERS="anna")
