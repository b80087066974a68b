"""The texts that end a reply."""

from collections.abc import Sequence
from dataclasses import replace

from hfdemo.chat.reply import Delta
from hfdemo.chat.reply_reader import hold_back


class StopTexts:
    """Ends a reply at the first stop text, which is never shown; nor is its beginning, while it may become one.

    The first is the one that is whole first, so that it doesn't matter in which pieces the reply comes.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""
        self.found = False

    def begin(self, text: str) -> str:
        """Take the beginning of a reply that is known already: it ends nothing, but a stop text may begin in it."""
        shown, self._held = hold_back(text, self._texts)
        return shown

    def add(self, text: str) -> str:
        """Take the next piece of the reply and return what can be shown."""
        if self.found or not self._texts:
            return "" if self.found else text
        self._held += text
        found = [
            (self._held.find(stop) + len(stop), self._held.find(stop)) for stop in self._texts if stop in self._held
        ]
        if found:
            _, start = min(found)
            shown, self._held, self.found = self._held[:start], "", True
            return shown
        shown, self._held = hold_back(self._held, self._texts)
        return shown

    def look_at(self, told: Delta) -> Delta:
        """Take the next piece as a reader tells it, and return what can be shown: only the answer is looked at."""
        held = self.end() if told.answer_was_thought else ""
        return replace(told, text=self.add(told.text), thought=held + told.thought)

    def end(self) -> str:
        """Return what was held back and became no stop text."""
        held, self._held = self._held, ""
        return held
