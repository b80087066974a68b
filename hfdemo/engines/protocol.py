"""What may be asked of an engine, and of what stands beside it. No base class is needed: the methods are enough.

An engine answers. Where it runs a model on this machine, a `ModelHost` beside it loads, changes and unloads that, and
a `PromptViewer` shows what the model reads. Beside an endpoint, a `ModelHost` only chooses which model is asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hfdemo.chat.notes import Note
from hfdemo.chat.options import Thinking
from hfdemo.chat.reply import Delta, StopSignal
from hfdemo.chat.request import ChatRequest, ShownPrompt
from hfdemo.errors import HfdemoError
from hfdemo.models.choice import ModelChoice
from hfdemo.models.plan import Plan

Stage = Literal[
    "resolving", "checking", "downloading", "converting", "loading", "ready", "unloaded", "cancelled", "failed"
]
"""The stages of a model from 'not there' to 'ready', and how they may end. `unloaded`: it was idle, and the next
message loads it again. `cancelled`: somebody stopped the download."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the engine is doing with its model: the way from 'not there' to 'ready'."""

    stage: Stage
    model: str = ""
    """The model's name, once it is known."""
    named: str = ""
    """What somebody called it, such as a folder; empty where nobody chose a model, and if that is its name."""
    device: str = ""
    """Where it runs, once it is ready."""
    file: str = ""
    """Which file is being downloaded."""
    done_bytes: int = 0
    """Of all that is to be downloaded or loaded."""
    total_bytes: int = 0
    """0 while the size isn't known."""
    bytes_per_s: float = 0.0
    """How fast the download is; 0 while that isn't known."""
    plan: Plan | None = None
    """What the model needs and how it will run, once that is known."""
    context_limit: int | None = None
    """How many tokens the model can hold, once it is ready."""
    thinking_modes: tuple[Thinking, ...] = ()
    """What the model's chat template can be asked for; empty if it can't be asked."""
    base_model: bool = False
    """Whether the model has no chat template: it was not tuned for chat."""
    takes_system_prompt: bool = True
    """Whether the chat template has a place for a system prompt; if not, it goes before the first message."""
    recommended: Mapping[str, float] | None = field(default_factory=dict)
    """The values that the model's makers recommend for options that nobody chose, by name; None where another server
    knows them, which is asked for all that a page shows."""
    notes: tuple[Note, ...] = ()
    """What else people should know of the model."""
    instruct_sibling: str | None = None
    """The model tuned for chat that belongs to this base model, if one is known."""
    fallback: HfdemoError | None = None
    """Why the embedded demo model stands in for the default model."""
    error: HfdemoError | None = None
    """Why loading failed."""

    @property
    def runs_elsewhere(self) -> bool:
        """Whether another server has the model, and decides what it can do."""
        return self.recommended is None


class Engine(Protocol):
    """Generates replies and reports its status."""

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        """Yield the reply in pieces, at least one each quarter of a second (without text if there is none).

        A request that can't be answered is refused before the first piece, as far as that is known by then. Setting
        `stop` ends the reply, also while the prompt is read; the last piece carries the receipt, however it ended.

        Raises:
            InvalidInput: the request doesn't fit the model.
            ModelLoadError: the model could not be loaded.
            NoGpu: no GPU is lent for this reply now.
            GenerationFailed: the model could not finish.
        """
        ...

    def status(self) -> Status:
        """Return the model in use, or its loading progress."""
        ...


class ModelHost(Protocol):
    """Brings one model to this machine, changes it for another, and lets it go."""

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        ...

    def choose(self, model: str) -> None:
        """Change to another model, named as in `HFDEMO_MODEL`, and return at once.

        While the other one is checked and downloaded, the old one goes on answering. Then replies under way end with
        what they have (`model_changed`), and messages that wait are answered by the new model.
        """
        ...

    def cancel(self) -> None:
        """Stop finding, downloading or loading the model, within a second or so; what is on the disk stays there."""
        ...


class PromptViewer(Protocol):
    """Shows what a model reads."""

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        """Return exactly what the model would read for a request.

        Raises:
            ModelLoadError: the model isn't there yet.
            InvalidInput: the request doesn't fit the model.
            GenerationFailed: the model's chat template refuses the conversation.
        """
        ...


class ModelCatalog(Protocol):
    """The models that can be chosen."""

    def choices(self) -> list[ModelChoice]:
        """Return the host's list. Quick, but may ask the Hub."""
        ...

    def plan(self, name: str) -> Plan | None:
        """Return what a model needs and how it would run here; None if it runs elsewhere.

        Raises:
            HfdemoError: it can't be used; the text says why.
        """
        ...

    def search(self, words: str) -> list[ModelChoice]:
        """Return the models on the Hub, or at the endpoint, that match some words, those that fit first.

        Raises:
            HfdemoError: the Hub doesn't answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """An engine, and what stands beside it; what an engine's module returns for `set_up(settings, on_device_lost)`.

    `on_device_lost` is to be called when the device can't be used again: it ends the program.
    """

    engine: Engine
    host: ModelHost | None = None
    """Brings models; without it, there is nothing to load or cancel."""
    viewer: PromptViewer | None = None
    """Without it, the exact prompt can't be shown."""
    catalog: ModelCatalog | None = None
    """Without it, no model can be chosen."""
