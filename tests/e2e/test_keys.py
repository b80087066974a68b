"""Keys do what they say, for fingers and input methods too, and nothing that is typed is lost."""

import pytest
from playwright.sync_api import expect

from hfdemo.words import say
from tests.e2e.conftest import SCROLLER, ChatPage


def test_one_can_type_while_a_reply_comes(scripted, scripted_chat):
    scripted.engine.enqueue("one ", 4, "two")
    scripted_chat.send("first")
    scripted_chat.box.type("and then")
    scripted_chat.box.press("Enter")
    scripted_chat.wait_for_reply()
    expect(scripted_chat.box).to_have_value("and then")
    assert len(scripted.engine.requests) == 1
    scripted_chat.box.press("Enter")
    expect(scripted_chat.box).to_have_value("")
    scripted_chat.wait_for_reply()
    assert scripted.engine.requests[-1].messages[-1].content == "and then"


def test_escape_stops_and_the_other_keys_do_what_they_say(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted.engine.enqueue("begun", 30.0)
    scripted_chat.send("go")
    expect(scripted_chat.replies.last).to_contain_text("begun")
    scripted_chat.box.press("Escape")
    scripted_chat.send_button.wait_for(timeout=5000)
    page.wait_for_function("!hfdemo.isReplying()")
    expect(scripted_chat.box).to_be_focused()  # which its end did
    page.locator(SCROLLER).click(position={"x": 5, "y": 5})
    page.locator("#new-chat").focus()
    page.keyboard.press("/")
    expect(scripted_chat.box).to_be_focused()
    expect(scripted_chat.box).to_have_value("")
    page.keyboard.press("Control+Shift+C")
    expect(scripted_chat.line).to_have_text(say("page.copied"))
    assert page.evaluate("navigator.clipboard.readText()") == "begun"
    scripted_chat.box.press("Shift+Enter")
    expect(scripted_chat.box).to_have_value("\n")
    page.locator("#new-chat").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("Ctrl+Shift+O")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("Control+Shift+O")
    expect(scripted_chat.users).to_have_count(0)


def test_the_box_takes_the_focus_from_nothing_else(scripted_chat):
    page = scripted_chat.page
    scripted_chat.box.fill("a\n" * 40)
    page.locator("#new-chat").focus()
    for top in (0, 9999):  # as it is read once more
        scripted_chat.box.evaluate("(box, top) => { box.scrollTop = top }", top)
        page.wait_for_timeout(300)
    page.evaluate("hfdemo.setBox('')")  # as a message that was sent leaves it
    page.wait_for_timeout(300)
    expect(page.locator("#new-chat")).to_be_focused()


@pytest.mark.parametrize("pressed", ["send", "starter", "stop", "undo", "new chat"])
def test_what_is_typed_after_a_button_was_pressed_comes_into_the_box(scripted, scripted_chat, pressed):
    page, typed = scripted_chat.page, "and then"
    for question in ("one", "two"):
        if pressed in ("undo", "new chat"):
            scripted_chat.send(question)
            scripted_chat.wait_for_reply()
    scripted.engine.enqueue("begun", 3.0, "whole")
    if pressed == "starter":
        scripted_chat.starters.first.click()
    elif pressed in ("send", "stop"):
        scripted_chat.box.fill("go")
        scripted_chat.send_button.click()
    if pressed in ("send", "starter", "stop"):
        expect(scripted_chat.replies.last).to_contain_text("begun")
    if pressed == "stop":
        scripted_chat.stop_button.click()
        scripted_chat.send_button.wait_for()
    elif pressed == "undo":
        page.get_by_role("button", name="Undo").click()
        expect(scripted_chat.box).to_have_value("two")
        typed = "two" + typed
    elif pressed == "new chat":
        scripted_chat.new_chat.click()
        expect(scripted_chat.users).to_have_count(0)
    page.keyboard.type("and then")
    expect(scripted_chat.box).to_have_value(typed)
    expect(scripted_chat.users).to_have_count({"new chat": 0}.get(pressed, 1))


ESCAPE_OF_AN_INPUT_METHOD = """(event) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key: "Escape", code: "Escape", bubbles: true, cancelable: true, ...event }))"""


@pytest.mark.parametrize("event", [{"isComposing": True}, {"keyCode": 229}])
def test_an_input_methods_escape_neither_stops_nor_closes(scripted, scripted_chat, event):
    page = scripted_chat.page
    scripted_chat.open_settings()
    page.locator("#system-prompt textarea").focus()
    page.evaluate(ESCAPE_OF_AN_INPUT_METHOD, event)
    scripted.engine.enqueue("begun", 30.0)
    scripted_chat.send("go")
    expect(scripted_chat.replies.last).to_contain_text("begun")
    scripted_chat.box.focus()
    page.evaluate(ESCAPE_OF_AN_INPUT_METHOD, event)
    page.wait_for_timeout(500)
    assert page.evaluate("hfdemo.isReplying()")
    expect(page.locator("#settings.open")).to_have_count(1)
    page.keyboard.press("Escape")
    scripted_chat.send_button.wait_for(timeout=5000)


def test_the_focus_goes_into_the_settings_and_out_again_and_never_there_while_they_are_closed(scripted, scripted_chat):
    page = scripted_chat.page
    outside = "!document.querySelector('#settings').contains(document.activeElement)"
    scripted_chat.box.focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate(outside)
    page.locator("#open-settings").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#close-settings")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#system-prompt textarea")).to_be_focused()

    scripted.engine.enqueue("begun", 30.0)
    scripted_chat.send("go")
    expect(scripted_chat.replies.last).to_contain_text("begun")
    page.locator("#system-prompt textarea").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#open-settings")).to_be_focused()
    expect(page.locator("#settings.open")).to_have_count(0)
    expect(scripted_chat.stop_button).to_be_visible()
    page.keyboard.press("Escape")
    scripted_chat.send_button.wait_for(timeout=5000)


def test_enter_breaks_the_line_on_a_touch_screen(scripted, browser):
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    chat.box.fill("one")
    chat.box.press("Enter")
    chat.box.type("two")
    expect(chat.box).to_have_value("one\ntwo")
    assert scripted.engine.requests == []
    chat.send_button.click()
    chat.wait_for_reply()
    assert scripted.engine.requests[-1].messages[-1].content == "one\ntwo"


def test_a_starter_that_is_stopped_before_a_word_is_in_the_box(scripted, scripted_chat):
    scripted.engine.enqueue(60.0)
    scripted_chat.starters.first.click()
    expect(scripted_chat.stop_button).to_be_visible()
    scripted_chat.page.keyboard.press("Escape")
    expect(scripted_chat.box).to_have_value(say("starter.travel.message"))
    expect(scripted_chat.users).to_have_count(0)


TYPE_AS_SOON_AS_IT_IS_THERE = """(texts) => {
    const seen = new Set();
    new MutationObserver(() => Object.entries(texts).forEach(([selector, text]) => {
        const field = document.querySelector(selector);
        if (!field || seen.has(selector)) return;
        seen.add(selector);
        const type = () => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); };
        seen.size % 2 ? type() : requestAnimationFrame(type);
    })).observe(document.querySelector("#settings"), { subtree: true, childList: true });
}"""


def test_what_is_typed_as_soon_as_more_opens_stays(scripted, scripted_chat):
    page = scripted_chat.page
    texts = {
        "#stop-texts textarea": "END",
        "#reply-start textarea": "Well, ",
        "#seed input": "77",
        "#top-k input[type=number]": "33",
    }
    scripted_chat.open_settings()
    page.evaluate(TYPE_AS_SOON_AS_IT_IS_THERE, texts)
    page.get_by_role("button", name=say("page.more")).click()
    page.wait_for_timeout(700)
    for selector, text in texts.items():
        expect(page.locator(selector)).to_have_value(text)
    scripted_chat.send("hi")
    scripted_chat.wait_for_reply()
    options = scripted.engine.requests[-1].options
    assert (options.stop_texts, options.seed, options.top_k) == (("END",), 77, 33)
    assert scripted.engine.requests[-1].reply_start == "Well, "


def test_what_the_visitor_does_while_a_reply_comes_stays(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.enqueue("A first reply to read.")
    scripted_chat.send("Hi")
    scripted_chat.wait_for_reply()
    scripted.engine.enqueue("One", 0.3, " two", 0.3, " three")
    scripted_chat.send("Go on")
    marked = page.locator("#earlier").get_by_text("A first reply to read.")
    marked.select_text()
    scripted_chat.wait_for_reply()
    assert page.evaluate("getSelection().toString()") == "A first reply to read."
    page.locator("#show-prompt").click()
    expect(page.locator("#shown-prompt pre")).to_be_visible()
    page.locator("#new-chat").click()
    expect(page.locator("#shown-prompt pre")).to_have_count(0)
    scripted.engine.enqueue("One", 0.3, " two", 0.3, " three", 0.3, " four")
    scripted_chat.open_settings()
    scripted_chat.starters.first.click()
    expect(scripted_chat.replies).to_have_count(1)
    prompt = page.locator("#system-prompt textarea")
    expect(prompt).not_to_have_value("")
    prompt.fill("Be brief.")
    scripted_chat.wait_for_reply()
    expect(prompt).to_have_value("Be brief.")
