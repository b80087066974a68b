"""Web addresses in Markdown that stand there by themselves: each is one link, whatever signs it has.

Emphasis is looked for in what is left: `__main__` in an address is a part of it.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_INSIDE = r"[A-Za-z0-9_.:/?#@!$&'+,;=%-]"
_ADDRESS = re.compile(
    rf"https?://(?:{_INSIDE}|[*~](?![*~])|\({_INSIDE}*+\)|\[{_INSIDE}*+\](?!\())*"
    rf"(?:[A-Za-z0-9/#&=%+-]|\({_INSIDE}*+\))"
)
"""Only what may stand in an address, so a Korean particle right after it is no part of it; nor is what closes
brackets, quotes or emphasis around it, or ends a sentence."""


def add_addresses(markdown: MarkdownIt) -> None:
    """Let a parser make links of addresses."""
    markdown.inline.ruler.at("linkify", _rule)
    markdown.enable("linkify")


def _rule(state: StateInline, silent: bool) -> bool:
    """Take an address at its colon: what is before that has been read as text by then."""
    if silent or not state.src.startswith("://", state.pos):
        return False
    scheme = "https" if state.pending.endswith("https") else "http"
    found = _ADDRESS.match(state.src, state.pos - len(scheme), state.posMax)
    if not (found and state.pending.endswith(scheme)):
        return False
    state.pending = state.pending[: -len(scheme)]
    if not state.linkLevel:  # a link's text has no link in it
        state.push("link_open", "a", 1).attrs = {"href": found[0]}
    state.push("text", "", 0).content = found[0]
    if not state.linkLevel:
        state.push("link_close", "a", -1)
    state.pos = found.end()
    return True
