"""On a Space whose visitors pay, each reply is asked for with the token of who is signed in, which stays unseen."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ROOT, App
from tests.e2e.conftest import browser_type_launch_args  # noqa: F401  # the same Chromium here
from tests.endpoint import Endpoint, serve_endpoint
from tests.integration.test_hub_sign_in import Browser, provider, start_space  # noqa: F401  # the same stand-in of the Hub
from tests.oauth import HubOAuth, token_of

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def router() -> Iterator[Endpoint]:
    with serve_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def space(provider: HubOAuth, router: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:  # noqa: F811
    folder: Path = tmp_path_factory.mktemp("space")
    # Where the Hub's router is, nobody can set.
    (folder / "sitecustomize.py").write_text(
        f"import hfdemo.engines.remote.address as address\naddress.ROUTER = {router.url + '/v1'!r}\n"
    )
    running = start_space(
        folder,
        provider,
        "openid profile inference-api",
        HF_TOKEN="hf_TokenOfTheHost",
        HFDEMO_CREDIT="visitor",
        HFDEMO_MODEL="org/model:cheapest",
        HFDEMO_PASSWORD=PASSWORD,
        PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]),
    )
    yield running
    running.stop()


def signed_in(space: App, provider: HubOAuth, user: str) -> Browser:  # noqa: F811
    provider.user, provider.refuses, provider.down = user, False, False
    browser = Browser(space)
    assert browser.sign_in().status_code == 303
    assert "inference-api" in provider.scopes
    return browser


def ask(browser: Browser, message: str) -> str:
    """Ask as a program does with the cookies of a browser, and return the events of the reply."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = {"cookie": cookie, "x-forwarded-proto": "https"}
    api = f"{browser.space.url}/gradio_api/call/v2/chat"
    event = httpx.post(api, json={"message": message}, headers=headers).json()["event_id"]
    return httpx.get(f"{api}/{event}", headers=headers, timeout=30).text


def test_each_visitor_pays_for_their_own_replies(space, router, provider):  # noqa: F811
    anna, ben = (signed_in(space, provider, user) for user in ("anna", "ben"))
    for browser, user in ((anna, "anna"), (ben, "ben"), (anna, "anna")):
        assert '"Hello"' in ask(browser, f"I am {user}.")
        asked = router.chats[-1]
        assert asked.headers["Authorization"] == f"Bearer {token_of(user)}"
        assert asked.body["messages"][-1]["content"] == f"I am {user}."
    page = anna.get(space.url)
    config = anna.get(f"{space.url}/config")
    seen = space.log() + page.text + config.text + json.dumps(anna.cookies) + str(router.chats[-1].body)
    assert [word for word in (token_of("anna"), token_of("ben"), "hf_TokenOfTheHost") if word in seen] == []
    assert all("Authorization" not in asked.headers for asked in router.gets)


def test_the_page_says_whose_credit_pays_and_uses_it(space, router, provider, page: Page):  # noqa: F811
    browser = signed_in(space, provider, "anna")
    page.goto(space.url)
    expect(page.get_by_text("Replies use your own Hugging Face credits")).to_be_visible()  # before signing in
    plain = {name: value for name, value in browser.cookies.items() if name.endswith("-plain")}
    page.context.add_cookies([{"name": name, "value": value, "url": space.url} for name, value in plain.items()])
    page.goto(space.url)
    box = page.locator("#message textarea")
    box.fill("Hi")
    box.press("Enter")
    expect(page.get_by_text("Hello", exact=True).first).to_be_visible(timeout=30_000)
    expect(page.locator(".notice", has_text="Replies use your own Hugging Face credits")).to_be_attached()
    assert router.chats[-1].headers["Authorization"] == f"Bearer {token_of('anna')}"
    assert token_of("anna") not in page.content()


def test_who_came_in_by_the_password_is_told_to_sign_in_and_the_host_pays_nothing(space, router):
    before = len(router.chats)
    answer = httpx.post(f"{space.url}/login", data={"username": "hfdemo", "password": PASSWORD})
    browser = Browser(space)
    browser.cookies = dict(answer.cookies)
    assert "Sign in with Hugging Face" in ask(browser, "Hi")
    assert len(router.chats) == before
