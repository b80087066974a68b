"""What a model or a visitor writes draws text and does nothing, while Markdown still looks right."""

import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from hfdemo.words import say
from tests.e2e.conftest import ChatPage
from tests.page_corpus import KINDS, LONGEST_TASK

FORBIDDEN = "script, svg:has(a), iframe, form, input, img, video, audio, object, embed, style, link, details, base"


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what is asked of it; nobody should ask."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", hits
    server.shutdown()


def hostile(url: str) -> list[str]:
    return [
        "<script>alert(1)</script>",
        f"<img src={url}/img onerror=alert(1)>",
        f"![image]({url}/md)",
        f"![ref][r]\n\n[r]: {url}/ref",
        '<svg><a href="javascript:alert(1)"><text y="20">click</text></a></svg>',
        '<a href="javascript:alert(1)">click</a> [click](javascript:alert(1)) <javascript:alert(1)>',
        "[click](data:text/html,<script>alert(1)</script>) [click](vbscript:msgbox)",
        f'<form action="{url}/form"><input type=password name=p><button>Log in</button></form>',
        f'<iframe src="{url}/frame"></iframe><object data="{url}/object"></object><embed src="{url}/embed">',
        f'<video src="{url}/video" autoplay></video><audio src="{url}/audio" autoplay></audio>',
        f'<link rel=stylesheet href="{url}/css"><style>@import url({url}/import);</style>',
        f'<meta http-equiv=refresh content="0;url={url}">',
        '<div style="position:fixed;inset:0;background:red;z-index:9999" onclick=alert(1)>overlay</div>',
        "<details open ontoggle=alert(1)>x</details><body onload=alert(1)>",
        f"<math><mtext><table><mglyph><style><img src={url}/math onerror=alert(1)>",
        f'```mermaid\ngraph TD; A["<img src={url}/mermaid onerror=alert(1)>"]; click A "javascript:alert(1)"\n```',
        "```html\n<script>alert(1)</script>\n``` <script>alert(1)</script>",
        f"$$\\href{{javascript:alert(1)}}{{x}} \\includegraphics{{{url}/tex}}$$",
        "<!-- --!><script>alert(1)</script> <![CDATA[<script>alert(1)</script>]]> <?php alert(1) ?>",
        "`<b>` <\u2060script>alert(1)</script> &lt;script&gt;alert(1)&lt;/script&gt;",
        '<button onclick="alert(1)">Send</button><a href="https://example.invalid" target=_top ping="/x">x</a>',
    ]


def test_hostile_text_does_nothing_in_either_role(scripted, scripted_chat, listener):
    url, hits = listener
    dialogs, asked = [], []
    page = scripted_chat.page
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith(scripted.url) else None)
    for text in hostile(url):
        scripted.engine.enqueue(text)
        scripted_chat.send(text)
        scripted_chat.wait_for_reply()
    expect(page.locator("#transcript .message").locator(FORBIDDEN)).to_have_count(0)
    links = page.locator("#transcript .message a")
    hrefs = filter(None, [links.nth(i).get_attribute("href") for i in range(links.count())])  # none: a dead link
    assert [href for href in hrefs if not href.startswith(("http://", "https://", "mailto:"))] == []
    page.evaluate(CLICK_EVERYTHING)
    page.wait_for_timeout(500)
    assert dialogs == []
    assert hits == []
    assert [address for address in asked if not address.startswith(("data:", "blob:"))] == []


CLICK_EVERYTHING = """() => {
    for (const element of document.querySelectorAll('#transcript .message *'))
        if (!element.closest('a[href^=http]')) element.dispatchEvent(new MouseEvent('click'))
}"""

MARKDOWN = """# Title

**bold**, **“문서”**는 굵게, *italic*, `List<String> x = a<b;`

| fruit | colour |
|---|---|
| apple | red |

1. one

   of three
2. two

- [x] done

> quote

$$\\frac{a}{b} < c$$ and \\(x^2\\), $y^2$은

```python
if a < b:
\tprint("<b>")
```

```cpp
std::vector<int> v;
```

<https://example.org/> [link](https://example.org/page) a<b and c>d, $5 and $10, 5~7시, &copy; https://example.org/a_b_c를
"""


def test_markdown_code_tables_and_formulas_are_drawn(scripted, scripted_chat):
    scripted.engine.enqueue(MARKDOWN)
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    reply = scripted_chat.replies.last
    expect(reply.locator("h1")).to_have_text("Title")
    assert reply.locator("strong").all_inner_texts() == ["bold", "“문서”"]
    expect(reply.locator("table td").first).to_have_text("apple")
    assert reply.locator("ol li").all_inner_texts() == ["one\n\nof three", "two"]
    expect(reply.locator("blockquote")).to_contain_text("quote")
    expect(reply.locator(".katex")).to_have_count(3)
    code = [element.text_content() for element in reply.locator("pre code").all()]
    assert code == ['if a < b:\n\tprint("<b>")\n', "std::vector<int> v;\n"]
    assert {"rgb(124, 58, 237)"} <= {
        element.evaluate("element => getComputedStyle(element).color")
        for element in reply.locator("pre code span").all()
    }
    assert reply.locator("p code").first.inner_text() == "List<String> x = a<b;"
    expect(reply.locator("a")).to_have_count(3)
    assert "a<b and c>d, $5 and $10, 5~7시, &copy;" in reply.inner_text()


def copied_by_button(page: Page) -> str:
    """Return what the last message's button copies."""
    page.evaluate("navigator.clipboard.writeText('nothing')")
    page.locator("#transcript .message-buttons").last.locator("[data-copy]").click()
    expect(page.locator("#transcript .copied")).to_have_count(1)
    expect(page.locator("#transcript .copied")).to_have_count(0)
    return str(page.evaluate("navigator.clipboard.readText()"))


def copied_by_hand(page: Page, selector: str) -> str:
    """Return what is copied of a selection."""
    page.evaluate("selector => getSelection().selectAllChildren(document.querySelector(selector))", selector)
    page.keyboard.press("Control+C")
    return str(page.evaluate("navigator.clipboard.readText()"))


TYPED = "  # done\n\ta*b*c <b>x</b> &lt;br&gt; $x$\n- yaml: 1\n    code **x**"


def test_a_message_is_shown_and_copied_as_it_was_typed(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted_chat.send(TYPED)
    scripted_chat.wait_for_reply()
    assert scripted_chat.users.last.locator(".typed").inner_text() == TYPED
    assert copied_by_hand(page, "#transcript .user-row .message-content") == TYPED
    page.locator("#transcript .message-buttons-right [data-copy]").click()
    expect(page.locator("#transcript .copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == TYPED


COPIED = [
    "see <b>this</b> and ```\nx<y\n```",
    "A sin\u2061x END",
    "\u2060<b>\u2060\u2060</b>\u2060",
    "  \x02 **bold** &copy; a" + "\u0301" * 50,
    "*a*\n\n" * 3000 + "$$" + r"\frac{1}{" * 200 + "$$",
]


def test_copies_of_a_reply_are_what_was_written(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for text in COPIED:
        scripted.engine.enqueue(text)
        scripted_chat.send("show")
        scripted_chat.wait_for_reply()
        assert copied_by_button(page) == text
    first = "#transcript .bot-row .message-content"
    assert copied_by_hand(page, first).startswith("see <b>this</b> and ```\nx<y\n")  # the last line opens code
    page.get_by_role("button", name="Undo").last.click()
    expect(scripted_chat.users).to_have_count(len(COPIED) - 1)
    assert copied_by_button(page) == COPIED[-2]


def test_a_selected_formula_is_copied_and_dragged_as_it_was_written(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted.engine.enqueue("- An **area** is $x^2$ of\n- it\n\n$$\\frac{1}{2}\\%% 3$$\n\nThe end")
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    expect(page.locator("#transcript .katex")).to_have_count(2)
    whole = "An area is $x^2$ of\nit\n$$\\frac{1}{2}\\%% 3$$\n\nThe end"
    assert copied_by_hand(page, "#transcript .bot-row .message-content") == whole
    assert copied_by_hand(page, "#transcript .katex .katex-html") == "$x^2$"
    assert copied_by_hand(page, "#transcript .bot-row p") == "The end"
    page.locator("#transcript .katex .katex-html").first.select_text()
    page.locator("#transcript .katex .katex-html .mord.mathnormal").first.drag_to(scripted_chat.box)
    expect(scripted_chat.box).to_have_value("$x^2$")


def test_what_is_selected_of_many_messages_is_copied_whole_with_its_formulas(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for turn in range(4):
        scripted.engine.enqueue(f"Alpha{turn}\n\nSum $x^2_{turn}$ here\n\nOmega{turn}")
        scripted_chat.send(f"Question{turn}")
        scripted_chat.wait_for_reply()
    words = []
    for turn in (2, 3):
        words += [f"Question{turn}", f"Alpha{turn}", f"Sum $x^2_{turn}$ here", f"Omega{turn}"]
    page.evaluate("""() => {
        const at = text => {
            const walk = document.createTreeWalker(document.querySelector("#transcript"), NodeFilter.SHOW_TEXT)
            while (walk.nextNode()) if (walk.currentNode.textContent.includes(text)) return walk.currentNode
        }
        getSelection().setBaseAndExtent(at("Question2"), 0, at("Omega3"), 6)
    }""")
    page.keyboard.press("Control+C")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert [line for line in copied.splitlines() if line and not line.startswith("Finished")] == words
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+A")
    page.keyboard.press("Control+C")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.count("Omega3") == copied.count("$x^2_0$") == 1


@pytest.mark.parametrize("dropped", [0, 1, 2, 3, 4])
def test_each_reply_is_copied_as_written_wherever_the_model_begins_to_remember(scripted, scripted_chat, dropped):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for turn in range(3):
        scripted.engine.receipt = replace(scripted.engine.receipt, dropped_messages=dropped if turn == 2 else 0)
        scripted.engine.enqueue(f"The **bold** reply {turn}")
        scripted_chat.send(f"Question {turn}")
        scripted_chat.wait_for_reply()
    rows = page.locator("#transcript .message-buttons button[data-copy]")
    copied = []
    for row in rows.all():
        row.click(force=True)
        expect(row).to_have_class(re.compile("copied"))
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    assert copied == [text for turn in range(3) for text in (f"Question {turn}", f"The **bold** reply {turn}")]
    page.keyboard.press("Control+Shift+C")
    expect(scripted_chat.line).to_have_text(say("page.copied"))
    assert page.evaluate("navigator.clipboard.readText()") == "The **bold** reply 2"


def test_a_reply_that_is_only_thought_is_copied_as_thought(scripted, scripted_chat):
    scripted_chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted.engine.enqueue("<think>Hm *a*.</think>")
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    assert copied_by_button(scripted_chat.page) == "Hm *a*."


def test_while_a_reply_comes_the_last_answer_is_copied_and_a_message_as_it_was_typed(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copied = "hfdemo.copyLastReply().then(() => navigator.clipboard.readText())"
    scripted.engine.enqueue("A *first* answer")
    scripted_chat.send("one")
    scripted_chat.wait_for_reply()
    scripted.engine.enqueue(30.0)
    scripted_chat.send("  two\x1b\t")
    expect(page.locator("#latest .bot-row")).to_contain_text(say("status.reading"))
    assert page.evaluate(copied) == "A *first* answer"
    page.locator("#latest .message-buttons button[data-copy]").first.click(force=True)
    expect(page.locator("#latest .message-buttons .copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == "  two\x1b\t"
    scripted_chat.stop_button.click()
    scripted_chat.wait_for_reply()
    scripted.engine.enqueue("<think>Hm.</think>", "begun", 30.0)
    scripted_chat.send("three")
    expect(page.locator("#latest")).to_contain_text("begun")
    page.locator("#latest .thought-group .title").click()
    expect(page.locator("#latest .thought-group .content")).to_contain_text("Hm.")
    assert page.evaluate(copied) == "begun"


def test_code_is_copied_as_it_was_written(scripted, scripted_chat):
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted.engine.enqueue("```c\n  #include <stdio.h>\n\tx;\n```")
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator(".copy-code.copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == "  #include <stdio.h>\n\tx;\n"


def test_copies_are_right_where_there_is_no_clipboard_for_scripts(scripted, page):
    page.add_init_script("""
        Object.defineProperty(Navigator.prototype, "clipboard", { get: () => undefined })
        document.addEventListener("copy", event => { window.copied = event.target.value })
    """)
    chat = ChatPage(page)
    chat.open(scripted.url)
    scripted.engine.enqueue("#include <stdio.h>")
    chat.send("show")
    chat.wait_for_reply()
    page.locator("#transcript .message-buttons-left [data-copy]").first.click()
    expect(page.locator("#transcript .copied")).to_have_count(1)
    assert page.evaluate("window.copied") == "#include <stdio.h>"


def test_a_browser_that_refuses_to_copy_is_told_of(scripted, page):
    page.add_init_script("""
        navigator.clipboard.writeText = async () => { throw new DOMException("no", "NotAllowedError") }
        document.execCommand = () => false
    """)
    chat = ChatPage(page)
    chat.open(scripted.url)
    chat.send("show")
    chat.wait_for_reply()
    page.locator("#transcript .message-buttons-left [data-copy]").first.click()
    expect(page.get_by_role("status").filter(has_text=say("page.copy_refused"))).to_be_visible()
    expect(page.locator("#transcript .copied")).to_have_count(0)


WIDE = f"""| {" | ".join(["긴 제목이 있는 열 wide"] * 8)} |
|{"--|" * 8}
|{" x |" * 8}

```python
{"x = 1 + " * 50}
```

$${" + ".join(["x"] * 200)}$$

{"y" * 2000}
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_wide_scrolls_in_its_own_box(scripted, scripted_chat, width):
    page = scripted_chat.page
    page.set_viewport_size({"width": width, "height": 800})
    scripted.engine.enqueue(WIDE)
    scripted_chat.send("w" * 2000)
    scripted_chat.wait_for_reply()
    fits = "element => element.scrollWidth <= element.clientWidth"
    assert page.evaluate(f"({fits})(document.documentElement)")
    assert all(row.evaluate(fits) for row in page.locator("#transcript .message-row").all())
    for selector in (".table-box", ".code-box pre"):
        assert not page.locator(selector).evaluate(fits)
    lines = page.locator("th").first.evaluate("th => th.getClientRects().length && getComputedStyle(th).wordBreak")
    assert lines == "keep-all"
    expect(page.locator("#transcript .message [data-testid][aria-label]")).to_have_count(0)


FROZE = ["fractions in each other", "bold that never ends", "directions", "combining marks", "a long line of Thai"]


@pytest.mark.parametrize("kind", FROZE)
def test_what_once_froze_or_crashed_the_tab_does_not(scripted, scripted_chat, kind):
    page = scripted_chat.page
    page.evaluate(LONGEST_TASK)
    for size in (2000, 8000, 100_000):
        text = KINDS[kind](size)
        scripted.engine.enqueue(text)
        scripted_chat.send("show")
        scripted_chat.wait_for_reply()
        shown = text[-20:] if kind != "combining marks" else "a\u0301"
        expect(scripted_chat.replies.last).to_contain_text(shown)
    page.wait_for_timeout(500)  # a task that has not ended is not told yet
    assert page.evaluate("window.longest") < 3000, "alone it takes a tenth; tests may be slow"


def test_a_reply_is_read_out_once_when_it_has_ended(scripted, scripted_chat):
    heard = scripted_chat.page.locator("#announcement[aria-live=polite]")
    scripted.engine.enqueue("one ", 1.0, "two")
    scripted_chat.send("count")
    expect(scripted_chat.replies.last).to_contain_text("one")
    expect(heard).to_have_text("")  # the region is there: what comes with its text is not read
    scripted_chat.wait_for_reply()
    expect(heard).to_have_text("one two")
    scripted.engine.enqueue("a" + "\u0301" * 50_000)
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    expect(heard).to_have_text("a" + "\u0301" * 8)
