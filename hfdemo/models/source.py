"""Where a model comes from: the Hub, this machine's disk, or the package with the embedded demo model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub.utils import HFValidationError, validate_repo_id

from hfdemo.errors import HfdemoError
from hfdemo.models.saved_token import saved_token


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hugging Face Hub."""

    repo_id: str
    revision: str | None = None
    gguf_file: str | None = None
    """The file to load, for a repository of GGUF files."""
    public: bool = False
    """Whether it is known to need no access token; then none is sent, so that a bad one can't hurt."""

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.repo_id}/{self.gguf_file}" if self.gguf_file else self.repo_id

    @property
    def place(self) -> str:
        """What people write before the name of one of its files."""
        return f"{self.repo_id}@{self.revision}" if self.revision else self.repo_id

    @property
    def is_gguf(self) -> bool:
        """Whether a GGUF file is named."""
        return self.gguf_file is not None

    @property
    def token(self) -> str | Literal[False] | None:
        """For the client: False sends no access token, else the one that is configured."""
        return False if self.public else saved_token()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine's disk."""

    folder: Path
    gguf_file: str | None = None

    @property
    def name(self) -> str:
        """What people call it: no path, because the page shows it to visitors."""
        return self.gguf_file or self.folder.resolve().name

    @property
    def is_gguf(self) -> bool:
        """Whether a GGUF file is named."""
        return self.gguf_file is not None


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """The demo model that comes from PyPI, for machines that can't reach the Hub."""

    reason: HfdemoError
    name: str = "SmolLM2-135M-Instruct"


@dataclass(frozen=True, slots=True)
class AdapterModel:
    """A LoRA adapter with the base model that it changes."""

    adapter: HubModel | LocalModel
    base: HubModel | LocalModel

    @property
    def name(self) -> str:
        """What people call it."""
        return self.adapter.name


ModelSource = HubModel | LocalModel | AdapterModel | EmbeddedModel


def is_hub_name(name: str) -> bool:
    """Tell whether a model on the Hub can have this name: `organisation/name`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name
