"""Large files of a model, of which what has come is kept: the next start goes on where a download ended.

huggingface_hub 2.4 gives each download a file with a random name, and deletes it when the download fails or is
cancelled; it takes up again only what breaks within one call. So large files are fetched here with its `http_get`,
into `blobs/<hash>.incomplete` of its cache: the name that its earlier versions used and that `hf cache prune` clears
away. A file takes its place in the cache once its hash is right, and the libraries find it there.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.file_download import are_symlinks_supported, http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from tqdm.auto import tqdm

from hfdemo.models.choose import HubModel
from hfdemo.models.explain import NO_ROOM

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub that is to be fetched."""

    name: str
    size_bytes: int
    commit: str = ""
    """The state of the repository in which it was found."""
    sha256: str = ""
    """Known of large files only, which the Hub stores apart."""


def kept_bytes(source: HubModel, file: RemoteFile) -> int:
    """Return how much of a file is here from a download that ended too soon."""
    try:
        return min(_partial_path(source, file).stat().st_size, file.size_bytes) if file.sha256 else 0
    except OSError:
        return 0


def fetch_large_file(source: HubModel, file: RemoteFile, bar: type[tqdm]) -> None:
    """Bring a large file to its place in the cache, going on with what is here of it.

    What is not what the Hub says it is goes away, and nothing is raised: the caller then lets the Hub's library fetch
    the file. Two programs that want the same file wait for one another, as with that library.

    Args:
        source: the model.
        file: one whose `sha256` is known.
        bar: makes the progress bar; it may raise to end the download.

    Raises:
        HfHubHTTPError, OSError, httpx2.TransportError: see `explain.explain_load_error`.
    """
    partial, place = _partial_path(source, file), _place(source, file)
    lock = Path(constants.HF_HUB_CACHE, ".locks", _folder_name(source), f"{file.sha256}.lock")
    for path in (partial, place, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if place.exists():  # somebody else brought it while this one waited
            return
        try:
            _fetch_rest(source, file, partial, bar)
        except OSError as error:
            if error.errno in NO_ROOM:
                partial.unlink()  # a full disk is trouble for all of the machine
            raise
        if _sha256(partial) == file.sha256:
            os.replace(partial, place)
        else:
            partial.unlink()
            logger.warning("%s of %s came damaged; it is fetched anew", file.name, source.name)


def _fetch_rest(source: HubModel, file: RemoteFile, partial: Path, bar: type[tqdm]) -> None:
    """Fetch what is missing of a file. The address is the Hub's: those it leads to are good for a while only."""
    if partial.exists() and partial.stat().st_size > file.size_bytes:
        partial.unlink()
    with partial.open("ab") as output:
        http_get(
            hf_hub_url(source.repo_id, file.name, revision=file.commit),
            output,
            resume_size=output.tell(),
            headers=build_hf_headers(token=source.token) | {"accept-encoding": "identity"},
            expected_size=file.size_bytes,
            tqdm_class=bar,
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _partial_path(source: HubModel, file: RemoteFile) -> Path:
    return _repository(source) / "blobs" / f"{file.sha256}.incomplete"


def _place(source: HubModel, file: RemoteFile) -> Path:
    """Return where the cache has a file: among its blobs, or under its name where a link to it can't be made."""
    if are_symlinks_supported():
        return _repository(source) / "blobs" / file.sha256
    return _repository(source) / "snapshots" / file.commit / file.name


def _repository(source: HubModel) -> Path:
    return Path(constants.HF_HUB_CACHE, _folder_name(source))


def _folder_name(source: HubModel) -> str:
    return str(repo_folder_name(repo_id=source.repo_id, repo_type="model"))
