"""The page around the chat: loading, failures, languages, tabs and restarts. The engine is scripted."""

import re
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from hfdemo.chat.messages import Message
from hfdemo.engines.protocol import Status
from hfdemo.errors import Busy, GenerationFailed, ModelLoadError
from hfdemo.words import say
from tests.conftest import quickest, wait_until
from tests.e2e.conftest import ChatPage


def said(engine) -> list[tuple[Message, ...]]:
    return [request.messages for request in engine.requests]


def test_page_tells_how_far_loading_is(scripted, page):
    scripted.engine.now = Status("downloading", model="org/model", done_bytes=43_000_000, total_bytes=98_000_000)
    chat = ChatPage(page)
    chat.open(scripted.url)
    status = page.locator("#status")
    expect(status).to_contain_text("Downloading org/model: 43 MB of 98 MB (43 %)")
    scripted.engine.now = Status("loading", model="org/model")
    expect(status).to_contain_text("Loading org/model")
    scripted.engine.now = Status("ready", model="org/model", device="CPU · bfloat16")
    expect(status).to_contain_text("org/model · CPU · bfloat16")
    assert chat.problems == []


def test_message_box_comes_first_for_the_keyboard_and_has_the_focus(scripted_chat):
    page = scripted_chat.page
    assert page.locator("textarea").first.evaluate("box => box.closest('#message') !== null")
    assert page.evaluate("document.activeElement.closest('#message') !== null")


def test_page_at_rest_draws_nothing(scripted, page):
    page.add_init_script("""
        window.frames_asked = 0
        const ask = window.requestAnimationFrame.bind(window)
        window.requestAnimationFrame = callback => { window.frames_asked++; return ask(callback) }
    """)
    chat = ChatPage(page)
    chat.open(scripted.url)
    chat.send("hello")
    chat.wait_for_reply()

    def frames_in_a_second() -> int:
        before = page.evaluate("window.frames_asked")
        page.wait_for_timeout(1000)
        return int(page.evaluate("window.frames_asked")) - before

    wait_until(lambda: frames_in_a_second() < 10, 20, "the page's rest")


@pytest.mark.parametrize(("classes", "counts"), [("wrap", True), ("wrap hide", False)])
def test_seconds_are_counted_where_they_are_shown(scripted_chat, classes: str, counts: bool):
    came = scripted_chat.page.evaluate(
        """async classes => {
            const status = Object.assign(document.createElement('div'), { className: classes })
            status.dataset.testid = 'status-tracker'
            document.body.append(status)
            let seconds = 0
            requestAnimationFrame(() => { seconds = performance.now() / 1e3 })
            await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))
            return seconds > 0
        }""",
        classes,
    )
    assert came is counts


def test_failed_load_says_why_and_can_be_tried_again(scripted, page):
    problem = ModelLoadError(
        "gated_pending",
        requests="https://huggingface.co/settings/gated-repos",
        model="org/model",
        page="https://huggingface.co/org/model",
    )
    scripted.engine.now = Status("failed", model="org/model", error=problem)
    chat = ChatPage(page)
    chat.open(scripted.url)
    expect(page.locator("#status")).to_contain_text("have not answered yet. See https://huggingface.co/settings")
    chat.submit("hello")
    expect(page.locator("#line-over-box")).to_contain_text("have not answered yet")
    expect(chat.box).to_have_value("hello")
    page.locator("#try-again").click()
    wait_until(lambda: scripted.host.loads == 1, 5)
    scripted.engine.now = Status("ready", model="org/model")
    expect(page.locator("#try-again")).to_be_hidden()
    chat.send("hello")
    assert chat.wait_for_reply().strip() == "ok"


def test_message_sent_while_loading_shows_the_progress_and_is_answered(scripted, scripted_chat):
    scripted.engine.now = Status("loading", model="org/model")
    scripted.engine.enqueue(1.5, "here I am")
    scripted_chat.send("hello")
    expect(scripted_chat.replies.last).to_contain_text("Loading org/model")
    expect(scripted_chat.stop_button).to_be_visible()
    assert scripted_chat.wait_for_reply().strip() == "here I am"


def test_korean_browser_gets_a_korean_page(scripted, browser: Browser):
    chat = ChatPage(browser.new_context(locale="ko-KR").new_page())
    chat.open(scripted.url)
    page = chat.page
    expect(chat.box).to_have_attribute("placeholder", "메시지를 입력하세요")
    expect(page.get_by_label("시스템 프롬프트")).to_be_visible()
    expect(chat.starters.first).to_have_text("한국에서 가 볼 만한 곳 다섯 군데")
    assert page.evaluate("document.documentElement.lang") == "ko"
    scripted.engine.enqueue(GenerationFailed("generation"))
    chat.submit("안녕")
    expect(page.locator("#line-over-box")).to_contain_text("답변을 생성하는 중에 모델에서 오류가 났습니다")
    expect(chat.box).to_have_value("안녕")
    chat.starters.first.click()
    chat.wait_for_reply()
    assert scripted.engine.requests[-1].system_prompt == say("starter.travel.system", "ko")
    assert scripted.engine.requests[-1].messages == (Message("user", say("starter.travel.message", "ko")),)
    assert chat.problems == []


def test_the_demo_model_is_begun_with_in_english_also_on_a_korean_page(scripted, browser: Browser):
    chat = ChatPage(browser.new_context(locale="ko-KR").new_page())
    chat.open(scripted.url)
    fallback = ModelLoadError("hub_unreachable", endpoint="https://hub", problem="no network")
    scripted.engine.now = replace(scripted.engine.now, model="SmolLM2", fallback=fallback)
    expect(chat.starters.first).to_have_text(say("starter.travel.title", "en"), timeout=10_000)
    expect(chat.page.locator("#status .notice")).to_contain_text("영어만 하는 작은 데모 모델")
    chat.starters.first.click()
    chat.wait_for_reply()
    assert scripted.engine.requests[-1].system_prompt == say("starter.travel.system", "en")
    assert scripted.engine.requests[-1].messages == (Message("user", say("starter.travel.message", "en")),)
    assert chat.problems == []


def test_language_can_be_switched_and_the_chat_stays(scripted, scripted_chat):
    page = scripted_chat.page
    scripted_chat.send("  keep\tthis <b>\n")
    scripted_chat.wait_for_reply()
    scripted_chat.open_settings()
    page.get_by_role("button", name="More").click()
    page.get_by_label("한국어").click()
    expect(scripted_chat.box).to_have_attribute("placeholder", "메시지를 입력하세요")
    expect(scripted_chat.users.first).to_contain_text("keep")
    spoken: list[tuple[str, str]] = []
    page.on("request", lambda sent: spoken.append((sent.url, sent.headers.get("accept-language", ""))))
    scripted_chat.send("둘째")
    scripted_chat.wait_for_reply()
    assert [language for url, language in spoken if "/queue/join" in url] == ["ko"], "what is refused is said so"
    said_by_gradio = '<p class="toast-body"><span class="toast-message-text">Server stopped unexpectedly.</span></p>'
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", said_by_gradio)
    expect(scripted_chat.line).to_have_text(say("page.unexpected", "ko"))
    assert said(scripted.engine)[-1] == (
        Message("user", "  keep\tthis <b>\n"),
        Message("assistant", "ok"),
        Message("user", "둘째"),
    )
    page.reload()
    expect(scripted_chat.box).to_have_attribute("placeholder", "메시지를 입력하세요")


@pytest.mark.parametrize(
    "error", [GenerationFailed("generation"), Busy("busy", waiting=32), RuntimeError("hf_secret")]
)
def test_failure_is_told_and_the_next_message_works(scripted, scripted_chat, error):
    scripted.engine.enqueue(error)
    scripted_chat.submit(" try\tthis ")
    toast = scripted_chat.line
    expect(toast).to_contain_text(re.compile("Try again"))
    assert "hf_secret" not in scripted_chat.page.content()
    expect(scripted_chat.box).to_have_value(" try\tthis ")
    expect(scripted_chat.users).to_have_count(0)
    scripted_chat.box.press("Enter")
    assert scripted_chat.wait_for_reply().strip() == "ok"
    assert said(scripted.engine)[-1] == (Message("user", " try\tthis "),)


def test_failure_in_the_midst_keeps_what_was_written(scripted, scripted_chat):
    scripted.engine.enqueue("half a ", 0.3, GenerationFailed("generation"))
    scripted_chat.send("go")
    expect(scripted_chat.line).to_be_visible()
    expect(scripted_chat.replies.last).to_have_text(re.compile("half a"))
    expect(scripted_chat.box).to_be_editable()


SEND_AS_SOON_AS_SEND_IS_THERE = """(texts) => {
    const box = document.querySelector("#message textarea");
    new MutationObserver(() => {
        if (!document.querySelector("#message .submit-button") || box.value || !texts.length) return;
        hfdemo.setBox(texts.shift());
        setTimeout(() => {
            const key = { key: "Enter", code: "Enter", keyCode: 13, bubbles: true, cancelable: true };
            const press = (type) => box.dispatchEvent(new KeyboardEvent(type, key));
            if (press("keydown")) press("keypress");
        });
    }).observe(document.querySelector("#message"), { subtree: true, childList: true });
}"""


def test_a_message_can_be_sent_as_soon_as_send_is_there(scripted, scripted_chat):
    texts = [f"message {number}" for number in range(6)]
    scripted_chat.page.evaluate(SEND_AS_SOON_AS_SEND_IS_THERE, texts[1:])
    scripted_chat.send(texts[0])
    expect(scripted_chat.replies).to_have_count(len(texts))
    assert [messages[-1].content for messages in said(scripted.engine)] == texts


def test_closing_the_tab_ends_the_generation(scripted, browser):
    def closing_s() -> float:
        chat = ChatPage(browser.new_context().new_page())  # in one, a tab goes on with what the one before it has kept
        chat.open(scripted.url)
        scripted.engine.enqueue("begun", 60.0)
        chat.send("go")
        expect(chat.replies.last).to_contain_text("begun")
        ended, began = len(scripted.engine.stopped), time.monotonic()
        chat.page.close()
        with suppress(AssertionError):  # a browser that is busy may end a tab before it has said so
            wait_until(lambda: len(scripted.engine.stopped) > ended, 5)
        return time.monotonic() - began

    assert quickest(closing_s, 2) < 2
    assert all(scripted.engine.stopped)


def test_later_turns_carry_exactly_what_was_said(scripted, scripted_chat):
    replies = ["\tcode\n\n  indented\n", "a\u2060b <|im_end|> ![](x) &lt;", "**“문서”**는\r\n"]
    texts = ["  first\n\n", "<script>\t</script>", "**bold** `x`  "]
    expected: list[Message] = []
    for text, reply in zip(texts, replies, strict=True):
        scripted.engine.enqueue(reply)
        scripted_chat.send(text)
        scripted_chat.wait_for_reply()
        expected.append(Message("user", text))
        assert said(scripted.engine)[-1] == tuple(expected)
        expected.append(Message("assistant", reply))
    scripted.engine.enqueue("again")
    scripted_chat.page.get_by_role("button", name="Retry").last.click()
    expect(scripted_chat.replies.last).to_contain_text("again")
    assert said(scripted.engine)[-1] == tuple(expected[:-1])
    scripted_chat.wait_for_reply()
    scripted_chat.page.get_by_role("button", name="Undo").last.click()
    expect(scripted_chat.box).to_have_value(texts[-1])
    scripted_chat.send("other")
    scripted_chat.wait_for_reply()
    assert said(scripted.engine)[-1] == (*expected[:4], Message("user", "other"))
