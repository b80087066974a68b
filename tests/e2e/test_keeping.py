"""Nothing is lost: over a reload, a restart of the server, and a connection that breaks."""

import json
import os
import signal

import pytest
from playwright.sync_api import Browser, expect

from hfdemo.words import say
from tests.e2e.conftest import ChatPage

WORDS = [f"w{number}" for number in range(200)]
KEPT_CHATS = "#chats button:first-child"
STORED = "[...Object.keys(localStorage), ...Object.keys(sessionStorage)]"
DOT = "getComputedStyle(document.querySelector('#status .stage'), '::before').color"


def turns(chat: ChatPage) -> list[dict]:
    chat.page.wait_for_function("!hfdemo.isReplying()")
    return chat.page.evaluate("hfdemo.path()")


def replies(chat: ChatPage) -> list[list[str]]:
    return [turn["content"].split() for turn in turns(chat) if turn["role"] == "assistant"]


def wait_for_words(chat: ChatPage, count: int) -> None:
    expect(chat.replies.last).to_contain_text(f"w{count}")


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


def test_what_one_tab_forgets_is_forgotten_by_those_that_are_open_out_of_sight_or_replying(counting, server):
    ask(counting, "2")
    replying, left, forgets = (new_tab(counting, 1) for _ in range(3))
    ask(left, "3")
    left.page.goto("about:blank")
    replying.send("90")
    wait_for_words(replying, 3)
    server.wait()
    counting.box.fill("half a thought")
    forgets.open_settings()
    forgets.page.locator("#forget").click()
    forgets.starters.first.wait_for()
    for tab in (counting, replying):
        tab.starters.first.wait_for()
        expect(tab.users).to_have_count(0)
        expect(tab.box).to_have_value("")
    left.page.go_back()
    left.starters.first.wait_for()
    expect(left.users).to_have_count(0)
    tabs = (counting, replying, left, forgets)
    assert [tab.page.evaluate(STORED) for tab in tabs] == [[]] * len(tabs)
    server.go_on()
    ask(counting, "1")
    assert replies(counting) == [WORDS[:1]]
    for tab in tabs:
        tab.page.reload()
        expect(tab.replies).to_have_count(1)


def test_what_a_tab_kept_before_it_heard_that_all_is_forgotten_is_forgotten_too(counting):
    ask(counting, "2")
    counting.open_settings()
    counting.page.evaluate("""
        const kept = Object.entries(localStorage).filter(([key]) => key.startsWith("hfdemo_chat"));
        addEventListener("pagehide", () => kept.forEach(([key, text]) => localStorage.setItem(key, text)));
    """)
    counting.page.locator("#forget").click()
    counting.starters.first.wait_for()
    expect(counting.users).to_have_count(0)
    assert counting.page.evaluate(STORED) == []


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


def test_with_a_chat_go_its_earlier_states_that_other_tabs_kept(counting):
    ask(counting, "2")
    other = new_tab(counting, 1)
    ask(other, "3")  # the same chat with a turn more, beside the one that the first tab keeps
    ask(counting, "1")
    other.new_chat.click()
    counting.new_chat.click()
    counting.page.wait_for_timeout(400)
    counting.page.reload()
    counting.starters.first.wait_for()
    counting.open_settings()  # they stay so
    kept = counting.page.locator(KEPT_CHATS)
    expect(kept).to_have_count(2)
    delete = counting.page.locator("#chats button + button")
    delete.first.click()
    counting.page.reload()
    expect(kept).to_have_count(1)
    delete.first.click()
    counting.page.reload()
    expect(counting.page.locator("#settings.open")).to_be_in_viewport()
    expect(counting.page.locator("#chats h2")).to_have_count(0)


def new_tab(chat: ChatPage, replies_there: int) -> ChatPage:
    tab = ChatPage(chat.page.context.new_page())
    tab.page.goto(chat.page.url)
    expect(tab.replies).to_have_count(replies_there)
    return tab


def ask(chat: ChatPage, text: str) -> None:
    chat.send(text)
    chat.wait_for_reply()
    chat.page.wait_for_timeout(400)


def test_two_tabs_lose_nothing_of_each_other_and_the_settings_lead_from_one_chat_to_another(counting):
    ask(counting, "2")
    other = new_tab(counting, 1)
    ask(other, "3")
    ask(counting, "1")
    for tab, there in ((other, [2, 3]), (counting, [2, 1])):
        tab.page.reload()
        expect(tab.replies).to_have_count(2)
        assert replies(tab) == [WORDS[:count] for count in there]
    third = new_tab(counting, 2)
    assert replies(third) == [WORDS[:2], WORDS[:1]], "what was kept last"
    third.open_settings()
    chats = third.page.locator(KEPT_CHATS)
    expect(chats).to_have_text(["2"])
    third.new_chat.click()
    expect(chats).to_have_text(["2", "2"])
    third.box.fill("of the new chat")
    chats.nth(1).click()
    expect(third.replies).to_have_count(2)
    assert replies(third) == [WORDS[:2], WORDS[:3]]
    expect(third.box).to_have_value("")


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


def test_a_reply_goes_on_over_a_reload(counting, server):
    counting.send("15")
    wait_for_words(counting, 5)
    server.wait()
    counting.page.reload()
    expect(counting.stop_button).to_be_visible()
    server.go_on()
    counting.wait_for_reply()
    expect(counting.users).to_have_count(1)
    assert replies(counting) == [WORDS[:15]]
    assert turns(counting)[-1]["receipt"]["finish_reason"] == "end_of_turn"


def test_a_killed_server_leaves_the_page_as_it_is_and_the_reply_can_go_on(counting, server):
    loads = []
    counting.page.on("framenavigated", lambda frame: loads.append(frame))
    counting.send("2")
    counting.wait_for_reply()
    counting.send("30")
    wait_for_words(counting, 8)
    server.wait()
    counting.box.type("next")
    server.kill()
    expect(counting.line).to_contain_text("No connection")
    assert counting.page.evaluate(DOT) == "rgb(217, 119, 6)"
    expect(counting.replies.last).to_contain_text("w8")
    counting.box.press("Enter")
    expect(counting.box).to_have_value("next")
    server.start()
    expect(counting.page.locator("#continue")).to_be_visible()
    expect(counting.line).not_to_contain_text("No connection")
    assert counting.page.evaluate(DOT) == "rgb(22, 163, 74)"
    expect(counting.box).to_have_value("next")
    assert loads == []
    counting.page.locator("#continue").click()
    expect(counting.stop_button).to_be_visible()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:2], WORDS[:30]]
    assert server.process.poll() is None


def test_a_message_whose_server_dies_before_the_first_word_is_back_in_the_box(counting, server):
    counting.send("2")
    counting.wait_for_reply()
    os.kill(server.process.pid, signal.SIGSTOP)
    counting.submit("30")
    expect(counting.stop_button).to_be_visible()
    counting.box.press_sequentially(" and then")
    counting.page.wait_for_timeout(300)
    server.kill()
    expect(counting.line).to_contain_text("No connection")
    server.start()
    expect(counting.line).not_to_contain_text("No connection")
    expect(counting.send_button).to_be_visible()
    expect(counting.box).to_have_value("30\n\nand then")
    expect(counting.users).to_have_count(1)
    counting.box.fill("5")
    counting.box.press("Enter")
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:2], WORDS[:5]]


def test_a_connection_that_breaks_within_an_event_leaves_a_page_that_can_send(counting):
    torn = {"status": 200, "content_type": "text/event-stream", "body": 'data: {"msg": "process_star'}
    counting.page.route("**/queue/data*", lambda route: route.fulfill(**torn), times=1)
    counting.submit("3")
    counting.page.wait_for_function("hfdemo.connected && !hfdemo.isReplying()")
    expect(counting.box).to_have_value("3")
    counting.box.press("Enter")
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:3]]


def test_a_lost_connection_is_not_a_stop(counting, server):
    counting.send("30")
    wait_for_words(counting, 5)
    counting.page.context.set_offline(True)
    expect(counting.line).to_contain_text("No connection")
    counting.page.wait_for_timeout(1000)
    server.wait()
    counting.page.context.set_offline(False)
    expect(counting.line).not_to_contain_text("No connection")
    server.go_on()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:30]]


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


NO_ROOM = """const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (key, text) {
        if (this === localStorage || everywhere) throw new DOMException("full", "QuotaExceededError");
        setItem.call(this, key, text);
    };"""


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


def test_where_the_chat_cant_be_reached_a_page_says_what_to_do_and_opens_it_again(counting, server):
    counting.page.evaluate("hfdemo.changeLanguage('ko')")
    counting.page.wait_for_function("navigator.serviceWorker.controller !== null")
    expect(counting.page.locator("html")).to_have_attribute("lang", "ko")
    manifest = counting.page.evaluate("fetch('manifest.json').then((answer) => answer.json())")
    assert (manifest["name"], manifest["display"], len(manifest["icons"])) == ("hfdemo", "standalone", 1)
    icon = counting.page.evaluate("(at) => fetch(at).then((answer) => answer.status)", manifest["icons"][0]["src"])
    assert icon == 200
    counting.send("2")
    counting.wait_for_reply()
    counting.page.wait_for_timeout(400)
    server.kill()
    counting.page.reload()
    expect(counting.page.locator("main")).to_contain_text(say("offline.title", "ko"))
    expect(counting.page.locator("main")).to_contain_text(say("offline.text", "ko"))
    expect(counting.page.get_by_role("button", name=say("offline.retry", "ko"))).to_be_visible()
    server.start()
    expect(counting.replies).to_have_count(1)
    assert replies(counting) == [WORDS[:2]]
    counting.send("How many?")
    assert counting.wait_for_reply() == "3 messages"


def test_a_reply_that_was_cut_can_go_on_after_a_reload(counting):
    counting.send("40")
    wait_for_words(counting, 3)
    counting.stop_button.click()
    expect(counting.page.locator("#continue")).to_be_visible()
    expect(counting.page.locator("#meter")).to_contain_text("40")
    counting.page.wait_for_timeout(400)
    counting.page.reload()
    expect(counting.page.locator("#meter")).to_contain_text("40")
    counting.page.locator("#continue").click()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:40]]


def test_what_the_address_asks_stands_before_the_draft_that_was_there(counting):
    counting.box.fill("half a thought")
    counting.page.wait_for_timeout(400)
    counting.page.goto(f"{counting.page.url}?q=Who+are+you%3F")
    expect(counting.box).to_have_value("Who are you?\n\nhalf a thought")


KEPT_TEXTS = """Object.keys(localStorage).filter((key) => key.startsWith("hfdemo_chat"))
    .map((key) => JSON.parse(localStorage[key]).conversation.turns[0]?.content).filter(Boolean).sort().join()"""
FULL = "x" * 6_000_000  # more than a browser keeps for a page


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


def test_what_was_typed_in_a_tab_that_is_closed_is_among_the_other_chats(counting):
    ask_in_new_chats(counting, "1")
    other = new_tab(counting, 1)
    other.box.fill("typed in the other tab")
    other.page.wait_for_timeout(400)
    other.page.close(run_before_unload=False)
    counting.box.fill("a")
    counting.page.wait_for_timeout(400)
    counting.box.fill("")
    counting.page.wait_for_timeout(400)
    counting.open_settings()
    counting.page.locator(KEPT_CHATS).click()
    expect(counting.box).to_have_value("typed in the other tab")
    expect(counting.replies).to_have_count(1)


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "touch"])
@pytest.mark.parametrize("wait_s", [0, 1.0])
def test_a_double_click_on_send_sends_once_and_stops_nothing(scripted, browser: Browser, wait_s, touch):
    page = browser.new_context(has_touch=touch).new_page()
    chat = ChatPage(page)
    chat.open(scripted.url)
    scripted.engine.enqueue(wait_s, "one ", 0.3, "two ", 0.3, "three")
    chat.box.fill("Hello")
    at = chat.send_button.bounding_box()
    place = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    if touch:
        page.touchscreen.tap(*place)
        page.wait_for_timeout(100)
        page.touchscreen.tap(*place)
    else:
        page.mouse.dblclick(*place, delay=60)
    chat.wait_for_reply()
    expect(chat.replies).to_have_count(1)
    expect(chat.replies.last).to_contain_text("one two three")


def test_where_only_the_tab_keeps_chats_the_settings_lead_from_one_to_another(scripted, browser: Browser):
    page = browser.new_context().new_page()
    page.add_init_script(f"{{ const everywhere = false; {NO_ROOM} }}")
    chat = ChatPage(page)
    chat.open(scripted.url)
    for question in ("first", "second"):
        scripted.engine.enqueue(f"about {question}")
        chat.send(question)
        chat.wait_for_reply()
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


@pytest.mark.parametrize("then", ["close", "new chat", "stop"])
def test_another_tab_that_shows_a_reply_takes_nothing_from_the_first(counting, server, then):
    counting.send("60")
    wait_for_words(counting, 5)
    server.wait()
    other = new_tab(counting, 1)
    expect(other.stop_button).to_be_visible()
    if then == "stop":
        counting.stop_button.click()
        server.go_on()
        assert len(counting.wait_for_reply().split()) < 60
        assert turns(counting)[-1]["receipt"]["finish_reason"] == "stopped"
        return
    if then == "close":
        other.page.close(run_before_unload=True)
    else:
        other.box.fill("of the new chat")
        other.new_chat.click()
        expect(other.replies).to_have_count(0)
        expect(other.box).to_have_value("of the new chat")
        expect(other.send_button).to_be_visible()
    counting.page.wait_for_timeout(1500)
    server.go_on()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:60]]
    assert turns(counting)[-1]["receipt"]["finish_reason"] == "end_of_turn"


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


def test_a_page_whose_session_has_ended_is_loaded_again_and_shows_the_form(server, browser: Browser):
    page = browser.new_context(service_workers="block").new_page()
    ChatPage(page).open(server.url)
    form = "<!doctype html><form id=form></form>"
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(status=401, json={}))
    page.route(page.url, lambda route: route.fulfill(content_type="text/html", body=form))
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.locator("#form")).to_be_attached()


def test_nothing_is_sent_beside_a_starter(counting):
    is_locked = "document.querySelector('#transcript button.example').click(), hfdemo.isReplying()"
    assert counting.page.evaluate(is_locked) is True
    counting.wait_for_reply()
    expect(counting.users).to_have_count(1)


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
