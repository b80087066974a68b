"""Several tabs of one browser lose nothing of each other."""

import pytest
from playwright.sync_api import expect

from tests.e2e.kept import KEPT_CHATS, STORED, WORDS, ask, new_tab, replies, turns, wait_for_words


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


def test_what_was_typed_in_a_tab_that_is_closed_is_among_the_other_chats(counting):
    ask(counting, "1")
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
