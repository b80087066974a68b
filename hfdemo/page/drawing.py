"""A conversation as Gradio's Chatbot draws it: made from the turns, and never read back."""

from collections.abc import Sequence
from typing import Any, Literal

from hfdemo.chat.conversation import Turn
from hfdemo.chat.messages import Role
from hfdemo.page.receipt import receipt_lines, receipt_title
from hfdemo.words import Language, say

Entry = dict[str, Any]
"""A Gradio message: `role`, `content` (a list of parts), perhaps `metadata`."""

Box = Literal["progress", "thought", "receipt", "memory"]
"""Gradio's folded boxes, for what isn't part of the conversation itself."""

BOX_MARK = "\u2061"
"""An invisible character around title and text of a box: by it, copies of a reply leave the boxes out (`page.js`)."""


def draw(path: Sequence[Turn], language: Language) -> list[Entry]:
    """Return the entries of finished turns, with a divider before the oldest one still in the model's context."""
    dropped = next((turn.receipt.dropped_messages for turn in reversed(path) if turn.receipt), 0)
    entries: list[Entry] = []
    for passed, turn in enumerate(path):
        if passed == dropped and dropped:
            entries.append(_box("memory", say("receipt.memory", language)))
        entries += draw_turn(turn, language)
    return entries


def draw_turn(turn: Turn, language: Language) -> list[Entry]:
    """Return the entries of a turn: its thought, its text, its receipt."""
    entries: list[Entry] = []
    if turn.thought.strip():
        entries.append(_box("thought", _thought_title(turn, language), turn.thought))
    if turn.content:
        entries.append(_entry(turn.role, turn.content))
    if turn.receipt:
        title = receipt_title(turn, turn.receipt, language)
        entries.append(_box("receipt", title, receipt_lines(turn.receipt, language)))
    return entries


def draw_live(turn: Turn, thought_s: float, language: Language) -> list[Entry]:
    """Return the entries of a reply that comes.

    Args:
        turn: the reply so far.
        thought_s: how long the model has thought.
        language: of the box's title.
    """
    entries: list[Entry] = []
    if turn.thought.strip():
        seconds = f"{thought_s:.1f}"
        thinking = say("receipt.thinking", language, seconds=seconds)
        title = say("receipt.thought", language, seconds=seconds) if turn.content else thinking
        entries.append(_box("thought", title, turn.thought, pending=not turn.content))
    return [*entries, _entry("assistant", turn.content)] if turn.content else entries


def draw_progress(text: str) -> list[Entry]:
    """Return the box that says what is waited for."""
    return [_box("progress", text, pending=True)]


def _thought_title(turn: Turn, language: Language) -> str:
    if turn.receipt is None:
        return say("receipt.thought_unfinished", language)
    return say("receipt.thought", language, seconds=f"{turn.receipt.thought_s:.1f}")


def _entry(role: Role, text: str) -> Entry:
    """Return an entry with text; as a part, since Gradio dedents content that is a plain string."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _box(kind: Box, title: str, text: str = "", pending: bool = False) -> Entry:
    """Return a folded box with a title; one that is pending shows that something is at work."""
    metadata = {"id": kind, "title": _marked(title), "status": "pending" if pending else "done"}
    return {**_entry("assistant", _marked(text)), "metadata": metadata}


def _marked(text: str) -> str:
    return f"{BOX_MARK}{text}{BOX_MARK}" if text else ""
