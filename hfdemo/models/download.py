"""Bring a model's files to this disk, wherever they are, and tell how far it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from tqdm.auto import tqdm

from hfdemo.models.choose import HubModel, LocalModel, ModelSource
from hfdemo.models.embedded import Report, ensure_embedded_model

# Configuration, tokenizer, chat template and safetensors weights: what transformers reads, and nothing else.
# Sub-folders hold other formats of the same weights (original/, onnx/), which would double the download.
WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
UNWANTED_FILES = ["*/*", "consolidated*"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this disk: a folder as transformers saves one, or a GGUF file in a folder."""

    folder: Path
    gguf_file: str | None = None


def fetch_model(source: ModelSource, report: Report, weights: bool = True) -> ModelFiles:
    """Return where a model's files are, fetching what isn't here yet; without the weights if they aren't needed.

    Raises:
        HfdemoError, HfHubHTTPError, OSError: see `explain.explain_load_error`.
    """
    if isinstance(source, LocalModel):
        return ModelFiles(source.folder, source.gguf_file)
    if isinstance(source, HubModel):
        return _fetch_from_hub(source, report, weights)
    return ModelFiles(ensure_embedded_model(report))


def _fetch_from_hub(source: HubModel, report: Report, weights: bool) -> ModelFiles:
    """Download into the cache that all Hugging Face libraries share.

    Without the Hub, a model that is complete in the cache is used as it is.
    """
    token = False if source.public else None
    progress_bar = _progress_bar(report)
    if source.gguf_file:
        path = Path(
            hf_hub_download(
                source.repo_id, source.gguf_file, revision=source.revision, token=token, tqdm_class=progress_bar
            )
        )
        return ModelFiles(path.parent, path.name)
    folder = snapshot_download(
        source.repo_id,
        revision=source.revision,
        token=token,
        allow_patterns=WANTED_FILES,
        ignore_patterns=UNWANTED_FILES if weights else [*UNWANTED_FILES, "*.safetensors"],
        tqdm_class=progress_bar,
    )
    return ModelFiles(Path(folder))


def _progress_bar(report: Report) -> type[tqdm]:
    """Return a progress bar that draws nothing and reports the bytes instead."""

    class BytesReport(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the Hub's name for the bar's group
            # Two bars count bytes: what came over the net and what was written. The second one is complete.
            self._counts = kwargs.get("unit") == "B" and kwargs.get("desc") != "Downloading bytes"
            super().__init__(*args, **kwargs | {"disable": True})
            self.n = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._counts:
                report("downloading", int(self.n), int(self.total or 0))
            return None

    return BytesReport
