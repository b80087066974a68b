"""A LoRA adapter is merged into the base model that it names, or refused with what is missing."""

import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from hfdemo.errors import ModelLoadError, install_command
from hfdemo.models import adapter as adapters
from hfdemo.models import load
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.disk import ModelFiles
from hfdemo.models.load import load_model, load_prompts
from hfdemo.models.source import AdapterModel, HubModel, LocalModel
from hfdemo.settings import Settings
from tests.unit.test_gguf_weights import config_of, write_gguf
from tests.unit.test_integrity import MACHINE, POINTER, whole  # noqa: F401  # a fixture


@pytest.fixture(scope="module", params=["LoRA", "DoRA"])
def tuned(request, whole: Path, tmp_path_factory) -> Path:  # noqa: F811
    """The folder of an adapter that changes much."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_dora=request.param == "DoRA")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(whole), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("tuned") / "tuned"
    model.save_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(whole)
    return folder


@pytest.fixture
def folder(tuned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned, tmp_path / "mine"))


def change(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path) -> ModelLoadError:
    with pytest.raises(ModelLoadError) as refused:
        check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert refused.value.text("ko") != refused.value.text("en")
    return refused.value


def test_it_answers_as_its_base_with_the_adapter(folder, whole):  # noqa: F811
    checked = check_model(parse_model(str(folder)), Settings(cpu_weights="bf16"), MACHINE)
    assert checked.source == AdapterModel(LocalModel(folder), LocalModel(whole))
    assert checked.files == ModelFiles(whole, adapter=folder)
    assert (checked.plan.facts.name, checked.plan.facts.layers) == ("mine", 3)
    loaded = load_model(checked.files, checked.source.name, checked.plan)
    ids = torch.tensor([[1, 0, 5, 7]])
    from peft import PeftModel

    dtype = loaded.pipeline.model.dtype
    base = AutoModelForCausalLM.from_pretrained(whole, dtype=dtype)
    plain = base(ids).logits
    expected = PeftModel.from_pretrained(base, folder).merge_and_unload()(ids).logits
    found = loaded.pipeline.model(ids).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, atol=0.1)
    assert not [name for name, _ in loaded.pipeline.model.named_parameters() if "lora" in name]


def test_an_adapter_of_a_gguf_file_is_looked_at_as_any_other(tmp_path):
    base = write_gguf(tmp_path / "base.gguf", "llama")
    for name, rank in (("fits", 4), ("misfits", 8)):
        model = get_peft_model(
            AutoModelForCausalLM.from_config(config_of(base)), LoraConfig(r=4, target_modules=["q_proj"])
        )
        model.save_pretrained(tmp_path / name)
        change(tmp_path / name, base_model_name_or_path=str(base), r=rank)
    checked = check_model(parse_model(str(tmp_path / "fits")), Settings(), MACHINE)
    assert checked.files == ModelFiles(tmp_path, "base.gguf", tmp_path / "fits")
    assert refusal(tmp_path / "misfits").key == "adapter_misfit"


def test_its_own_tokenizer_and_template_count_if_it_brings_them(folder, whole):  # noqa: F811
    assert load_prompts(str(folder)).base_model
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}")
    assert not load_prompts(str(folder)).base_model


def test_a_configuration_beside_it_makes_no_whole_model_of_it(folder, whole, monkeypatch):  # noqa: F811
    shutil.copy(whole / "config.json", folder)
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).files == ModelFiles(whole, adapter=folder)
    assert load_prompts(str(folder)).base_model
    (folder / "adapter_model.safetensors").unlink()  # as of one of the Hub whose prompt is asked for

    def told(*names: str) -> bool:
        info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
        monkeypatch.setattr(load, "ask_hub", lambda *_: info)
        monkeypatch.setattr(
            load,
            "fetch_model",
            lambda source, **_: ModelFiles(folder if isinstance(source, HubModel) else source.folder),
        )
        return load_prompts("org/lora").base_model

    assert told("adapter_config.json", "config.json", "adapter_model.safetensors")
    with pytest.raises(ModelLoadError) as refused:  # a whole model is taken as it is
        told("adapter_config.json", "config.json", "model.safetensors")
    assert refused.value.key == "no_tokenizer"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("adapter_config.json", True),
        ("adapter_config.json adapter_model.safetensors", True),
        ("adapter_config.json adapter_model.safetensors config.json", True),
        ("adapter_config.json config.json", False),
        ("adapter_config.json config.json model.safetensors", False),
        ("adapter_config.json adapter_model.safetensors config.json pytorch_model.bin", False),
        ("config.json", False),
    ],
)
def test_what_is_here_of_a_model_of_the_hub_tells_whether_it_is_one(monkeypatch, names, expected):
    monkeypatch.setattr(adapters, "has_file", lambda repo_id, name, commit=None: name in names.split())
    monkeypatch.setattr(adapters, "download_config", lambda source: {"peft_type": "LORA"})
    assert (adapters.adapter_config(HubModel("org/m")) is not None) == expected


def test_without_peft_the_base_and_the_command_are_named(folder, whole, monkeypatch):  # noqa: F811
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    error = refusal(folder)
    assert error.key == "adapter_needs_peft"
    assert str(whole) in error.text("en") and install_command("peft") in error.text("en")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"base_model_name_or_path": None}, "adapter_without_base"),
        ({"base_model_name_or_path": "/content/gone"}, "adapter_base_missing"),
        ({"peft_type": "PROMPT_TUNING"}, "adapter_kind"),
        ({"peft_type": "lora"}, "adapter_kind"),
        ({"task_type": "SEQ_CLS"}, "not_text_generation"),
        ({"r": "four"}, "adapter_unreadable"),
    ],
)
def test_a_base_that_cant_be_used_is_told(folder, changes, key):
    change(folder, **changes)
    assert refusal(folder).key == key


def test_an_adapter_of_another_model_is_refused_with_its_tensors(folder, whole, tmp_path):  # noqa: F811
    from tests.unit.tiny_models import tiny_model

    other = tmp_path / "other"
    tiny_model("llama", hidden_size=32, tie_word_embeddings=False).save_pretrained(other)
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, other)
    change(folder, base_model_name_or_path=str(other))
    error = refusal(folder)
    assert error.key == "adapter_misfit"
    assert "q_proj.lora_" in error.fields["tensors"]


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("adapter_model.safetensors", POINTER, "file_pointer"),
        ("adapter_model.safetensors", b"", "file_empty"),
        ("adapter_model.safetensors", None, "adapter_without_weights"),
        ("adapter_config.json", POINTER, "file_pointer"),
        ("adapter_config.json", b'{"base', "file_damaged"),
        ("tokenizer.json", POINTER, "file_pointer"),
        ("tokenizer_config.json", b'{"add', "file_damaged"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(folder, name, content, key):
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    assert refusal(folder).key == key


def change_tensors(folder: Path, changed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(changed(load_file(path)), path)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda tensors: {}, "q_proj.lora_A"),
        (lambda tensors: {name.removeprefix("base_model.model."): tensors[name] for name in tensors}, "q_proj.lora_A"),
        (lambda tensors: {name: tensors[name] for name in tensors if "lora_B" not in name}, "q_proj.lora_B"),
        (lambda tensors: {name: tensors[name] for name in tensors if "layers.1." not in name}, "layers.1."),
        (
            lambda tensors: tensors | {name: tensors[name][:3].contiguous() for name in tensors if "lora_A" in name},
            "A",
        ),
    ],
    ids=["none", "other names", "no second half", "a layer less", "another rank"],
)
def test_an_adapter_that_would_change_less_than_it_should_is_refused(folder, changed, named):
    change_tensors(folder, changed)
    error = refusal(folder)
    assert error.key == "adapter_misfit"
    assert named in error.fields["tensors"]


@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_an_adapter_that_holds_no_numbers_is_refused(folder, number):
    def spoiled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[max(tensors)][-1] = number
        return tensors

    change_tensors(folder, lambda tensors: {name: torch.zeros_like(tensors[name]) for name in tensors})
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).files, "zeros change nothing"
    change_tensors(folder, spoiled)
    error = refusal(folder)
    assert (error.key, error.fields["tensors"]) == ("tensors_hollow", max(load_file(folder / adapters.WEIGHTS)))


@pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
def test_an_adapter_needs_not_say_that_it_writes_text(folder, task):
    change(folder, task_type=task)
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).files


def test_tensors_that_its_configuration_leaves_out_are_named(folder):
    change(folder, target_modules=["q_proj"])
    error = refusal(folder)
    assert error.key == "adapter_misfit"
    assert "down_proj" in error.fields["tensors"] and "q_proj" not in error.fields["tensors"]


def test_other_sizes_than_the_configurations_are_refused(folder):
    change(folder, r=16)
    assert refusal(folder).key == "adapter_misfit"


def test_an_adapter_of_an_adapter_or_of_itself_is_refused(folder, tuned):
    for base in (tuned, folder):
        change(folder, base_model_name_or_path=str(base))
        error = refusal(folder)
        assert (error.key, error.fields["base"]) == ("adapter_of_adapter", base.name)
