"""A model on this machine: its engine and its host, as `app.py` puts them together."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hfdemo.answering import Answering
from hfdemo.compute.thread import ComputeThread
from hfdemo.engines.local import LocalEngine
from hfdemo.engines.model_host import LocalModelHost
from hfdemo.models.load import LoadedModel
from hfdemo.page.page import create_page
from hfdemo.settings import Settings
from tests.conftest import wait_until
from tests.unit.tiny_models import tiny_model


class Local:
    """The engine and the host of some settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host = LocalModelHost(settings, ComputeThread())
        self.engine = LocalEngine(settings, self.host)
        self.answering = Answering(self.engine, settings.max_waiting)
        self.stream, self.status, self.show_prompt = self.engine.stream, self.engine.status, self.engine.show_prompt
        self.load, self.choose, self.cancel = self.host.load, self.host.choose, self.host.cancel

    @property
    def model(self) -> LoadedModel | None:
        return self.host.model

    def page(self):
        """Return the page that answers with it."""
        return create_page(self.answering, self.settings, self.host, self.engine)


def loaded(settings: Settings, timeout_s: float = 200) -> Local:
    """Return the engine of a model that is there."""
    local = Local(settings)
    local.load()
    wait_until(lambda: local.status().stage == "ready", timeout_s)
    return local


def save_tiny_model(folder: Path, model_type: str, tokenizer_of: Path, **options: Any) -> Path:
    """Save a model of random weights that takes the tokenizer of another one; return its folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tiny_model(model_type, vocab_size=len(tokenizer), eos_token_id=None, **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
