"""Choosing a model on the page, in Chromium. Engine and catalog are scripted."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr
import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from hfdemo.engines.protocol import Status
from hfdemo.errors import ModelLoadError
from hfdemo.models.choice import ModelChoice
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from hfdemo.words import say
from tests.conftest import free_port, wait_until
from tests.e2e.conftest import ChatPage
from tests.fakes import ScriptedCatalog, ScriptedEngine, ScriptedHost, make_any_plan, scripted_page

LISTED = ("org/here", "org/there", "org/big", "org/new")
READY = Status("ready", model="org/here", device="nowhere")


@dataclass
class Menu:
    """A served page with a menu."""

    engine: ScriptedEngine
    host: ScriptedHost
    catalog: ScriptedCatalog
    page: gr.Blocks
    url: str


@pytest.fixture(params=["private", "public"])
def menu(request) -> Iterator[Menu]:
    yield from serve(Settings(model="org/here", models=LISTED, private=request.param == "private"))


@pytest.fixture
def private() -> Iterator[Menu]:
    yield from serve(Settings(model="org/here", models=LISTED))


@pytest.fixture
def public() -> Iterator[Menu]:
    yield from serve(Settings(model="org/here", models=LISTED, private=False))


def serve(settings: Settings) -> Iterator[Menu]:
    engine, catalog = (
        ScriptedEngine(),
        ScriptedCatalog(
            ModelChoice("org/here", 1_500_000_000, on_disk=True, fits=True),
            ModelChoice("org/there", 271_000_000, on_disk=True, fits=True),
            ModelChoice("org/big", 141_000_000_000, on_disk=False, fits=False),
            ModelChoice("org/new", 4_200_000_000, on_disk=False, fits=True),
        ),
    )
    engine.now = READY
    catalog.plans["org/there"] = make_any_plan("org/there")
    catalog.plans["org/big"] = make_any_plan("org/big", 70_000_000_000)
    host = ScriptedHost(engine)
    page = scripted_page(engine, settings, catalog, host)
    port = free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    yield Menu(engine, host, catalog, page, f"http://127.0.0.1:{port}")
    page.close()


def open_page(menu: Menu, page: Page) -> ChatPage:
    chat = ChatPage(page)
    chat.open(menu.url)
    chat.open_settings()
    return chat


def pick(page: Page, name: str) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name=name).click()


def test_menu_shows_sizes_and_states_in_the_page_language(menu, browser: Browser):
    states = {
        "en-US": [
            "in use · nowhere",
            "fits · on this machine",
            "too big for this machine",
            "fits · not downloaded yet",
        ],
        "ko-KR": [
            "사용 중 · nowhere",
            "사용 가능 · 이 컴퓨터에 있음",
            "이 컴퓨터에는 너무 큼",
            "사용 가능 · 아직 받지 않음",
        ],
    }
    for locale, (in_use, here, too_big, new) in states.items():
        chat = open_page(menu, browser.new_context(locale=locale).new_page())
        field = chat.page.locator("#model input")
        expect(field).to_have_value(f"org/here · 1.5 GB · {in_use}")
        field.click()
        expect(chat.page.get_by_role("option")).to_have_text(
            [
                re.compile(re.escape(text))
                for text in (
                    f"org/here · 1.5 GB · {in_use}",
                    f"org/there · 271 MB · {here}",
                    f"org/big · 141.0 GB · {too_big}",
                    f"org/new · 4.2 GB · {new}",
                )
            ]
        )
        assert chat.problems == []


def test_choice_shows_its_card_and_is_used(menu, page):
    chat = open_page(menu, page)
    chat.send("hello")
    chat.wait_for_reply()
    button = page.locator("#use-model")
    expect(button).to_be_hidden()
    pick(page, "org/big")
    expect(page.locator("#model-card")).to_contain_text(say("fit.instead"))
    expect(button).to_be_hidden()
    pick(page, "org/there")
    expect(page.locator("#model-card")).to_contain_text(say("fit.memory"))
    button.click()
    wait_until(lambda: menu.host.chosen == ["org/there"], 5)
    expect(button).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("Finding the model")
    menu.engine.now = Status("ready", model="org/there", device="nowhere")
    expect(page.locator("#status")).to_contain_text("org/there · nowhere")
    expect(page.locator("#model input")).to_have_value("org/there · 271 MB · in use · nowhere")
    chat.send("again")
    chat.wait_for_reply()
    assert [message.content for message in menu.engine.requests[-1].messages] == ["hello", "ok", "again"]
    assert chat.problems == []


def test_another_visitor_sees_that_the_model_was_changed(public, page, browser: Browser):
    chat, other = open_page(public, page), open_page(public, browser.new_page())
    expect(other.page.locator("#model input")).to_have_value("org/here · 1.5 GB · in use · nowhere")
    pick(page, "org/there")
    page.locator("#use-model").click()
    wait_until(lambda: public.host.chosen == ["org/there"], 5)
    public.engine.now = Status("ready", model="org/there", device="nowhere")
    expect(other.page.locator("#status")).to_contain_text("org/there · nowhere", timeout=8000)
    expect(other.page.locator("#model input")).to_have_value("org/there · 271 MB · in use · nowhere")
    assert chat.problems == other.problems == []


def test_reply_under_way_ends_kindly_and_can_be_continued(private, page):
    chat = open_page(private, page)
    private.engine.enqueue("half a ", 60.0, "reply")
    chat.send("go")
    expect(chat.replies.last).to_contain_text("half a")
    pick(page, "org/there")
    page.locator("#use-model").click()
    chat.send_button.wait_for()
    expect(page.locator("#transcript")).to_contain_text("Ended because another model was chosen")
    private.engine.now = Status("ready", model="org/there", device="nowhere")
    private.engine.enqueue("and the rest")
    page.locator("#continue").click()
    expect(chat.replies.last).to_contain_text("half a and the rest")
    chat.wait_for_reply()
    assert chat.problems == []


@pytest.mark.parametrize("name", ["org/other", "/etc", None, 5])
def test_public_page_refuses_a_name_that_is_not_offered(public, name):
    for language in ("en", "ko"):
        sent = send_event(public, "_use_model", [language, name])
        assert sent["success"] is False
        assert sent["output"]["error"] == say("error.model_not_offered", language, models=", ".join(LISTED))
        assert "<table" not in str(send_event(public, "_show_model", [language, name]))
    assert public.host.chosen == public.catalog.planned == []


def send_event(menu: Menu, name: str, data: list) -> dict:
    """Send an event as no page would, and return what comes of it."""
    index = next(index for index, event in menu.page.fns.items() if event.name == name)
    body = {"data": data, "fn_index": index, "session_hash": "raw"}
    httpx.post(f"{menu.url}/gradio_api/queue/join", json=body, headers={"origin": menu.url}).raise_for_status()
    with httpx.stream(
        "GET", f"{menu.url}/gradio_api/queue/data", params={"session_hash": "raw"}, timeout=10
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and (said := json.loads(line[5:]))["msg"] == "process_completed":
                return said
    raise AssertionError("no answer")


def test_public_page_neither_types_names_nor_searches_nor_cancels(public, page):
    public.engine.now = Status("downloading", model="org/here", total_bytes=5)
    chat = open_page(public, page)
    expect(page.locator("#status")).to_contain_text("Downloading org/here")
    expect(page.locator("#search-hub")).to_be_hidden()
    expect(page.locator("#cancel")).to_be_hidden()
    page.locator("#model input").fill("org/other")
    page.locator("#model input").press("Tab")
    expect(page.locator("#model input")).not_to_have_value("org/other")
    assert chat.problems == []


def test_any_name_can_be_typed_on_a_private_page(private, page):
    """Enter takes what was typed, also where the list has a name that begins so."""
    chat = open_page(private, page)
    expect(page.locator("#model input")).to_have_value(re.compile("org/here"))
    private.catalog.plans["org/her"] = make_any_plan("org/her")
    page.locator("#model input").fill("org/her")
    page.locator("#model input").press("Enter")
    expect(page.locator("#model-card strong")).to_have_text("org/her")
    page.locator("#use-model").click()
    expect(page.locator("#model input")).to_have_value(re.compile("org/her · in use"))
    assert private.host.chosen == ["org/her"]
    page.locator("#model input").fill("org/wrong@v1")
    page.locator("#model input").press("Tab")
    link = page.locator("#model-card a")
    expect(link).to_have_attribute("href", "https://hub.test/org/wrong@v1")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(page.locator("#use-model")).to_be_hidden()
    assert private.catalog.planned == ["org/her", "org/wrong@v1"]
    assert chat.problems == []


def test_arrow_keys_and_enter_pick_from_the_list(private, page):
    chat = open_page(private, page)
    field = page.locator("#model input")
    expect(field).to_have_value(re.compile("org/here"))
    field.focus()
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value(re.compile("org/there"))
    expect(page.locator("#model-card strong")).to_have_text("org/there")
    assert chat.problems == []


def test_search_fills_the_menu(private, page):
    chat = open_page(private, page)
    expect(page.locator("#model input")).to_have_value(re.compile("org/here"))
    private.catalog.found = [ModelChoice(f"found/{n}", 10**9, on_disk=False, fits=True) for n in range(3)]
    private.catalog.plans["found/1"] = make_any_plan("found/1")
    search = page.locator("#search-hub textarea")
    search.fill("tiny")
    search.press("Enter")
    expect(page.locator("#found")).to_have_text("Found: 3. Choose one above.")
    expect(page.get_by_role("option")).to_have_count(3)
    page.get_by_role("option", name="found/1").click()
    expect(page.locator("#model-card strong")).to_have_text("found/1")
    expect(page.locator("#use-model")).to_be_visible()
    private.catalog.found = ModelLoadError("hub_offline_mode")
    search.press("Enter")
    expect(page.locator("#line-over-box")).to_contain_text("HF_HUB_OFFLINE is set")
    assert private.catalog.searched == ["tiny", "tiny"]
    assert chat.problems == []


def test_progress_can_be_read_and_the_download_cancelled(private, page):
    private.engine.now = download = Status(
        "downloading",
        model="org/new",
        file="model.safetensors",
        done_bytes=312_000_000,
        total_bytes=1_500_000_000,
        bytes_per_s=12_000_000,
        plan=make_any_plan("org/new"),
    )
    chat = open_page(private, page)
    line = page.locator("#status .stage")
    text = "Downloading org/new: 312 MB of 1.50 GB (20 %) · 12 MB/s · about 2 min left · model.safetensors"
    expect(line).to_have_text(text)
    card = page.locator("#status-card details")
    expect(card).not_to_have_attribute("open", "")
    card.locator("summary").click()
    private.engine.now = replace(download, done_bytes=800_000_000)
    expect(line).to_contain_text("800 MB of 1.50 GB (53 %) · 12 MB/s · about 1 min left")
    expect(card).to_have_attribute("open", "")
    private.engine.enqueue(2.0, "here I am")
    chat.send("hello")
    expect(chat.replies.last).to_contain_text("800 MB of 1.50 GB (53 %) · 12 MB/s · about 1 min left")
    chat.wait_for_reply()
    page.locator("#cancel").click()
    wait_until(lambda: private.host.cancels == 1, 5)
    expect(line).to_have_text("Loading org/new was cancelled. Downloaded files are kept.")
    expect(page.locator("#cancel")).to_be_hidden()
    expect(card).to_be_hidden()
    page.locator("#try-again").click()
    wait_until(lambda: private.host.loads == 1, 5)
    assert chat.problems == []


def test_page_tells_that_an_idle_model_left_the_memory(private, page):
    chat = open_page(private, page)
    expect(page.locator("#status .ready")).to_be_visible()
    private.engine.now = Status("unloaded", model="org/here")
    expect(page.locator("#status")).to_contain_text("your next message loads it again", timeout=8000)
    private.engine.now = Status("loading", model="org/here", done_bytes=2, total_bytes=5)
    expect(page.locator("#status")).to_contain_text("Loading org/here: 40 %", timeout=8000)
    private.engine.now = READY
    expect(page.locator("#status .ready")).to_be_visible()
    assert chat.problems == []


def test_page_of_a_ready_model_asks_seldom_and_is_sent_nothing(private, page):
    chat = open_page(private, page)
    expect(page.locator("#model input")).to_have_value(re.compile("org/here"))
    answers = []
    page.on("response", lambda response: answers.append(response) if "/run/predict" in response.url else None)
    page.wait_for_timeout(7000)
    assert 1 <= len(answers) <= 3
    assert all(len(answer.text()) < 1000 and "stage" not in answer.text() for answer in answers)
    assert chat.problems == []


def test_failure_has_links_and_its_card_is_open(private, browser: Browser):
    private.engine.now = Status(
        "failed",
        model="org/big",
        error=ModelLoadError("no_such_model", model="org/big", page="https://hub.test/org/big"),
        plan=make_any_plan("org/big", 70_000_000_000),
    )
    for locale, instead in (("en-US", say("fit.instead", "en")), ("ko-KR", say("fit.instead", "ko"))):
        chat = open_page(private, browser.new_context(locale=locale).new_page())
        expect(chat.page.locator("#status .problem a")).to_have_attribute("href", "https://hub.test/org/big")
        expect(chat.page.locator("#status-card table")).to_contain_text(instead)
        expect(chat.page.locator("#try-again")).to_be_visible()
        assert chat.problems == []


def test_sidebar_makes_room_for_the_progress_on_a_phone(private, browser: Browser):
    chat = open_page(private, browser.new_page(viewport={"width": 390, "height": 850}))
    page = chat.page
    page.locator("#close-settings").click()
    expect(page.locator("#model input")).not_to_be_in_viewport()
    chat.open_settings()
    expect(page.locator("#model input")).to_be_in_viewport()
    pick(page, "org/there")
    page.locator("#use-model").click()
    expect(page.locator("#model input")).not_to_be_in_viewport()
    expect(page.locator("#status")).to_contain_text("Finding the model")
    assert chat.problems == []
