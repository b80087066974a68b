"""Bold and italics next to Korean, Chinese and Japanese.

CommonMark closes no emphasis between a sign and a letter, and opens none between a letter and a sign. In languages
without spaces around words both happen all the time: `**"문서"**는`, `이것은**"문서"**입니다`.
"""

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter


def add_emphasis(markdown: MarkdownIt) -> None:
    """Let a parser see emphasis that stands beside a letter that isn't Latin, too."""
    markdown.inline.ruler.at("emphasis", _emphasis)


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Do what the rule of the same name in markdown-it does, with more places where emphasis opens and closes."""
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    run = state.scanDelims(state.pos, marker == "*")
    opens, closes = run.can_open, run.can_close
    if marker == "*":
        before = state.src[state.pos - 1 : state.pos]
        after = state.src[state.pos + run.length : state.pos + run.length + 1]
        opens = opens or (_is_foreign_letter(before) and bool(after.strip()))
        closes = closes or (_is_foreign_letter(after) and bool(before.strip()))
    for _ in range(run.length):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(Delimiter(ord(marker), run.length, len(state.tokens) - 1, -1, opens, closes))
    state.pos += run.length
    return True


def _is_foreign_letter(character: str) -> bool:
    return character.isalpha() and character > "\u02ff"
