"""Why a model can't be used, with the next step to take: each case has a key of its own.

Some cases differ only in the words of the Hub's answer; these were recorded on the real Hub in October 2026.
"""

import errno
import json
from collections.abc import Iterator

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hfdemo.errors import HfdemoError, ModelLoadError, is_out_of_memory, own_command
from hfdemo.models.hub_private import constants, parse_ratelimit_headers
from hfdemo.models.saved_token import saved_token, token_source
from hfdemo.models.source import AdapterModel, HubModel, LocalModel, ModelSource
from hfdemo.settings import Platform

SIGN_IN = "https://huggingface.co"
"""Where people sign in, ask for access and create tokens, even if the files come from a mirror of the Hub."""

GATES = {
    "awaiting a review": "gated_pending",
    "has been rejected": "gated_rejected",
    "has been reset": "gated_reset",
    "not in the authorized list": "gated_not_asked",
    "be authenticated": "gated_no_token",
}
"""What the Hub says about a gated model, and the key of the case."""

UNREACHABLE = (httpx2.TransportError, ConnectionError, OfflineModeIsEnabled, TimeoutError, json.JSONDecodeError)
"""What a question to the Hub ends with where the Hub doesn't answer it. The second is what its client for large files
(Xet) raises; the last comes where something else answers, such as a network that wants people to sign in."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)


class NeedsCode(ValueError):
    """A model can't be read without running code that came with it."""


def explain_load_error(error: BaseException, source: ModelSource | None, platform: Platform = "local") -> HfdemoError:
    """Return the error to show for whatever checking, fetching or loading a model raised.

    transformers and huggingface_hub wrap the original error in others, so the whole chain of causes is searched.

    Args:
        error: what was raised.
        source: the model, once it is known.
        platform: where this runs; the advice depends on it.
    """
    if isinstance(error, HfdemoError):
        return error
    name, on_hub = source.name if source else "", _on_hub(source)
    for cause in _causes(error):
        if isinstance(cause, HfdemoError):
            return cause
        if isinstance(cause, NeedsCode):
            return ModelLoadError("needs_code", model=name)
        if on_hub and (found := _explain_hub_error(cause, on_hub, platform)):
            return found
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return ModelLoadError("disk_ran_full", advice("disk", platform), folder=constants.HF_HOME)
        if isinstance(source, LocalModel) and isinstance(cause, PermissionError):
            return ModelLoadError("folder_unreadable_model", folder=cause.filename or name)
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno in NO_RIGHTS):
            return ModelLoadError("no_permission", folder=cause.filename or constants.HF_HOME)
        if is_out_of_memory(cause):
            return ModelLoadError("out_of_memory_loading", model=name)
    return _explain_content_error(error, name)


def explain_search_error(error: Exception) -> HfdemoError:
    """Return the error to show when the Hub could not be searched."""
    if isinstance(error, HfHubHTTPError) and _status(error) == 429:
        return ModelLoadError("rate_limited", seconds=seconds_to_wait(error))
    return ModelLoadError("hub_unreachable", endpoint=constants.ENDPOINT, problem=type(error).__name__)


def _on_hub(source: ModelSource | None) -> HubModel | None:
    """Return what of a model is downloaded; of an adapter, its base comes first."""
    parts = (source.base, source.adapter) if isinstance(source, AdapterModel) else (source,)
    return next((part for part in parts if isinstance(part, HubModel)), None)


def _explain_hub_error(cause: BaseException, source: HubModel, platform: Platform) -> HfdemoError | None:
    if isinstance(cause, HfHubHTTPError):
        return _explain_answer(cause, source, platform)
    if isinstance(cause, OfflineModeIsEnabled):
        return ModelLoadError("offline_not_cached", model=source.name)
    if isinstance(cause, LocalEntryNotFoundError | httpx2.TransportError):
        return ModelLoadError("hub_unreachable_for", model=source.name, endpoint=constants.ENDPOINT)
    return None


def _explain_answer(error: HfHubHTTPError, source: HubModel, platform: Platform) -> HfdemoError:
    """Return the error to show for an answer of the Hub."""
    name, page = source.name, f"{SIGN_IN}/{source.repo_id}"
    said = _words_of(error)
    if isinstance(error, GatedRepoError):
        return _explain_gate(said, source, platform)
    if isinstance(error, DisabledRepoError) or "access to this resource is disabled" in said:
        return ModelLoadError("disabled", model=name, page=page)
    if "fine-grained token" in said:
        return ModelLoadError("token_lacks_right", advice("other_token", platform), model=name, **_token_help())
    if isinstance(error, RevisionNotFoundError):
        return ModelLoadError("no_such_revision", model=name, revision=source.revision, page=f"{page}/refs")
    if isinstance(error, RemoteEntryNotFoundError):
        return ModelLoadError("no_such_file", model=name, page=page)
    if isinstance(error, RepositoryNotFoundError) or _status(error) == 401:
        if _sends_token(source):
            return ModelLoadError("no_such_model", model=name, page=page)
        return ModelLoadError(
            "no_such_model_anonymous", advice("set_token", platform), model=name, page=page, **_token_help()
        )
    if _status(error) == 429:
        more = None if _sends_token(source) else advice("set_token", platform)  # tokens raise the limit
        return ModelLoadError("rate_limited", more, model=name, seconds=seconds_to_wait(error), **_token_help())
    return ModelLoadError("hub_refused", model=name, status=_status(error))


def _explain_gate(said: str, source: HubModel, platform: Platform) -> HfdemoError:
    """Return the error that says why a gated model isn't open to this token."""
    key = next((key for words, key in GATES.items() if words in said), "gated_not_asked")
    if not _sends_token(source):
        key = "gated_no_token"
    return gated_error(key, source, platform)


def gated_error(key: str, source: HubModel, platform: Platform) -> HfdemoError:
    """Return the error for a gated model; `key` is a value of `GATES`."""
    facts = {
        "model": source.name,
        "page": f"{SIGN_IN}/{source.repo_id}",
        "requests": f"{SIGN_IN}/settings/gated-repos",
    }
    token_advice = advice("set_token", platform) if key == "gated_no_token" else None
    return ModelLoadError(key, token_advice, **facts, **_token_help())


def bad_token_error(source: str | None, platform: Platform) -> HfdemoError:
    """Return the error for a token that the Hub doesn't know.

    Args:
        source: where the token comes from; None if somebody has just typed it.
        platform: where this runs.
    """
    return ModelLoadError(
        "bad_token" if source else "bad_typed_token", advice("new_token", platform), source=source, **_token_help()
    )


def advice(topic: str, platform: Platform) -> str:
    """Return the key of the advice on a topic for a platform.

    A token that is typed would be of no use where `HF_TOKEN` holds another; on Colab, it holds that of the vault.
    """
    place = "space" if platform == "zerogpu" else platform
    if topic in ("new_token", "other_token") and place == "local" and token_source(platform) == "HF_TOKEN":
        return f"{topic}_variable"
    return f"{topic}_{place}"


def _token_help() -> dict[str, str]:
    return {"tokens": f"{SIGN_IN}/settings/tokens", "command": own_command()}


def _sends_token(source: HubModel) -> bool:
    return not source.public and saved_token() is not None


def in_one_line(error: Exception) -> str:
    """Return what a library's error says, and of what kind it is: some name nothing but a key or a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _words_of(error: HfHubHTTPError) -> str:
    """Return what the Hub said, in lower case."""
    header = error.response.headers.get("X-Error-Message", "") if error.response is not None else ""
    return f"{header} {error.server_message or ''} {error}".lower()


def _status(error: HfHubHTTPError) -> int:
    return error.response.status_code if error.response is not None else 0


def seconds_to_wait(error: HfHubHTTPError) -> int:
    """Return how long the Hub asks us to wait; its limits apply to windows of five minutes."""
    headers = error.response.headers
    if limit := parse_ratelimit_headers(headers):
        return int(limit.reset_in_seconds)
    return int(headers["Retry-After"]) if headers.get("Retry-After", "").isdecimal() else 300


def _explain_content_error(error: BaseException, name: str) -> HfdemoError:
    """Return the error for a model whose files are here but can't be used for a chat."""
    problem = _first_line(error)
    if type(error).__name__.startswith("StrictDataclass"):  # a value in config.json, which its second line tells
        problem = f"config.json: {' '.join(str(error).split())[:200]}"
        return ModelLoadError("cant_load", model=name, problem=problem)
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return ModelLoadError("needs_code", model=name)
    if isinstance(error, ValueError | KeyError | OSError | ImportError):
        return ModelLoadError("cant_load", model=name, problem=problem)
    return ModelLoadError("load_failed", model=name, problem=f"{type(error).__name__}: {problem}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the innermost first: it has the reason."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    yield from reversed(chain)


def _first_line(error: BaseException, chars: int = 200) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:chars]
