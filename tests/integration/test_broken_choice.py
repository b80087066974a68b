"""A model chosen in the menu that turns out to be broken leaves the good one at work."""

import logging
import shutil
import threading
from pathlib import Path

import pytest
import torch

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.errors import ModelLoadError
from hfdemo.models import load
from hfdemo.settings import Settings
from tests.conftest import wait_until
from tests.integration.local import Local, loaded, save_tiny_model

ASKED = ChatRequest((Message("user", "Hi"),), "", Options(temperature=0, max_new_tokens=4), cache_key="chat")


@pytest.fixture(scope="module")
def good(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "good", "llama", embedded_model)


@pytest.fixture(scope="module")
def local(good: Path) -> Local:
    return loaded(Settings(model=str(good)))


def answer(local: Local) -> str:
    return "".join(delta.text for delta in local.stream(ASKED, StopSignal()))


def test_a_broken_folder_is_refused_while_the_good_model_goes_on(local, good, tmp_path):
    before, model = answer(local), local.model
    broken = Path(shutil.copytree(good, tmp_path / "broken"))
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    local.choose(str(broken))
    wait_until(lambda: local.status().error is not None, 30)
    status = local.status()
    assert (status.stage, status.model, status.error.key) == ("ready", "good", "file_cut")
    assert local.model is model
    assert answer(local) == before


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("tokenizer.json", '{"error": "Not found"}', "tokenizer_unreadable"),
        ("chat_template.jinja", "{{ no_such_function() }}", "template_fails"),
    ],
)
def test_a_broken_tokenizer_or_template_is_refused_while_the_good_model_goes_on(
    local, good, tmp_path, name, content, key
):
    before, model = answer(local), local.model
    broken = Path(shutil.copytree(good, tmp_path / "broken"))
    (broken / name).write_text(content)
    local.choose(str(broken))
    wait_until(lambda: getattr(local.status().error, "key", "") == key, 30)
    assert (local.status().stage, local.status().model) == ("ready", "good")
    assert local.model is model
    assert answer(local) == before


def test_what_fails_only_while_it_loads_brings_the_good_model_back(local, good, tmp_path, monkeypatch):
    before, model = answer(local), local.model
    other = Path(shutil.copytree(good, tmp_path / "other"))
    load_model = load.load_model

    def fails(files, name, *others):
        if name == "other":
            raise torch.OutOfMemoryError
        return load_model(files, name, *others)

    monkeypatch.setattr(load, "load_model", fails)
    local.choose(str(other))
    wait_until(lambda: getattr(local.status().error, "key", "") == "out_of_memory_loading", 60)
    status = local.status()
    assert (status.stage, status.model, status.error.key) == ("ready", "good", "out_of_memory_loading")
    assert local.model is not model
    assert answer(local) == before


def broken_folder(good: Path, folder: Path) -> Path:
    shutil.copytree(good, folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return folder


def choose_in_vain(local: Local, broken: Path) -> None:
    local.choose(str(broken))
    wait_until(lambda: local.status().stage == "failed", 30)
    assert (local.status().named, local.status().error.key) == (str(broken), "file_cut")


def test_a_broken_choice_while_the_good_model_is_unloaded_lets_the_next_message_bring_that_back(good, tmp_path):
    local = loaded(Settings(model=str(good), idle_unload_s=1))
    before = answer(local)
    wait_until(lambda: local.status().stage == "unloaded", 30)
    choose_in_vain(local, broken_folder(good, tmp_path / "broken"))
    choose_in_vain(local, broken_folder(good, tmp_path / "other"))
    assert answer(local) == before
    assert (local.status().named, local.status().error) == (str(good), None)


def test_a_broken_choice_while_the_good_model_loads_lets_try_again_bring_that(good, tmp_path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    load_model = load.load_model

    def slowly(files, name, plan, progress, *others):
        if not begun.is_set():
            begun.set()
            go_on.wait(30)
        return load_model(files, name, plan, progress, *others)

    monkeypatch.setattr(load, "load_model", slowly)
    local = Local(Settings(model=str(good)))
    local.load()
    assert begun.wait(30)
    local.choose(str(broken_folder(good, tmp_path / "broken")))
    go_on.set()
    wait_until(lambda: local.status().stage == "failed", 30)
    local.load()  # the button
    wait_until(lambda: local.status().stage == "ready", 30)
    assert local.status().named == str(good)


def test_a_model_that_failed_with_no_good_one_before_is_tried_again(good, tmp_path):
    local = Local(Settings(model=str(broken_folder(good, tmp_path / "first"))))
    local.load()
    wait_until(lambda: local.status().stage == "failed", 30)
    other = broken_folder(good, tmp_path / "other")
    choose_in_vain(local, other)
    with pytest.raises(ModelLoadError, match="cut off"):
        answer(local)
    shutil.copy(good / "model.safetensors", other)
    local.load()
    wait_until(lambda: local.status().stage == "ready", 30)
    assert local.status().named == str(other)


def test_the_terminal_is_told_in_the_hosts_language(good, tmp_path, caplog):
    caplog.set_level(logging.INFO, "hfdemo.engines.model_host")
    (folder := Path(shutil.copytree(good, tmp_path / "noted"))).joinpath("generation_config.json").write_text("[]")
    local = loaded(Settings(model=str(folder), language="ko"))
    broken = broken_folder(good, tmp_path / "broken")
    local.choose(str(broken))
    wait_until(lambda: local.status().error is not None, 30)
    said = [record.getMessage() for record in caplog.records if record.name == "hfdemo.engines.model_host"]
    assert "noted 모델을 확인하는 중입니다 …" in said and "noted 모델을 불러오는 중입니다 …" in said
    assert local.status().notes[0].text("ko") in said
    assert local.status().error.text("ko") == said[-1]
