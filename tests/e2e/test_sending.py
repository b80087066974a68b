"""What is sent, once and in whole, and when it is read out."""

import time

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import ChatPage
from tests.e2e.kept import WORDS, replies


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "touch"])
@pytest.mark.parametrize("wait_s", [0, 1.0])
def test_a_double_click_on_send_sends_once_and_stops_nothing(scripted, browser: Browser, wait_s, touch):
    page = browser.new_context(has_touch=touch).new_page()
    chat = ChatPage(page)
    chat.open(scripted.url)
    scripted.engine.enqueue(wait_s, "one ", 0.3, "two ", 0.3, "three")
    chat.box.fill("Hello")
    box = chat.send_button.bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    devtools, now = page.context.new_cdp_session(page), time.time()
    for count in (1, 2):  # the time of each click is its own, however long the page takes for the first
        for is_down, timestamp in ((True, now + 0.1 * count), (False, now + 0.1 * count + 0.06)):
            if touch:
                event = {"type": "touchStart" if is_down else "touchEnd", "touchPoints": [at] if is_down else []}
            else:
                event = {"type": "mousePressed" if is_down else "mouseReleased", "button": "left"} | at
                event["clickCount"] = count
            devtools.send(f"Input.dispatch{'Touch' if touch else 'Mouse'}Event", event | {"timestamp": timestamp})
    chat.wait_for_reply()
    expect(chat.replies).to_have_count(1)
    expect(chat.replies.last).to_contain_text("one two three")


def test_a_letter_that_is_being_composed_when_the_reply_begins_stays_whole(counting, server):
    server.wait()
    counting.submit("3")
    expect(counting.stop_button).to_be_visible()
    session = counting.page.context.new_cdp_session(counting.page)
    for composed in ("ㅇ", "아", "안"):
        session.send("Input.imeSetComposition", {"text": composed, "selectionStart": len(composed), "selectionEnd": 0})
    server.go_on()
    expect(counting.replies.last).to_contain_text("w2")
    expect(counting.box).to_have_value("3안")
    session.send("Input.insertText", {"text": "안"})
    expect(counting.box).to_have_value("안")
    assert replies(counting) == [WORDS[:3]]


def test_stop_ends_also_the_reply_to_a_message_that_comes_to_the_server_behind_it(scripted, scripted_chat):
    slow = """const { fetch } = window;
        window.fetch = async (...asked) => {
            if (String(asked[0]).includes("queue/join")) await new Promise((resolve) => setTimeout(resolve, 2500));
            return fetch(...asked);
        };"""
    scripted_chat.page.evaluate(f"() => {{ {slow} }}")
    scripted.engine.enqueue("one ", 60.0, "two")
    scripted_chat.box.fill("Hello")
    scripted_chat.send_button.click()
    scripted_chat.page.wait_for_timeout(600)  # a double click on Send is one
    scripted_chat.stop_button.click()
    scripted_chat.send_button.wait_for(timeout=20_000)
    assert scripted.engine.stopped == [True]


def test_nothing_is_sent_beside_a_starter_and_what_was_refused_is_said_no_more(counting):
    counting.page.evaluate("hfdemo.sayOverBox('It was refused.')")
    is_locked = "document.querySelector('#transcript button.example').click(), hfdemo.isReplying()"
    assert counting.page.evaluate(is_locked) is True
    counting.wait_for_reply()
    expect(counting.users).to_have_count(1)
    expect(counting.line).to_have_text("")


def test_a_reply_is_read_out_once(counting):
    counting.send("2")
    counting.wait_for_reply()
    heard = counting.page.locator("#announcement")
    expect(heard).to_have_text("w0 w1")
    counting.page.evaluate("document.querySelector('#announcement').textContent = 'heard', hfdemo.announceReply()")
    counting.page.wait_for_timeout(200)
    expect(heard).to_have_text("heard")
    counting.send("2")
    counting.wait_for_reply()
    expect(heard).to_have_text("w0 w1")
