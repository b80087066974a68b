"""The conversation as the page keeps it: a list of Gradio messages, and what can be done with one.

The page is the only memory of a chat: what is sent with an event is the truth, so that a chat outlives a restart
of the server. Messages with a title are Gradio's folded boxes (progress); they are not part of the conversation.
"""

from collections.abc import Sequence
from typing import Any

from hfdemo.messages import Message, Role, replace_surrogates

Entry = dict[str, Any]
"""A Gradio message: `role`, `content` (text, or a list of parts), perhaps `metadata`."""


def entry(role: Role, text: str) -> Entry:
    """Return an entry with text; as a part, since Gradio dedents content that is a plain string."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def progress_entry(title: str) -> Entry:
    """Return a box that tells what is being waited for."""
    return {**entry("assistant", ""), "metadata": {"title": title, "status": "pending"}}


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
        for message in without_boxes(entries)
        if message.get("role") in ("user", "assistant")
    )


def without_boxes(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries without progress boxes."""
    return [message for message in entries if not (message.get("metadata") or {}).get("title")]


def without_reply(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries up to the user's last message."""
    kept = without_boxes(entries)
    while kept and kept[-1]["role"] != "user":
        kept.pop()
    return kept


def take_back(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Return the entries before the user's last message, and that message."""
    kept = without_reply(entries)
    return (kept[:-1], text_of(kept[-1])) if kept else ([], "")
