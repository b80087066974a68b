"""Why a model did not load, in words that say what to do next."""

import errno
from collections.abc import Iterator

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hfdemo.errors import HfdemoError, ModelLoadError
from hfdemo.models.choose import HubModel, ModelSource


def explain_load_error(error: BaseException, source: ModelSource | None) -> HfdemoError:
    """Return the error to show for whatever loading raised.

    transformers and huggingface_hub wrap what happened in other errors, so the whole chain of causes is read.
    """
    name = source.name if source else ""
    for cause in _causes(error):
        if isinstance(cause, HfdemoError):
            return cause
        if found := _explain_hub_error(cause, source, name):
            return found
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return ModelLoadError("disk_full", folder=constants.HF_HOME, needed="?")
        if isinstance(cause, PermissionError):
            return ModelLoadError("no_permission", folder=cause.filename or constants.HF_HOME)
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return ModelLoadError("too_big", model=name)
    return _explain_content_error(error, name)


def _explain_hub_error(cause: BaseException, source: ModelSource | None, name: str) -> HfdemoError | None:
    if not isinstance(source, HubModel):
        return None
    page = f"{constants.ENDPOINT}/{source.repo_id}"
    if isinstance(cause, GatedRepoError):
        return ModelLoadError("gated", model=name, page=page)
    if isinstance(cause, RevisionNotFoundError):
        return ModelLoadError("no_such_revision", model=name, revision=source.revision)
    if isinstance(cause, RemoteEntryNotFoundError):
        return ModelLoadError("no_such_file", model=name, page=page)
    if isinstance(cause, RepositoryNotFoundError):
        return ModelLoadError("no_such_model", model=name, page=page)
    if isinstance(cause, OfflineModeIsEnabled):
        return ModelLoadError("offline_not_cached", model=name)
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        return ModelLoadError("hub_refused", model=name, status=cause.response.status_code)
    if isinstance(cause, LocalEntryNotFoundError):
        return ModelLoadError("hub_unreachable_for", model=name, endpoint=constants.ENDPOINT)
    if isinstance(cause, httpx2.TransportError):
        return ModelLoadError("hub_unreachable_for", model=name, endpoint=constants.ENDPOINT)
    return None


def _explain_content_error(error: BaseException, name: str) -> HfdemoError:
    """Explain a model whose files are here and still don't make a chat."""
    if isinstance(error, ValueError | KeyError | OSError | ImportError):
        return ModelLoadError("not_a_language_model", model=name, problem=_first_line(error))
    return ModelLoadError("load_failed", model=name, problem=f"{type(error).__name__}: {_first_line(error)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, the deepest first: that is where the reason is."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    yield from reversed(chain)


def _first_line(error: BaseException, chars: int = 200) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:chars]
