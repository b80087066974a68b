"""What people should know of a model that works all the same."""

from dataclasses import dataclass

from hfdemo.words import Language, say


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about the model that was loaded, to be said once."""

    key: str
    """The name of the text in `words/`, without the leading `note.`."""
    fields: tuple[tuple[str, str], ...] = ()
    """The values for the gaps in the text."""

    def text(self, language: Language = "en") -> str:
        """Return the sentence in a language."""
        return say(f"note.{self.key}", language, **dict(self.fields))


def make_note(key: str, **fields: object) -> Note:
    """Return a note with the values for the gaps in its text."""
    return Note(key, tuple((name, str(value)) for name, value in fields.items()))
