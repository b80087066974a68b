"""Header, transcript, box: each is in view and in its place, whatever comes, and nothing moves by itself."""

from dataclasses import replace

import pytest
from playwright.sync_api import TimeoutError, expect

from hfdemo.chat.reply import Delta
from hfdemo.engines.protocol import Status
from hfdemo.words import say
from tests.e2e.conftest import FOLLOWS, ChatPage

SIZES = [(360, 640), (390, 844), (768, 1024), (1280, 800)]
IN_VIEW = """(selector) => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth;
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
    # A line at a time: the end is near also in the moment between a piece and the scrolling that follows it.
    scripted.engine.enqueue(*[piece for number in range(1000) for piece in (f"word {number}\n\n", 0.5)])
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
    chat.page.wait_for_timeout(400)  # a tap that comes sooner belongs to the one on Send
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


BESIDE = """() => {
    const box = (selector) => [...document.querySelectorAll(selector)].at(-1).getBoundingClientRect();
    const receipt = box("#transcript .thought-group .title"), actions = box("#transcript .message-buttons button");
    const first = box("#transcript .message-buttons:last-child button:first-of-type");
    const middle = (each) => (each.top + each.bottom) / 2;
    return { apart: first.left - receipt.right, level: middle(actions) - middle(receipt) };
}"""


BELOW = """() => {{
    const boxes = [...document.querySelectorAll("#transcript .thought-group {}")];
    const buttons = [...document.querySelectorAll("#transcript .message-buttons")].at(-1);
    return buttons.getBoundingClientRect().top >= boxes.at(-1).getBoundingClientRect().bottom;
}}"""


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
    chat.page.set_viewport_size({"width": 180, "height": 320})  # a phone's at 200 %
    chat.page.wait_for_function(BELOW.format(".title"))
    chat.page.set_viewport_size({"width": width, "height": 640})
    chat.page.locator("#transcript .thought-group .title button").last.click()
    expect(chat.page.locator("#transcript .thought-group .content").last).to_be_visible()
    chat.page.wait_for_function(BELOW.format(".content"))


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


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_what_gradio_names_in_english_is_named_in_the_pages_language(scripted, browser, locale):
    chat = ChatPage(browser.new_context(locale=locale).new_page())
    chat.open(scripted.url)
    scripted.engine.enqueue("Hello")
    chat.send("hi")
    chat.wait_for_reply()
    language = locale[:2]
    expect(chat.page.get_by_role("log")).to_have_accessible_name(say("page.conversation", language))
    named = chat.page.evaluate("""() =>
        [...document.querySelectorAll(":is(#transcript, #settings) [aria-label]")]
            .filter((part) => part.checkVisibility())  // empty parts, never shown, are left as they are
            .map((part) => part.getAttribute("aria-label"))""")
    assert say("page.undo", language) in named and say("page.retry", language) in named
    for option in ("temperature", "top_p", "max_new_tokens"):
        assert named.count(say(f"page.{option}", language)) == 2, "a number and a slider"
    assert say("page.reset_value", language) in named
    odd = ("number input", "range slider", "Reset to default", "chatbot")
    assert [name for name in named if name.startswith(odd)] == []
    assert language == "en" or [name for name in named if name.isascii() and name != "Top p"] == []


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
    expect(notice).to_contain_text(say("status.no_system_role"), timeout=10_000)
    expect(notice).to_be_visible()


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
    chat.page.wait_for_timeout(400)  # a tap that comes sooner belongs to the one on Send
    chat.stop_button.tap()
    expect(chat.page.locator("#continue")).to_be_visible()
    expect(chat.page.locator("#meter")).to_contain_text("131,072")
    assert chat.page.locator("#under-box").bounding_box()["height"] == 44
    for name in ("page.show_prompt", "page.save"):
        expect(chat.page.get_by_role("button", name=say(name), exact=True)).to_be_visible()


SPACES = """() => {
    const reply = [...document.querySelectorAll("#transcript .bot-row")].at(-1);
    const parts = [...reply.querySelectorAll(".prose > div > *")].map((part) => part.getBoundingClientRect());
    return parts.slice(1).map(({ top }, index) => Math.round(top - parts[index].bottom));
}"""


def test_the_parts_in_which_a_long_reply_is_drawn_stand_as_far_from_each_other_as_its_paragraphs(
    scripted, scripted_chat
):
    for block in ("word " * 20, "```py\nx = 1\n```", "| a |\n|---|\n| 1 |", "- one\n- two\n\n1. a", "> quote"):
        scripted.engine.enqueue(f"{block}\n\n" * 60)
        scripted_chat.send("show")
        scripted_chat.wait_for_reply()
        assert scripted_chat.replies.last.locator(".prose > div").count() > 1
        spaces = scripted_chat.page.evaluate(SPACES)
        assert len(spaces) >= 59 and len(set(spaces)) == 1 and spaces[0] > 0, block


def test_each_paragraph_begins_on_the_side_of_its_writing_and_paper_has_the_whole_chat(scripted, scripted_chat):
    page = scripted_chat.page
    scripted.engine.enqueue("مرحبا بالعالم.\n\nHello there.\n\n" + "a line\n\n" * 60)
    scripted_chat.send("שלום!")
    scripted_chat.wait_for_reply()
    free = """element => {
        const range = document.createRange(), box = element.getBoundingClientRect();
        range.selectNodeContents(element);
        const text = range.getBoundingClientRect();
        return [Math.round(text.left - box.left), Math.round(box.right - text.right)];
    }"""
    arabic, english = (
        page.get_by_text(text, exact=True).evaluate(free) for text in ("مرحبا بالعالم.", "Hello there.")
    )
    assert arabic[1] == 0 < arabic[0] and english[0] == 0 < english[1]
    assert page.locator(".typed").first.evaluate("element => getComputedStyle(element).unicodeBidi") == "plaintext"
    page.emulate_media(media="print")
    expect(page.locator("#header")).to_be_hidden()
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height >= page.locator("#latest").evaluate("element => element.scrollHeight") > 2000
