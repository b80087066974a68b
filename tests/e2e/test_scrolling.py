"""The transcript follows the reply until the reader scrolls up."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import FOLLOWS, SCROLLER


def test_the_reader_who_scrolls_up_is_left_alone_until_the_button_leads_back(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.enqueue(*[piece for number in range(150) for piece in (f"word {number}\n\n", 0.04)])
    scripted_chat.send("all")
    expect(scripted_chat.replies.last).to_contain_text("word 40")
    page.locator(SCROLLER).hover()
    page.mouse.wheel(0, -400)
    expect(page.locator("#to-end")).to_be_visible()
    page.wait_for_timeout(300)
    at = page.locator(SCROLLER).evaluate("(element) => element.scrollTop")
    page.wait_for_timeout(700)
    assert page.locator(SCROLLER).evaluate("(element) => element.scrollTop") == pytest.approx(at, abs=2)
    page.locator("#to-end").click()
    page.wait_for_function(FOLLOWS, timeout=5000)
    expect(page.locator("#to-end")).to_be_hidden()
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS, timeout=5000)


def test_the_reader_whom_the_tab_key_leads_up_is_left_there(scripted, scripted_chat):
    page = scripted_chat.page
    for _ in range(6):
        scripted.engine.enqueue("line\n\n" * 20)
        scripted_chat.send("more")
        scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS, timeout=5000)
    first = page.locator("#transcript .message-buttons button").first
    first.focus()
    expect(first).to_be_in_viewport()
    page.wait_for_timeout(300)
    expect(first).to_be_in_viewport()
    expect(page.locator("#to-end")).to_be_visible()
    scripted.engine.enqueue("next")
    scripted_chat.send("one's own message leads to the end")
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS, timeout=5000)


def test_a_reply_stays_where_it_is_when_it_has_ended(scripted, scripted_chat):
    page = scripted_chat.page
    page.evaluate("""() => {
        const note = () => {
            const rows = document.querySelectorAll("#transcript .bot-row")
            const text = [...(rows[0]?.querySelectorAll("p") ?? [])].find(each => each.textContent.startsWith("begun"))
            if (text) (window.tops ??= new Set()).add(Math.round(text.getBoundingClientRect().top))
            window.most = Math.max(window.most ?? 0, rows.length)
            requestAnimationFrame(note)
        }
        note()
    }""")
    scripted.engine.enqueue("begun ", 1.0, "to write", 0.5, " and ended")
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    expect(scripted_chat.replies.last).to_contain_text("and ended")
    assert (len(tops := page.evaluate("[...window.tops]")), page.evaluate("window.most")) == (1, 1), tops
