"""What is displayed can draw text and nothing else, has the characters that were written, and is never too much."""

import re
import sys
import time
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hfdemo.page.markdown import (
    FORMULA_MARKS,
    MARKS_PLANES,
    MAX_ELEMENTS,
    MAX_INLINE_NESTING,
    MAX_MARKS,
    MAX_NESTING,
    MarkdownDrawing,
    draw_label,
    draw_list,
    draw_markdown,
    draw_typed,
)
from hfdemo.words import say
from tests.page_corpus import CORPUS

PIECES = [
    *"<>![]()*`~\"'/\\ \t\n.:;&#-_$|ab1가",
    "**",
    "```",
    "~~~~",
    "\n\n",
    "\n- ",
    "\n> ",
    "    ",
    "cpp",
    "mermaid",
    "https://",
    "x.org",
    "javascript:",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "![",
    "$$",
    "\\(",
    "%%%LATEX_BLOCK_0%%%",
    "|--|\n",
    "&lt;",
    "\x02",
    "\x03",
    "\u2060",
    "\u0301",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text()

TAGS = {"div", "p", "span", "strong", "em", "s", "code", "pre", "button", "a", "br", "hr", "ul", "ol", "li"}
TAGS |= {"blockquote", "table", "thead", "tbody", "tr", "th", "td"}
TAGS |= {f"h{level}" for level in range(1, 7)}
ATTRIBUTES = {"class", "type", "tabindex", "href", "target", "rel", "start", "style"}
NOTE = say("page.plain_text")


class Reader(HTMLParser):
    """Reads HTML as a browser does: its elements and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.deepest = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("br", "hr"):
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("br", "hr"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def draw(text: str) -> str:
    return draw_markdown(text, "en")


def text_of(html: str) -> str:
    return Reader(html).text


@given(TEXTS)
@settings(deadline=None)
@example("[a](javascript:alert(1)) <javascript:alert(1)> [b](data:text/html,x)")
@example("\x02x\x03 \x0ex\x0f")
def test_only_harmless_elements_are_drawn_and_no_text_begins_a_formula(text):
    for html in (draw(text), draw_typed(text)):
        read = Reader(html)
        assert set(read.tags) <= TAGS and read.open == []
        assert {name for name, _ in read.attributes} <= ATTRIBUTES
        for name, value in read.attributes:
            assert name != "href" or value.lower().startswith(("http://", "https://", "mailto:"))
            assert name != "style" or re.fullmatch("text-align:(left|center|right)", value)
        assert "%%%" not in html
        for before, after in FORMULA_MARKS.values():
            assert html.count(before) == html.count(after)
            assert before not in draw_typed(text) and after not in draw_typed(text)


@given(TEXTS)
@settings(deadline=None)
def test_gradio_takes_each_part_for_html_and_looks_for_no_markdown_in_it(text):
    for part in draw(text).split("\n\n"):
        assert "\n" not in part and (not part or (part.startswith("<div>") and part.endswith("</div>")))
    assert "\n" not in draw_typed(text)


@pytest.mark.parametrize(
    "text",
    [
        "# done",
        "a*b*c **d** _e_",
        "- yaml: 1\n  list:\n    - x",
        "    indented\n\tcode\n\n\n",
        "  <b>x</b> &lt;br&gt; &copy; $x$ \\( [a](b)",
        "```\nx\n```",
        "5~7시 ~~x~~",
        "\u2060<b>\u2061\u200b 👍🏽",
        "a\n" * 1000 + "end",
        "x" * 30_000 + "\ny",
    ],
)
def test_a_message_is_shown_as_it_was_typed(text):
    html = draw_typed(text)
    assert text_of(html) == text
    assert set(Reader(html).tags) <= {"div", "span"}


def test_a_message_with_other_line_ends_has_the_same_lines():
    assert text_of(draw_typed("a\r\nb\rc\nd")) == "a\nb\nc\nd"


def test_an_empty_text_draws_nothing():
    assert draw_typed("") == draw("") == draw(" \n\n") == ""


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello, **world**! *How* are you?", "<p>Hello, <strong>world</strong>! <em>How</em> are you?</p>"),
        ("one\ntwo", "<p>one<br />two</p>"),
        ("## Title", "<h2>Title</h2>"),
        (
            "- [x] a\n- [ ] b\n- c [x] d",
            '<ul><li class="task">☑ a</li><li class="task">☐ b</li><li>c [x] d</li></ul>',
        ),
        ("2. b", '<ol start="2"><li>b</li></ol>'),
        ("a < b && c > d", "<p>a &lt; b &amp;&amp; c &gt; d</p>"),
        ("영업은 5~7시, 값은 100~200원", "<p>영업은 5~7시, 값은 100~200원</p>"),
        ("~~x~~", "<p><s>x</s></p>"),
        ("&lt;br&gt; &copy; &nbsp;", "<p>&amp;lt;br&amp;gt; &amp;copy; &amp;nbsp;</p>"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("<div>\n*x*\n</div>", "<p>&lt;div&gt;<br /><em>x</em><br />&lt;/div&gt;</p>"),
        ("`<b> &lt;`", "<p><code>&lt;b&gt; &amp;lt;</code></p>"),
        ("[답]: 네", "<p>[답]: 네</p>"),
        ("[a](javascript:alert)", "<p>[a](javascript:alert)</p>"),
        ("\\*a\\*", "<p>*a*</p>"),
        ("snake_case_name 2 ** 3, f(**k)", "<p>snake_case_name 2 ** 3, f(**k)</p>"),
        ("f(**a) and g(**b)", "<p>f(**a) and g(**b)</p>"),
    ],
)
def test_markdown_is_drawn(text, html):
    assert draw(text) == f"<div>{html}</div>"


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ('**"문서"**는', '"문서"'),
        ("**마크다운(Markdown)**을", "마크다운(Markdown)"),
        ("**1. 설치:**다음", "1. 설치:"),
        ('이것은**"강조"**입니다', '"강조"'),
        ("**중요**한", "중요"),
        ("これは**「強調」**です", "「強調」"),
    ],
)
def test_bold_beside_a_letter_without_a_space_is_bold(text, bold):
    assert f"<strong>{bold}</strong>" in draw(text).replace("&quot;", '"')


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("[a](https://x.org/b)", "https://x.org/b", "a"),
        ("<https://x.org>", "https://x.org", "https://x.org"),
        ("<mailto:me@x.org>", "mailto:me@x.org", "mailto:me@x.org"),
        ("https://x.org/a_b_c를", "https://x.org/a_b_c", "https://x.org/a_b_c"),
        ("(see https://x.org/a.)", "https://x.org/a", "https://x.org/a"),
        ("(https://x.org/a_(b)_c)은", "https://x.org/a_(b)_c", "https://x.org/a_(b)_c"),
        ("https://x.org/a_(b), c.", "https://x.org/a_(b)", "https://x.org/a_(b)"),
        ("https://x.org/__main__.html 에", "https://x.org/__main__.html", "https://x.org/__main__.html"),
        ("[https://x.org/__a__](https://y.org)", "https://y.org", "https://x.org/__a__"),
        ("a *b* https://x.org/*c*d", "https://x.org/*c*d", "https://x.org/*c*d"),
        ("http://[::1]:7860/?a[]=1[2](x)", "http://[::1]:7860/?a[]=1", "http://[::1]:7860/?a[]=1"),
        ("![a](https://x.org/b)", "https://x.org/b", "a"),
        ("[https://x.org](https://y.org)", "https://y.org", "https://x.org"),
    ],
)
def test_addresses_are_links_and_images_are_too(text, url, shown):
    link = f'<a href="{url}" target="_blank" rel="noopener noreferrer">{shown}</a>'
    assert draw(text).count("<a ") == 1 and link in draw(text)


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("**https://x.org/a**는", ("<strong>", "</strong>는")),
        ("*see https://x.org/a*, b", ("<em>see ", "</em>, b")),
        ("_https://x.org/a_.", ("<em>", "</em>.")),
        ("__https://x.org/a__!", ("<strong>", "</strong>!")),
        ("~~https://x.org/a~~ b", ("<s>", "</s> b")),
        ("'https://x.org/a'", ("&#x27;", "&#x27;")),
        ("[https://x.org/a]", ("[", "]")),
        ("xhttps://x.org/a\n- b", ("x", "<")),
        ("`x` https://x.org/a[1][2]", ("</code> ", "[1][2]")),
        ("https://x.org/a(이것)", ("", "(이것)")),
        ("https://x.org/a?!", ("", "?!")),
    ],
)
def test_signs_around_an_address_are_no_part_of_it(text, around):
    before, after = around
    link = '<a href="https://x.org/a" target="_blank" rel="noopener noreferrer">https://x.org/a</a>'
    assert f"{before}{link}{after}" in draw(text)


@pytest.mark.parametrize(
    "text", ["`https://x.org`", "https://", "https://한글", "http:/x", "s://x.org", "\\://x http"]
)
def test_what_is_no_address_is_no_link(text):
    assert "<a" not in draw(text)


@pytest.mark.parametrize("name", ["", "python", "cpp", "mermaid", "html", "no-such-language", '"><b>'])
def test_code_has_its_characters_and_a_button(name):
    code = 'if a < b:\n\tprint("<b>&lt;")  # %%% $x$\n\n    x  \n'
    html = draw(f"```{name}\n{code}```")
    assert code in text_of(html) and "\n" not in html
    assert '<button type="button" class="copy-code">Copy</button>' in html
    assert ">복사</button>" in draw_markdown(f"```{name}\n{code}```", "ko")


@pytest.mark.parametrize("name", ["python", "cpp", "c++", "C", "js", "bash", "json", "java", "rust"])
def test_code_has_colours(name):
    assert '<span class="' in draw(f"```{name}\nint x = 'a' + 1; // two\n```")


def test_a_reply_has_only_so_much_code_with_colours_in_languages_that_take_long():
    html = draw(("```java\n" + ("int a;" + " // a comment" * 6 + "\n") * 50 + "```\n\n") * 5 + "```json\n[1]\n```")
    boxes = html.split('<div class="code-box">')[1:]
    assert ['<span class="k' in box or '<span class="m' in box for box in boxes] == [True, True, *[False] * 3, True]


@pytest.mark.parametrize(("name", "piece"), [("java", "a "), ("objc", "a::b::")])
def test_no_reply_full_of_code_keeps_the_server_busy(name, piece):
    text = f"```{name}\n{(piece * 9900)[:9900]}\n```\n\n" * 10
    before_s = time.thread_time()
    draw(text)
    assert time.thread_time() - before_s < 1


def test_a_table_stands_in_a_box_of_its_own():
    html = draw("| a | b |\n|:-:|---|\n| 1 | **2** |")
    assert html.startswith('<div><div class="table-box" tabindex="0"><table><thead>')
    assert '<td style="text-align:center">1</td><td><strong>2</strong></td>' in html


@pytest.mark.parametrize(
    ("cell", "html"),
    [
        ("1<br>2<br/>**3**<BR />", "1<br />2<br /><strong>3</strong><br />"),
        ("**1<br>2**", "<strong>1<br />2</strong>"),
        ("[1<br>2](https://x.org)", ">1<br />2</a>"),
        ("`<br>`<br>", "<code>&lt;br&gt;</code><br />"),
        ("<br>", "&lt;br&gt;"),
        ("\\<br> x", "&lt;br&gt; x"),
        ("<brx> <b> x", "&lt;brx&gt; &lt;b&gt; x"),
    ],
)
def test_a_cell_of_a_table_may_have_lines(cell, html):
    drawn = draw(f"| {cell} |\n|---|\n| {cell} |")
    assert f"{html}</th>" in drawn and f"{html}</td>" in drawn
    assert "<br />" not in draw(cell)


def test_a_label_is_text_and_no_markdown():
    label = draw_label("org/my_model_x **b** <i> [a](b) $x$ 1. %%%")
    assert text_of(label) == "org/my_model_x **b** <i> [a](b) $x$ 1. %%%"
    assert re.sub(r"&#\d+;", "", label).replace(" ", "").isalnum()


def test_a_list_of_texts_is_text():
    assert draw_list(["a: <b>", "*c*"]) == "<ul><li>a: &lt;b&gt;</li><li>*c*</li></ul>"


NESTED = {
    "quotes": (">" * (MAX_NESTING - 1) + " x", ">" * (MAX_NESTING + 2) + " x"),
    "lists": ("\n".join("  " * n + "- x" for n in range(9)), "\n".join("  " * n + "- x" for n in range(12))),
    "emphasis": ("**a *b **c *d* e** f* g**", "*a **b " * 10 + "x" + "** c*" * 10),
}


@pytest.mark.parametrize("kind", NESTED)
def test_what_is_nested_too_deep_is_plain_text_and_nothing_is_lost(kind):
    drawn, plain = NESTED[kind]
    assert NOTE not in draw(drawn) and "x" in text_of(draw(drawn)) + "x"
    html = draw(f"before\n\n{plain}\n\nafter **this**")
    assert html.count(NOTE) == 1
    assert plain in text_of(html)
    assert "<p>before</p>" in html and "after <strong>this</strong>" in html


def test_no_mark_of_unicode_is_elsewhere_than_where_marks_are_looked_for():
    within = {code for plane in MARKS_PLANES for code in plane}
    marks = (code for code in range(0x300, sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Mn", "Me"))
    assert [hex(code) for code in marks if code not in within] == []


def test_marks_beyond_what_a_letter_can_have_are_not_drawn():
    assert text_of(draw_typed("a" + "\u0301" * 100 + "b")) == "a" + "\u0301" * MAX_MARKS + "b"
    for word in ("ก็็", "각".encode().decode(), "e\u0301\u0323", "שָׁ֑לוֹם", "ན་རྒྱུ"):
        assert text_of(draw_typed(word)) == word


def test_control_characters_are_drawn_as_symbols():
    assert text_of(draw_typed("a\x02b\x1bc\0")) == "a␂b␛c\ufffd"


@pytest.mark.parametrize("text", CORPUS.values(), ids=[f"{kind}, {size}" for kind, size in CORPUS])
def test_what_is_drawn_is_bounded_and_whole(text):
    start = time.perf_counter()
    html = draw_markdown.__wrapped__(text, "en")
    took = time.perf_counter() - start
    read = Reader(html)
    assert len(read.tags) <= MAX_ELEMENTS + 2000
    assert read.deepest <= 2 * MAX_NESTING + MAX_INLINE_NESTING
    assert took < 5
    if NOTE in html and "\u0301" not in text:
        assert read.text[-200:] == text[-200:]


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_text_that_grows_is_drawn_as_one_that_is_whole(at_once):
    text = (
        "# A\n\none **two**\n\n- a\n- b\n\n  c\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n> q\n\n1. x\n2. y\n\nend $x$\n=\n"
    )
    growing = MarkdownDrawing("en", growing=True)
    for end in range(0, len(text) + at_once, at_once):
        assert growing.draw(text[:end]) == draw(text[:end])


@pytest.mark.parametrize(
    "text",
    ["- a\n*b", "one\n***b***", "1. x\n\n2. y", "> q\n#b", "- a\n\n```\ncode\n```\n\n- b", "- a\n1) b", "a\n---b\nc"],
)
def test_a_line_that_looked_like_a_block_at_first_goes_on_with_the_one_before(text):
    growing = MarkdownDrawing("en", growing=True)
    for end in range(len(text) + 1):
        assert growing.draw(text[:end]) == draw(text[:end])


@pytest.mark.parametrize(
    "text",
    [
        "계산:\n\n\\[\n\nx = 1\n\n\\]\n\n끝 *a*",
        "$$\na\n\nb\n\n- c\n$$\n\nend\n\n\\[ a\n\nb\n\nc\n",
        "$$ is dear.\n\n" + "*Text.*\n\n" * 250 + "$$\n",
    ],
)
def test_a_formula_with_an_empty_line_is_one_as_soon_as_it_is_closed(text):
    growing = MarkdownDrawing("en", growing=True)
    for end in range(len(text) + 1):
        if len(text) < 200 or end % 40 == 0 or end == len(text):
            assert growing.draw(text[:end]) == draw(text[:end])


@pytest.mark.parametrize(
    "text",
    [
        "1. **제목**\n   - 하나\n   - 둘",
        "- 과일\n  - 사과",
        "준비물:\n- 컵\n- 물",
        "> a\n> - b",
        "a\n---b",
        "a\n= b",
        "a\n- ",
    ],
)
def test_no_text_is_drawn_as_a_heading_while_the_line_below_it_may_yet_be_no_underline(text):
    growing = MarkdownDrawing("en", growing=True)
    assert not any("<h" in growing.draw(text[:end]).replace("<hr", "") for end in range(len(text) + 1))
    assert growing.draw("제목\n--\n") == "<div><h2>제목</h2></div>"


@given(TEXTS)
@settings(deadline=None, max_examples=50)
def test_any_text_that_grows_is_drawn_as_one_that_is_whole(text):
    growing = MarkdownDrawing("en")
    for end in range(0, len(text) + 1, 3):
        growing.draw(text[:end])
    assert growing.draw(text) == draw(text)


def test_a_text_that_begins_differently_is_drawn_anew():
    growing = MarkdownDrawing("en")
    growing.draw("one\n\ntwo\n\nthree")
    assert growing.draw("other\n\ntext") == draw("other\n\ntext")


def test_a_long_block_that_grows_is_drawn_anew_only_now_and_then():
    growing = MarkdownDrawing("en", growing=True)
    text = "- item\n" * 1200
    html = growing.draw(text)
    longer = growing.draw(text + "- *more*\n")
    assert longer == html[: -len("</div>")] + '<div class="typed">- *more*&#10;</div></div>'
    assert "<em>more</em>" in growing.draw(text + "- *more*\n" * 200)


def test_a_reply_that_is_too_long_goes_on_as_plain_text():
    growing = MarkdownDrawing("en", growing=True)
    text = "*a*\n\n" * 3000
    html = growing.draw(text)
    assert html.count("<em>a</em>") > 500 and html.count(NOTE) == 1
    assert growing.draw(text + "*b*").endswith("*b*</div></div>")
