"""A reply's Markdown as HTML that can draw text and do nothing else; a visitor's own message as it was typed.

Gradio's Chatbot passes HTML through its own Markdown parser, its sanitizer, and, between two marks, through KaTeX.
What is written here stands on one line with all text escaped, so nothing in it is Markdown any more, and what is
displayed has the characters that were written, and no others. The same tokens that are drawn are counted first: what
would take a browser long, or crash it, is drawn as plain text.
"""

import re
import unicodedata
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from itertools import groupby, pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, lheading, table
from markdown_it.rules_core import StateCore
from markdown_it.rules_core.text_join import text_join
from markdown_it.token import Token

from hfdemo.page.addresses import add_addresses
from hfdemo.page.code import colour, may_take_long
from hfdemo.page.emphasis import add_emphasis
from hfdemo.page.formulas import MAX_CHARS, add_formulas, can_be_drawn, may_begin_formula, percent_as_sign
from hfdemo.words import Language, say

FORMULA_MARKS = {"": ("\x02", "\x03"), "display": ("\x0e", "\x0f")}
"""Control characters around formulas in a line and on a line of their own, for KaTeX. A control character of the text
itself is displayed as its symbol, so no text can begin a formula."""

MAX_NESTING = 20
"""Quotes and lists in each other; a list counts twice."""
MAX_INLINE_NESTING = 10
"""Emphasis and links in each other."""
MAX_LINES = 2000
"""Of a reply; what comes after them isn't looked into."""
MAX_INLINE_CHARS = 10_000
"""Of a paragraph with anything but text in it."""
MAX_INLINE_SIGNS = 2000
"""Characters of a paragraph that might begin or end something."""
MAX_COLUMNS = 200
"""Of a table."""
NOT_DRAWN = "not_drawn"
"""The type of a token for what would take long even to read."""
MAX_CELLS = 8000
"""Of a reply's tables, also those that their rows leave out: each is an element, so no more than half are drawn."""
MAX_ELEMENTS = 4000
"""HTML elements of a reply."""
MAX_FORMULA_CHARS = 10_000
"""Of a reply's formulas together: KaTeX makes several elements of each character."""
MAX_SLOW_CODE_CHARS = 10_000
"""Of a reply's code together that has colours in a language that may take long."""
MAX_MARKS = 8
"""Combining marks on one letter: as many as any language puts there; with more they cover the lines around."""
MAX_LINE_CHARS = 10_000
"""A longer line is laid out in pieces: with two directions of writing, Chromium's time grows with its square."""
PART_LINES, PART_CHARS = 100, 5000
"""Of what a browser lays out at once of a long text that isn't Markdown; the rest waits until it is in sight."""
LONG_BLOCK_CHARS = 8000
"""From this length on, a block that grows isn't drawn anew with each word."""
SIGNS = "*_~`[]$\\<"
"""What may begin or end something in a paragraph."""
CHUNK_CHARS = 2000
"""Gradio draws a chunk again when it has changed, so it is small; each chunk costs, so it isn't one paragraph."""

_LINES = re.compile(rf"(?:[^\n]*\n){{{MAX_LINES}}}")
_LONG_LINE = re.compile(rf"[^\n]{{{MAX_LINE_CHARS + 1},}}")
_PART = re.compile(rf"(?:[^\n]*\n){{1,{PART_LINES}}}|[^\n]+")
_PIECE = re.compile(rf".{{1,{MAX_LINE_CHARS}}}")
_BREAK = re.compile(r"<br\s*+/?>", re.IGNORECASE)
_TASK = re.compile(r"\A\[([ xX])\](?= )")
_CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {0: 0xFFFD}


MARKS_PLANES = (range(0x300, 0x20000), range(0xE0000, 0xE0200))
"""Where Unicode has marks: to look through all of it at each start takes longer than most imports."""


def _combining_marks() -> str:
    """Return, as ranges for a character class, all marks that stand over, under or around a letter."""
    codes = (code for plane in MARKS_PLANES for code in plane)
    marks = [code for code in codes if unicodedata.category(chr(code)) in ("Mn", "Me")]
    runs = (list(run) for _, run in groupby(enumerate(marks), lambda numbered: numbered[1] - numbered[0]))
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


_MARKS = _combining_marks()
_TOO_MANY_MARKS = re.compile(f"([{_MARKS}]{{{MAX_MARKS}}})[{_MARKS}]+")


def draw_typed(text: str) -> str:
    """Return HTML that displays a text exactly as it was typed."""
    if len(text) <= PART_CHARS:
        return f'<div class="typed">{_escape(_unify(text))}</div>' if text else ""
    return "".join(f'<div class="typed part">{_escape_lines(part)}</div>' for part in _PART.findall(_unify(text)))


def draw_list(lines: Sequence[str]) -> str:
    """Return HTML that displays texts as a list."""
    return "<ul>" + "".join(f"<li>{_escape(_unify(line))}</li>" for line in lines) + "</ul>"


def draw_label(text: str) -> str:
    """Return a short text such that Gradio, which draws labels as Markdown, displays it as it is."""
    return re.sub(r"[!-/:-@\[-`{-~]", lambda sign: f"&#{ord(sign[0])};", _displayable(_unify(text)))


@lru_cache(maxsize=256)  # a finished message is displayed again with each update
def draw_markdown(text: str, language: Language) -> str:
    """Return the HTML of a text in Markdown."""
    return MarkdownDrawing(language).draw(text)


@dataclass
class _Room:
    """What a reply may still take."""

    elements: int = MAX_ELEMENTS
    formula_chars: int = MAX_FORMULA_CHARS
    slow_code_chars: int = MAX_SLOW_CODE_CHARS


class MarkdownDrawing:
    """Draws a text that grows: what can't change any more is drawn once.

    Args:
        language: of buttons and notes.
        growing: the text will grow, so its last block is drawn with less effort.
    """

    def __init__(self, language: Language, growing: bool = False) -> None:
        self._language = language
        self._growing = growing
        self._start()

    def _start(self) -> None:
        self._done = ""  # the part of the text that is drawn for good
        self._chunks: list[str] = []
        self._plain: list[str] = []  # its end, where that is drawn as plain text
        self._room = _Room()
        self._last, self._last_html = "", ""  # how the part after it was drawn
        self._unsure: tuple[tuple[int, Sequence[str]], list[str | None], _Room] = ((0, ()), [], self._room)
        """Blocks before the last that aren't drawn for good, by place and sources, their HTML, the room left then."""

    def draw(self, text: str) -> str:
        """Return the HTML of the text so far. One that doesn't begin as the text before is drawn anew."""
        text = _unify(text)
        if not text.startswith(self._done):
            self._start()
        end = found.end() if (found := _LINES.match(text)) else len(text)
        rest, tail = text[len(self._done) : end], text[end:]
        if not self._room.elements:
            return self._html(plain=rest + tail)
        if self._growing and self._is_near_last(rest):
            return self._html(self._last_html + draw_typed(rest[len(self._last) :]), tail)
        blocks = _parse(rest)
        if not blocks:
            return self._html(plain=tail)
        lines = re.findall(r"[^\n]*\n|[^\n]+", rest)
        starts = [(tokens[0].map or [0])[0] for tokens in blocks]
        sources = ["".join(lines[start:end]) for start, end in pairwise([*starts, len(lines)])]
        # Until its first line is whole, the last block may yet turn out to belong to the one before it: `*` is a list,
        # and `*a` goes on with a paragraph.
        is_sure = len(blocks) == 1 or "\n" in sources[-1] or len(sources[-1]) > LONG_BLOCK_CHARS
        sure = min(len(blocks) - (1 if is_sure else 2), _first_unclosed(sources))
        for tokens, source in zip(blocks[:sure], sources, strict=False):
            self._add(self._draw_block(tokens, self._room), source)
        self._done += "".join(lines[: starts[sure]])
        if sure < len(blocks) - 1:
            return self._draw_unsure(blocks[sure:], sources[sure:], tail)
        last = self._draw_block(blocks[-1], replace(self._room), self._growing)
        self._last, self._last_html = sources[-1] if last else "", last or ""
        return self._html(last, tail) if last else self._html(plain=sources[-1] + tail)

    def _draw_unsure(self, blocks: list[list[Token]], sources: list[str], tail: str) -> str:
        """Draw the last blocks for now."""
        self._last = self._last_html = ""
        key = len(self._done), sources[:-1]
        if self._unsure[0] != key:  # a long one is not drawn again for each word behind it
            room = replace(self._room)
            self._unsure = key, [self._draw_block(tokens, room) for tokens in blocks[:-1]], room
        _, before, room = self._unsure
        last = self._draw_block(blocks[-1], replace(room), self._growing)
        chunks, plain = list(self._chunks), list(self._plain)
        for html, source in zip(before, sources, strict=False):
            self._add(html, source)
        drawn = self._html(last, tail) if last else self._html(plain=sources[-1] + tail)
        self._chunks, self._plain = chunks, plain
        return drawn

    def _is_near_last(self, rest: str) -> bool:
        """Tell whether a long block has grown so little that its end is drawn as text: else each word costs it all."""
        drawn = len(self._last)
        return LONG_BLOCK_CHARS < drawn <= len(rest) < drawn + drawn // 8 and rest.startswith(self._last)

    def _draw_block(self, tokens: list[Token], room: _Room, growing: bool = False) -> str | None:
        """Return a block's HTML and take its room, or None if it is too large or too deep to be drawn."""
        if not room.elements or not _is_bounded(tokens):
            return None
        left = replace(room)
        env: dict[str, Any] = {"language": self._language, "room": left, "growing": growing}
        for item, cell, token in zip([None, None, *tokens], [None, *tokens], tokens, strict=False):
            token.children = []
            if token.type == "inline":
                source = token.content
                if item and item.type == "list_item_open":
                    source, is_task = _TASK.subn(lambda task: "☐" if task[1] == " " else "☑", source)
                    if is_task:
                        item.attrSet("class", "task")
                _MARKDOWN.inline.parse(source, _MARKDOWN, env, token.children)
                if cell and cell.type in ("td_open", "th_open"):
                    token.children = _with_breaks(token.children)
        if any(child.level > MAX_INLINE_NESTING for token in tokens for child in token.children or ()):
            return None
        text_join(StateCore("", _MARKDOWN, env, tokens))
        html = str(_RENDERER.render(tokens, _MARKDOWN.options, env)).replace("\n", "")
        room.slow_code_chars = left.slow_code_chars  # the time is spent, also on what isn't drawn
        elements = max(1, html.count("<") // 2)
        if elements > room.elements:
            return None
        room.elements -= elements
        room.formula_chars = left.formula_chars
        return html

    def _add(self, html: str | None, source: str) -> None:
        if html is None:
            self._plain.append(source)
            return
        if self._plain:
            self._chunks.append(self._plain_html("".join(self._plain)))
            self._plain = []
        if self._chunks and len(self._chunks[-1]) < CHUNK_CHARS:
            self._chunks[-1] += html
        else:
            self._chunks.append(html)

    def _html(self, last: str = "", plain: str = "") -> str:
        """Return what is drawn for good, the block that still grows, and what is plain text after it."""
        chunks = list(self._chunks)
        plain_before = "".join(self._plain)
        if last and plain_before:
            chunks.append(self._plain_html(plain_before))
        if last and chunks and not plain_before and len(chunks[-1]) < CHUNK_CHARS:
            chunks[-1] += last
        elif last:
            chunks.append(last)
        if plain := plain if last else plain_before + plain:
            chunks.append(self._plain_html(plain))
        return "\n\n".join(f"<div>{chunk}</div>" for chunk in chunks)

    def _plain_html(self, source: str) -> str:
        return f'<p class="note">{escape(say("page.plain_text", self._language))}</p>{draw_typed(source)}'


def _unify(text: str) -> str:
    """Return a text with one kind of line ends, and with no NUL, which HTML can't have."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _displayable(text: str) -> str:
    """Return a text with symbols for control characters, and few enough marks on each letter."""
    return _TOO_MANY_MARKS.sub(r"\1", text.translate(_CONTROL))


def _escape(text: str) -> str:
    """Return a text as it stands in HTML, on one line."""
    return escape(_displayable(text)).replace("\n", "&#10;").replace("%%%", "&#37;%%")


def _escape_lines(text: str) -> str:
    """Return a text as it stands in HTML, a line that is very long in pieces, which are laid out one by one."""
    if not _LONG_LINE.search(text):
        return _escape(text)
    pieces = ([_escape(line)] if len(line) <= MAX_LINE_CHARS else _pieces(line) for line in text.split("\n"))
    return "&#10;".join("".join(line) for line in pieces)


def _pieces(line: str) -> list[str]:
    return [f'<span class="piece">{_escape(piece)}</span>' for piece in _PIECE.findall(line)]


def _parse(text: str) -> list[list[Token]]:
    """Return the tokens of each block that stands in no other."""
    tokens: list[Token] = []
    _MARKDOWN.block.parse(text, _MARKDOWN, {}, tokens)
    blocks: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        blocks[-1].append(token)
        depth += token.nesting
        if not depth:
            blocks.append([])
    return blocks[:-1]


def _first_unclosed(sources: Sequence[str]) -> int:
    """Return which block begins a formula that may yet end in what comes, and so take in the blocks behind it."""
    first, text = len(sources), ""
    for at in reversed(range(len(sources))):
        text = sources[at] + text
        if len(text) > MAX_CHARS:
            break
        if may_begin_formula(text):
            first = at
    return first


def _with_breaks(tokens: list[Token]) -> list[Token]:
    """Return the tokens of a table's cell with line breaks for `<br>`: a cell can have no other. Alone, it is text."""
    if all(token.type == "text" and not _BREAK.sub("", token.content).strip() for token in tokens):
        return tokens
    found: list[Token] = []
    for token in tokens:
        parts = _BREAK.split(token.content) if token.type == "text" else [""]
        for at, part in enumerate(parts):
            if at:
                found.append(Token("hardbreak", "br", 0, level=token.level))
            found.append(token.copy(content=part) if len(parts) > 1 else token)
    return found


def _is_bounded(tokens: Sequence[Token]) -> bool:
    """Tell whether a block is flat and small enough to look into its lines."""
    return max(token.level for token in tokens) <= MAX_NESTING and not any(
        token.type == NOT_DRAWN
        or (
            token.type == "inline"
            and (len(token.content) > MAX_INLINE_CHARS or _signs(token.content) > MAX_INLINE_SIGNS)
        )
        for token in tokens
    )


def _signs(text: str) -> int:
    return sum(map(text.count, SIGNS))


class _Renderer(RendererHTML):
    """Writes tokens as HTML; all line ends in it that are not text are of no meaning."""

    def text(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write text."""
        return _escape(tokens[index].content)

    def code_inline(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write code in a line."""
        return f"<code>{_escape(tokens[index].content)}</code>"

    def code_block(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write code that is indented."""
        return _code_box(tokens[index].content, "", env)

    def fence(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write code between fences."""
        return _code_box(tokens[index].content, tokens[index].info.strip().split(" ")[0], env)

    def formula(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write a formula for KaTeX, or as it was written if it can't be drawn."""
        token, room = tokens[index], env["room"]
        tag = "div" if token.block else "span"
        content = percent_as_sign(token.content)
        if len(content) > room.formula_chars or not can_be_drawn(token.content):
            return f'<{tag} class="typed formula">{_escape(token.markup)}</{tag}>'
        room.formula_chars -= len(content)
        before, after = FORMULA_MARKS[token.info]
        return f'<{tag} class="formula">{before}{_escape(content)}{after}</{tag}>'

    def link_open(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write the start of a link, which opens beside the chat."""
        url = _escape(str(tokens[index].attrGet("href")))
        return f'<a href="{url}" target="_blank" rel="noopener noreferrer">'

    def link_close(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write the end of a link."""
        return "</a>"

    def table_open(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write the start of a table in a box of its own, in which it scrolls sideways."""
        return '<div class="table-box" tabindex="0"><table>'

    def table_close(self, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
        """Write the end of a table."""
        return "</table></div>"


def _code_box(code: str, name: str, env: MutableMapping[str, Any]) -> str:
    """Write code in a box of its own, with its language's name and a button that copies it."""
    html = None if env["growing"] else _colour_within(env["room"], _displayable(code), name.lower())
    if html is None or html.count("<") // 2 > env["room"].elements:
        html = _escape_lines(code)
    html = html.replace("\n", "&#10;").replace("%%%", "&#37;%%")
    button = f'<button type="button" class="copy-code">{say("page.copy_code", env["language"])}</button>'
    head = f'<div class="code-head"><span>{_escape(name)}</span>{button}</div>'
    return f'<div class="code-box">{head}<pre tabindex="0"><code>{html}</code></pre></div>'


def _colour_within(room: _Room, code: str, language: str) -> str | None:
    """Return code with colours as far as there is room for them, and take it."""
    if may_take_long(language):
        if len(code) > room.slow_code_chars:
            return None
        room.slow_code_chars -= len(code)
    return colour(code, language)


def _bounded_table(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Take a table; one with thousands of columns or cells would cost seconds, and is taken for what isn't drawn."""
    columns = state.src.count("|", state.bMarks[first], state.eMarks[first])
    if columns > MAX_COLUMNS or not table(state, first, last, True):
        return False
    if silent:
        return True
    room = state.env.setdefault("cells", MAX_CELLS)
    end = next((line for line in range(first, last) if state.isEmpty(line)), last)
    if columns * (end - first) > room:
        state.push(NOT_DRAWN, "", 0).map = [first, end]
        state.line = end
        return True
    table(state, first, last, False)
    state.env["cells"] = room - columns * (state.line - first)
    return True


def _whole_underline(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Take a heading with a line below it once that line has ended: until then, `-` may yet begin a list's item."""
    is_open = last > first and state.eMarks[last - 1] == len(state.src)
    return lheading(state, first, last - 1 if is_open else last, silent)


def _is_safe(url: str) -> bool:
    return url.lower().startswith(("http://", "https://", "mailto:"))


def _parser() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 2 * MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    # An image would be fetched from elsewhere; an entity is text that somebody typed; a reference (`[answer]: yes`)
    # would not be displayed at all.
    markdown.disable(["image", "entity", "reference", "html_block", "html_inline"])
    markdown.validateLink = _is_safe  # type: ignore[method-assign]
    markdown.block.ruler.at("table", _bounded_table, {"alt": ["paragraph", "reference"]})
    markdown.block.ruler.at("lheading", _whole_underline)
    add_addresses(markdown)
    add_emphasis(markdown)
    add_formulas(markdown)
    return markdown


_MARKDOWN = _parser()
_RENDERER = _Renderer()
