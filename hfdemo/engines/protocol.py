"""What the page may ask of an engine. An engine needs no base class: having these methods is enough."""

from collections.abc import Generator
from threading import Event
from typing import Protocol

from hfdemo.messages import ChatRequest, Delta, Status


class Engine(Protocol):
    """Loads one model and answers with it."""

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        ...

    def status(self) -> Status:
        """Return how far loading is."""
        ...

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        """Yield the reply in pieces, at least one each quarter of a second (without text if there is none).

        Setting `stop` ends the generation, also while the prompt is read; so does closing the generator.

        Raises:
            InvalidInput: the request doesn't fit the model.
            ModelLoadError: the model could not be loaded.
            Busy: too many visitors wait already.
            GenerationFailed: the model could not finish.
        """
        ...
