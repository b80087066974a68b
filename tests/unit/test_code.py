"""Code has colours, and whatever stands there costs little."""

import re
import time
from html import unescape

import pytest
from pygments.lexers import get_all_lexers

from hfdemo.page.code import MAX_CHARS, PIECE_CHARS, QUICK, colour


def text_of(html: str | None) -> str:
    assert html is not None
    return unescape(re.sub("<[^>]*>", "", html))


TEXTS = {
    "short lines": "a = 1\n" * 1500,
    "indented lines": "def f():\n" + "    x = 'a'\n\n" * 300 + "# end\n",
    "one line": "x + " * 1000,
    "half a line": "x",
    "empty lines": "a\n\n\n" * 500,
}


@pytest.mark.parametrize("language", ["python", "java"])
@pytest.mark.parametrize("kind", TEXTS)
def test_code_with_colours_has_its_characters(kind, language):
    assert text_of(colour(TEXTS[kind], language)) == TEXTS[kind]


def test_a_text_over_many_lines_keeps_its_colour_where_no_line_begins_at_the_margin():
    code = "int a;\n" * 100 + "/*\n" + "  of a comment\n\n" * 20 + "  */\nint b;\n"
    assert len(code) > PIECE_CHARS
    assert colour(code, "java").count('<span class="cm">') == 22  # a line each


# Patterns on which Pygments took from a second to minutes for MAX_CHARS.
SLOW = [
    ("java", "a "),
    ("java", "a.b "),
    ("java", "\n"),
    ("c", "\n"),
    ("cpp", "//"),
    ("python", " \n"),
    ("rst", "`a <b"),
    ("tsx", "A."),
    ("markdown", "\n"),
    ("diff", "a "),
    ("matlab", "a "),
]


@pytest.mark.parametrize(("language", "piece"), SLOW, ids=[f"{language} {piece!r}" for language, piece in SLOW])
def test_no_code_keeps_the_server_busy(language, piece):
    before_s = time.thread_time()
    colour((piece * MAX_CHARS)[:MAX_CHARS], language)
    assert time.thread_time() - before_s < 5  # it takes half a second; without bounds, minutes


@pytest.mark.parametrize("language", sorted(QUICK))
def test_a_language_that_is_read_at_once_is_one_of_pygments(language):
    assert language in {name for name, *_ in get_all_lexers()}
