"""A visitor's way through the chat, in Chromium, with the real small model."""

import re

import pytest
from playwright.sync_api import expect

from hfdemo.errors import InvalidInput
from hfdemo.words import say

STORY = "Write a long story about a fox who travels around the world and meets many other animals."


def greedy(chat, max_new_tokens: int = 48) -> None:
    chat.set_option("temperature", 0)
    chat.set_option("max-new-tokens", max_new_tokens)


def test_first_message_is_answered(chat):
    greedy(chat)
    chat.send("What is the capital of Korea?")
    expect(chat.users.last).to_contain_text("What is the capital of Korea?")
    assert "Seoul" in chat.wait_for_reply()
    expect(chat.box).to_have_value("")
    expect(chat.box).to_be_editable()


def test_reply_is_seen_growing(chat):
    greedy(chat, 60)
    chat.send(STORY)
    lengths = []
    chat.stop_button.wait_for()
    while chat.stop_button.is_visible():
        if chat.replies.count() and "Reading" not in (text := chat.replies.last.inner_text()):
            lengths.append(len(text))
        chat.page.wait_for_timeout(100)
    chat.wait_for_reply()
    assert len(set(lengths)) >= 5
    assert lengths == sorted(lengths)


def test_second_turn_recalls_the_first(chat):
    greedy(chat)
    chat.send("What is the capital of Korea?")
    chat.wait_for_reply()
    chat.send("Repeat your last answer.")
    assert "Seoul" in chat.wait_for_reply()


def test_stop_keeps_the_text_and_the_next_message_starts_at_once(chat, app):
    greedy(chat, 2000)
    replies = app.log().count("reply:")
    chat.send(STORY)
    expect(chat.replies.last).to_have_text(re.compile(".{80}"))
    chat.stop_button.click()
    app.wait_for_log("reply:", replies + 1, timeout_s=2)
    chat.wait_for_reply(5)
    kept = chat.replies.last.inner_text()
    chat.page.wait_for_timeout(500)
    assert chat.replies.last.inner_text() == kept != ""
    greedy(chat)
    chat.send("What is the capital of Korea?")
    assert chat.wait_for_reply()
    assert chat.replies.count() == 2


def test_stop_while_the_prompt_is_read_gives_the_message_back(chat, app):
    greedy(chat)
    replies = app.log().count("reply:")
    text = "word " * 3000
    chat.send(text)
    chat.page.wait_for_timeout(300)
    chat.stop_button.click()
    expect(chat.send_button).to_be_visible(timeout=5000)
    expect(chat.box).to_have_value(text)
    expect(chat.users).to_have_count(0)
    app.wait_for_log("reply:", replies + 1, timeout_s=3)


def test_retry_gives_another_reply_to_the_same_message(chat):
    chat.set_option("max-new-tokens", 24)
    chat.set_option("temperature", 1.5)
    chat.send("Invent a name for a cat.")
    first = chat.wait_for_reply()
    before = chat.page.evaluate("hfdemo.path().at(-1).id")
    chat.page.get_by_role("button", name="Retry").last.click()
    is_another = "before => hfdemo.path().at(-1).receipt && hfdemo.path().at(-1).id !== before"
    chat.page.wait_for_function(is_another, arg=before)
    second = chat.wait_for_reply()
    assert chat.users.count() == chat.replies.count() == 1
    assert first != second


def test_undo_puts_the_message_back_into_the_box(chat):
    greedy(chat, 8)
    chat.send("first")
    chat.wait_for_reply()
    chat.send("  second\twith a tab ")
    chat.wait_for_reply()
    chat.page.get_by_role("button", name="Undo").last.click()
    expect(chat.box).to_have_value("  second\twith a tab ")
    expect(chat.users).to_have_count(1)


def test_clear_during_a_reply_ends_it_and_shows_the_starters_again(chat, app):
    greedy(chat, 2000)
    replies = app.log().count("reply:")
    chat.send(STORY)
    expect(chat.replies.last).to_have_text(re.compile(".{80}"))
    chat.new_chat.click()
    app.wait_for_log("reply:", replies + 1, timeout_s=3)
    expect(chat.starters.first).to_be_visible()
    chat.page.wait_for_timeout(800)
    expect(chat.users).to_have_count(0)
    expect(chat.box).to_be_editable()


def test_starter_is_sent_with_its_system_prompt(chat):
    greedy(chat, 16)
    expect(chat.starters).to_have_count(5)
    chat.starters.filter(has_text="Customer service").click()
    chat.wait_for_reply()
    expect(chat.users.first).to_contain_text("I lost my debit card")
    expect(chat.page.locator("#system-prompt textarea")).to_have_value(re.compile("customer service agent"))


def test_refused_message_stays_in_the_box_with_the_reason(chat):
    chat.set_option("max-new-tokens", 4096)
    text = "word " * 5000
    chat.submit(text)
    expect(chat.line).to_contain_text("too long")
    expect(chat.box).to_have_value(text)
    expect(chat.users).to_have_count(0)
    chat.box.fill("")


def test_enter_in_an_empty_box_does_nothing(scripted, scripted_chat):
    for text in ("", "   "):
        scripted_chat.submit(text)
        scripted_chat.page.wait_for_timeout(300)
        expect(scripted_chat.box).to_have_value(text)
        expect(scripted_chat.box).to_be_editable()
    assert scripted.engine.requests == []
    expect(scripted_chat.line).not_to_be_visible()


def test_korean_typed_through_an_input_method_is_sent_once(chat):
    greedy(chat, 8)
    chat.box.focus()
    devtools = chat.page.context.new_cdp_session(chat.page)
    for composed in ("ㅎ", "하", "한", "한ㄱ", "한그", "한글"):
        devtools.send(
            "Input.imeSetComposition", {"text": composed, "selectionStart": len(composed), "selectionEnd": 0}
        )
        enter = {"key": "Enter", "windowsVirtualKeyCode": 229}
        devtools.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
        devtools.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    expect(chat.users).to_have_count(0)
    devtools.send("Input.insertText", {"text": "한글"})
    chat.box.press("Enter")
    chat.wait_for_reply()
    expect(chat.users).to_have_count(1)
    assert chat.users.first.inner_text().strip() == "한글"


def test_what_is_typed_is_shown_and_sent_exactly(chat):
    greedy(chat, 4)
    text = "  def f():\n\treturn 1\n\n<b>not bold</b>\n"
    chat.box.fill(text)
    chat.box.press("Enter")
    chat.wait_for_reply()
    chat.page.get_by_role("button", name="Undo").last.click()
    expect(chat.box).to_have_value(text)


@pytest.mark.parametrize("width", [360, 1280])
def test_page_has_no_sideways_scroll(chat, width):
    greedy(chat, 4)
    chat.page.set_viewport_size({"width": width, "height": 740})
    chat.send("x" * 400)
    chat.wait_for_reply()
    scroll, client = chat.page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert scroll <= client


def test_a_message_is_one_event_on_the_server_and_sends_the_chat_once(scripted, scripted_chat):
    page, sent = scripted_chat.page, []
    scripted_chat.send("xylophone " * 50)
    scripted_chat.wait_for_reply()
    page.on("request", lambda request: sent.append((request.url, request.post_data or "")))
    scripted_chat.send("second")
    scripted_chat.wait_for_reply()
    page.wait_for_timeout(500)
    with_the_chat = [url for url, data in sent if "xylophone xylophone" in data]
    assert len(with_the_chat) == 1 and "/queue/join" in with_the_chat[0]
    assert "".join(data for _, data in sent).count("xylophone") == 50
    assert len([url for url, data in sent if "second" in data]) == 1
    assert len(scripted.engine.requests) == 2, "no request of its own looks at the prompt first"


def test_a_refused_message_never_leaves_the_box(scripted, scripted_chat):
    scripted.engine.enqueue(InvalidInput("empty_message"))
    values: list[str] = []
    scripted_chat.page.expose_function("note", lambda value: values.append(value))
    scripted_chat.page.evaluate("""() => setInterval(
        () => window.note(document.querySelector("#message textarea").value), 20)""")
    scripted_chat.submit("hello")
    expect(scripted_chat.line).to_contain_text(say("error.empty_message"))
    expect(scripted_chat.box).to_be_editable()
    assert values and set(values[values.index("hello") :]) == {"hello"}
    expect(scripted_chat.users).to_have_count(0)


@pytest.mark.parametrize(("way", "words"), [("New chat", 200), ("Undo", 20)])  # Undo waits for the end of a reply
def test_what_comes_late_of_a_reply_does_not_overwrite_what_ended_it(scripted, scripted_chat, way, words):
    for text in ("one", "two"):
        scripted_chat.send(text)
        scripted_chat.wait_for_reply()
    for _ in range(3):
        scripted.engine.enqueue(*[piece for number in range(words) for piece in (f"word {number} ", 0.03)])
        scripted_chat.send("three")
        expect(scripted_chat.replies.last).to_contain_text("word 3")
        scripted_chat.page.get_by_role("button", name=way).last.click()
        left = 0 if way == "New chat" else 2
        expect(scripted_chat.users).to_have_count(left)
        scripted_chat.page.wait_for_timeout(700)
        expect(scripted_chat.users).to_have_count(left)
        expect(scripted_chat.box).to_have_value("" if way == "New chat" else "three")
        scripted_chat.box.fill("")


def test_what_is_stopped_before_its_first_word_is_undone_alone(scripted, scripted_chat):
    scripted_chat.send("one")
    scripted_chat.wait_for_reply()
    scripted.engine.enqueue(30.0, "never")
    scripted_chat.send("two")
    scripted_chat.stop_button.click()
    expect(scripted_chat.box).to_have_value("two")
    scripted_chat.page.wait_for_timeout(500)
    expect(scripted_chat.users).to_have_count(1)
    assert len(scripted.engine.requests) == 2
    scripted_chat.problems.clear()  # the browser notes that the second step was left out
    scripted_chat.box.fill("")


@pytest.mark.parametrize("button", ["Retry", "Undo"])
def test_retry_and_undo_end_the_reply_that_comes(scripted, scripted_chat, button):
    scripted.engine.enqueue("begun", 60.0)
    scripted_chat.send("a question")
    expect(scripted_chat.replies.last).to_contain_text("begun")
    scripted.engine.enqueue("another answer")
    scripted_chat.page.get_by_role("button", name=button).last.click()
    if button == "Retry":
        expect(scripted_chat.replies.last).to_contain_text("another answer")
        expect(scripted_chat.users).to_have_count(1)
    else:
        expect(scripted_chat.box).to_have_value("a question")
        expect(scripted_chat.users).to_have_count(0)
    assert scripted.engine.stopped[0]
