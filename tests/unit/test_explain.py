"""Whatever loading raises, wrapped in whatever, becomes one sentence that says what to do."""

import errno
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import hf_raise_for_status, validate_repo_id

from hfdemo.commands.terminal import exit_status
from hfdemo.errors import HfdemoError, ModelLoadError, PublishError
from hfdemo.models import access
from hfdemo.models.choose import EmbeddedModel, HubModel, LocalModel
from hfdemo.models.explain import explain_load_error
from hfdemo.publish.explain import explained

MODEL = HubModel("org/name", "v1")
PAGE = f"{constants.ENDPOINT}/org/name"
REQUEST = httpx2.Request("GET", f"{constants.ENDPOINT}/api/models/org/name/revision/v1")


def hub_answers(status: int, code: str | None = None, message: str = "") -> HfHubHTTPError:
    """Return the error that the client makes of an answer of the hub."""
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    with pytest.raises(HfHubHTTPError) as raised:
        hf_raise_for_status(httpx2.Response(status, headers=headers, request=REQUEST))
    return raised.value


def wrapped(cause: BaseException, *errors: BaseException, explicitly: bool = True) -> BaseException:
    """Return the last of `errors`, each raised because of the one before, or only while it was handled."""
    for error in errors:
        if explicitly:
            error.__cause__ = cause
        error.__context__ = cause
        cause = error
    return cause


def local_entry_not_found(cause: BaseException) -> BaseException:
    """Return what `snapshot_download` raises when it can neither ask the hub nor find the model here."""
    return wrapped(cause, LocalEntryNotFoundError("An error happened while trying to locate the files on the Hub"))


def transformers_error(cause: BaseException) -> BaseException:
    """Return what transformers makes of an error of the hub's client."""
    return wrapped(cause, OSError("We couldn't connect to the Hub to load the files"))


GATED = hub_answers(403, "GatedRepo", "Access to model org/name is restricted")
NO_REVISION = hub_answers(404, "RevisionNotFound", "Invalid rev id: v1")
NO_FILE = hub_answers(404, "EntryNotFound", "Entry not found")
NO_MODEL = hub_answers(401, None, "Invalid username or password.")
NO_MODEL_WITH_CODE = hub_answers(404, "RepoNotFound", "Repository not found")
BROKEN = hub_answers(503)
TOO_OFTEN = hub_answers(429)
OFFLINE = OfflineModeIsEnabled("offline mode is enabled")
NO_CONNECTION = httpx2.ConnectError("[Errno -2] Name or service not known")
TOO_SLOW = httpx2.ReadTimeout("timed out")
NO_METADATA = FileMetadataError("Distant resource does not seem to be on huggingface.co.")

HUB_CASES = [
    (GATED, "gated_no_token", ["org/name", PAGE, "/settings/tokens", "doctor"]),
    (NO_REVISION, "no_such_revision", ["org/name", "'v1'"]),
    (NO_FILE, "no_such_file", [f"{PAGE}/tree/main"]),
    (NO_MODEL, "no_such_model_anonymous", ["org/name", PAGE]),
    (NO_MODEL_WITH_CODE, "no_such_model_anonymous", ["org/name", PAGE]),
    (BROKEN, "hub_refused", ["org/name", "503"]),
    (TOO_OFTEN, "rate_limited", ["300 seconds", "/settings/tokens"]),
    (NO_CONNECTION, "hub_unreachable_for", ["org/name", constants.ENDPOINT]),
    (TOO_SLOW, "hub_unreachable_for", ["org/name", constants.ENDPOINT]),
    (local_entry_not_found(OFFLINE), "offline_not_cached", ["org/name", "HF_HUB_OFFLINE"]),
    (local_entry_not_found(NO_CONNECTION), "hub_unreachable_for", ["org/name", constants.ENDPOINT]),
    (local_entry_not_found(BROKEN), "hub_refused", ["503"]),
    (local_entry_not_found(NO_METADATA), "hub_unreachable_for", ["org/name"]),
    (LocalEntryNotFoundError("not in the cache"), "hub_unreachable_for", ["org/name"]),
    (wrapped(TOO_SLOW, IncompleteSnapshotError("incomplete", "/x")), "hub_unreachable_for", ["org/name"]),
]


@pytest.mark.parametrize(
    ("error", "key", "parts"), HUB_CASES, ids=[f"{case[1]}-{index}" for index, case in enumerate(HUB_CASES)]
)
@pytest.mark.parametrize("wrap", [lambda error: error, transformers_error], ids=["bare", "by transformers"])
def test_what_the_hub_says_is_explained(error, key, parts, wrap):
    explained = explain_load_error(wrap(error), MODEL)
    assert isinstance(explained, ModelLoadError)
    assert explained.key == key
    assert [part for part in parts if part not in explained.text("en")] == []
    assert explained.text("ko") != explained.text("en")


def test_where_a_variable_holds_the_token_the_advice_is_to_change_that(monkeypatch):
    error = hub_answers(403, None, "Please enable access in your fine-grained token settings")
    for token, advice in (("", "other_token_local"), ("hf_abcdefgh", "other_token_variable")):
        monkeypatch.setenv("HF_TOKEN", token)
        explained = explain_load_error(error, MODEL)
        assert (explained.key, explained.advice) == ("token_lacks_right", advice)
    assert "doctor" not in explained.text("en") and "HF_TOKEN" in explained.text("en")


def test_a_server_that_answers_in_the_hubs_place_is_no_hub(monkeypatch):
    def sign_in_first(source: HubModel) -> None:
        httpx2.Response(200, text="<html>", request=REQUEST).json()

    monkeypatch.setattr(access, "_model_info", sign_in_first)
    with pytest.raises(ModelLoadError) as refused:
        access.ask_hub(HubModel("org/name", public=True), "local")
    assert (refused.value.key, exit_status(refused.value)) == ("hub_unreachable_for", 23)


def test_a_connection_that_breaks_while_something_is_sent_is_one():
    with pytest.raises(PublishError) as refused, explained("someone/chat"):
        raise ConnectionError("Network error: connection reset")  # so the Hub's store of large files says it
    assert (refused.value.key, exit_status(refused.value)) == ("hub_unreachable", 23)


def test_the_reason_is_found_behind_errors_that_were_only_raised_meanwhile():
    error = wrapped(GATED, KeyError("cached"), OSError("no file"), ValueError("no config"), explicitly=False)
    assert explain_load_error(error, MODEL).key == "gated_no_token"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("source", [MODEL, LocalModel(Path("/x")), None])
def test_a_full_disk_is_said_with_the_folder(number, source):
    error = wrapped(OSError(number, "No space left on device"), RuntimeError("could not write"))
    explained = explain_load_error(error, source)
    assert explained.key == "disk_ran_full"
    assert constants.HF_HOME in explained.text("en")


@pytest.mark.parametrize(("filename", "folder"), [("/data/hub", "/data/hub"), (None, constants.HF_HOME)])
def test_a_folder_that_cant_be_written_is_named(filename, folder):
    explained = explain_load_error(PermissionError(errno.EACCES, "Permission denied", filename), MODEL)
    assert explained.key == "no_permission"
    assert folder in explained.text("ko")


def out_of_gpu_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("make_error", [MemoryError, out_of_gpu_memory])
def test_a_model_that_needs_too_much_memory_is_too_big(make_error):
    explained = explain_load_error(wrapped(make_error(), RuntimeError("loading failed")), MODEL)
    assert explained.key == "out_of_memory_loading"
    assert "org/name" in explained.text("en")


def bad_repo_id() -> Exception:
    with pytest.raises(ValueError, match="Repo id must") as raised:
        validate_repo_id("org/-name")
    return raised.value


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            ValueError("Unrecognized model in org/name.\nShould have a `model_type` key"),
            "Unrecognized model in org/name.",
        ),
        (KeyError("layers"), "'layers'"),
        (OSError("org/name has no file named pytorch_model.bin"), "org/name has no file named pytorch_model.bin"),
        (ImportError("This needs the tiktoken library"), "This needs the tiktoken library"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 500), "x" * 200),
    ],
)
@pytest.mark.parametrize("source", [MODEL, LocalModel(Path("/somewhere/name"))])
def test_files_that_make_no_chat_are_told_with_the_loaders_reason(error, problem, source):
    explained = explain_load_error(error, source)
    assert explained.key == "cant_load"
    assert explained.fields == {"model": source.name, "problem": problem}


def test_a_name_the_hub_would_refuse_is_told_in_its_own_words():
    assert "Repo id must use alphanumeric chars" in explain_load_error(bad_repo_id(), MODEL).text("en")


@pytest.mark.parametrize("error", [RuntimeError("size mismatch\nfor lm_head"), TypeError("size mismatch")])
def test_any_other_error_is_told_with_its_kind(error):
    explained = explain_load_error(error, MODEL)
    assert explained.text("en") == f"org/name did not load: {type(error).__name__}: size mismatch"


def test_an_error_for_people_is_told_as_it_is():
    reason = HfdemoError("no_pip", python="python3")
    assert explain_load_error(wrapped(reason, OSError("x"), RuntimeError("y")), MODEL) is reason


@pytest.mark.parametrize(
    "source", [None, LocalModel(Path("/somewhere/name")), EmbeddedModel(HfdemoError("no_pip", python="p"))]
)
def test_without_a_hub_model_no_hub_is_blamed(source):
    explained = explain_load_error(transformers_error(NO_FILE), source)
    assert explained.key == "cant_load"


def test_a_token_in_an_error_is_masked():
    explained = explain_load_error(RuntimeError("https://user:hf_abcdefghijklmnop@hub refused"), MODEL)
    assert "abcdefgh" not in explained.text("en") + explained.text("ko") + repr(explained)


def test_a_circle_of_causes_has_an_end():
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert explain_load_error(first, MODEL).key == "cant_load"
