"""Code with colours.

Pygments reads code by expressions that nobody has bounded: a few thousand words under the name of Java keep it busy
for minutes, and the server with it. So it is given little at a time, but for the languages that it reads at once.
"""

import re

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_CHARS = 10_000
"""Longer code has no colours: each is an element of the page."""
PIECE_CHARS = 800
"""Of what is read at a time: the worst texts that were tried take Pygments a tenth of a second."""
QUICK = {"Bash", "CSS", "Go", "HTML", "JSON", "PHP", "Python", "Ruby", "Rust", "SQL", "XML"}
"""The languages that Pygments reads in a second whatever stands there; `test_code.py` tries it."""

_EMPTY_LINES = re.compile(r"(?:[^\S\n]*+\n){50}")
"""They keep many of its expressions busy, and nobody writes them."""
_PIECE = re.compile(
    rf"(?s:.{{1,{PIECE_CHARS}}}(?:(?<=\n)(?=\S)|\Z))|(?s:.{{1,{PIECE_CHARS}}}(?<=\n))|.{{1,{PIECE_CHARS}}}"
)
"""It ends where a line begins that isn't indented, if it can: there, no comment and no text is likely to go on."""

_FORMATTER = HtmlFormatter(nowrap=True)


def colour(code: str, language: str) -> str | None:
    """Return code as HTML on which CSS puts colours, or None if there are none for it."""
    lexer = _lexer(language)
    if not lexer or len(code) > MAX_CHARS or _EMPTY_LINES.search(code):
        return None
    pieces = [code] if lexer.name in QUICK else _PIECE.findall(code)
    return "".join(_coloured(piece, lexer) for piece in pieces)


def may_take_long(language: str) -> bool:
    """Tell whether colours in this language may take Pygments long: there should be little of it."""
    lexer = _lexer(language)
    return lexer is not None and lexer.name not in QUICK


def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False) if language else None
    except ClassNotFound:
        return None


def _coloured(code: str, lexer: Lexer) -> str:
    html: str = highlight(code, lexer, _FORMATTER)
    return html if code.endswith("\n") else html.removesuffix("\n")  # which the formatter adds
