"""What is displayed can draw text and nothing else, and what was written comes back exactly."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hfdemo.page.markdown import MARK, make_inert

PIECES = [
    *"<>![]()*`~\"'/\\ \t\n.:;&#-_ab1가",
    MARK,
    MARK * 2,
    "**",
    "```",
    "~~~~",
    "cpp",
    "mermaid",
    "https://",
    "mailto:",
    "x.org",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "<?php",
    "</",
    "![",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text()

TAG = re.compile(r"<(?=[A-Za-z/!?])")
AUTOLINK = re.compile(r"<(https?://|mailto:)[^\s<>\"'`]*>")
DIAGRAM = re.compile(r"(`{3,}|~{3,})[ \t]*(cpp|mermaid)\b")


def restore(text: str) -> str:
    """Do what `page.js` does with every copy: halve each run of marks."""
    return re.sub(f"{MARK}+", lambda run: MARK * (len(run[0]) // 2), text)


@given(TEXTS)
@example(MARK)
@example(f"<{MARK}b>")
@example(f"<{MARK * 3}{MARK}/b>")
@example(f"!{MARK}[a](b)")
@example(f"```{MARK}mermaid")
@example(f"'{MARK}**가")
@example("<!**[mermaid")
def test_what_was_written_comes_back_exactly(text):
    assert restore(make_inert(text)) == text


@given(TEXTS)
def test_no_html_can_begin_except_a_plain_autolink(text):
    shown = make_inert(text)
    assert [match for match in TAG.finditer(shown) if not AUTOLINK.match(shown, match.start())] == []


@given(TEXTS)
def test_no_image_and_no_diagram_can_begin(text):
    shown = make_inert(text)
    assert "![" not in shown
    assert not DIAGRAM.search(shown)


@given(TEXTS)
def test_only_marks_are_added(text):
    assert make_inert(text).replace(MARK, "") == text.replace(MARK, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello, **world**! *How* are you?",
        "# Title\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "a < b and b > c, 1 <2, x<=y, <3, ->, <->",
        "see <https://example.org/a?b=c#d>, <http://example.org> and <mailto:me@example.org>",
        "[link](https://example.org)",
        "wow! [not an image](x)",
        "**bold**, then **more**",
        '**"문서"** 는',
        "**문서**는",
        "2 ** 3 and f(**kwargs) if x else a**b",
        "```python\nprint('hi')\n```",
        "```cppcheck\nx\n```",
        "``` c++\nx\n```",
        "`cpp` and ``mermaid``",
        "~~~\ncpp\n~~~",
        "mermaid and cpp",
        "$$x^2$$ \\[ y \\]",
        "\u200b\u2061 안녕하세요 👍🏽",
    ],
)
def test_text_that_is_harmless_stays_as_it_is(text):
    if "(**kwargs" in text:
        assert make_inert(text) == text.replace("(**", f"({MARK}**")
    else:
        assert make_inert(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>", "<|b>"),
        ("</b>", "<|/b>"),
        ("<!-- -->", "<|!-- -->"),
        ("<?xml?>", "<|?xml?>"),
        ("<IMG SRC=x>", "<|IMG SRC=x>"),
        ("<<b>", "<<|b>"),
        ("`<b>`", "`<|b>`"),
        ("<https://a b>", "<|https://a b>"),
        ("<https://a'b>", "<|https://a'b>"),
        ("<https://a<b>", "<|https://a<|b>"),
        ("<HTTPS://a>", "<|HTTPS://a>"),
        ("<javascript:alert(1)>", "<|javascript:alert(1)>"),
        ("<httpsx://a>", "<|httpsx://a>"),
        ("<ftp://a>", "<|ftp://a>"),
        ("![a](b)", "!|[a](b)"),
        ("!![a](b)", "!!|[a](b)"),
        ('**"문서"**는', '**"문서"|**는'),
        ("**(a)**b", "**(a)|**b"),
        ("```mermaid\n", "```|mermaid\n"),
        ("````  cpp\n", "````  |cpp\n"),
        ("~~~\tmermaid", "~~~\t|mermaid"),
        ("> - ```cpp", "> - ```|cpp"),
        ("|", "||"),
        ("a||b", "a||||b"),
        ("<|b>", "<|||b>"),
        ("!|[", "!|||["),
        ("```|cpp", "```|||cpp"),
    ],
)
def test_a_mark_is_put_where_something_would_begin(text, shown):
    assert make_inert(text.replace("|", MARK)) == shown.replace("|", MARK)


@pytest.mark.parametrize(
    "piece", ["`", "~", "``` ", "```\t", "<", "<https://", "!", "**", '"**', "<" + MARK, MARK, "```" + MARK, "!["]
)
def test_the_longest_message_takes_no_time(piece):
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    assert restore(make_inert(text)) == text
    assert time.perf_counter() - start < 5
