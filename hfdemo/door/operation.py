"""What can be asked for at one address of the API; a table of all is in `door.py`."""

from collections.abc import Callable
from dataclasses import dataclass

from hfdemo.door.asked import Asked
from hfdemo.door.fields import Fields
from hfdemo.door.forms import ReplyForm
from hfdemo.door.schemas import Schema
from hfdemo.engines.protocol import Status


@dataclass(frozen=True, slots=True)
class Operation:
    """How a request is read and answered, and what both look like."""

    path: str
    read: Callable[[Fields, Status], Asked]
    """Raises `InvalidInput` for a field that can't be used."""
    form: Callable[[Asked], ReplyForm]
    asked: Schema
    """Of the body of a request."""
    answer: Schema
    """Of the body of an answer that doesn't stream."""
