"""Code with colours."""

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_CHARS = 10_000
"""Longer code has no colours: each is an element of the page."""

_FORMATTER = HtmlFormatter(nowrap=True)


def colour(code: str, language: str) -> str | None:
    """Return code as HTML on which CSS puts colours, or None if there are none for it."""
    if not language or len(code) > MAX_CHARS:
        return None
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
    html: str = highlight(code, lexer, _FORMATTER)
    return html
