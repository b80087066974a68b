"""What of a model is on the disk: whole, in part, or not at all."""

from pathlib import Path

import pytest

from hfdemo.models import disk
from hfdemo.models.disk import (
    ModelFiles,
    RemoteFile,
    bytes_here,
    cache_path,
    find_model,
    has_file,
    is_cached,
    partial_path,
    wanted_files,
)
from hfdemo.models.hub_private import constants
from hfdemo.models.source import HubModel, LocalModel

COMMIT = "a" * 40
TINY = HubModel("org/tiny")
WEIGHTS = RemoteFile("model.safetensors", 100, COMMIT, "f" * 64)


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """Return the folder of a commit in a cache that holds nothing else."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs").mkdir()
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for function in ("snapshot_download", "hf_hub_download", "try_to_load_from_cache"):  # their default is older
        call = getattr(disk, function)
        monkeypatch.setattr(disk, function, lambda *args, call=call, **more: call(*args, cache_dir=tmp_path, **more))
    return folder


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        ([], False),
        (["config.json"], False),
        (["model.safetensors"], False),
        (["config.json", "model.safetensors"], True),
        (["config.json", "pytorch_model.bin"], True),
        (["config.json", "adapter_model.safetensors"], False),
    ],
    ids=str,
)
def test_a_model_is_whole_with_its_configuration_and_weights(cache, files, whole):
    for file in files:
        (cache / file).write_text("{}")
    assert find_model(TINY) == (ModelFiles(cache) if whole else None)
    assert is_cached("org/tiny") == (whole and "model.safetensors" in files)
    for name in ("config.json", "model.safetensors"):
        assert has_file("org/tiny", name) == has_file("org/tiny", name, COMMIT) == (name in files)
    assert not has_file("org/tiny", "config.json", "b" * 40)


def test_a_gguf_file_is_found_below_the_folder_of_its_repository(cache):
    assert find_model(HubModel("org/tiny", gguf_file="sub/a.gguf")) is None
    (cache / "sub").mkdir()
    (cache / "sub" / "a.gguf").write_text("GGUF")
    assert find_model(HubModel("org/tiny", gguf_file="sub/a.gguf")) == ModelFiles(cache, "sub/a.gguf")
    assert find_model(HubModel("org/tiny", gguf_file="b.gguf")) is None


def test_another_revision_and_another_model_are_not_here(cache):
    for file in ("config.json", "model.safetensors"):
        (cache / file).write_text("{}")
    assert find_model(HubModel("org/tiny", "v2")) is None
    assert find_model(HubModel("org/other")) is None


def test_a_local_model_is_where_the_host_says(tmp_path):
    assert find_model(LocalModel(tmp_path, "a.gguf")) == ModelFiles(tmp_path, "a.gguf")


def test_the_bytes_of_an_interrupted_download_count(cache):
    assert bytes_here(TINY, WEIGHTS) == 0
    assert partial_path(TINY, WEIGHTS) == cache.parents[1] / "blobs" / f"{'f' * 64}.incomplete"
    partial_path(TINY, WEIGHTS).write_bytes(b"0" * 30)
    assert bytes_here(TINY, WEIGHTS) == 30
    partial_path(TINY, WEIGHTS).write_bytes(b"0" * 130)  # more than there is to come
    assert bytes_here(TINY, WEIGHTS) == 100
    assert bytes_here(TINY, RemoteFile("config.json", 100)) == 0  # a small file has no hash to go on with


@pytest.mark.parametrize(("disabled", "path"), [(False, f"blobs/{'f' * 64}"), (True, f"snapshots/{COMMIT}")])
def test_without_links_a_file_is_kept_under_its_name(cache, monkeypatch, disabled, path):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", disabled)
    expected = cache.parents[1] / path
    assert cache_path(TINY, WEIGHTS) == (expected / "model.safetensors" if disabled else expected)


@pytest.mark.parametrize("other", ["model.safetensors", "adapter_model.safetensors"])
def test_pickled_weights_are_wanted_where_no_others_are_the_models(other):
    names = ["config.json", "pytorch_model.bin", other]
    assert ("pytorch_model.bin" in wanted_files(names, allow_pickle=True)) == (other != "model.safetensors")
    assert "pytorch_model.bin" not in wanted_files(names)
