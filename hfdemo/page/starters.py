"""Conversation starters: the beginners' tutorial's own question, and one for each of its use cases."""

from dataclasses import dataclass

from hfdemo.chat.messages import shorten
from hfdemo.engines.protocol import Status
from hfdemo.errors import InvalidInput
from hfdemo.words import LANGUAGES, Language, say


@dataclass(frozen=True, slots=True)
class Starter:
    """A first message, and for its chat only the system prompt that suits it.

    Its texts are `starter.NAME.*` in `words/`.
    """

    name: str

    def title(self, language: Language) -> str:
        """Return what its card says."""
        return say(f"starter.{self.name}.title", language)

    def message(self, language: Language) -> str:
        """Return the message it sends."""
        return say(f"starter.{self.name}.message", language)

    def system_prompt(self, language: Language) -> str:
        """Return the system prompt it brings."""
        return say(f"starter.{self.name}.system", language)


STARTERS = tuple(Starter(name) for name in ("travel", "bank", "medical", "shopping", "tutor"))


def starter_at(index: object) -> Starter:
    """Return the starter whose card was clicked.

    Raises:
        InvalidInput: there is none with that index.
    """
    if isinstance(index, int) and 0 <= index < len(STARTERS):
        return STARTERS[index]
    raise InvalidInput("not_one_of", name="index", value=shorten(index), allowed=f"0-{len(STARTERS) - 1}")


def starter_language(status: Status, language: Language) -> Language:
    """Return in which language to begin: the page's, but English with the demo model, which speaks nothing else."""
    return "en" if status.fallback else language


def starter_system_prompts() -> list[str]:
    """Return all that the starters bring, in each language: what a page has of these, no visitor wrote."""
    return [starter.system_prompt(language) for starter in STARTERS for language in LANGUAGES]


def starter_cards(language: Language) -> list[dict[str, str]]:
    """Return the cards as Gradio's Chatbot takes its examples."""
    return [{"text": starter.message(language), "display_text": starter.title(language)} for starter in STARTERS]
