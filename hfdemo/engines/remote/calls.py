"""The tools that a model asks for, from the pieces in which a server tells of them; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from hfdemo.chat.messages import ToolCall, new_call_id, parse_object, replace_surrogates
from hfdemo.engines.remote.events import CallPiece


@dataclass(slots=True)
class _Coming:
    place: int | None
    id: str
    name: str
    arguments: str
    extra_content: str


class CallsComing:
    """Puts calls together. OpenAI's server numbers them; some others number all of them 0, or none."""

    def __init__(self) -> None:
        self._calls: list[_Coming] = []

    def add(self, pieces: Iterable[CallPiece]) -> None:
        """Take the next pieces."""
        for piece in pieces:
            if call := self._begun(piece):
                call.id = call.id or piece.id
                call.name = call.name or piece.name
                call.arguments += piece.arguments
                call.extra_content = call.extra_content or piece.extra_content
            else:
                coming = _Coming(piece.place, piece.id, piece.name, piece.arguments, piece.extra_content)
                self._calls.append(coming)

    def read(self, is_whole: bool) -> tuple[ToolCall, ...]:
        """Return the calls.

        Args:
            is_whole: whether the model came to its end. If it was cut off, a call that is cut off, too, is none; else
                what it wrote is told as it is.
        """
        return tuple(
            ToolCall(
                call.name, replace_surrogates(call.arguments) or "{}", call.id or new_call_id(), call.extra_content
            )
            for call in self._calls
            if call.name and (is_whole or parse_object(call.arguments) is not None)
        )

    def _begun(self, piece: CallPiece) -> _Coming | None:
        """Return the call that a piece goes on with; None if it begins another."""
        if piece.place is None and not (piece.id or piece.name):
            return self._calls[-1] if self._calls else None
        same_place = [call for call in self._calls if call.place == piece.place]
        last = same_place[-1] if same_place else None
        if last is None or (piece.place is None and not piece.id):
            return None
        if last.id and piece.id:
            is_other = last.id != piece.id
        else:
            is_other = bool(piece.name) and parse_object(last.arguments) is not None
        return None if is_other and (piece.id or piece.arguments) else last
