"""Download a model's files, wherever they are, and report the progress."""

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import hf_hub_download, snapshot_download
from tqdm.auto import tqdm

from hfdemo.background import in_thread
from hfdemo.models.adapter import fetch_adapter
from hfdemo.models.disk import (
    PICKLED_FILES,
    UNWANTED_FILES,
    WANTED_FILES,
    ModelFiles,
    RemoteFile,
    gguf_files,
    local_files,
)
from hfdemo.models.embedded import ensure_embedded_model
from hfdemo.models.hub_private import write_in_chunks_of
from hfdemo.models.integrity import weight_files
from hfdemo.models.partial import fetch_large_file
from hfdemo.models.progress import SILENT, Progress
from hfdemo.models.source import AdapterModel, EmbeddedModel, HubModel, ModelSource

CHUNK_BYTES = 1024 * 1024
"""How much is written at once. With the client's own 10 MB, an interrupted download would lose as much."""

T = TypeVar("T")


def fetch_model(
    source: ModelSource,
    progress: Progress = SILENT,
    missing: Sequence[RemoteFile] = (),
    weights: bool = True,
    allow_pickle: bool = False,
) -> ModelFiles:
    """Return where a model's files are, downloading those that aren't here yet.

    Args:
        source: the model.
        progress: told of each chunk; it may end the download.
        missing: the files of a hub model that aren't here; only the progress of these is shown.
        weights: whether the weights are needed.
        allow_pickle: whether pickled weights may be downloaded where there are no others.

    Raises:
        Cancelled: `progress` ended it.
        HfdemoError, HfHubHTTPError, OSError: see `explain.explain_load_error`.
    """
    if isinstance(source, HubModel):
        return _interruptibly(lambda: _fetch_from_hub(source, progress, missing, weights, allow_pickle), progress)
    if isinstance(source, AdapterModel):
        base = fetch_model(source.base, progress, missing, weights, allow_pickle)
        return replace(base, adapter=_interruptibly(lambda: fetch_adapter(source.adapter), progress))
    if isinstance(source, EmbeddedModel):
        return ModelFiles(ensure_embedded_model(progress))
    return local_files(source)


def _fetch_from_hub(
    source: HubModel, progress: Progress, missing: Sequence[RemoteFile], weights: bool, allow_pickle: bool
) -> ModelFiles:
    """Download into the cache that all Hugging Face libraries share.

    Without the Hub, a model that is complete in the cache is used as it is.
    """
    write_in_chunks_of(CHUNK_BYTES)
    total, done = sum(file.size_bytes for file in missing), 0
    for file in missing:
        bar = _progress_bar(progress, file.name, done, total)
        if file.sha256:
            fetch_large_file(source, file, bar)
        hf_hub_download(source.repo_id, file.name, revision=source.revision, token=source.token, tqdm_class=bar)
        done += file.size_bytes
    if source.gguf_file:
        path = hf_hub_download(source.repo_id, source.gguf_file, revision=source.revision, token=source.token)
        return gguf_files(Path(path), source.gguf_file)
    folder = _snapshot(source, WANTED_FILES, UNWANTED_FILES if weights else [*UNWANTED_FILES, "*.safetensors"])
    names = [path.name for path in folder.iterdir()]
    if weights and allow_pickle and weight_files(names, allow_pickle=False) is None:
        _snapshot(source, PICKLED_FILES)
    return ModelFiles(folder)


def _snapshot(source: HubModel, wanted: list[str], unwanted: list[str] | None = None) -> Path:
    return Path(
        snapshot_download(
            source.repo_id,
            revision=source.revision,
            allow_patterns=wanted,
            ignore_patterns=unwanted,
            token=source.token,
        )
    )


def _interruptibly(work: Callable[[], T], progress: Progress) -> T:
    """Do the work in a thread of its own, so that cancelling needn't wait for a stalled connection.

    The thread then ends at its next chunk.
    """
    result = in_thread(work, "download")
    while not wait([result], timeout=0.2).done:
        progress.raise_if_cancelled()
    return result.result()


def _progress_bar(progress: Progress, file: str, before: int, total: int) -> type[tqdm]:
    """Return a progress bar that draws nothing and reports the bytes instead.

    Args:
        progress: where it reports to.
        file: the file's name.
        before: the bytes of the files downloaded before this one.
        total: the bytes of all files.
    """

    class BytesReport(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the Hub's name for the bar's group
            super().__init__(*args, **kwargs | {"disable": True})
            self.n = kwargs.get("initial") or 0
            progress.report("downloading", before + int(self.n), total, file)

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            progress.report("downloading", before + int(self.n), total, file)
            return None

    return BytesReport
