"""The stand-in for the Hub: the unmodified client takes it for the real one, also when the Hub refuses."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import torch
from huggingface_hub import HfApi, constants, file_download, hf_hub_download, snapshot_download
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
from huggingface_hub.utils import _http, close_session, parse_ratelimit_headers
from safetensors.torch import save

from tests import hub as stand_in
from tests.conftest import free_port
from tests.hub import COMMIT, Hub, Model, git_hash, serve

CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}).encode()
WEIGHTS = save({"a": torch.zeros(400, 500, dtype=torch.bfloat16), "b": torch.zeros(10)})
FILES = {"README.md": b"# Tiny", "config.json": CONFIG, "model.safetensors": WEIGHTS, "original/x.pth": b"pickled"}
CHUNK_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    models = {
        "org/tiny": Model(FILES, downloads=5),
        "org/gated": Model(FILES, gated="manual", downloads=7),
        "org/private": Model(FILES, private=True),
        "org/disabled": Model(FILES, disabled=True),
        "org/half-disabled": Model(FILES, disabled=True, hides_info=False),
        "org/huge": Model({"config.json": CONFIG}, sizes={"model.safetensors": 140_000_000_000}, safetensors={}),
        "org/picture": Model(FILES, pipeline_tag="text-to-image", library_name="diffusers"),
    }
    with serve(Hub(models)) as hub:
        yield hub


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """How long the client would have slept before it tried again; it doesn't."""
    seconds: list[float] = []
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


@pytest.fixture
def hub(served: Hub, monkeypatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub with all its switches off, trusted by the client in this process."""
    monkeypatch.setenv("SSL_CERT_FILE", served.environ["SSL_CERT_FILE"])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK_BYTES)
    close_session()
    for record in (served.requests, served.ranges, served.cdn_saw_authorization):
        record.clear()
    yield served
    served.down, served.bytes_per_s = False, None
    served.rate_limit(None)
    close_session()


def api(hub: Hub, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def download(hub: Hub, model: str, file: str = "config.json", token: str | bool = False, **options: Any) -> Path:
    return Path(
        hf_hub_download(model, file, endpoint=hub.url, token=token, cache_dir=constants.HF_HUB_CACHE, **options)
    )


def snapshot(hub: Hub, model: str, **options: Any) -> Path:
    return Path(snapshot_download(model, endpoint=hub.url, cache_dir=constants.HF_HUB_CACHE, **options))


def error_of(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def answer_of(error: Exception) -> tuple[int, str | None, str]:
    """Return the status, code and text that the Hub answered."""
    assert isinstance(error, HfHubHTTPError)
    headers = error.response.headers
    assert headers["X-Request-Id"]
    return error.response.status_code, headers.get("X-Error-Code"), headers["X-Error-Message"]


@pytest.mark.parametrize(
    ("token", "status", "text"),
    [
        (False, 401, "You must have access to it and be authenticated to access it."),
        (stand_in.NOT_ASKED_TOKEN, 403, "you are not in the authorized list."),
        (stand_in.PENDING_TOKEN, 403, "is awaiting a review from the repo authors."),
        (stand_in.REJECTED_TOKEN, 403, "has been rejected by the repo's authors."),
        (stand_in.RESET_TOKEN, 403, "has been reset by the repo's authors."),
    ],
    ids=["no token", "not asked", "pending", "rejected", "reset"],
)
def test_closed_gate_of_cases_1_to_5(hub, token, status, text):
    assert api(hub, token).model_info("org/gated").gated == "manual"
    assert download(hub, "org/gated", "README.md", token).read_bytes() == b"# Tiny"
    for ask in (
        lambda: api(hub, token).auth_check("org/gated"),
        lambda: download(hub, "org/gated", token=token),
        lambda: download(hub, "org/gated", "no.such.file", token=token),
        lambda: download(hub, "org/gated", revision="nope", token=token),
        lambda: snapshot(hub, "org/gated", token=token),
    ):
        error = error_of(ask)
        assert type(error) is GatedRepoError
        assert answer_of(error)[:2] == (status, "GatedRepo")
        assert text in answer_of(error)[2]


def test_fine_grained_token_without_the_right_of_case_6(hub):
    token = stand_in.FINE_GRAINED_TOKEN
    asked = error_of(lambda: api(hub, token).auth_check("org/gated"))
    downloaded = error_of(lambda: download(hub, "org/gated", token=token))
    assert type(downloaded) is LocalEntryNotFoundError
    for error in (asked, downloaded.__cause__):
        assert type(error) is HfHubHTTPError
        assert answer_of(error)[:2] == (403, None)
        assert "enable access to public gated repositories in your fine-grained token" in answer_of(error)[2]
    assert download(hub, "org/tiny", token=token).read_bytes() == CONFIG


def test_bad_token_of_case_7(hub):
    for ask in (
        lambda: api(hub, stand_in.BAD_TOKEN).model_info("org/tiny"),
        lambda: download(hub, "org/tiny", token=stand_in.BAD_TOKEN),
    ):
        error = error_of(ask)
        assert type(error) is RepositoryNotFoundError
        assert answer_of(error) == (401, None, "Invalid username or password.")
    assert type(error_of(lambda: api(hub).whoami(stand_in.BAD_TOKEN))) is HfHubHTTPError

    hub.refuse_once("/api/models/org/tiny", 401, "Invalid credentials in Authorization header")
    assert type(error_of(lambda: api(hub, stand_in.BAD_TOKEN).model_info("org/tiny"))) is HfHubHTTPError


@pytest.mark.parametrize(
    ("model", "token", "status", "code"),
    [
        ("org/missing", False, 401, None),
        ("org/private", False, 401, None),
        ("org/missing", stand_in.GOOD_TOKEN, 404, "RepoNotFound"),
        ("org/private", stand_in.PENDING_TOKEN, 404, "RepoNotFound"),
    ],
    ids=["missing, no token", "private, no token", "missing", "private"],
)
def test_missing_or_private_model_of_cases_8_and_9(hub, model, token, status, code):
    for ask in (
        lambda: api(hub, token).model_info(model),
        lambda: api(hub, token).auth_check(model),
        lambda: download(hub, model, token=token),
    ):
        error = error_of(ask)
        assert type(error) is RepositoryNotFoundError
        assert answer_of(error)[:2] == (status, code)


def test_missing_revision_and_file_of_case_10(hub):
    for ask in (
        lambda: api(hub).model_info("org/tiny", revision="refs/pr/1"),
        lambda: download(hub, "org/tiny", revision="nope"),
    ):
        error = error_of(ask)
        assert type(error) is RevisionNotFoundError
        assert answer_of(error)[:2] == (404, "RevisionNotFound")
    error = error_of(lambda: download(hub, "org/tiny", "no.such.file"))
    assert type(error) is RemoteEntryNotFoundError
    assert answer_of(error) == (404, "EntryNotFound", "Entry not found")
    error = error_of(lambda: list(api(hub).list_repo_tree("org/tiny", "additional_chat_templates")))
    assert type(error) is RemoteEntryNotFoundError


def test_disabled_model_of_case_11(hub):
    downloaded = error_of(lambda: download(hub, "org/disabled"))
    assert type(downloaded) is LocalEntryNotFoundError
    for error in (
        downloaded.__cause__,
        error_of(lambda: api(hub).model_info("org/disabled")),
        error_of(lambda: api(hub).auth_check("org/half-disabled")),
    ):
        assert type(error) is DisabledRepoError
        assert answer_of(error) == (403, None, "Access to this resource is disabled.")
    assert api(hub).model_info("org/half-disabled").disabled


def test_rate_limit_of_case_12(hub, slept):
    hub.rate_limit(55)
    error = error_of(lambda: api(hub).model_info("org/tiny"))
    assert type(error) is HfHubHTTPError
    assert error.response.status_code == 429
    assert parse_ratelimit_headers(error.response.headers).reset_in_seconds == 55
    assert download(hub, "org/tiny").read_bytes() == CONFIG

    hub.rate_limit(55, "resolvers")
    error = error_of(lambda: download(hub, "org/tiny", "original/x.pth"))
    assert type(error) is LocalEntryNotFoundError
    assert answer_of(error.__cause__)[0] == 429
    assert slept == [56] * 5
    assert api(hub).model_info("org/tiny").id == "org/tiny"

    hub.rate_limit(None)
    assert download(hub, "org/tiny", "original/x.pth").read_bytes() == b"pickled"


def test_hub_that_is_down_of_case_13(hub, slept, monkeypatch):
    hub.down = "503"
    assert answer_of(error_of(lambda: api(hub).model_info("org/tiny")))[0] == 503
    assert answer_of(error_of(lambda: download(hub, "org/tiny")).__cause__)[0] == 503

    hub.down = "hangs up"
    for ask in (lambda: api(hub).model_info("org/tiny"), lambda: download(hub, "org/tiny")):
        assert type(error_of(ask)) is httpx2.RemoteProtocolError

    hub.down = "silent"
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.2)
    assert isinstance(error_of(lambda: api(hub).model_info("org/tiny", timeout=0.2)), httpx2.ReadTimeout)
    error = error_of(lambda: download(hub, "org/tiny", etag_timeout=0.2))
    assert type(error) is LocalEntryNotFoundError
    assert type(error.__cause__) is httpx2.ReadTimeout

    hub.down = False
    assert download(hub, "org/tiny").read_bytes() == CONFIG


def test_hub_that_cannot_be_reached_of_case_13(hub, slept, monkeypatch):
    nowhere = Hub({})
    nowhere.url = f"https://localhost:{free_port()}"
    error = error_of(lambda: download(nowhere, "org/tiny"))
    assert type(error) is LocalEntryNotFoundError
    assert type(error.__cause__) is httpx2.ConnectError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = error_of(lambda: download(hub, "org/tiny"))
    assert type(error) is LocalEntryNotFoundError
    assert type(error.__cause__) is OfflineModeIsEnabled


def test_one_anonymous_refusal_under_load_of_case_14(hub):
    hub.refuse_once("/api/models/org/tiny")
    error = error_of(lambda: api(hub).model_info("org/tiny"))
    assert type(error) is RepositoryNotFoundError
    assert answer_of(error) == (401, None, "Invalid username or password.")
    assert api(hub).model_info("org/tiny").id == "org/tiny"


def test_folder_that_cannot_be_written_of_case_15(hub, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    error = error_of(lambda: download(hub, "org/tiny"))
    assert isinstance(error, OSError)
    assert not isinstance(error, HfHubHTTPError)


@pytest.mark.parametrize(
    ("token", "role"),
    [(stand_in.GOOD_TOKEN, "write"), (stand_in.READ_TOKEN, "read"), (stand_in.FINE_GRAINED_TOKEN, "fineGrained")],
    ids=["write", "read", "fine-grained"],
)
def test_whoami_tells_the_role_of_a_token(hub, token, role):
    assert api(hub).whoami(token)["auth"]["accessToken"]["role"] == role


@pytest.mark.parametrize("token", [stand_in.GOOD_TOKEN, stand_in.READ_TOKEN], ids=["write", "read"])
@pytest.mark.parametrize("model", ["org/gated", "org/private"])
def test_accepted_reader_gets_the_files_and_the_cdn_no_token(hub, token, model):
    api(hub, token).auth_check(model)
    assert download(hub, model, "model.safetensors", token).read_bytes() == WEIGHTS
    assert hub.requests[-1] == f"GET /cdn/{model}/model.safetensors"
    assert hub.cdn_saw_authorization == [False]


def test_model_is_described(hub):
    info = api(hub).model_info("org/tiny", files_metadata=True)
    assert (info.sha, info.gated, info.private, info.disabled, info.downloads) == (COMMIT, False, False, False, 5)
    assert (info.pipeline_tag, info.library_name) == ("text-generation", "transformers")
    assert info.config == {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    assert (info.safetensors.parameters, info.safetensors.total) == ({"BF16": 200_000, "F32": 10}, 200_010)
    assert info.used_storage == sum(map(len, FILES.values()))
    siblings = {file.rfilename: file for file in info.siblings}
    assert {name: file.size for name, file in siblings.items()} == {name: len(FILES[name]) for name in FILES}
    assert (siblings["config.json"].lfs, siblings["config.json"].blob_id) == (None, git_hash(CONFIG))
    assert siblings["model.safetensors"].lfs.size == len(WEIGHTS)

    assert api(hub).model_info("org/tiny").siblings[0].size is None
    asked_for = api(hub).model_info("org/tiny", expand=["gated", "safetensors"])
    assert (asked_for.safetensors.total, asked_for.downloads, asked_for.siblings) == (200_010, None, None)


def test_model_too_big_for_any_disk_is_described(hub):
    info = api(hub).model_info("org/huge", files_metadata=True)
    assert {file.rfilename: file.size for file in info.siblings}["model.safetensors"] == 140_000_000_000
    assert info.safetensors is None


def test_tree_has_folders(hub):
    def tree(**options):
        return {entry.path for entry in api(hub).list_repo_tree("org/tiny", **options)}

    assert tree() == {"README.md", "config.json", "model.safetensors", "original"}
    assert tree(recursive=True) == {*FILES, "original"}
    assert tree(path_in_repo="original") == {"original/x.pth"}


def test_search(hub):
    def found(token=False, **options):
        return [info.id for info in api(hub, token).list_models(**options)]

    assert found(pipeline_tag="text-generation", sort="downloads", limit=2) == ["org/gated", "org/tiny"]
    assert found(search="TINY org") == ["org/tiny"]
    assert found(filter=["text-to-image", "diffusers"]) == ["org/picture"]
    assert found(gated=True) == ["org/gated"]
    assert found(author="nobody") == []
    assert "org/private" not in found()
    assert "org/private" in found(stand_in.GOOD_TOKEN)

    (tiny,) = api(hub).list_models(search="tiny")
    assert (tiny.downloads, tiny.safetensors, tiny.gated) == (5, None, None)
    (tiny,) = api(hub).list_models(search="tiny", expand=["gated", "safetensors"])
    assert (tiny.downloads, tiny.safetensors.total, tiny.gated) == (None, 200_010, False)


def test_snapshot_goes_on_where_the_cdn_cut_it(hub):
    hub.cut_after(CHUNK_BYTES * 3 // 2)
    options = {"token": stand_in.GOOD_TOKEN, "ignore_patterns": ["original/*"]}
    folder = snapshot(hub, "org/tiny", **options)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert folder.name == COMMIT
    assert hub.ranges == [f"bytes={CHUNK_BYTES}-"]
    assert hub.cdn_saw_authorization == [False, False]
    requests = len(hub.requests)
    assert snapshot(hub, "org/tiny", local_files_only=True, **options) == folder
    assert len(hub.requests) == requests


def test_slow_cdn_can_be_made_fast_again(hub):
    hub.bytes_per_s = 200_000
    started = time.monotonic()
    download(hub, "org/tiny", "model.safetensors")
    slow_s = time.monotonic() - started
    assert 1 < slow_s < 10
    hub.bytes_per_s = None
    started = time.monotonic()
    download(hub, "org/tiny", "model.safetensors", force_download=True)
    assert time.monotonic() - started < slow_s / 2


@pytest.mark.parametrize("address", ["{url}/org/tiny/resolve/main/README.md", "{cdn_url}/cdn/org/tiny/original/x.pth"])
def test_parts_of_files_from_both_origins(hub, address):
    url = address.format(url=hub.url, cdn_url=hub.cdn_url)
    whole = httpx2.get(url)
    for asked, start, end in [("1-2", 1, 3), ("2-", 2, len(whole.content)), ("-2", len(whole.content) - 2, None)]:
        part = httpx2.get(url, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["Content-Range"].endswith(f"/{len(whole.content)}")
    assert httpx2.get(url, headers={"Range": "bytes=99-"}).status_code == 416


def test_plain_http(tmp_path):
    with serve(Hub({"org/tiny": FILES}), tls=False) as hub:
        assert hub.url.startswith("http://")
        assert "SSL_CERT_FILE" not in hub.environ
        folder = Path(snapshot_download("org/tiny", endpoint=hub.url, cache_dir=tmp_path))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_transformers_loads_a_model_from_it_in_a_process_of_its_own(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.unit.families import byte_level

    tokenizer = byte_level(["<s>", "</s>"])
    tokenizer.save_pretrained(tmp_path / "tiny")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "tiny")
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("org/tiny")
print(type(model).__name__, len(AutoTokenizer.from_pretrained("org/tiny")))
"""
    with serve(Hub({"org/tiny": Model(tmp_path / "tiny", gated="auto")})) as hub:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | hub.environ | {"HF_HOME": str(tmp_path / "home"), "HF_TOKEN": stand_in.GOOD_TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.stdout.split() == ["LlamaForCausalLM", str(len(tokenizer))], ended.stderr
        assert not any(hub.cdn_saw_authorization)
