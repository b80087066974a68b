r"""Formulas in Markdown: what is one, and whether it can be drawn without harm.

KaTeX, which draws them in the browser, takes formulas of any depth and size: `\frac{1}{` 200 times crashes the tab.
So what reaches it is bounded here. A dollar sign is more often a price than a formula, so single ones are looked at
closely.
"""

import re
from bisect import bisect_left

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

MAX_CHARS = 2000
MAX_DEPTH = 12
MAX_COMMANDS_IN_A_ROW = 20
r"""`\sqrt\sqrt\sqrt x` nests without braces."""

_BLOCK_CLOSING = {r"\[": r"\]", "$$": "$$"}
_CLOSING = {**_BLOCK_CLOSING, r"\(": r"\)"}

_COMMENT = re.compile(r"(\\.)|%", re.DOTALL)
_NESTING = re.compile(r"\\[A-Za-z]+|\\.|[{}]", re.DOTALL)
_COMMANDS_IN_A_ROW = re.compile(rf"(?:\\[A-Za-z]++\s*+){{{MAX_COMMANDS_IN_A_ROW + 1}}}")
_LENGTH = r"\s*[-+]?\s*\d?(?:\.\d*+)?\s*[a-z]{2}"  # of less than ten, whatever the unit
# What defines commands (a formula then grows by itself), changes their order, leaves the place where the formula
# stands, or is a link. Lengths count only where a command takes one: `20 cm` alone is a quantity.
_REFUSED = re.compile(
    r"\\(?:[egx]?def|let|futurelet|global|newcommand|renewcommand|providecommand|rule|href|url|includegraphics"
    r"|html\w*|kern|mkern|raisebox|vcenter|[lr]lap|clap|math[lr]lap|mathclap|smash|Huge|huge|genfrac|tmspace"
    r"|expandafter|TextOrMath|[A-Za-z]*@[A-Za-z@]*)(?![A-Za-z])"
    rf"|\\(?:[hm]skip|above)(?![A-Za-z])(?![\s{{]*{_LENGTH})"
    rf"|\\hspace(?![A-Za-z])\*?+(?!\s*\{{{_LENGTH}\s*\}})"
    rf"|\\\\\[(?!{_LENGTH}\s*\])"
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?![A-Za-z(])")
_PRODUCT = re.compile(r"[A-Z]{2,4}|[a-z]{2}")  # of letters, such as a triangle's, or of a quantity
_RELATION = re.compile(r"[=^_<>]")
_OPERATOR = re.compile(r"[-+*/=<>^_|!(){}\[\]]")
_FOREIGN_LETTER = re.compile(r"[^\W\d_A-Za-z\u0370-\u03ff\U0001d400-\U0001d7ff]")  # neither Latin, Greek, mathematical
_COMMAND = re.compile(r"\\[A-Za-z]")
_CURRENCY = re.compile(r"[\u00a2-\u00a5\u0e3f\u20a0-\u20c0\uffe0\uffe1\uffe5\uffe6]")  # but the dollar
_PRICE_AND_CURRENCY = re.compile(r"\d(?:.*[^A-Za-z\\])?(?:[A-Z]{2}|[ACRS])", re.DOTALL)  # the latter of US$ or R$
_TO_DOLLAR = re.compile(r"(?:[^$\\]|\\.)*+\$", re.DOTALL)  # but those of `\$`, which is an amount within a formula
_GOES_ON = re.compile(r"[$0-9A-Za-z{]|_[A-Za-z]")
_AMOUNT = re.compile(r"\s?\d")


def can_be_drawn(formula: str) -> bool:
    """Tell whether KaTeX draws a formula in no time, in its place. Linear in its length."""
    if len(formula) > MAX_CHARS or _REFUSED.search(formula) or _COMMANDS_IN_A_ROW.search(formula):
        return False
    braces = environments = deepest = 0
    for part in _NESTING.findall(formula):
        if part in ("{", "}"):
            braces += 1 if part == "{" else -1
        elif part in (r"\left", r"\begin"):
            environments += 1
        elif part in (r"\right", r"\end"):
            environments -= 1
        if braces < 0:
            return False
        deepest = max(deepest, braces + max(environments, 0))
    return braces == 0 and deepest <= MAX_DEPTH


def may_begin_formula(text: str) -> bool:
    """Tell whether a text may be the beginning of a formula that stands on lines of its own."""
    text = text.lstrip()
    closing = _BLOCK_CLOSING.get(text[:2])
    return closing is not None and closing not in text[2:]


def percent_as_sign(formula: str) -> str:
    r"""Return a formula in which each `%` is the sign, which models mean, and no comment. Copies take `\%{}` back."""
    return _COMMENT.sub(lambda found: found[1] or r"\%{}", formula)


def is_formula(content: str) -> bool:
    """Tell whether what stands between two single dollar signs is a formula, and not what stands between two prices.

    A formula has no space inside of its signs. It has commands of LaTeX, or symbols: no words but a few letters that
    may be a product, no letters of a language such as Korean. A number at its start and at its end with no operator
    between is prices again (`$5, 10$`).
    """
    if not content or content != content.strip():
        return False
    if _COMMAND.search(content):
        return True
    if _FOREIGN_LETTER.search(content) or _CURRENCY.search(content):
        return False
    if _PRODUCT.fullmatch(content):
        return True
    if _WORD.search(content) and (content[0].isdigit() or not _RELATION.search(content)):
        return False
    return not (" " in content and content[0].isdigit() and content[-1].isdigit() and not _OPERATOR.search(content))


def add_formulas(markdown: MarkdownIt) -> None:
    """Let a parser find formulas: tokens `formula`, whose `info` is "display" for one on a line of its own."""
    markdown.inline.ruler.before("escape", "formula", _inline_rule)
    markdown.block.ruler.before("fence", "formula", _block_rule, {"alt": ["paragraph", "blockquote", "list"]})


def _inline_rule(state: StateInline, silent: bool) -> bool:
    opening = state.src[state.pos : state.pos + 2]
    width = 2 if opening in _CLOSING else 1
    start = state.pos + width
    end = _end_of_pair(state, opening) if opening in _CLOSING else _end_of_dollars(state)
    if end is None or "`" in state.src[start:end]:  # code that has a dollar sign in it: "$5 (`$` is the sign)"
        return False
    return _take(state, start, end, end + width, silent, "display" if opening in _BLOCK_CLOSING else "")


def _end_of_pair(state: StateInline, opening: str) -> int | None:
    """Return where a formula between two signs of two characters each ends; None if there is none."""
    source, start = state.src, state.pos + 2
    end = source.find(_CLOSING[opening], start, state.posMax)
    if end <= start or (opening == "$$" and (source[end + 2 : end + 3] == "$" or _is_between(source[start:end]))):
        return None
    return end


def _is_between(content: str) -> bool:
    """Tell whether what stands between two `$$` in a line only happens to: prices (`$$ or $$$`), shells."""
    words = _WORD.findall(content)
    if content == content.strip():
        words = [word for word in words if not _PRODUCT.fullmatch(word)]
    has_words = bool(words or _FOREIGN_LETTER.search(content))
    is_mathematical = bool(_COMMAND.search(content) or _RELATION.search(content))
    return (has_words and not is_mathematical) or not any(map(str.isalnum, content))


def _end_of_dollars(state: StateInline) -> int | None:
    """Return where a formula between single dollar signs ends; None if there is none."""
    source, start = state.src, state.pos + 1
    if source[state.pos] != "$" or (state.pos and _goes_on_with_dollar(source[state.pos - 1])):
        return None
    inside = _TO_DOLLAR.match(source, start, state.posMax)
    if not inside:
        return None
    end = inside.end() - 1
    # A price or a variable follows: "$5~$10", "$HOME/$USER", "${A}${B}". A Korean particle may follow a formula.
    if _GOES_ON.match(source, end + 1) or not is_formula(source[start:end]):
        return None
    # The sign at the end is of the next price: "$10, R$ 5".
    if _AMOUNT.match(source, end + 1) and _PRICE_AND_CURRENCY.fullmatch(source, start, end):
        return None
    return end


def _goes_on_with_dollar(before: str) -> bool:
    """Tell whether a dollar sign behind a character begins nothing. Some languages have no spaces around words."""
    return before in "$\\" or (before.isalnum() and before <= "\u02ff")


def _take(state: StateInline, start: int, end: int, after: int, silent: bool, info: str) -> bool:
    content = state.src[start:end].strip()
    if not content:
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.info, token.markup = content, info, state.src[state.pos : after]
    state.pos = after
    return True


def _block_rule(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    r"""Take a formula between `$$` or `\[` at the start of a line and its end at the end of one."""
    begin = state.bMarks[first] + state.tShift[first]
    opening = state.src[begin : begin + 2]
    closing = _BLOCK_CLOSING.get(opening)
    if closing is None or state.is_code_block(first):
        return False
    # The end is looked for once, in a bounded stretch: each line may try to begin a formula.
    at = state.src.find(closing, begin + 2, max(state.eMarks[first], begin + 2 + MAX_CHARS))
    line = bisect_left(state.eMarks, at, first, last) if at >= 0 else last
    if line >= last or state.src[at + 2 : state.eMarks[line]].strip():
        return False
    if any(state.sCount[between] < state.blkIndent for between in range(first + 1, line + 1)):
        return False
    starts = [begin + 2, *(state.bMarks[each] + state.tShift[each] for each in range(first + 1, line + 1))]
    ends = [*state.eMarks[first:line], at]
    content = "\n".join(state.src[start:end] for start, end in zip(starts, ends, strict=True))
    if not content.strip():
        return False
    if not silent:
        state.line = line + 1
        token = state.push("formula", "", 0)
        token.block, token.content, token.info = True, content.strip(), "display"
        token.markup = opening + content + closing
        token.map = [first, state.line]
    return True
