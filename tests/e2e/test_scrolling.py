"""The transcript follows the reply until the reader scrolls up."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import FOLLOWS, SCROLLER, ChatPage

OPENED = f"document.querySelector('{SCROLLER}').style.overflowAnchor === ''"
"""Whether a thought or a receipt that was clicked has had the time to open."""


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


def test_the_end_stays_in_sight_when_the_box_grows(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.enqueue("\n\n".join(f"paragraph {number}" for number in range(40)))
    scripted_chat.send("go on")
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS, timeout=5000)
    scripted_chat.box.fill("a line\n" * 9)
    page.wait_for_function(FOLLOWS, timeout=5000)
    expect(page.locator("#to-end")).to_be_hidden()


def test_a_thought_that_is_opened_is_read_from_its_beginning_and_a_receipt_is_shown_whole(scripted, scripted_chat):
    page = scripted_chat.page
    thought = "\n\n".join(f"thought {number}" for number in range(40))
    scripted.engine.enqueue(f"<think>{thought}</think>", "A short answer.")
    scripted_chat.send("\n".join(f"line {number}" for number in range(30)))
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS, timeout=5000)
    titles = page.locator("#latest .thought-group > .title")
    assert titles.count() == 2
    titles.last.click()
    page.wait_for_function(OPENED)
    content = page.locator("#latest .thought-group > .content").last
    expect(content).to_be_visible()
    expect(content).to_be_in_viewport(ratio=0.9)
    at = titles.first.bounding_box()["y"]
    titles.first.click()
    page.wait_for_function(OPENED)
    expect(page.locator("#latest .thought-group > .content").first).to_be_visible()
    assert titles.first.bounding_box()["y"] == pytest.approx(at, abs=2)


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["wide", "narrow"])
def test_what_is_read_stands_still_when_the_first_word_comes_and_at_the_end(scripted, browser, size):
    width, height = size
    chat = ChatPage(browser.new_page(viewport={"width": width, "height": height}))
    chat.open(scripted.url)
    long = "\n\n".join(f"paragraph {number}" for number in range(40))
    for question in ("first", "second"):
        scripted.engine.enqueue(long)
        chat.send(question)
        chat.wait_for_reply()
    scripted.engine.enqueue(1.0, "a", 1.0, " word")
    chat.send("third")
    expect(chat.page.locator("#latest .loading-spinner")).to_be_visible()
    chat.page.wait_for_timeout(500)
    chat.page.evaluate("""() => {
        window.places = new Set()
        const note = () => {
            places.add(Math.round(document.querySelector("#latest .user-row").getBoundingClientRect().top))
            requestAnimationFrame(note)
        }
        note()
    }""")
    chat.wait_for_reply()
    chat.page.wait_for_timeout(500)
    places = chat.page.evaluate("[...places]")
    assert max(places) - min(places) <= 2, places


def test_the_wheel_goes_on_over_the_button_that_leads_to_the_end(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.enqueue("\n\n".join(f"paragraph {number}" for number in range(80)))
    scripted_chat.send("go on")
    scripted_chat.wait_for_reply()
    page.locator(SCROLLER).hover()
    page.mouse.wheel(0, -800)
    page.locator("#to-end").hover()
    before = page.locator(SCROLLER).evaluate("(element) => element.scrollTop")
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"document.querySelector('{SCROLLER}').scrollTop === {before - 300}", timeout=5000)
