"""Tell a thinking model's thought from its answer, while the text comes."""

from collections.abc import Sequence

THOUGHT_TAGS: tuple[tuple[str, str], ...] = (("<think>", "</think>"), ("<thought>", "</thought>"))
"""How thought is marked: Qwen3, DeepSeek-R1, SmolLM3 and most others; EXAONE Deep."""


class ThoughtSplitter:
    """Splits a reply into thought and answer. A tag may come in several pieces and is never shown.

    Only a reply that begins with thought has any: a tag further on is what the model talks about.

    Args:
        closing: the closing tag, if the prompt opened the thought already (DeepSeek-R1's template does).
    """

    def __init__(self, closing: str | None = None) -> None:
        self._closing = closing
        self._begun = closing is not None
        self._held = ""
        self._blank_first = self._begun

    def add(self, text: str) -> tuple[str, str]:
        """Take the next piece of the reply and return what it adds to the thought and to the answer."""
        self._held += text
        if not self._begun:
            start = self._held.lstrip()
            if any(opening.startswith(start) and opening != start for opening, _ in THOUGHT_TAGS):
                return "", ""  # nothing yet, or the beginning of a tag
            self._begun = True
            for opening, closing in THOUGHT_TAGS:
                if start.startswith(opening):
                    self._closing, self._held = closing, start.removeprefix(opening)
                    self._blank_first = True
        if self._closing is None:
            answer, self._held = self._held, ""
            return "", self._without_blank_first(answer)
        thought, closed, answer = self._held.partition(self._closing)
        if closed:
            self._closing, self._held = None, ""
            thought = self._without_blank_first(thought)
            self._blank_first = True
            return thought, self._without_blank_first(answer)
        told, self._held = hold_back(thought, [self._closing])
        return self._without_blank_first(told), ""

    def _without_blank_first(self, text: str) -> str:
        """Take away the blank lines behind a tag, which may come in several pieces."""
        if self._blank_first:
            text = text.lstrip("\n")
            self._blank_first = not text
        return text

    def end(self) -> tuple[str, str]:
        """Return what was held back."""
        held, self._held = self._held, ""
        return (held, "") if self._closing else ("", held)


def split_thought(text: str, closing: str | None = None) -> tuple[str, str]:
    """Return the thought and the answer in a whole reply."""
    splitter = ThoughtSplitter(closing)
    thought, answer = splitter.add(text)
    rest_of_thought, rest_of_answer = splitter.end()
    return thought + rest_of_thought, answer + rest_of_answer


def hold_back(text: str, markers: Sequence[str]) -> tuple[str, str]:
    """Split text before an end that may be the beginning of a marker."""
    for start in range(max(0, len(text) - max(map(len, markers), default=0) + 1), len(text)):
        if any(marker.startswith(text[start:]) for marker in markers):
            return text[:start], text[start:]
    return text, ""
