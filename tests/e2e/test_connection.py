"""Nothing is lost over a reload, a restart of the server, or a connection that breaks."""

import os
import signal

from playwright.sync_api import Browser, Page, expect

from hfdemo.words import say
from tests.e2e.conftest import ChatPage
from tests.e2e.kept import WORDS, replies, turns, wait_for_words
from tests.proxy import HalfOpenProxy

DOT = "getComputedStyle(document.querySelector('#status .stage'), '::before').color"


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


def test_a_reply_is_whole_and_can_be_stopped_where_the_server_has_not_heard_that_a_connection_broke(
    scripted, page: Page
):
    chat = ChatPage(page)
    scripted.engine.enqueue(*[piece for word in WORDS for piece in (f"{word} ", 0.05)])
    with HalfOpenProxy(scripted.url).serve() as proxy:
        chat.open(proxy.url)
        chat.send("go")
        wait_for_words(chat, 3)
        proxy.drop_clients()
        expect(chat.replies.last).to_contain_text(" ".join(WORDS[:30]))
        chat.stop_button.click()
        page.wait_for_function("hfdemo.openTurn() === null")
        reply = turns(chat)[-1]
        assert reply["receipt"]["finish_reason"] == "stopped"
        words = reply["content"].split()
        assert words == WORDS[: len(words)]
        chat.send("more")
        chat.wait_for_reply()
    before, after = scripted.engine.requests
    assert before.cache_key == after.cache_key, "what the model has read of the chat is found again"


def test_nothing_is_sent_before_a_reply_that_comes_is_shown_again(counting, server):
    counting.send("15")
    wait_for_words(counting, 3)
    server.wait()
    counting.box.fill("2")
    counting.page.wait_for_timeout(400)
    counting.page.route("**/gradio_api/run/**", lambda route: None)  # what draws the chat waits
    counting.page.reload()
    expect(counting.box).to_have_value("2")
    counting.box.press("Enter")
    counting.page.unroute("**/gradio_api/run/**")
    expect(counting.stop_button).to_be_visible()
    server.go_on()
    counting.wait_for_reply()
    assert replies(counting) == [WORDS[:15]]
    expect(counting.box).to_have_value("2")


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


OTHER_PAGE = "<!doctype html><form id=form></form>"


def test_a_page_whose_session_has_ended_is_loaded_again_and_shows_the_form(server, browser: Browser):
    page = browser.new_context(service_workers="block").new_page()
    ChatPage(page).open(server.url)
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(status=401, json={}))
    page.route(page.url, lambda route: route.fulfill(content_type="text/html", body=OTHER_PAGE))
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.locator("#form")).to_be_attached()


def test_a_page_that_slept_while_the_server_got_another_version_is_loaded_again(server, browser: Browser):
    page = browser.new_context(service_workers="block").new_page()
    ChatPage(page).open(server.url)
    page.evaluate("hfdemo.ping()")
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(json={"app_id": 1}))
    page.evaluate("hfdemo.ping()")  # it was started again, and serves the same page
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(json={"app_id": 2}))
    page.route(page.url, lambda route: route.fulfill(content_type="text/html", body=OTHER_PAGE))
    page.evaluate("void hfdemo.ping()")
    expect(page.locator("#form")).to_be_attached()
