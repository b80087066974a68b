"""Behind a proxy that serves the chat below a path, all of it works, and nothing is asked for beside that path."""

import re
from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client
from openai import OpenAI
from playwright.sync_api import Page, expect

from tests.conftest import App, start_app
from tests.e2e.conftest import browser_type_launch_args  # noqa: F401  # the same Chromium here
from tests.proxy import SubPathProxy

NAME, PASSWORD, KEY = "anna", "open sesame", "key-of-the-tests-1"


@pytest.fixture(scope="module")
def app(embedded_model, tmp_path_factory) -> Iterator[App]:
    running = start_app(
        tmp_path_factory.mktemp("app"),
        HFDEMO_MODEL=str(embedded_model),
        GRADIO_ROOT_PATH="/demos/chat",
        HFDEMO_TRUSTED_PROXIES="127.0.0.1",
        HFDEMO_USERS=f"{NAME}:{PASSWORD}",
        HFDEMO_API_KEYS=f"tests:{KEY}",
    )
    running.wait_for_log("CPU")
    yield running
    running.stop()


@pytest.fixture
def proxy(app) -> Iterator[SubPathProxy]:
    with SubPathProxy(app.url, "/demos/chat").serve() as proxy:
        yield proxy


def test_a_person_signs_in_and_chats(proxy, page: Page):
    page.goto(proxy.url)
    page.fill("#username", NAME)
    page.fill("#password", PASSWORD)
    page.get_by_role("button").click()
    box = page.locator("#chat textarea, textarea").first
    box.fill("What is the capital of Korea?")
    box.press("Enter")
    expect(page.get_by_text(re.compile(r"· \d+ tokens")).first).to_be_visible(timeout=60_000)  # below the reply
    worker = page.evaluate("async () => (await navigator.serviceWorker.ready).scope")
    manifest = page.evaluate("document.querySelector('link[rel=manifest]').href")
    assert (page.url, worker, manifest) == (proxy.url, proxy.url, f"{proxy.url}manifest.json")
    found = page.evaluate(
        """async (address) => {
            const manifest = await (await fetch(address)).json();
            const icon = await fetch(new URL(manifest.icons[0].src, address));
            return [new URL(manifest.start_url, address).href, icon.status, icon.headers.get("content-type")];
        }""",
        manifest,
    )
    assert found[:2] == [proxy.url, 200] and found[2].startswith("image/svg")
    told = "fetch('presence/left', { method: 'POST', body: 'turn' }).then((answer) => answer.status)"
    assert page.evaluate(told) == 204
    assert [answer for answer in proxy.answers if answer[0] >= 400] == []


def test_programs_and_monitors_reach_all_that_is_theirs(proxy):
    def status(path: str, **options) -> int:
        return httpx.get(f"{proxy.url}{path}", **options).status_code

    signed_in = {"auth": (NAME, PASSWORD)}
    assert [status(path) for path in ("healthz", "readyz", "config", "v1/models")] == [200, 200, 401, 401]
    assert [status(path, **signed_in) for path in ("service-worker.js", "config", "gradio_api/info")] == [200] * 3
    worker = httpx.get(f"{proxy.url}service-worker.js", **signed_in).text
    assert re.findall(r'fetch\(\\?"([^"\\]+)', worker) == ["gradio_api/app_id"], "the offline page's, relative"
    config = httpx.get(f"{proxy.url}config", **signed_in).json()
    assert config["root"] == proxy.url.rstrip("/")


@pytest.mark.parametrize(("path", "to"), [("login", "./"), ("logout", "./")])
def test_signing_in_and_out_stays_below_the_path(proxy, path, to):
    data = {"username": NAME, "password": PASSWORD, "from_page": "1"}
    ask = httpx.post if path == "login" else httpx.get
    answer = ask(f"{proxy.url}{path}", **({"data": data} if path == "login" else {}))
    assert (answer.status_code, answer.headers["location"]) == (303, to)


def test_the_clients_of_both_apis_answer(proxy):
    client = Client(proxy.url, auth=(NAME, PASSWORD), verbose=False, analytics_enabled=False)
    question = "What is the capital of Korea?"
    assert client.predict(message=question, temperature=0, api_name="/chat") == "The capital of Korea is Seoul."
    door = OpenAI(base_url=f"{proxy.url}v1", api_key=KEY)
    asked = door.chat.completions.create(
        model=door.models.list().data[0].id, messages=[{"role": "user", "content": question}], temperature=0
    )
    assert asked.choices[0].message.content == "The capital of Korea is Seoul."
