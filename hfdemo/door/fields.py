"""The fields of a request, each checked for its type. A field that is null counts as left out; others are ignored."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hfdemo.chat.messages import read_text, shorten
from hfdemo.chat.options import LIMITS, read_number
from hfdemo.errors import InvalidInput

MAX_LIKELIEST = 20
"""How many of the likeliest tokens may be asked for in each place."""

FORMATS = ("text", "json_object", "json_schema")
"""The kinds of `response_format`."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The values of `reasoning_effort`."""

PENALTIES = tuple(name for name in ("presence_penalty", "frequency_penalty") if name not in LIMITS)
"""The options of OpenAI's API that there aren't here."""


class Fields:
    """The fields of a JSON object.

    Args:
        body: the object.
        path: where it stands in the request, such as `messages[0].`.
    """

    def __init__(self, body: Mapping[str, Any], path: str = "") -> None:
        self._body = body
        self._path = path

    def name(self, field: str) -> str:
        """Return how a field is called in errors."""
        return self._path + field

    def has(self, field: str) -> bool:
        """Tell whether a field is there."""
        return self._body.get(field) is not None

    def raw(self, field: str) -> Any:
        """Return a field as it came; None if it isn't there."""
        return self._body.get(field)

    def over(self, defaults: Mapping[str, Any]) -> "Fields":
        """Return these fields, with others where they lack one."""
        return Fields({**defaults, **{name: value for name, value in self._body.items() if value is not None}})

    def text(self, field: str) -> str:
        """Return a text; empty if it isn't there.

        Raises:
            InvalidInput: it is something else.
        """
        return read_text(self.name(field), self._body[field]) if self.has(field) else ""

    def named_texts(self, field: str) -> dict[str, str]:
        """Return an object of texts; an empty one if it isn't there.

        Raises:
            InvalidInput: it is something else.
        """
        fields = self.object(field)
        return {read_text(self.name(field), name): fields.text(name) for name in fields._body}

    def flag(self, field: str) -> bool:
        """Return whether something is switched on.

        Raises:
            InvalidInput: it is neither true nor false.
        """
        value = self._body.get(field)
        if not isinstance(value, bool | None):
            raise self.not_one_of(field, ("true", "false"))
        return bool(value)

    def choice(self, field: str, allowed: Collection[str]) -> str:
        """Return one of some words; empty if it isn't there.

        Raises:
            InvalidInput: it is none of them.
        """
        value = self._body.get(field)
        if value is not None and (not isinstance(value, str) or value not in allowed):
            raise self.not_one_of(field, allowed)
        return value or ""

    def number(self, field: str, option: str) -> float | int:
        """Return a number that is the value of one of our options.

        Raises:
            InvalidInput: it isn't in the option's range.
        """
        try:
            return read_number(option, self._body[field])
        except InvalidInput as error:
            raise InvalidInput(error.key, **{**error.fields, "name": self.name(field)}) from None

    def whole(self, field: str, low: int, high: int) -> int | None:
        """Return a whole number; None if it isn't there.

        Raises:
            InvalidInput: it is something else, or not in this range.
        """
        value = self._body.get(field)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():  # JSON doesn't tell 1.0 from 1
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInput("not_whole", name=self.name(field), value=shorten(value), low=low, high=high)
        return value

    def object(self, field: str) -> "Fields":
        """Return the fields of an object; none if it isn't there.

        Raises:
            InvalidInput: it is something else.
        """
        value = {} if self._body.get(field) is None else self._body[field]
        if not isinstance(value, dict):
            raise InvalidInput("bad_field", name=self.name(field))
        return Fields(value, f"{self.name(field)}.")

    def objects(self, field: str) -> Iterator["Fields"]:
        """Yield the objects of a list.

        Raises:
            InvalidInput: it isn't a list of objects.
        """
        values = self._body.get(field)
        if not isinstance(values, list):
            raise InvalidInput("bad_field", name=self.name(field))
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise InvalidInput("bad_field", name=f"{self.name(field)}[{index}]")
            yield Fields(value, f"{self.name(field)}[{index}].")

    def texts(self, field: str) -> list[str]:
        """Return a list of texts; a single one may stand for itself.

        Raises:
            InvalidInput: it is something else.
        """
        value = self._body.get(field)
        values = [] if value is None else value if isinstance(value, list) else [value]
        return [read_text(self.name(field), one) for one in values]

    def refuse(self, **neutral: Any) -> None:
        """Refuse what can't be honoured, unless it has the value that changes nothing.

        Raises:
            InvalidInput: it would change something.
        """
        for field, value in neutral.items():
            given = self._body.get(field)
            if given is not None and (given != value or isinstance(given, bool) is not isinstance(value, bool)):
                raise InvalidInput("unsupported_parameter", name=self.name(field))

    def not_one_of(self, field: str, allowed: Collection[str]) -> InvalidInput:
        """Return the error for a value that is none of those allowed."""
        facts = {"value": shorten(self._body.get(field)), "allowed": ", ".join(allowed)}
        return InvalidInput("not_one_of", name=self.name(field), **facts)
