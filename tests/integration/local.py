"""A model on this machine: its engine and its host, as `app.py` puts them together."""

from pathlib import Path
from typing import Any

import torch
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


def save_tiny_model(folder: Path, model_type: str, tokenizer_of: Path, certain: bool = False, **options: Any) -> Path:
    """Save a model of random weights that takes the tokenizer of another one; return its folder.

    Args:
        folder: where to.
        model_type: its family.
        tokenizer_of: the folder of a model whose tokenizer it takes.
        certain: whether each token has one that follows it, by so much that no rounding changes a word. Otherwise
            each is a close choice, and a CPU, or a way to compute that is the faster one by chance, may choose others.
        options: of its config.
    """
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    model = tiny_model(model_type, vocab_size=len(tokenizer), eos_token_id=None, **options)
    if certain:
        _make_certain(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _make_certain(model: Any) -> None:
    """Let the head take each token's embedding for that of the one before it, in some order of all tokens."""
    embeddings = model.get_input_embeddings().weight.data
    embeddings.normal_(std=100)  # so big that what the layers add is little beside it
    order = torch.randperm(len(embeddings))
    model.get_output_embeddings().weight.data[order.roll(1)] = embeddings[order]
