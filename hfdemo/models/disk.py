"""What of a model is on this disk: the whole model, one of its files, how many bytes of a file. Asks no Hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils import filter_repo_objects

from hfdemo.models.hub_private import are_symlinks_supported, constants, repo_folder_name
from hfdemo.models.source import HubModel, LocalModel

# Configuration, tokenizer, chat template and safetensors weights: what transformers reads, and nothing else.
# Sub-folders hold other formats of the same weights (original/, onnx/), which would double the download.
WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
UNWANTED_FILES = ["*/*", "consolidated*"]
PICKLED_FILES = ["pytorch_model*.bin"]
WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors"]  # an adapter's, and those for other programs, are none


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this disk: a folder as transformers saves one, or a GGUF file in a folder."""

    folder: Path
    gguf_file: str | None = None
    adapter: Path | None = None
    """The folder of an adapter that is merged into it."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub."""

    name: str
    size_bytes: int
    commit: str = ""
    """The revision of the repository in which it was found."""
    sha256: str = ""
    """Known only of large files, which the Hub stores separately."""


def wanted_files(names: Sequence[str], gguf_file: str | None = None, allow_pickle: bool = False) -> list[str]:
    """Return which files of a repository make the model; pickled weights only if they are allowed and needed."""
    if gguf_file:
        return [name for name in names if name == gguf_file]
    wanted = list(filter_repo_objects(names, allow_patterns=WANTED_FILES, ignore_patterns=UNWANTED_FILES))
    if allow_pickle and not any(filter_repo_objects(wanted, allow_patterns=WEIGHTS)):
        wanted += filter_repo_objects(names, allow_patterns=PICKLED_FILES, ignore_patterns=UNWANTED_FILES)
    return wanted


def find_model(source: HubModel | LocalModel) -> ModelFiles | None:
    """Return where a model is on this disk, or None if it isn't here, or isn't complete."""
    if isinstance(source, LocalModel):
        return local_files(source)
    try:
        if source.gguf_file:
            path = hf_hub_download(source.repo_id, source.gguf_file, revision=source.revision, local_files_only=True)
            return gguf_files(Path(path), source.gguf_file)
        folder = Path(
            snapshot_download(
                source.repo_id,
                revision=source.revision,
                allow_patterns=WANTED_FILES,
                ignore_patterns=UNWANTED_FILES,
                local_files_only=True,
            )
        )
    except OSError:  # LocalEntryNotFoundError is one
        return None
    return ModelFiles(folder) if has_weights(folder) and (folder / "config.json").is_file() else None


def local_files(source: LocalModel) -> ModelFiles:
    """Return where a local model is."""
    return ModelFiles(source.folder, source.gguf_file)


def gguf_files(path: Path, name: str) -> ModelFiles:
    """Return a downloaded GGUF file below the folder in which it has its name in the repository."""
    return ModelFiles(path.parents[name.count("/")], name)


def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights that transformers can load; an adapter's alone are none."""
    weights = (*folder.glob("*.safetensors"), *folder.glob("*.bin"))
    return any(not path.name.startswith("adapter_model.") for path in weights)


def is_cached(repo_id: str) -> bool:
    """Tell whether a hub model's weights, or their index, are in the cache: a look at three files."""
    return has_file(repo_id, "config.json") and any(
        has_file(repo_id, name) for name in ("model.safetensors", "model.safetensors.index.json")
    )


def has_file(repo_id: str, name: str, commit: str | None = None) -> bool:
    """Tell whether a file of a repository is in the cache, of one commit or of the main branch."""
    return isinstance(try_to_load_from_cache(repo_id, name, revision=commit), str)


def bytes_here(source: HubModel, file: RemoteFile) -> int:
    """Return how many bytes of a file are here: what an interrupted download left, or all, of another commit."""
    if not file.sha256:
        return 0
    if are_symlinks_supported() and cache_path(source, file).exists():
        return file.size_bytes
    try:
        return min(partial_path(source, file).stat().st_size, file.size_bytes)
    except OSError:
        return 0


def partial_path(source: HubModel, file: RemoteFile) -> Path:
    """Return where an unfinished download of a large file is."""
    return repository_folder(source) / "blobs" / f"{file.sha256}.incomplete"


def cache_path(source: HubModel, file: RemoteFile) -> Path:
    """Return where the cache keeps a large file: among its blobs, or under its name where symlinks don't work."""
    if are_symlinks_supported():
        return repository_folder(source) / "blobs" / file.sha256
    return repository_folder(source) / "snapshots" / file.commit / file.name


def lock_path(source: HubModel, file: RemoteFile) -> Path:
    """Return the lock that huggingface_hub, too, holds while it downloads a large file."""
    return Path(constants.HF_HUB_CACHE, ".locks", repository_folder(source).name, f"{file.sha256}.lock")


def repository_folder(source: HubModel) -> Path:
    """Return the folder of a repository in the cache that all Hugging Face libraries share."""
    return Path(constants.HF_HUB_CACHE, str(repo_folder_name(repo_id=source.repo_id, repo_type="model")))
