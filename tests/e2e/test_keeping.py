"""What the visitor typed and read is there again, until it is forgotten."""

import json

import pytest
from playwright.sync_api import Browser, expect

from hfdemo.words import say
from tests.e2e.conftest import ChatPage
from tests.e2e.kept import KEPT_CHATS, STORED, WORDS, ask, new_tab, replies, turns, wait_for_words
from tests.fakes import RECEIPT

NO_ROOM = """const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (key, text) {
        if (this === localStorage || everywhere) throw new DOMException("full", "QuotaExceededError");
        setItem.call(this, key, text);
    };"""
KEPT_TEXTS = """Object.keys(localStorage).filter((key) => key.startsWith("hfdemo_chat"))
    .map((key) => JSON.parse(localStorage[key]).conversation.turns[0]?.content).filter(Boolean).sort().join()"""
FULL = "x" * 6_000_000  # more than a browser keeps for a page


def test_a_reload_brings_back_conversation_draft_and_settings(counting):
    counting.page.locator("#open-settings").click()
    counting.page.locator("#system-prompt textarea").fill("Be brief.")
    counting.set_option("temperature", 0.3)
    counting.send("3")
    counting.wait_for_reply()
    counting.box.fill("half a th")
    before = turns(counting)
    counting.page.wait_for_timeout(400)
    for load in (counting.page.reload, lambda: (counting.page.goto("about:blank"), counting.page.go_back())):
        load()
        expect(counting.replies).to_have_count(1)
        expect(counting.box).to_have_value("half a th")
        expect(counting.page.locator("#system-prompt textarea")).to_have_value("Be brief.")
        expect(counting.page.locator("#temperature input[type=number]")).to_have_value("0.3")
        assert turns(counting) == before
    counting.submit("2")
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:3], WORDS[:2]]


def test_a_new_tab_finds_the_chat_and_forget_forgets_it(counting):
    counting.send("2")
    counting.wait_for_reply()
    counting.page.wait_for_timeout(400)
    other = ChatPage(counting.page.context.new_page())
    other.page.goto(counting.page.url)
    expect(other.replies).to_have_count(1)
    other.page.evaluate("localStorage._saved_conversations_24 = '[]'")
    other.page.locator("#open-settings").click()
    other.page.locator("#forget").click()
    other.starters.first.wait_for()
    assert other.page.evaluate(STORED) == []


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_one_chat_can_be_deleted_and_brought_back(server, browser: Browser, locale):
    language = locale[:2]
    chat = ChatPage(browser.new_context(locale=locale).new_page())
    chat.open(server.url)
    for text in ("2", "1", "$& <b>three</b>"):
        if chat.users.count():
            chat.new_chat.click()
        ask(chat, text)
    chat.open_settings()
    kept = chat.page.locator(KEPT_CHATS)
    expect(kept).to_have_text(["1", "2"])
    chat.page.get_by_role("button", name=say("page.delete_chat", language, chat="1"), exact=True).click()
    bring_back = chat.page.get_by_role("button", name=say("page.chat_deleted", language), exact=True)
    expect(bring_back).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(kept).to_have_text(["1", "2"])
    expect(kept.first).to_be_focused()
    chat.page.get_by_role("button", name=say("page.delete_chat", language, chat="1"), exact=True).click()
    chat.page.reload()
    expect(chat.replies).to_have_count(1)
    expect(kept).to_have_text(["2"])
    assert chat.page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('hfdemo_chat')).length") == 2
    chat.new_chat.click()
    name = say("page.delete_chat", language, chat="$& <b>three</b>")
    expect(chat.page.get_by_role("button", name=name, exact=True)).to_be_visible()


def test_after_new_chat_a_new_tab_is_empty_and_the_chat_before_is_kept(counting):
    ask(counting, "2")
    counting.new_chat.click()
    counting.page.wait_for_timeout(400)
    other = new_tab(counting, 0)
    other.open_settings()
    other.page.locator(KEPT_CHATS).click()
    expect(other.replies).to_have_count(1)


def test_only_the_newest_chats_are_kept(counting):
    keep = """(chats) => chats.forEach((at) =>
        localStorage.setItem(`hfdemo_chat_${at}`, JSON.stringify({ at, draft: `${at}`, more: "x".repeat(5000) })))"""
    counting.page.evaluate(keep, list(range(25)))
    counting.page.evaluate("""localStorage.setItem("hfdemo_chat_empty", '{"at": 99}')""")
    ask(counting, "2")
    kept = "Object.keys(localStorage).filter((name) => name.startsWith('hfdemo_chat'))"
    names = counting.page.evaluate(kept)
    assert len(names) == 20
    assert {f"hfdemo_chat_{at}" for at in range(6, 25)} < set(names), "one in which nothing was said takes no place"
    fill = """() => { for (let size = 2 ** 20; size; size >>= 1) {
        try { while (true) localStorage[`other${size}${Math.random()}`] = "x".repeat(size); } catch { /* full */ }
    } }"""
    counting.page.evaluate(fill)
    ask(counting, "9")
    names = counting.page.evaluate(kept)
    assert len(names) < 20 and "hfdemo_chat_24" in names
    counting.page.reload()
    expect(counting.replies).to_have_count(2)


def test_where_the_browser_keeps_nothing_it_is_said(server, browser: Browser):
    page = browser.new_context().new_page()
    page.add_init_script("""for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, {
            configurable: true, get() { throw new DOMException("refused", "SecurityError"); } });""")
    chat = ChatPage(page)
    chat.open(server.url)
    chat.send("2")
    chat.wait_for_reply()
    expect(chat.line).to_contain_text("save the chat before you close it")
    assert replies(chat) == [WORDS[:2]]


@pytest.mark.parametrize("everywhere", [False, True])
def test_where_there_is_no_more_room_every_button_does_what_it_says_and_nothing_is_lost(
    scripted, browser: Browser, everywhere
):
    page = browser.new_context(color_scheme="light").new_page()
    page.add_init_script(f"{{ const everywhere = {json.dumps(everywhere)}; {NO_ROOM} }}")
    chat = ChatPage(page)
    chat.open(scripted.url)
    chat.send("Hello")
    chat.wait_for_reply()
    expect(chat.line).to_have_text(say("page.not_kept" if everywhere else "page.kept_for_tab"))
    for _ in ("light", "dark"):
        page.locator("#theme").click()
    expect(page.locator("body.dark")).to_have_count(1)
    chat.open_settings()
    page.evaluate("hfdemo.changeLanguage('ko')")
    if not everywhere:
        expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(chat.replies).to_have_count(1)
    expect(chat.send_button).to_be_visible()
    assert chat.problems == []


def test_what_was_kept_is_checked_before_it_is_drawn(counting):
    bad = {"conversation": {"turns": [{"id": "a", "role": "nobody"}], "head": "a"}, "settings": {"temperature": 99}}
    counting.page.evaluate("(kept) => { hfdemo.forget = null; sessionStorage.hfdemo_chat = kept; }", json.dumps(bad))
    counting.page.add_init_script("addEventListener('pagehide', (event) => event.stopImmediatePropagation(), true);")
    counting.page.reload()
    counting.send("2")
    assert counting.wait_for_reply()


def test_a_reply_that_was_cut_can_go_on_after_a_reload(counting, server):
    counting.send("40")
    wait_for_words(counting, 3)
    counting.stop_button.click()
    expect(counting.page.locator("#continue")).to_be_visible()
    expect(counting.page.locator("#meter")).to_contain_text("40")
    counting.page.wait_for_timeout(400)
    counting.page.reload()
    expect(counting.page.locator("#meter")).to_contain_text("40")
    counting.page.locator("#continue").click()
    wait_for_words(counting, 10)
    server.wait()
    counting.page.reload()
    expect(counting.stop_button).to_be_visible()
    server.go_on()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:40]]
    assert turns(counting)[-1]["receipt"]["new_tokens"] == 2 * RECEIPT.new_tokens, "of both parts"


def test_what_the_address_asks_stands_before_the_draft_that_was_there(counting):
    counting.box.fill("half a thought")
    counting.page.wait_for_timeout(400)
    counting.page.goto(f"{counting.page.url}?q=Who+are+you%3F")
    expect(counting.box).to_have_value("Who are you?\n\nhalf a thought")


def ask_in_new_chats(chat: ChatPage, *questions: str) -> None:
    for question in questions:
        chat.send(question)
        chat.wait_for_reply()
        chat.page.wait_for_timeout(400)
        if question != questions[-1]:
            chat.page.locator("#new-chat").click()
            expect(chat.replies).to_have_count(0)


@pytest.mark.parametrize("is_new", [True, False], ids=["new-chat", "open-chat"])
def test_what_is_too_long_to_be_kept_takes_no_chats_room(counting, is_new):
    ask_in_new_chats(counting, "1", "2", "3")
    if is_new:
        counting.page.locator("#new-chat").click()
        expect(counting.replies).to_have_count(0)
    counting.page.evaluate("(text) => hfdemo.setBox(text)", FULL)
    expect(counting.line).not_to_have_text("")
    assert counting.page.evaluate(KEPT_TEXTS) == "1,2,3"
    counting.page.evaluate("hfdemo.setBox('')")
    expect(counting.line).to_have_text("")
    assert counting.page.evaluate(KEPT_TEXTS) == "1,2,3"


def test_a_chat_whose_draft_finds_no_room_is_kept_once_also_after_a_reload(counting):
    no_room = """const { setItem } = Storage.prototype;
        Storage.prototype.setItem = function (key, text) {
            const isFull = this === localStorage && text.includes("half a th");
            if (isFull) throw new DOMException("full", "QuotaExceededError");
            setItem.call(this, key, text);
        };"""
    ask(counting, "1")
    counting.page.evaluate(f"() => {{ {no_room} }}")
    counting.page.add_init_script(f"{{ {no_room} }}")
    counting.box.fill("half a th")
    expect(counting.line).to_have_text(say("page.kept_for_tab"))
    counting.page.reload()
    expect(counting.box).to_have_value("half a th")
    expect(counting.line).to_have_text(say("page.kept_for_tab"))
    counting.box.fill("half a thought")
    counting.page.wait_for_timeout(400)
    assert counting.page.evaluate(KEPT_TEXTS) == "1"


def test_what_was_typed_in_a_new_chat_is_found_again_among_the_others(counting):
    ask_in_new_chats(counting, "1")
    counting.page.locator("#new-chat").click()
    expect(counting.replies).to_have_count(0)
    counting.box.fill("half a th")
    counting.open_settings()
    chats = counting.page.locator(KEPT_CHATS)
    expect(chats).to_have_text(["1"])
    chats.click()
    expect(counting.replies).to_have_count(1)
    expect(counting.box).to_have_value("")
    counting.open_settings()
    expect(chats).to_have_text(["half a th"])
    chats.click()
    expect(counting.replies).to_have_count(0)
    expect(counting.box).to_have_value("half a th")
    counting.open_settings()
    expect(chats).to_have_text(["1"])


def test_where_only_the_tab_keeps_chats_the_settings_lead_from_one_to_another(scripted, browser: Browser):
    page = browser.new_context().new_page()
    page.add_init_script(f"{{ const everywhere = false; {NO_ROOM} }}")
    chat = ChatPage(page)
    chat.open(scripted.url)
    for question in ("first", "second"):
        scripted.engine.enqueue(f"about {question}")
        chat.send(question)
        chat.wait_for_reply()
        page.reload()
        expect(chat.replies).to_have_count(1)
        expect(chat.line).to_have_text(say("page.kept_for_tab"))
        page.locator("#new-chat").click()
        expect(chat.replies).to_have_count(0)
    page.reload()
    for question in ("first", "second"):
        chat.open_settings()
        page.locator("#chats button", has_text=question).click()
        expect(chat.replies).to_contain_text([f"about {question}"])


def kept_with(**fields: object) -> str:
    asked = {"id": "q", "parent": None, "role": "user", "content": "asked", "thought": "", "receipt": None}
    answered = {"id": "r", "parent": "q", "role": "assistant", "content": "answered", "thought": "", "receipt": None}
    return json.dumps({"id": "a", "conversation": {"turns": [asked, answered | fields], "head": "r"}})


@pytest.mark.parametrize("receipt", [5, {"finish_reason": "end_of_turn"}, {"finish_reason": "bored"}], ids=str)
def test_a_receipt_of_another_version_hides_no_texts(counting, receipt):
    counting.page.evaluate(
        "(kept) => { hfdemo.closeChat(); sessionStorage.hfdemo_chat = kept; }", kept_with(receipt=receipt)
    )
    counting.page.reload()
    expect(counting.replies).to_have_count(1)
    expect(counting.replies.last).to_contain_text("answered")
    counting.submit("2")
    expect(counting.replies).to_have_count(2)
    counting.wait_for_reply()


@pytest.mark.parametrize("wrong", [{"id": "q"}, {"thought": 5}, {"content": ["a"]}], ids=str)
def test_what_is_no_conversation_neither_stops_the_page_nor_fills_it(counting, wrong):
    kept = kept_with(**wrong)
    counting.page.evaluate("(kept) => { hfdemo.closeChat(); sessionStorage.hfdemo_chat = kept; }", kept)
    counting.page.reload()
    counting.send("2")
    assert counting.wait_for_reply()
    expect(counting.replies).to_have_count(1)


def test_after_a_retry_that_came_to_nothing_the_reply_before_is_shown_again(counting, server):
    counting.send("2")
    counting.wait_for_reply()
    server.wait()
    counting.page.locator("#latest button[aria-label=Retry]").click()
    counting.page.wait_for_function("hfdemo.path().length === 1")
    server.kill()
    expect(counting.line).to_contain_text("No connection")
    server.start()
    expect(counting.line).not_to_contain_text("No connection")
    expect(counting.replies).to_have_count(1)
    assert replies(counting) == [WORDS[:2]]
    expect(counting.box).to_have_value("")
