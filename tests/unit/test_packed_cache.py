"""Packed weights are kept on disk for the next start: of the right model, within a bound, and never in the way."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hfdemo.compute import cpu_weights, fast_step
from hfdemo.compute.packed_weights import PackedWeights
from hfdemo.compute.step import LONGEST_DRAFT
from hfdemo.models import packed_cache
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.disk import ModelFiles
from hfdemo.models.load import LoadedModel, load_model
from hfdemo.models.packed_cache import PackedCache, kept_models, packed_folder
from hfdemo.settings import Settings
from tests.unit.test_integrity import MACHINE, shards, whole  # noqa: F401  # a fixture

MOST = 10_000_000
SIZE = 64 * 64 * 2
"""More than one of the weights below takes."""


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(packed_cache, "WORTH_S", 0)
    return packed_folder()


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:  # noqa: F811
    return Path(shutil.copytree(whole, tmp_path / "mine"))


def keep(folder: Path, name: str = "m", packing: str = "auto", most: int = MOST) -> bool:
    """Pack a model as a start would; tell whether it had to."""
    cache = PackedCache(most)
    weights, made = cache.find(ModelFiles(folder), packing), []

    def make() -> cpu_weights.Weight:
        made.append(name)
        return cpu_weights.pack_weight([torch.ones(64, 64)], "int8")

    weights.weight("w", torch.float32, make)
    cache.keep(weights, name)
    return bool(made)


def names() -> list[str]:
    return [model.name for model in kept_models()]


def test_the_second_start_finds_what_the_first_one_kept(folder):
    assert keep(folder, "org/model")
    assert not keep(folder, "org/model")
    assert names() == ["org/model"]
    assert 64 * 64 < kept_models()[0].size_bytes < SIZE
    assert [path.suffix for path in packed_folder().iterdir()] == [".safetensors"]


def change_weights(folder: Path) -> None:
    path = shards(folder)[0]
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_weights(folder: Path) -> None:
    os.utime(shards(folder)[0], (1, 1))


def change_config(folder: Path) -> None:
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")


def add_shard(folder: Path) -> None:
    (folder / "more.safetensors").write_bytes(b"")


@pytest.mark.parametrize("change", [change_weights, touch_weights, change_config, add_shard])
def test_a_changed_model_is_packed_anew(folder, change: Callable[[Path], None]):
    assert keep(folder)
    change(folder)
    assert keep(folder)
    assert not keep(folder)


def test_another_template_or_a_moved_folder_change_nothing(folder, tmp_path):
    assert keep(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert not keep(Path(shutil.move(folder, tmp_path / "elsewhere")))


@pytest.mark.parametrize("other", ["packing", "CPU", "layout", "version"])
def test_what_packed_weights_depend_on_beside_the_model(folder, monkeypatch, other):
    assert keep(folder)
    if other == "CPU":
        monkeypatch.setattr(packed_cache, "this_cpu", lambda: "another one")
    if other == "layout":
        monkeypatch.setattr(packed_cache, "layout", lambda: None)
    if other == "version":
        monkeypatch.setattr(packed_cache, "version", lambda package: "99")
    assert keep(folder, packing="int4" if other == "packing" else "auto")


def test_a_program_that_packs_otherwise_packs_anew(folder, tmp_path, monkeypatch):
    assert keep(folder)
    copy = Path(shutil.copytree(packed_cache.compute.__path__[0], tmp_path / "compute"))
    monkeypatch.setattr(packed_cache.compute, "__path__", [str(copy)])
    assert not keep(folder)
    (copy / "packing.py").write_text("# better")
    assert keep(folder)


def test_a_program_that_reads_gguf_files_otherwise_packs_anew(folder, tmp_path, monkeypatch):
    assert keep(folder)
    for path in Path(packed_cache.__file__).parent.glob("gguf_*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(packed_cache, "__file__", str(tmp_path / "packed_cache.py"))
    assert not keep(folder)
    (tmp_path / "gguf_levels.py").write_text("# better")
    assert keep(folder)


def test_those_that_nobody_needed_for_the_longest_time_make_room(folder, tmp_path):
    folders = [Path(shutil.copytree(folder, tmp_path / f"m{index}")) for index in range(4)]
    for index, each in enumerate(folders):
        (each / "config.json").write_text(str(index))
    keep(folders[0], "m0")
    most = int(3.5 * kept_models()[0].size_bytes)
    for index in (1, 2, 0):
        time.sleep(0.01)
        keep(folders[index], f"m{index}", most=most)
    assert names() == ["m0", "m2", "m1"]
    keep(folders[3], "m3", most=most)
    assert names() == ["m3", "m0", "m2"]
    assert keep(folders[1], "m1", most=64 * 64), "it is larger than all that may be kept"
    assert names() == ["m3", "m0", "m2"]


def test_nothing_is_kept_where_the_host_wants_none(folder):
    keep(folder)
    assert keep(folder, most=0) and keep(folder, most=0)


def test_nothing_is_kept_that_fills_the_disk(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(packed_cache.shutil, "disk_usage", lambda path: usage._replace(free=64 * 64))
    assert keep(folder) and keep(folder)
    assert names() == []


def test_a_disk_that_cant_be_written_is_no_hindrance(folder, shelf, caplog):
    shelf.parent.mkdir(parents=True)
    shelf.write_text("a file where the folder should be")
    assert keep(folder) and keep(folder)
    assert names() == []
    assert "aren't kept" in caplog.text and str(folder) not in caplog.text


def test_what_was_packed_in_no_time_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(packed_cache, "WORTH_S", 60)
    assert keep(folder) and keep(folder)


def test_what_a_killed_start_left_behind_goes(folder, shelf):
    for name, age in (("old.partial", 7200), ("new.partial", 60)):
        (shelf / name).mkdir(parents=True)
        (shelf / name / "weights").write_bytes(b"half")
        os.utime(shelf / name, (time.time() - age,) * 2)
    keep(folder)
    assert sorted(path.suffix for path in shelf.iterdir()) == [".partial", ".safetensors"]


def test_nothing_was_kept_yet():
    assert kept_models() == []


def loaded(folder: Path, **settings: object) -> LoadedModel:
    told = Settings(cpu_weights="int8", **settings)
    checked = check_model(parse_model(str(folder)), told, MACHINE)
    return load_model(checked.files, checked.source.name, checked.plan, settings=told)


def logits(model: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        ids = torch.tensor([1, 0, 5, 7])
        return model.step.read(ids, model.step.new_cache())


def again(*_: object, **__: object) -> None:
    raise AssertionError("it was done again")


def test_a_model_is_the_same_and_nothing_of_it_is_packed_or_compared_again(folder, monkeypatch):
    first = loaded(folder)
    expected, ahead = logits(first), first.step.tokens_ahead

    monkeypatch.setattr("hfdemo.compute.decoder.pack_weight", again)
    monkeypatch.setattr(fast_step, "agrees", again)
    monkeypatch.setattr(fast_step.FastStep, "look_ahead", again)
    second = loaded(folder)
    assert torch.equal(logits(second), expected)
    assert second.step.tokens_ahead == ahead


@pytest.mark.parametrize("rows", [1, 3])
def test_no_draft_is_longer_than_the_rows_that_are_multiplied_as_one_is_now(folder, rows, monkeypatch):
    monkeypatch.setattr("hfdemo.compute.cpu_weights.few_rows", lambda *_: 32)
    assert loaded(folder).step.tokens_ahead == LONGEST_DRAFT
    monkeypatch.setattr("hfdemo.compute.cpu_weights.few_rows", lambda *_: rows)
    assert loaded(folder).step.tokens_ahead == rows - 1


def test_a_model_that_no_step_covers_is_kept_too(folder, monkeypatch):
    monkeypatch.setattr("hfdemo.compute.fast_step.agrees", lambda *_: False)
    expected = logits(loaded(folder))
    monkeypatch.setattr("hfdemo.compute.packed_linears.pack_weight", again)
    assert torch.equal(logits(loaded(folder)), expected)


def test_a_model_is_loaded_where_nothing_may_be_kept(folder, shelf):
    expected = logits(loaded(folder, packed_cache_gb=0))
    assert not shelf.exists()
    assert torch.equal(logits(loaded(folder)), expected)
    assert isinstance(PackedCache(0).find(ModelFiles(folder), "int8"), PackedWeights)
