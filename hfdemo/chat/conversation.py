"""A conversation as data: a tree of turns, of which a page shows one path.

Raw text is the source of truth: what was typed, what was generated. What a page draws is made from it, and never read
back.
Another try at a reply, or another wording of a message, is a sibling; nothing is deleted.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from hfdemo.chat.messages import Message, Role, read_text
from hfdemo.chat.reply import FINISH_REASONS, FinishReason, Receipt
from hfdemo.errors import InvalidInput

ROLES: tuple[Role, ...] = ("user", "assistant")
"""Whose turns a page may have; its system prompt is none."""

MAX_ID_CHARS = 64

MAX_NUMBER = 2**53
"""JavaScript's numbers are exact up to here, and no receipt has more."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said at one point of a conversation."""

    id: str
    parent: str | None
    """The turn before it; None for the first."""
    role: Role
    content: str
    thought: str = ""
    receipt: Receipt | None = None
    """None while a reply comes, and for what a person said."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing is there of it, not even a thought."""
        return not (self.content or self.thought)


@dataclass(frozen=True, slots=True)
class Conversation:
    """All turns, each behind its parent, and the last one of the path that is shown."""

    turns: tuple[Turn, ...] = ()
    head: str | None = None

    @property
    def path(self) -> tuple[Turn, ...]:
        """The turns from the first one to the head."""
        by_id = {turn.id: turn for turn in self.turns}
        path: list[Turn] = []
        at = self.head
        while at is not None:
            path.append(by_id[at])
            at = by_id[at].parent
        return tuple(reversed(path))

    @property
    def question(self) -> Turn | None:
        """The last message on the path that a person wrote."""
        return next((turn for turn in reversed(self.path) if turn.role == "user"), None)

    @property
    def reply(self) -> Turn | None:
        """The reply to the question; None if there is none yet."""
        path = self.path
        return path[-1] if path and path[-1].role == "assistant" else None

    def last_reply_to(self, question: Turn) -> Turn | None:
        """Return the last reply to a question of which anything is there, whole or not; None if there is none."""
        replies = (turn for turn in reversed(self.turns) if turn.parent == question.id)
        return next((turn for turn in replies if not turn.is_blank), None)

    def add(self, role: Role, content: str) -> "Conversation":
        """Return the conversation with a new turn behind the head, which becomes the head."""
        return self.put(Turn(new_id(), self.head, role, content))

    def put(self, turn: Turn) -> "Conversation":
        """Return the conversation with a turn as its head: a new one, or another state of the one with its id."""
        others = tuple(turn if other.id == turn.id else other for other in self.turns)
        known = any(other.id == turn.id for other in self.turns)
        return Conversation(others if known else (*self.turns, turn), turn.id)

    def at(self, turn_id: str | None) -> "Conversation":
        """Return the conversation with another head; None is the very beginning."""
        return replace(self, head=turn_id)


def new_id() -> str:
    """Return an id that no other turn has."""
    return secrets.token_hex(8)


def messages_of(path: Sequence[Turn]) -> tuple[Message, ...]:
    """Return what was said, as an engine takes it."""
    return tuple(Message(turn.role, turn.content, turn.thought) for turn in path)


def to_data(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as JSON has it; `read_conversation` is the way back."""
    return {"turns": [asdict(turn) for turn in conversation.turns], "head": conversation.head}


def read_conversation(value: object) -> Conversation:
    """Check a conversation that a page or a file sends; None is an empty one.

    Raises:
        InvalidInput: a field is missing or has another type, or a turn precedes its parent.
    """
    if value is None:
        return Conversation()
    data = _read_mapping(value)
    items = data.get("turns")
    if not isinstance(items, list):
        raise InvalidInput("bad_conversation")
    turns = tuple(_read_turn(_read_mapping(item)) for item in items)
    known: set[str | None] = {None}
    for turn in turns:
        if turn.parent not in known or turn.id in known:
            raise InvalidInput("bad_conversation")
        known.add(turn.id)
    head = data.get("head")
    if not (head is None or isinstance(head, str)) or head not in known:
        raise InvalidInput("bad_conversation")
    return Conversation(turns, head)


def _read_turn(data: Mapping[str, Any]) -> Turn:
    turn_id, parent, role = data.get("id"), data.get("parent"), data.get("role")
    named = isinstance(turn_id, str) and 0 < len(turn_id) <= MAX_ID_CHARS
    if not named or not (parent is None or isinstance(parent, str)) or role not in ROLES:
        raise InvalidInput("bad_conversation")
    content, thought = read_text("content", data.get("content")), read_text("thought", data.get("thought") or "")
    return Turn(
        str(turn_id),
        parent,
        role,
        content,
        thought,
        _read_receipt(data.get("receipt")),
    )


def _read_receipt(value: object) -> Receipt | None:
    """Check a receipt: it is drawn again, so that each field must be of its type.

    One that an older version wrote lacks newer fields, which therefore need defaults. One that can't be read is none:
    the texts, which nobody can get again, are worth more.
    """
    if not isinstance(value, Mapping) or value.get("finish_reason") not in FINISH_REASONS:
        return None
    known = [field for field in fields(Receipt) if field.name in value or field.default is MISSING]
    try:
        return Receipt(**{field.name: _read_field(field.type, value.get(field.name)) for field in known})
    except InvalidInput:
        return None


def _read_field(kind: object, value: object) -> Any:
    """Check a number or a text; JavaScript writes 1.0 as 1."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER:
        if kind is float:
            return float(value)
        if kind in (int, int | None) and isinstance(value, int):
            return value
    if kind == int | None and value is None:
        return None
    if kind in (str, FinishReason):
        return read_text("receipt", value)
    raise InvalidInput("bad_conversation")


def _read_mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput("bad_conversation")
    return value
