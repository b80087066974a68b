"""A model's recommended values on the page: the defaults of what nobody has touched, said to be the model's."""

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from hfdemo.chat.notes import make_note
from hfdemo.chat.options import RECOMMENDED, Options
from hfdemo.engines.protocol import Status
from hfdemo.words import say
from tests.e2e.conftest import ChatPage, Scripted

FIRST = Status("ready", model="first", device="CPU", recommended={"temperature": 0.33, "top_p": 0.95, "min_p": 0.05})
SECOND = Status("ready", model="second", device="CPU", recommended={"temperature": 1.0, "top_k": 20})
NONE = Status("ready", model="third", device="CPU")


@pytest.fixture
def opened(page: Page, scripted: Scripted) -> ChatPage:
    scripted.engine.now = FIRST
    chat = ChatPage(page)
    chat.open(scripted.url)
    chat.open_settings()
    page.locator("#settings .label-wrap").click()  # More
    shows(chat, temperature=0.33, top_p=0.95, top_k=50, repetition_penalty=1, min_p=0.05)
    return chat


def number(chat: ChatPage, name: str):
    return chat.page.locator(f"#{name.replace('_', '-')} input[type=number]")


def shows(chat: ChatPage, **values: float) -> None:
    for name, value in values.items():
        expect(number(chat, name)).to_have_value(f"{value:g}", timeout=10_000)


def change(chat: ChatPage, scripted: Scripted, status: Status) -> None:
    scripted.engine.now = status
    expect(chat.page.locator("#status")).to_contain_text(status.model, timeout=10_000)


def test_untouched_options_follow_the_model_and_touched_ones_stay(opened, scripted):
    opened.set_option("top-p", 0.5)
    change(opened, scripted, SECOND)
    shows(opened, temperature=1, top_p=0.5, top_k=20, repetition_penalty=1, min_p=0)
    change(opened, scripted, NONE)
    shows(opened, temperature=0.7, top_p=0.5, top_k=50, repetition_penalty=1, min_p=0)
    change(opened, scripted, FIRST)
    shows(opened, temperature=0.33, top_p=0.5, top_k=50, repetition_penalty=1, min_p=0.05)
    assert opened.problems == []


def test_the_arrow_goes_back_to_the_models_value(opened, scripted):
    change(opened, scripted, SECOND)
    shows(opened, temperature=1, top_p=0.9)
    for name, value in (("temperature", 1), ("top_p", 0.9), ("max_new_tokens", 512)):
        opened.set_option(name.replace("_", "-"), 0.2 if value != 512 else 7)
        opened.page.locator(f"#{name.replace('_', '-')} .reset-button").click()
        shows(opened, **{name: value})
    opened.send("hello")
    opened.wait_for_reply()
    options = scripted.engine.requests[-1].options
    assert options == Options(left_out=RECOMMENDED)
    assert options.with_recommended(SECOND.recommended) == Options(temperature=1.0, top_k=20)


def test_what_is_being_edited_is_not_overwritten(opened, scripted):
    field = number(opened, "temperature")
    field.fill("")
    field.press_sequentially("1")
    change(opened, scripted, SECOND)
    shows(opened, top_k=20, temperature=1)
    change(opened, scripted, NONE)  # the second model's value stands there, too, but somebody is about to type on
    shows(opened, top_k=50, temperature=1)
    field.press_sequentially(".25")
    field.blur()
    opened.send("hello")
    opened.wait_for_reply()
    options = scripted.engine.requests[-1].options
    assert options.temperature == 1.25 and "temperature" not in options.left_out


def test_a_message_takes_what_was_touched_as_it_is_and_leaves_out_the_rest(opened, scripted):
    opened.set_option("min-p", 0.2)
    opened.send("hello")
    opened.wait_for_reply()
    options = scripted.engine.requests[-1].options
    assert options == Options(min_p=0.2, left_out=tuple(name for name in RECOMMENDED if name != "min_p"))


def test_of_a_server_with_values_of_its_own_all_that_is_shown_is_asked_for(opened, scripted):
    change(opened, scripted, Status("ready", model="elsewhere", device="host", recommended=None))
    shows(opened, temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1, min_p=0)
    opened.send("hello")
    opened.wait_for_reply()
    assert scripted.engine.requests[-1].options == Options()
    assert opened.problems == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_models_values_are_marked_as_its_own(browser, scripted, language):
    note = make_note("generation_off", fields="num_beams")
    scripted.engine.now = replace(FIRST, notes=(note,))
    context = browser.new_context(locale={"en": "en-US", "ko": "ko-KR"}[language])
    page = context.new_page()
    chat = ChatPage(page)
    chat.open(scripted.url)
    for name in ("temperature", "top_p"):
        mark = say("page.models_value", language, value=f"{FIRST.recommended[name]:g}")
        expect(page.locator(f"#{name.replace('_', '-')}")).to_contain_text(say(f"page.{name}_info", language))
        expect(page.locator(f"#{name.replace('_', '-')}")).to_contain_text(mark)
    expect(page.locator("#status")).to_contain_text(note.text(language))
    change(chat, scripted, NONE)
    expect(page.locator("#temperature")).not_to_contain_text(say("page.models_value", language, value="0.33"))
    expect(page.locator("#temperature")).to_contain_text(say("page.temperature_info", language))
    assert chat.problems == []
    context.close()


def test_what_was_chosen_stays_where_it_is_what_the_page_begins_with(opened, scripted):
    opened.set_option("top-p", 0.9)
    for _ in range(2):
        opened.page.wait_for_timeout(500)
        opened.page.reload()
        shows(opened, temperature=0.33, top_p=0.9)
    change(opened, scripted, replace(SECOND, recommended={"top_p": 0.9}))
    change(opened, scripted, FIRST)
    shows(opened, temperature=0.33, top_p=0.9)


def test_a_thinking_mode_stays_while_the_model_is_loaded(opened, scripted):
    thinks = replace(FIRST, thinking_modes=("on", "off"), model="thinks")
    change(opened, scripted, thinks)
    on = opened.page.locator("#thinking input[value=on]")
    on.check()
    change(opened, scripted, Status("checking", model="comes back"))
    expect(opened.page.locator("#thinking")).to_be_hidden()
    change(opened, scripted, thinks)
    expect(on).to_be_checked()
    change(opened, scripted, SECOND)
    change(opened, scripted, thinks)
    expect(on).not_to_be_checked()
