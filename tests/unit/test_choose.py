"""The host's model is read from its name, and the default is one that this machine can have."""

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hfdemo.errors import ModelLoadError
from hfdemo.models import choose
from hfdemo.models.choose import (
    DEFAULT_ON_CPU,
    DEFAULT_ON_GPU,
    EmbeddedModel,
    HubModel,
    LocalModel,
    choose_model,
    parse_model,
)
from tests.conftest import ROOT, free_port, quickest

UNREACHABLE = ModelLoadError("hub_unreachable", endpoint="https://hub", problem="ConnectError")


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ("org/name", HubModel("org/name")),
        ("Qwen/Qwen3-0.6B", HubModel("Qwen/Qwen3-0.6B")),
        ("a_b.c-d/e_f.g-h", HubModel("a_b.c-d/e_f.g-h")),
        ("org/name@rev", HubModel("org/name", "rev")),
        ("org/name@v1.0", HubModel("org/name", "v1.0")),
        ("org/name@refs/pr/3", HubModel("org/name", "refs/pr/3")),
        ("org/name@" + "a" * 40, HubModel("org/name", "a" * 40)),
        ("org/name@", HubModel("org/name")),
        ("org/name/file.gguf", HubModel("org/name", None, "file.gguf")),
        ("org/name/FILE.Q4_K_M.GGUF", HubModel("org/name", None, "FILE.Q4_K_M.GGUF")),
        ("org/name/sub/file.gguf", HubModel("org/name", None, "sub/file.gguf")),
        ("org/name@rev/file.gguf", HubModel("org/name", "rev", "file.gguf")),
        ("org/name@rev/sub/file.gguf", HubModel("org/name", "rev", "sub/file.gguf")),
        ("org/name-gguf", HubModel("org/name-gguf")),
        ("https://huggingface.co/org/name", HubModel("org/name")),
        ("http://www.huggingface.co/org/name/", HubModel("org/name")),
        ("huggingface.co/org/name", HubModel("org/name")),
        ("https://huggingface.co/org/name.git", HubModel("org/name")),
        ("https://hf.co/org/name?library=transformers#files", HubModel("org/name")),
        ("https://huggingface.co/org/name/tree/main", HubModel("org/name")),
        ("https://huggingface.co/org/name/tree/v1.0", HubModel("org/name", "v1.0")),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F3", HubModel("org/name", "refs/pr/3")),
        ("https://huggingface.co/org/name/blob/main/README.md", HubModel("org/name")),
        ("https://huggingface.co/org/name/blob/main/sub/f.gguf", HubModel("org/name", None, "sub/f.gguf")),
        ("https://huggingface.co/org/name/resolve/v1/f.gguf?download=true", HubModel("org/name", "v1", "f.gguf")),
        ("https://huggingface.co/org/name/discussions/3", HubModel("org/name")),
        (" 'org/name' ", HubModel("org/name")),
        ("“org/name@rev”", HubModel("org/name", "rev")),
        ("\ufefforg/name\u200b", HubModel("org/name")),
        ("\u202aorg/name\u202c", HubModel("org/name")),
        ("\xa0org/name\u200d\u3000", HubModel("org/name")),
        ("hf://org/name", HubModel("org/name")),
        ("hf://org/name@v1/f.gguf", HubModel("org/name", "v1", "f.gguf")),
    ],
)
def test_a_hub_name_is_read(named, model):
    assert parse_model(named) == model


@pytest.mark.parametrize(
    "named",
    [
        "gpt2",
        "not a model",
        "org/na me",
        "org/",
        "name@rev",
        "@rev",
        "org@rev/name",
        "a/..",
        "org/-name",
        "org/name.",
        "org/na--me",
        "org/name.git",
        "한국/모델",
        "org/" + "x" * 97,
        "x" * 5000,
        "org/name?x=1",
        "hf_abcdefghijklmnop",
        "https://huggingface.co/",
        "https://huggingface.co/org",
        "https://example.com/org/name",
        "https://huggingface.co/spaces/org/name",
        "https://huggingface.co/datasets/org/name",
        "huggingface.co/datasets/squad/plain",
        "hf.co/spaces/org/name",
        "www.huggingface.co/docs/hub/models",
    ],
)
def test_what_no_model_can_be_called_is_refused(named):
    with pytest.raises(ModelLoadError) as refused:
        parse_model(named)
    assert refused.value.key == "bad_model_name"
    assert "abcdefgh" not in refused.value.text("en")


@pytest.mark.parametrize(
    "named",
    [
        "/nowhere/at/all",
        "./nowhere",
        "../nowhere",
        "~/nowhere",
        "~nobody-of-this-name/model",
        "model.gguf",
        "/nowhere/model.gguf",
        "./nowhere/model.gguf",
        "models/llama-3.2-1b-Q4_K_M.gguf",
        "a/b/c",
        "org/name/",
        "C:\\models\\mine",
        "C:/models/mine",
        "/" + "x" * 5000,
    ],
)
def test_a_path_where_nothing_is_is_refused_as_a_path(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelLoadError) as refused:
        parse_model(named)
    assert refused.value.key == "no_such_model_path"


@pytest.mark.parametrize("named", ["", "  ", "''", "\ufeff"])
def test_no_name_at_all_is_refused(named):
    with pytest.raises(ModelLoadError) as refused:
        parse_model(named)
    assert refused.value.key == "no_model_name"


def test_where_nothing_is_the_whole_path_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for named, said in (("./nowhere", f"'{tmp_path}/nowhere'"), ("~/nowhere", "'~/nowhere'")):
        with pytest.raises(ModelLoadError, match=said):
            parse_model(named)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelLoadError, match="name the folder that holds it"):
        parse_model("model.safetensors")


def test_a_folder_is_found_behind_quotes_and_as_an_address(tmp_path):
    folder = tmp_path / "a model"
    folder.mkdir()
    windows = f"\u202a{folder}"  # as Explorer's window of a file's properties gives it
    host = folder.as_uri().replace("file://", "file://localhost")
    for named in (f"'{folder}'", f'"{folder}"', windows, folder.as_uri(), host):
        assert parse_model(named) == LocalModel(folder)


def test_a_folder_is_a_local_model_even_if_a_hub_model_could_be_called_so(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for named in ("org/name", "./org/name", str(tmp_path / "org" / "name")):
        model = parse_model(named)
        assert model == LocalModel(Path(named))
        assert model.name == "name"


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert parse_model("~/models") == LocalModel(tmp_path / "models")


@pytest.mark.parametrize("name", ["model.gguf", "MODEL.Q4.GGUF"])
def test_a_gguf_file_is_a_local_model(tmp_path, name):
    (tmp_path / name).touch()
    model = parse_model(str(tmp_path / name))
    assert model == LocalModel(tmp_path, gguf_file=name)
    assert model.name == name


def test_another_file_is_no_model(tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelLoadError) as refused:
        parse_model(str(tmp_path / "model.bin"))
    assert refused.value.key == "no_such_model_path"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (HubModel("org/name", "rev"), "org/name"),
        (HubModel("org/name", None, "sub/file.gguf"), "org/name/sub/file.gguf"),
        (LocalModel(Path("/secret/place/name")), "name"),
        (LocalModel(Path("/secret/place"), "file.gguf"), "file.gguf"),
        (EmbeddedModel(UNREACHABLE), "SmolLM2-135M-Instruct"),
    ],
)
def test_the_name_people_see_holds_no_path(model, name):
    assert model.name == name


def never() -> bool:
    raise AssertionError("torch would be asked")


def test_a_named_model_is_taken_without_asking_anything(monkeypatch):
    monkeypatch.setattr(choose, "hub_problem", never)
    assert choose_model("org/name", never) == HubModel("org/name", public=False)


@pytest.mark.parametrize(("gpu", "default"), [(True, DEFAULT_ON_GPU), (False, DEFAULT_ON_CPU)])
def test_with_the_hub_the_default_is_the_one_for_this_machine(gpu, default, monkeypatch):
    monkeypatch.setattr(choose, "hub_problem", lambda: None)
    monkeypatch.setattr(choose, "is_cached", lambda repo_id: False)
    assert choose_model(None, lambda: gpu) == HubModel(default, public=True)


@pytest.mark.parametrize(
    ("gpu", "cached", "chosen"),
    [
        (False, {DEFAULT_ON_CPU}, HubModel(DEFAULT_ON_CPU, public=True)),
        (True, {DEFAULT_ON_GPU}, HubModel(DEFAULT_ON_GPU, public=True)),
        (True, {DEFAULT_ON_CPU, DEFAULT_ON_GPU}, HubModel(DEFAULT_ON_GPU, public=True)),
        (False, {DEFAULT_ON_GPU}, EmbeddedModel(UNREACHABLE)),
        (True, {DEFAULT_ON_CPU}, EmbeddedModel(UNREACHABLE)),
    ],
)
def test_without_the_hub_the_default_is_used_if_it_is_here(gpu, cached, chosen, monkeypatch):
    monkeypatch.setattr(choose, "hub_problem", lambda: UNREACHABLE)
    monkeypatch.setattr(choose, "is_cached", lambda repo_id: repo_id in cached)
    assert choose_model(None, lambda: gpu) == chosen


@pytest.mark.parametrize("named", [None, ""])
def test_without_hub_and_cache_the_embedded_model_is_chosen_and_torch_is_not_asked(named, monkeypatch):
    monkeypatch.setattr(choose, "hub_problem", lambda: UNREACHABLE)
    monkeypatch.setattr(choose, "is_cached", lambda repo_id: False)
    assert choose_model(named, never) == EmbeddedModel(UNREACHABLE)


PROGRAM = """
import json, time
from hfdemo.models.choose import choose_model
start = time.monotonic()
model = choose_model(None, lambda: False)
reason = getattr(model, "reason", None)
print(json.dumps([model.name, reason and reason.key, str(reason), time.monotonic() - start]))
"""


def chosen_with(home: Path, **environ: str) -> tuple[str, str | None, str, float]:
    """Return which model a program of its own chooses, why not another, and after how many seconds."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFDEMO_"))}
    no_proxy = {"NO_PROXY": "*", "no_proxy": "*"}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=inherited | no_proxy | {"HF_HOME": str(home)} | environ,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    return tuple(json.loads(answer))


@contextlib.contextmanager
def hub_that_answers(status: int, body: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if "authorization" not in self.headers else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


MODEL_INFO = json.dumps({"_id": "1", "id": DEFAULT_ON_CPU, "siblings": [], "tags": [], "private": False})


def put_into_cache(home: Path, *files: str) -> None:
    folder = home / "hub" / f"models--{DEFAULT_ON_CPU.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    for file in files:
        (folder / "snapshots" / ("a" * 40) / file).write_text("{}")


def test_a_hub_that_answers_gives_the_default_and_is_sent_no_token(tmp_path):
    with hub_that_answers(200, MODEL_INFO) as url:
        name, reason, _, _ = chosen_with(tmp_path, HF_ENDPOINT=url, HF_TOKEN="hf_notgood" + "x" * 30)
    assert (name, reason) == (DEFAULT_ON_CPU, None)


@pytest.mark.parametrize(
    ("status", "body"), [(500, "broken"), (401, "{}"), (200, "<html>log in to the network</html>")]
)
def test_a_hub_that_answers_otherwise_counts_as_out_of_reach(status, body, tmp_path):
    with hub_that_answers(status, body) as url:
        name, reason, text, _ = chosen_with(tmp_path, HF_ENDPOINT=url)
    assert (name, reason) == ("SmolLM2-135M-Instruct", "hub_unreachable")
    assert url in text


def test_a_hub_that_never_answers_is_given_up_within_five_seconds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        name, reason, text, seconds = chosen_with(tmp_path, HF_ENDPOINT=url)
        whole = time.monotonic() - start
    assert (name, reason) == ("SmolLM2-135M-Instruct", "hub_no_answer")
    assert text == f"{url} did not answer within 4 seconds."
    assert seconds < 5
    assert whole < 20  # and the program can end although the question is still open


def test_where_nobody_listens_the_cached_default_is_used(tmp_path):
    endpoint = f"http://127.0.0.1:{free_port()}"
    assert chosen_with(tmp_path, HF_ENDPOINT=endpoint)[:2] == ("SmolLM2-135M-Instruct", "hub_unreachable")
    put_into_cache(tmp_path, "config.json", "model.safetensors")
    assert chosen_with(tmp_path, HF_ENDPOINT=endpoint)[:2] == (DEFAULT_ON_CPU, None)


def test_in_offline_mode_the_hub_is_not_asked(tmp_path):
    def choose_s() -> float:
        name, reason, text, seconds = chosen_with(tmp_path, HF_HUB_OFFLINE="1")
        assert (name, reason) == ("SmolLM2-135M-Instruct", "hub_offline_mode")
        assert text == "HF_HUB_OFFLINE is set, and the default model is not on this machine."
        return seconds

    assert quickest(choose_s, 1) < 1


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["config.json", "model.safetensors"], DEFAULT_ON_CPU),
        (["config.json", "model.safetensors.index.json"], DEFAULT_ON_CPU),
        (["config.json"], "SmolLM2-135M-Instruct"),
        (["model.safetensors"], "SmolLM2-135M-Instruct"),
    ],
    ids=str,
)
def test_in_offline_mode_the_default_is_used_if_its_weights_are_here(files, name, tmp_path):
    put_into_cache(tmp_path, *files)
    assert chosen_with(tmp_path, HF_HUB_OFFLINE="1")[0] == name


@pytest.mark.parametrize(
    "named", ["hf.co/org/n-GGUF:Q4_K_M", "org/n-GGUF:Q8_0", "https://huggingface.co/org/n-GGUF:latest"]
)
def test_a_name_as_ollama_has_it_leads_to_the_files(named):
    with pytest.raises(ModelLoadError) as refused:
        parse_model(named)
    for language in ("en", "ko"):
        assert "org/n-GGUF/tree/main" in refused.value.text(language)


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        ("org/name:main", "name_without_tag"),
        ("hf.co/org/name:latest", "name_without_tag"),
        ("org/name:Q4_K_M", "name_the_gguf"),
        ("org/name-gguf:main", "name_the_gguf"),
        ("org/name:f16", "name_the_gguf"),
    ],
)
def test_a_tag_leads_to_how_a_revision_or_a_file_is_named_here(named, advice):
    with pytest.raises(ModelLoadError) as refused:
        parse_model(named)
    assert (refused.value.key, refused.value.advice) == ("bad_model_name", advice)
    assert refused.value.fields["repository"] in refused.value.text("ko")


def test_a_path_of_windows_is_said_as_it_was_typed():
    with pytest.raises(ModelLoadError) as refused:
        parse_model("C:/models/x")
    assert (refused.value.key, refused.value.fields["model"]) == ("no_such_model_path", "C:/models/x")
