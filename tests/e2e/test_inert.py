"""What a model or a visitor writes draws text and does nothing, while Markdown still looks right."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

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
2. two

- [x] done

> quote

$$\\frac{a}{b} < c$$ and \\(x^2\\)

```python
if a < b:
\tprint("<b>")
```

```cpp
std::vector<int> v;
```

<https://example.org/> [link](https://example.org/page) a<b and c>d
"""


def test_markdown_code_tables_and_formulas_are_drawn(scripted, scripted_chat):
    scripted.engine.enqueue(MARKDOWN)
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    reply = scripted_chat.replies.last
    expect(reply.locator("h1")).to_have_text("Title")
    assert [text.strip("\u2060") for text in reply.locator("strong").all_inner_texts()] == ["bold", "“문서”"]
    expect(reply.locator("table td").first).to_have_text("apple")
    expect(reply.locator("ol li")).to_have_count(2)
    expect(reply.locator("blockquote")).to_contain_text("quote")
    expect(reply.locator(".katex")).to_have_count(2)
    code = [text.replace("\u2060", "") for text in reply.locator("pre code").all_inner_texts()]
    assert 'if a < b:\n    print("<b>")' in code[0]  # Gradio draws a tab as four spaces
    assert "std::vector<int> v;" in code[1]
    assert reply.locator("p code").first.inner_text().replace("\u2060", "") == "List<String> x = a<b;"
    expect(reply.locator("a")).to_have_count(2)
    assert "a<b and c>d" in reply.inner_text().replace("\u2060", "")


def test_copied_text_has_no_marks(scripted, scripted_chat):
    scripted.engine.enqueue("see <b>this</b> and ```\nx<y\n```")
    page = scripted_chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted_chat.send("show")
    scripted_chat.wait_for_reply()
    page.get_by_role("button", name="Copy message").last.click()
    assert page.evaluate("navigator.clipboard.readText()") == "see <b>this</b> and ```\nx<y\n```"
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#transcript .bot.message'))")
    page.keyboard.press("Control+C")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "<b>this</b>" in copied and "\u2060" not in copied
