"""What the page may ask of an engine. An engine needs no base class: having these methods is enough."""

from collections.abc import Generator
from threading import Event
from typing import Protocol

from hfdemo.chat.messages import ChatRequest, Delta, FinishedReply, ShownPrompt, Status

HEARTBEAT_S = 0.25
"""The longest silence of `Engine.stream`: how soon a closed tab is noticed."""


class Engine(Protocol):
    """Loads one model and answers with it."""

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        ...

    def status(self) -> Status:
        """Return how far loading is."""
        ...

    def choose(self, model: str) -> None:
        """Change to another model, named as in `HFDEMO_MODEL`, and return at once.

        The old model leaves the memory first. Replies under way end with what they have (`model_changed`); messages
        that wait are answered by the new model.
        """
        ...

    def cancel(self) -> None:
        """Stop finding, downloading or loading the model, within a second or so; what is on the disk stays there."""
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

    def last_reply(self, chat: str) -> FinishedReply | None:
        """Return the last reply of a chat as it ended, or None: it failed, or is no longer kept.

        While the reply is being stopped, this waits for its end, a moment.
        """
        ...

    def forget(self, chat: str) -> None:
        """Drop what is kept of a chat that is over."""
        ...

    def check(self, request: ChatRequest) -> None:
        """Refuse a request that can't be answered, as far as that is known; quick, and nothing is generated.

        Raises:
            InvalidInput: the request doesn't fit the model.
            GenerationFailed: the model's chat template refuses the conversation.
        """
        ...

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request.

        Raises:
            ModelLoadError: the model isn't there yet.
            InvalidInput: the request doesn't fit the model.
            GenerationFailed: the model's chat template refuses the conversation.
        """
        ...
