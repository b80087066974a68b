"""The conversation as the page keeps it: a list of Gradio messages, and what can be done with one.

The page is the only memory of a chat: what is sent with an event is the truth, so that a chat outlives a restart
of the server. Messages with a title are Gradio's folded boxes (progress, thought, receipt, memory mark); they are
not part of the conversation.
"""

from collections.abc import Sequence
from typing import Any, Literal

from hfdemo.chat.messages import Message, Role, replace_surrogates

Entry = dict[str, Any]
"""A Gradio message: `role`, `content` (text, or a list of parts), perhaps `metadata`."""

Box = Literal["progress", "thought", "receipt", "memory"]

BOX_MARK = "\u2061"
"""An invisible character around title and text of a box: by it, copies of a reply leave the boxes out (`page.js`)."""


def entry(role: Role, text: str) -> Entry:
    """Return an entry with text; as a part, since Gradio dedents content that is a plain string."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def box(kind: Box, title: str, text: str = "", pending: bool = False) -> Entry:
    """Return a folded box with a title; one that is pending shows that something is at work."""
    metadata = {"id": kind, "title": _marked(title), "status": "pending" if pending else "done"}
    return {**entry("assistant", _marked(text)), "metadata": metadata}


def _marked(text: str) -> str:
    return f"{BOX_MARK}{text}{BOX_MARK}" if text else ""


def kind_of(message: Entry) -> str | None:
    """Return what kind of box an entry is, or None if it is part of the conversation."""
    metadata = message.get("metadata") or {}
    return str(metadata.get("id") or "box") if metadata.get("title") else None


def text_of(message: Entry) -> str:
    """Return the text of an entry."""
    content = message.get("content")
    if isinstance(content, str):
        return replace_surrogates(content)
    parts = content if isinstance(content, list) else []
    return replace_surrogates("".join(str(part.get("text", "")) for part in parts if part.get("type") == "text"))


def conversation(entries: Sequence[Entry]) -> tuple[Message, ...]:
    """Return what was said, in the engine's terms. A page could send any role; only these two exist."""
    return tuple(
        Message("user" if message["role"] == "user" else "assistant", text_of(message))
        for message in entries
        if kind_of(message) is None and message.get("role") in ("user", "assistant")
    )


def without(entries: Sequence[Entry], *kinds: Box) -> list[Entry]:
    """Return the entries without the boxes of some kinds."""
    return [message for message in entries if kind_of(message) not in kinds]


def split_at_reply(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries up to the user's last message, and what came after it."""
    for index in range(len(entries) - 1, -1, -1):
        if entries[index].get("role") == "user" and kind_of(entries[index]) is None:
            return list(entries[: index + 1]), list(entries[index + 1 :])
    return [], list(entries)


def reply_text(entries: Sequence[Entry]) -> str:
    """Return the text of the reply to the user's last message, empty if there is none."""
    return "".join(message.content for message in conversation(split_at_reply(entries)[1]))


def take_back(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Return the entries before the user's last message, and that message."""
    asked, _ = split_at_reply(entries)
    return (asked[:-1], text_of(asked[-1])) if asked else ([], "")


def with_memory_mark(entries: Sequence[Entry], dropped: int, title: str) -> list[Entry]:
    """Return the entries with a mark before the first message that the model was shown, if some fell out."""
    marked: list[Entry] = []
    passed = 0
    for message in without(entries, "memory"):
        if kind_of(message) is None:
            if passed == dropped and dropped:
                marked.append(box("memory", title))
            passed += 1
        marked.append(message)
    return marked
