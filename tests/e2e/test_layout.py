"""Header, transcript, box: the box is always in view, the transcript follows, and the keys work."""

from dataclasses import replace

import pytest
from playwright.sync_api import TimeoutError, expect

from hfdemo.chat.reply import Delta
from hfdemo.engines.protocol import Status
from hfdemo.words import say
from tests.e2e.conftest import ChatPage

SIZES = [(360, 640), (390, 844), (768, 1024), (1280, 800)]
IN_VIEW = """(selector) => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth;
}"""
SCROLLER = "#transcript .bubble-wrap"
FOLLOWS = """() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector("#transcript .bubble-wrap");
    return scrollHeight - scrollTop - clientHeight < 60;
}"""


def in_view(chat, selector: str) -> bool:
    """Tell whether something is in view; while it is drawn anew, it has no height for a moment."""
    try:
        chat.page.wait_for_function(IN_VIEW, arg=selector)
    except TimeoutError:
        return False
    return True


def test_the_box_is_in_view_whatever_comes(scripted, scripted_chat):
    page = scripted_chat.page
    for _ in range(3):
        scripted.engine.enqueue("a line\n\n" * 30)
        scripted_chat.send("more\n" * 5)
        scripted_chat.wait_for_reply()
    scripted.engine.enqueue(*[piece for number in range(1000) for piece in (f"word {number}\n\n" * 5, 0.25)])
    scripted_chat.send("all")
    expect(scripted_chat.replies.last).to_contain_text("word 5")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for part in ("#message .stop-button", "#header", "#meter"):
            assert in_view(scripted_chat, part), (part, width)
        page.wait_for_function(FOLLOWS)
    scripted_chat.stop_button.click()
    scripted_chat.wait_for_reply()
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for part in ("#header", "#message .submit-button", "#under-box", "#new-chat", "#open-settings"):
            assert in_view(scripted_chat, part), (part, width)
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "only the transcript scrolls"


SHIFTS = """window.shifted = 0;
    new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => { window.shifted += value; }))
        .observe({ type: "layout-shift", buffered: true });"""
ANSWER = f"# Title\n\n{'some words ' * 50}\n\n- one\n- two\n\n```python\nprint()\n```\n\n$$\\frac{{a}}{{b}}$$"


@pytest.mark.parametrize("size", [(360, 640), (1280, 800)])
@pytest.mark.parametrize("base_model", [False, True])
def test_nothing_moves_after_the_first_paint_also_with_a_kept_chat(scripted, browser, size, base_model):
    scripted.engine.now = Status("ready", model=NAME, device="CPU", base_model=base_model)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, is_mobile=size[0] < 500)
    context.add_init_script(SHIFTS)
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate("shifted") < 0.02
    for _ in range(6):
        scripted.engine.enqueue(ANSWER)
        chat.send("a question")
        chat.wait_for_reply()
    chat.page.wait_for_timeout(600)
    chat.page.reload()
    expect(chat.replies.last).to_be_in_viewport()
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate(FOLLOWS)
    assert chat.page.evaluate("shifted") < 0.02


@pytest.mark.parametrize("size", [(360, 640), (1280, 800)])
def test_nothing_moves_where_server_and_computer_are_slow(scripted, browser, size):
    scripted.engine.now = Status("ready", model=NAME, device="CPU", base_model=True)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, is_mobile=size[0] < 500)
    context.add_init_script(SHIFTS)
    chat = ChatPage(context.new_page())
    tools = context.new_cdp_session(chat.page)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    slow = {"offline": False, "latency": 400, "downloadThroughput": 400_000, "uploadThroughput": 100_000}
    tools.send("Network.emulateNetworkConditions", slow)
    chat.page.goto(scripted.url, timeout=120_000)
    chat.page.locator("#status .notice").wait_for(timeout=120_000)
    expect(chat.starters.first).to_be_visible()
    chat.page.wait_for_timeout(1500)
    assert chat.page.evaluate("shifted") < 0.02


@pytest.mark.parametrize("size", [(360, 320), (180, 320), (640, 200)])
def test_the_box_is_in_view_beside_a_keyboard_at_200_percent(scripted, browser, size):
    scripted.engine.now = Status("ready", model=NAME, device="CPU", base_model=True)
    context = browser.new_context(
        locale="ko-KR", has_touch=True, is_mobile=True, viewport={"width": size[0], "height": size[1]}
    )
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    scripted.engine.enqueue("words " * 200, 30.0)
    for text in ("", "one line", "many lines\n" * 20):
        chat.box.fill(text)
        assert in_view(chat, "#message textarea") and in_view(chat, "#message .submit-button"), text
    chat.send_button.tap()
    expect(chat.replies.last).to_contain_text("words")
    assert in_view(chat, "#message .stop-button")
    chat.page.evaluate("hfdemo.sayOverBox(hfdemo.say('lost'))")
    chat.stop_button.tap()
    expect(chat.page.locator("#continue")).to_be_visible()
    assert in_view(chat, "#message textarea") and in_view(chat, "#message .submit-button")
    assert chat.page.evaluate(FITS, "#header"), "no part of the header is scrolled to"


FITS = """(selector) => {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = document.querySelector(selector);
    return scrollWidth <= clientWidth && scrollHeight <= clientHeight;
}"""


def test_what_a_keyboard_leaves_of_the_page_has_the_box_in_it(scripted, browser):
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    cover = """(height) => {
        Object.defineProperty(visualViewport, "height", { configurable: true, get: () => height });
        visualViewport.dispatchEvent(new Event("resize"));
    }"""
    above = "document.querySelector('#under-box').getBoundingClientRect().bottom"
    for height, most in ((420, 420), (830, 844), (844, 844)):
        chat.page.evaluate(cover, height)
        assert height - 20 < chat.page.evaluate(above) <= most


NAME = "an-organisation/a-model-with-quite-a-long-name-1.7B-Instruct"
SMALL = """() => [...document.querySelectorAll("button, #settings .head input")]
    .filter((each) => each.checkVisibility({ opacityProperty: true }) && !each.closest(".thought-group"))
    .map((each) => [each.outerHTML.slice(0, 120), each.getBoundingClientRect()])
    .filter(([, { width, height }]) => height > 0 && (width < 44 || height < 44)).map(([name]) => name)"""


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_on_a_phone_the_header_is_one_row_and_a_finger_meets_every_button(scripted, browser, locale):
    scripted.engine.now = Status("ready", model=NAME, device="CPU · bfloat16")
    context = browser.new_context(
        locale=locale, has_touch=True, is_mobile=True, viewport={"width": 360, "height": 640}
    )
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    assert chat.page.locator("#header").bounding_box()["height"] == 48
    assert chat.page.evaluate(SMALL) == []
    scripted.engine.enqueue("one", 1.0)
    chat.box.fill("go")
    chat.send_button.tap()
    chat.stop_button.wait_for()
    assert chat.page.evaluate(SMALL) == []
    chat.wait_for_reply()
    chat.page.locator("#open-settings").tap()
    expect(chat.page.locator("#settings.open")).to_be_in_viewport()
    assert chat.page.evaluate(SMALL) == []
    assert chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


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
    page.wait_for_function(FOLLOWS)
    expect(page.locator("#to-end")).to_be_hidden()
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS)


def test_the_reader_whom_the_tab_key_leads_up_is_left_there(scripted, scripted_chat):
    page = scripted_chat.page
    for _ in range(6):
        scripted.engine.enqueue("line\n\n" * 20)
        scripted_chat.send("more")
        scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS)
    first = page.locator("#transcript .message-buttons button").first
    first.focus()
    expect(first).to_be_in_viewport()
    page.wait_for_timeout(300)
    expect(first).to_be_in_viewport()
    expect(page.locator("#to-end")).to_be_visible()
    scripted.engine.enqueue("next")
    scripted_chat.send("one's own message leads to the end")
    scripted_chat.wait_for_reply()
    page.wait_for_function(FOLLOWS)


BESIDE = """() => {
    const box = (selector) => [...document.querySelectorAll(selector)].at(-1).getBoundingClientRect();
    const receipt = box("#transcript .thought-group .title"), actions = box("#transcript .message-buttons button");
    const first = box("#transcript .message-buttons:last-child button:first-of-type");
    const middle = (each) => (each.top + each.bottom) / 2;
    return { apart: first.left - receipt.right, level: middle(actions) - middle(receipt) };
}"""


@pytest.mark.parametrize("width", [360, 1280])
def test_actions_and_receipt_are_one_line_until_it_is_opened(scripted, browser, width):
    context = browser.new_context(has_touch=width < 500, viewport={"width": width, "height": 640})
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    scripted.engine.enqueue("<think>Hm.</think>", "Hello")
    chat.box.fill("hi")
    chat.send_button.click()
    expect(chat.box).to_have_value("")
    chat.wait_for_reply()
    beside = chat.page.evaluate(BESIDE)
    assert beside["apart"] >= -1 and abs(beside["level"]) <= 6
    chat.page.locator("#transcript .thought-group .title button").last.click()
    expect(chat.page.locator("#transcript .thought-group .content").last).to_be_visible()
    chat.page.wait_for_function("""() => {
        const bottom = document.querySelector("#transcript .thought-group .content").getBoundingClientRect().bottom;
        const buttons = [...document.querySelectorAll("#transcript .message-buttons")].at(-1);
        return buttons.getBoundingClientRect().top >= bottom;
    }""")


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
    scripted_chat.send_button.wait_for()
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
    page.locator("#new-chat").focus()  # where nothing has the focus, Svelte may give it to the box when that is drawn
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("Ctrl+Shift+O")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("Control+Shift+O")
    expect(scripted_chat.users).to_have_count(0)


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
    scripted_chat.send_button.wait_for()


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
    scripted_chat.send_button.wait_for()


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


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_every_button_has_a_name(scripted, browser, locale):
    chat = ChatPage(browser.new_context(locale=locale).new_page())
    chat.open(scripted.url)
    scripted.engine.enqueue("<think>Hm.</think>", "Hello", 1.0)
    chat.send("hi")
    language = locale[:2]
    expect(chat.stop_button).to_have_attribute("aria-label", say("page.stop", language))
    chat.wait_for_reply()
    expect(chat.send_button).to_have_attribute("aria-label", say("page.send", language))
    nameless = chat.page.evaluate("""() => [...document.querySelectorAll("button")]
        .filter((button) => button.checkVisibility())
        .filter((button) => !(button.innerText.trim() || button.getAttribute("aria-label")))
        .map((button) => button.outerHTML.slice(0, 200))""")
    assert nameless == []


def test_the_address_fills_in_and_what_it_cannot_mean_is_said(scripted, page):
    chat = ChatPage(page)
    asked = "q=Hello%20%ED%95%9C%EA%B8%80&system=Be%20kind.&temperature=0.2&top_p=7&max_new_tokens=abc"
    chat.open(f"{scripted.url}/?{asked}&temprature=1&__theme=light&__sign=x&logs=container&utm_source=x")
    expect(chat.box).to_have_value("Hello 한글")
    expect(page.locator("#system-prompt textarea")).to_have_value("Be kind.")
    expect(page.locator("#temperature input[type=number]")).to_have_value("0.2")
    expect(page.locator("#top-p input[type=number]")).to_have_value("0.9")
    wrong = say("page.bad_in_address", names="Top p, Max new tokens")
    expect(chat.line).to_have_text(f"{wrong} {say('page.unknown_in_address', names='temprature')}")
    assert scripted.engine.requests == [], "it is filled in, not sent"


def test_what_the_address_or_a_starter_brings_is_for_one_chat_and_the_visitors_own_comes_back(scripted, scripted_chat):
    page = scripted_chat.page
    prompt, temperature = page.locator("#system-prompt textarea"), page.locator("#temperature input[type=number]")
    scripted_chat.open_settings()
    scripted_chat.starters.first.click()
    scripted_chat.wait_for_reply()
    expect(prompt).to_have_value(say("starter.travel.system"))
    page.reload()
    expect(scripted_chat.replies).to_have_count(1)
    expect(prompt).to_have_value(say("starter.travel.system"))
    scripted_chat.new_chat.click()
    expect(prompt).to_have_value("")

    prompt.fill("I wrote this.")
    scripted_chat.set_option("temperature", 0.3)
    scripted_chat.starters.nth(1).click()
    scripted_chat.wait_for_reply()
    assert scripted.engine.requests[-1].system_prompt == "I wrote this."
    expect(prompt).to_have_value("I wrote this.")

    scripted_chat.new_chat.click()
    scripted_chat.open(f"{scripted.url}/?system=Be%20kind.&temperature=0.9&max_new_tokens=33")
    expect(prompt).to_have_value("Be kind.")
    scripted_chat.set_option("max-new-tokens", 44)
    page.wait_for_timeout(400)
    page.reload()
    scripted_chat.starters.first.wait_for()
    expect(prompt).to_have_value("Be kind.")
    expect(temperature).to_have_value("0.9")
    scripted_chat.new_chat.click()
    expect(prompt).to_have_value("I wrote this.")
    expect(temperature).to_have_value("0.3")
    expect(page.locator("#max-new-tokens input[type=number]")).to_have_value("44")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_can_be_chosen_and_stays(scripted, browser, scheme):
    page = browser.new_context(color_scheme=scheme).new_page()
    chat = ChatPage(page)
    chat.open(scripted.url)
    is_dark = "document.body.classList.contains('dark')"
    assert page.evaluate(is_dark) is (scheme == "dark")
    page.locator("#theme").click()
    assert page.evaluate(is_dark) is False
    expect(chat.line).to_have_text(say("page.theme_light"))
    expect(chat.line).to_be_hidden(timeout=6000)
    page.locator("#theme").click()
    assert page.evaluate(is_dark) is True
    page.reload()
    chat.starters.first.wait_for()
    assert page.evaluate(is_dark) is True


def test_a_notice_that_was_closed_stays_closed(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.now = Status("ready", model="base", base_model=True)
    notice = page.locator("#status .notice")
    page.reload()
    expect(notice).to_contain_text(say("status.base_model"))
    page.set_viewport_size({"width": 360, "height": 640})
    opens = notice.get_by_role("button", name=say("page.show_all"))
    one_line = notice.bounding_box()["height"]
    opens.click()
    expect(opens).to_have_attribute("aria-expanded", "true")
    assert notice.bounding_box()["height"] > 1.5 * one_line
    opens.click()
    assert notice.bounding_box()["height"] == one_line < 48
    page.set_viewport_size({"width": 1280, "height": 720})
    expect(opens).to_be_hidden()  # there is no more of it
    notice.get_by_role("button", name=say("page.close")).click()
    expect(notice).to_be_hidden()
    page.reload()
    expect(page.locator("#status .stage")).to_contain_text("base")
    expect(notice).to_be_hidden()
    scripted.engine.now = Status("ready", model="base", takes_system_prompt=False)
    expect(notice).to_contain_text(say("status.no_system_role"))
    expect(notice).to_be_visible()


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


WITHOUT = """([part, others]) => {
    const bottom = () => document.querySelector(part).getBoundingClientRect().bottom;
    const before = bottom();
    document.querySelectorAll(others).forEach((each) => each.remove());
    return bottom() - before;
}"""


@pytest.mark.parametrize(
    ("part", "others"), [("#under-box", "#transcript, .gr-group:has(#message)"), ("#message", "#under-box")]
)
def test_no_part_stands_elsewhere_while_another_one_is_not_there_yet(scripted_chat, part, others):
    assert abs(scripted_chat.page.evaluate(WITHOUT, [part, others])) < 1


@pytest.mark.parametrize("size", [(360, 640), (390, 844)])
def test_what_stands_under_the_box_is_one_line_on_a_phone(scripted, browser, size):
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": size[0], "height": size[1]})
    chat = ChatPage(context.new_page())
    chat.open(scripted.url)
    scripted.engine.now = replace(scripted.engine.now, context_limit=131_072)
    scripted.engine.enqueue(Delta("cut", used_tokens=123_456), 30.0)
    chat.box.fill("go")
    chat.send_button.tap()
    expect(chat.replies.last).to_contain_text("cut")
    chat.stop_button.tap()
    expect(chat.page.locator("#continue")).to_be_visible()
    expect(chat.page.locator("#meter")).to_contain_text("131,072")
    assert chat.page.locator("#under-box").bounding_box()["height"] == 44
    for name in ("page.show_prompt", "page.save"):
        expect(chat.page.get_by_role("button", name=say(name), exact=True)).to_be_visible()
