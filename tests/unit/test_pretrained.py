"""One door reads anything of a model: no code of the model's runs, whoever asks, and nobody is asked for leave."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hfdemo.compute.transformers_private import attention_of
from hfdemo.errors import ModelLoadError
from hfdemo.models.disk import ModelFiles
from hfdemo.models.explain import NeedsCode
from hfdemo.models.headers import read_safetensors
from hfdemo.models.load import load_prompts
from hfdemo.models.pretrained import load_config, load_tokenizer, load_weights
from hfdemo.models.tensors import check_tensors
from hfdemo.words import say
from tests.conftest import ROOT
from tests.unit.test_source import MODULES
from tests.unit.tiny_models import tiny_model

EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise SystemExit('the code ran')\n"

OF_CONFIG = {
    "model_type": "made_up",
    "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
}
OF_TOKENIZER = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}


@pytest.fixture(params=["config", "tokenizer", "both"])
def evil_model(request, tmp_path: Path) -> Path:
    """A model that can't be read without its own code."""
    kind = request.param
    config = (
        OF_CONFIG
        if kind != "tokenizer"
        else {"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "num_attention_heads": 2}
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    if kind != "config":
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(OF_TOKENIZER))
    (tmp_path / "evil.py").write_text(EVIL)
    return tmp_path


def test_nothing_else_asks_transformers_to_read_a_model():
    assert readers(r"\.from_pretrained\((?!\s*None)|torch\.load\(|load_file\(") == ["hfdemo.models.pretrained"]
    # Tensors and nothing else: the header of a model's file, and a file of our own.
    assert readers(r"safe_open\(") == ["hfdemo.models.headers", "hfdemo.models.packed_file"]


def readers(pattern: str) -> list[str]:
    return sorted(name for name, path in MODULES.items() if re.search(pattern, path.read_text("utf-8")))


@pytest.mark.parametrize("load", [load_tokenizer, load_config, load_weights])
def test_code_of_a_model_is_never_run(tmp_path, load):
    (tmp_path / "config.json").write_text(json.dumps(OF_CONFIG))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(OF_TOKENIZER))
    (tmp_path / "evil.py").write_text(EVIL)
    with pytest.raises(NeedsCode):
        load(ModelFiles(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_prompt_of_such_a_model_is_refused_with_a_sentence(evil_model):
    with pytest.raises(ModelLoadError) as caught:
        load_prompts(str(evil_model))
    assert caught.value.key == "needs_code"
    assert not (evil_model / "ran").exists()


def test_a_person_at_a_terminal_is_not_asked(evil_model):
    """Transformers asks y/N where standard input is a terminal."""
    (conversation := evil_model / "chat.json").write_text('[{"role": "user", "content": "Hi"}]')
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n" * 5)
    ended = subprocess.run(
        [sys.executable, "-m", "hfdemo", "prompt", str(conversation), "--model", str(evil_model)],
        cwd=ROOT,
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours), os.close(theirs)
    assert ended.returncode == 26
    assert ended.stderr.strip().endswith(say("error.needs_code", model=evil_model.name))
    assert "y/N" not in ended.stdout + ended.stderr
    assert not (evil_model / "ran").exists()


def test_a_tokenizer_whose_code_isnt_needed_is_read_without_it(embedded_model, tmp_path):
    for file in embedded_model.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**own, "auto_map": OF_TOKENIZER["auto_map"]}))
    (tmp_path / "evil.py").write_text(EVIL)
    assert load_tokenizer(ModelFiles(tmp_path))("a").input_ids
    assert not (tmp_path / "ran").exists()


def test_a_configuration_cannot_name_another_repository(embedded_model, tmp_path, monkeypatch):
    """An adapter's configuration names its base model, which transformers would fetch."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something is fetched"))
    for file in embedded_model.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"})
    )
    with pytest.raises((OSError, ValueError, ImportError)):
        load_weights(ModelFiles(tmp_path))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("wish", ["kernels-community/flash-attn2", "evil/kernel@main:Attention", "flash_attention_2"])
def test_a_configuration_names_no_compiled_code(tmp_path, monkeypatch, key, wish):
    """Transformers fetches code for attention from the Hub and runs it, if a package for that is there."""
    monkeypatch.setattr("transformers.integrations.hub_kernels.get_kernel", lambda *_, **__: pytest.fail("fetched"))
    tiny_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8")) | {key: wish}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, _ = load_weights(ModelFiles(tmp_path))
    assert attention_of(model.config) == "sdpa"
    check_tensors("tiny", config, read_safetensors(tmp_path / "model.safetensors"))
