"""A conversation as Gradio's Chatbot draws it: made from the turns, and never read back."""

from collections.abc import Sequence
from typing import Any, Literal

from hfdemo.chat.conversation import Turn
from hfdemo.chat.messages import Role
from hfdemo.page.markdown import MarkdownDrawing, draw_label, draw_list, draw_markdown, draw_typed
from hfdemo.page.receipt import receipt_lines, receipt_title
from hfdemo.words import Language, say

Entry = dict[str, Any]
"""A Gradio message: `role`, `content` (a list of parts), perhaps `metadata`."""

Fold = Literal["progress", "thought", "receipt", "memory"]
"""Gradio's folded boxes, for what isn't part of the conversation itself."""


def draw(path: Sequence[Turn], language: Language) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of the earlier turns, and those of the last question and what follows it.

    A divider stands before the oldest turn that is still in the model's context.
    """
    dropped = next((turn.receipt.dropped_messages for turn in reversed(path) if turn.receipt), 0)
    earlier: list[Entry] = []
    latest: list[Entry] = []
    for passed, turn in enumerate(path):
        if turn.role == "user":
            earlier += latest
            latest = []
        if passed == dropped and dropped:
            (latest or earlier).append(_fold("memory", say("receipt.memory", language)))
        latest += draw_turn(turn, language)
    return earlier, latest


def draw_turn(turn: Turn, language: Language) -> list[Entry]:
    """Return the entries of a turn: its thought, its text, its receipt."""
    entries: list[Entry] = []
    if turn.thought.strip():
        entries.append(_fold("thought", _thought_title(turn, language), draw_markdown(turn.thought, language)))
    if turn.content:
        typed = turn.role == "user"
        html = draw_typed(turn.content) if typed else draw_markdown(turn.content, language)
        entries.append(_entry(turn.role, html))
    if turn.receipt:
        title = receipt_title(turn, turn.receipt, language)
        entries.append(_fold("receipt", title, draw_list(receipt_lines(turn.receipt, language))))
    return entries


class LiveDrawing:
    """Draws a reply that comes.

    Args:
        language: of the page.
    """

    def __init__(self, language: Language) -> None:
        self._language = language
        self._content = MarkdownDrawing(language, growing=True)
        self._thought = MarkdownDrawing(language, growing=True)

    def draw(self, turn: Turn, thought_s: float) -> list[Entry]:
        """Return the entries of the reply so far.

        Args:
            turn: the reply so far.
            thought_s: how long the model has thought.
        """
        entries: list[Entry] = []
        if turn.thought.strip():
            seconds = f"{thought_s:.1f}"
            thinking = say("receipt.thinking", self._language, seconds=seconds)
            title = say("receipt.thought", self._language, seconds=seconds) if turn.content else thinking
            entries.append(_fold("thought", title, self._thought.draw(turn.thought), pending=not turn.content))
        if turn.content:
            entries.append(_entry("assistant", self._content.draw(turn.content)))
        return entries


def draw_progress(text: str) -> list[Entry]:
    """Return the box that says what is waited for."""
    return [_fold("progress", text, pending=True)]


def _thought_title(turn: Turn, language: Language) -> str:
    if turn.receipt is None:
        return say("receipt.thought_unfinished", language)
    return say("receipt.thought", language, seconds=f"{turn.receipt.thought_s:.1f}")


def _entry(role: Role, html: str) -> Entry:
    """Return an entry with a text as it is displayed; as a part, since Gradio dedents content that is a string."""
    return {"role": role, "content": [{"type": "text", "text": html}]}


def _fold(kind: Fold, title: str, html: str = "", pending: bool = False) -> Entry:
    """Return a folded box with a title; one that is pending shows that something is at work."""
    metadata = {"id": kind, "title": draw_label(title), "status": "pending" if pending else "done"}
    return {**_entry("assistant", html), "metadata": metadata}
