"""Bring a model's files to this disk, wherever they are, and tell how far it is."""

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.utils import filter_repo_objects
from tqdm.auto import tqdm

from hfdemo.background import in_thread
from hfdemo.models.choose import HubModel, LocalModel, ModelSource
from hfdemo.models.embedded import ensure_embedded_model
from hfdemo.models.partial import RemoteFile, fetch_large_file
from hfdemo.models.progress import SILENT, Progress

# Configuration, tokenizer, chat template and safetensors weights: what transformers reads, and nothing else.
# Sub-folders hold other formats of the same weights (original/, onnx/), which would double the download.
WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
UNWANTED_FILES = ["*/*", "consolidated*"]
PICKLED_FILES = ["pytorch_model*.bin"]

CHUNK_BYTES = 1024 * 1024
"""How much is written at one time. The client's own 10 MB would lose as much when a download is cut."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this disk: a folder as transformers saves one, or a GGUF file in a folder."""

    folder: Path
    gguf_file: str | None = None


def wanted_files(names: Sequence[str], gguf_file: str | None = None, allow_pickle: bool = False) -> list[str]:
    """Return which files of a repository make the model; pickled weights only if they may be used and are needed."""
    if gguf_file:
        return [name for name in names if name == gguf_file]
    wanted = list(filter_repo_objects(names, allow_patterns=WANTED_FILES, ignore_patterns=UNWANTED_FILES))
    if allow_pickle and not any(name.endswith(".safetensors") for name in wanted):
        wanted += filter_repo_objects(names, allow_patterns=PICKLED_FILES, ignore_patterns=UNWANTED_FILES)
    return wanted


def cached_files(source: HubModel) -> ModelFiles | None:
    """Return where a hub model is on this disk, or None if it isn't, or isn't whole."""
    try:
        if source.gguf_file:
            path = hf_hub_download(source.repo_id, source.gguf_file, revision=source.revision, local_files_only=True)
            return ModelFiles(_repository_folder(Path(path), source.gguf_file), source.gguf_file)
        folder = Path(_snapshot(source, local_files_only=True))
    except OSError:  # LocalEntryNotFoundError is one
        return None
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    whole = has_weights and (folder / "config.json").is_file()
    return ModelFiles(folder) if whole else None


def fetch_model(
    source: ModelSource,
    progress: Progress = SILENT,
    missing: Sequence[RemoteFile] = (),
    weights: bool = True,
    allow_pickle: bool = False,
) -> ModelFiles:
    """Return where a model's files are, fetching what isn't here yet; without the weights if they aren't needed.

    Args:
        source: the model.
        progress: told of each piece; it may end the download.
        missing: the files of a hub model that aren't here; these are fetched with their progress shown.
        weights: whether the weights are needed.
        allow_pickle: whether pickled weights may be fetched where there are no others.

    Raises:
        Cancelled: `progress` ended it.
        HfdemoError, HfHubHTTPError, OSError: see `explain.explain_load_error`.
    """
    if isinstance(source, LocalModel):
        return ModelFiles(source.folder, source.gguf_file)
    if isinstance(source, HubModel):
        return _interruptibly(lambda: _fetch_from_hub(source, progress, missing, weights, allow_pickle), progress)
    return ModelFiles(ensure_embedded_model(progress))


def _fetch_from_hub(
    source: HubModel, progress: Progress, missing: Sequence[RemoteFile], weights: bool, allow_pickle: bool
) -> ModelFiles:
    """Download into the cache that all Hugging Face libraries share.

    Without the Hub, a model that is complete in the cache is used as it is.
    """
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    total, done = sum(file.size_bytes for file in missing), 0
    for file in missing:
        bar = _progress_bar(progress, file.name, done, total)
        if file.sha256:
            fetch_large_file(source, file, bar)
        hf_hub_download(source.repo_id, file.name, revision=source.revision, token=source.token, tqdm_class=bar)
        done += file.size_bytes
    if source.gguf_file:
        path = hf_hub_download(source.repo_id, source.gguf_file, revision=source.revision, token=source.token)
        return ModelFiles(_repository_folder(Path(path), source.gguf_file), source.gguf_file)
    return ModelFiles(Path(_snapshot(source, weights=weights, allow_pickle=allow_pickle, token=source.token)))


def _snapshot(source: HubModel, weights: bool = True, allow_pickle: bool = False, **options: Any) -> str:
    folder: str = snapshot_download(
        source.repo_id,
        revision=source.revision,
        allow_patterns=WANTED_FILES,
        ignore_patterns=UNWANTED_FILES if weights else [*UNWANTED_FILES, "*.safetensors"],
        **options,
    )
    pickled_only = allow_pickle and not any(Path(folder).glob("*.safetensors"))
    if weights and pickled_only:
        snapshot_download(source.repo_id, revision=source.revision, allow_patterns=PICKLED_FILES, **options)
    return folder


def _repository_folder(path: Path, file: str) -> Path:
    """Return the folder below which a downloaded file has its name in the repository."""
    return path.parents[file.count("/")]


def _interruptibly(work: Callable[[], T], progress: Progress) -> T:
    """Do the work in a thread of its own, so that it can be left at once; it then ends at its next piece.

    A connection that stands still would otherwise hold up whoever cancels.
    """
    result = in_thread(work, "download")
    while not wait([result], timeout=0.2).done:
        progress.check()
    return result.result()


def _progress_bar(progress: Progress, file: str, before: int, total: int) -> type[tqdm]:
    """Return a progress bar that draws nothing and reports the bytes instead.

    Args:
        progress: where it reports.
        file: the file's name.
        before: the bytes of the files that are here already.
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
