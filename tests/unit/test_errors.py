"""Errors say what happened in each language, and never an access token."""

import os
import pickle
import re
import sys
import traceback

import pytest
import torch

from hfdemo.errors import (
    Busy,
    GenerationFailed,
    HfdemoError,
    InvalidInput,
    ModelLoadError,
    NoGpu,
    SettingsError,
    hide_tokens,
    hub_command,
    install_command,
    is_out_of_memory,
    own_command,
)
from hfdemo.words import texts
from tests.conftest import ROOT

TOKEN = "hf_" + "aBcDeFgHiJ" * 3 + "1234"


def test_an_error_speaks_each_language():
    error = Busy("busy", waiting=3)
    english = error.text("en")
    assert english == "Too many people are waiting (3). Try again in a minute."
    assert "기다리는 사람이 너무 많습니다(3명)" in error.text("ko")
    assert str(error) == error.text("en")


def test_a_name_that_is_no_utf_8_can_be_written(tmp_path):
    name = os.fsdecode(b"\xb8\xf0.txt")
    error = ModelLoadError("no_config", folder=tmp_path / name, files=name, hf="hf")
    for text in (error.text("en"), error.text("ko"), str(error), str(pickle.loads(pickle.dumps(error)))):
        assert r"\udcb8\udcf0.txt" in text.encode().decode()


@pytest.mark.parametrize(
    ("python", "named"),
    [
        (ROOT / ".venv" / "bin" / "python", os.path.join(".venv", "bin", "python")),
        (ROOT / "my env" / "python", f'"{os.path.join("my env", "python")}"'),
        ("/opt/a b/python3", '"/opt/a b/python3"'),
        ("/usr/bin/other", "/usr/bin/other"),
    ],
)
def test_packages_are_installed_for_the_python_that_runs(python, named, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(python))
    assert install_command("peft", "a[b]") == f'{named} -m pip install peft "a[b]"'


@pytest.mark.parametrize(("system", "named"), [("posix", "python3 -m hfdemo"), ("nt", "py -m hfdemo")])
def test_the_program_is_named_as_people_call_it(system, named, monkeypatch):
    monkeypatch.setattr("hfdemo.errors.os.name", system)
    command = own_command()
    monkeypatch.undo()  # before pytest asks for the system
    assert command == named


def test_an_installed_package_is_named_by_its_script(monkeypatch, tmp_path):
    monkeypatch.setattr("hfdemo.errors._PROJECT", str(tmp_path))
    assert own_command() == "hfdemo"


def test_a_python_that_is_active_is_simply_python(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.touch(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(python))
    assert install_command("peft") == "python -m pip install peft"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_sentence_names_a_pip_that_may_be_anothers_or_an_hf_that_no_shell_finds(language):
    found = {key: text for key, text in texts(language).items() if re.search(r"\bpip install\b|\bhf [a-z]", text)}
    assert found == {}


def test_the_hubs_command_is_that_of_the_python_that_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("hfdemo.errors._PROJECT", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert hub_command() == "hf", "there is none to name"
    program = tmp_path / ".venv" / "bin" / "hf"
    program.parent.mkdir(parents=True)
    program.touch(0o700)
    assert hub_command() == os.path.join(".venv", "bin", "hf")
    monkeypatch.setenv("PATH", str(program.parent))
    assert hub_command() == "hf"


@pytest.mark.parametrize("kind", [Busy, GenerationFailed, InvalidInput, ModelLoadError, NoGpu, SettingsError])
def test_every_kind_is_an_hfdemo_error(kind):
    assert isinstance(kind("empty_message"), HfdemoError)


def test_a_lack_of_memory_is_known_by_whatever_says_so():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50, dtype=torch.uint8)
    of_apple = RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB).")
    for error in (refused.value, of_apple, torch.OutOfMemoryError("CUDA out of memory."), MemoryError()):
        assert is_out_of_memory(error)
    for error in (RuntimeError("shape mismatch"), ValueError("out of memory"), OSError()):
        assert not is_out_of_memory(error)


def test_an_error_is_the_same_in_another_process():
    error = NoGpu("gpu_quota", "gpu_pro", asked=57, left=12, hours=1, minutes=0)
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is NoGpu and (other.key, other.advice, other.fields) == (error.key, "gpu_pro", error.fields)
    assert (str(other), other.text("ko")) == (str(error), error.text("ko"))


def test_an_unknown_text_is_a_bug_that_shows_at_once():
    with pytest.raises(KeyError):
        HfdemoError("no_such_text")


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"token={TOKEN}",
        f"https://user:{TOKEN}@huggingface.co/org/name",
        f"?token%3D{TOKEN}&x",
        f"토큰{TOKEN}은",
        f"Bearer{TOKEN}",
        f"'{TOKEN}', '{TOKEN}'",
        "hf_oauth_" + "x" * 20,
        "hf_" + "x" * 8,
    ],
)
def test_tokens_are_masked_wherever_they_stand(text):
    hidden = hide_tokens(text)
    assert "aBcDeFgHiJ" not in hidden and "xxxx" not in hidden
    assert "hf_***" in hidden


@pytest.mark.parametrize(
    "text", ["", "hf_", "hf_short", "huggingface", "half_a_dozen_words", "HF_HUB_OFFLINE", "hf_oauth_scopes: x"]
)
def test_text_without_a_token_stays_as_it_is(text):
    assert hide_tokens(text) == text


class Secretive:
    def __str__(self) -> str:
        return f"I know {TOKEN}"


@pytest.mark.parametrize("value", [TOKEN, f"x/{TOKEN}/y", {"token": TOKEN}, OSError(TOKEN), Secretive()])
def test_no_text_of_an_error_shows_a_token(value):
    error = ModelLoadError("load_failed", model=value, problem=value)
    shown = [error.text("en"), error.text("ko"), str(error), repr(error), repr(error.args), repr(error.fields)]
    shown.append("".join(traceback.format_exception(error)))
    assert not [text for text in shown if "aBcDeFgHiJ" in text]
    assert "hf_***" in error.text("en")


def test_braces_in_a_fact_are_only_text():
    assert "{0} {model}" in ModelLoadError("load_failed", model="{0} {model}", problem="{").text("en")
