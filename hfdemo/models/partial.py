"""Downloads of large files that can be resumed: what is on the disk is kept, and the next start continues from there.

huggingface_hub 2.4 gives each download a file with a random name, and deletes it when the download fails or is
cancelled; it resumes only after errors within one call. So large files are downloaded here with its `http_get`, into
`blobs/<hash>.incomplete` of its cache: the name that its earlier versions used and that `hf cache prune` deletes. A
file moves to its cache path once its hash is right, and the libraries find it there.
"""

import hashlib
import logging
import os
from pathlib import Path

from huggingface_hub import hf_hub_url
from tqdm.auto import tqdm

from hfdemo.models.disk import RemoteFile, cache_path, lock_path, partial_path
from hfdemo.models.explain import NO_ROOM
from hfdemo.models.hub_private import WeakFileLock, build_hf_headers, http_get
from hfdemo.models.source import HubModel

logger = logging.getLogger(__name__)


def fetch_large_file(source: HubModel, file: RemoteFile, bar: type[tqdm]) -> None:
    """Download a large file to its cache path, continuing what an earlier download left.

    A file whose hash is wrong is deleted, and nothing is raised: the caller then lets huggingface_hub download it. Two
    programs that want the same file wait for each other, as they do with that library.

    Args:
        source: the model.
        file: one whose `sha256` is known.
        bar: makes the progress bar; it may raise to end the download.

    Raises:
        HfHubHTTPError, OSError, httpx2.TransportError: see `explain.explain_load_error`.
    """
    partial, target, lock = partial_path(source, file), cache_path(source, file), lock_path(source, file)
    for path in (partial, target, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if target.exists():  # another program downloaded it while this one waited
            return
        try:
            _fetch_rest(source, file, partial, bar)
        except OSError as error:
            if error.errno in NO_ROOM:
                partial.unlink()  # a full disk hurts every program on this machine
            raise
        if _sha256(partial) == file.sha256:
            os.replace(partial, target)
        else:
            partial.unlink()
            logger.warning("%s of %s is damaged, downloading it again", file.name, source.name)


def _fetch_rest(source: HubModel, file: RemoteFile, partial: Path, bar: type[tqdm]) -> None:
    """Download what is missing of a file, from the Hub's address: those it redirects to soon expire."""
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
