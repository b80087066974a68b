"""Weights that are stored quantized: what the loader would refuse is refused before anything is downloaded."""

import json
from contextlib import nullcontext
from typing import Any

import pytest
from huggingface_hub import ModelInfo

from hfdemo.commands.terminal import exit_status
from hfdemo.errors import ModelLoadError
from hfdemo.models import check, quantizers
from hfdemo.models.choose import parse_model
from hfdemo.models.quantizers import check_quantization, quantization_method
from hfdemo.models.source import HubModel
from hfdemo.publish.requirements import names_in
from hfdemo.settings import Settings
from tests.unit.test_facts import QWEN3, hub_info
from tests.unit.test_integrity import MACHINE, UNUSABLE_CONFIGS
from tests.unit.test_plan import GB
from tests.unit.tiny_models import tiny_model

CASES = {
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128}, "quantizer_package", "gptqmodel"),
    "gptq": ({"quant_method": "gptq", "bits": 4}, "quantizer_package", "gptqmodel optimum"),
    "compressed-tensors": (
        {"quant_method": "compressed-tensors", "config_groups": {}},
        "quantizer_package",
        "compressed-tensors",
    ),
    "torchao": ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "quantizer_package", "torchao"),
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantizer_package", "bitsandbytes"),
    "old bitsandbytes": ({"load_in_8bit": True}, "quantizer_package", "bitsandbytes"),
    "quanto": ({"quant_method": "quanto", "weights": "int8"}, "quantizer_package", "optimum-quanto"),
    "MLX": ({"bits": 4, "group_size": 64}, "quantizer_unknown", "MLX"),
    "mlx by name": ({"quant_method": "mlx", "bits": 4}, "quantizer_unknown", "mlx"),
    "unknown": ({"quant_method": "exl9"}, "quantizer_unknown", "exl9"),
    "nothing that says what it is": ({"version": 3}, "quantizer_unknown", "?"),
}


@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizers, "_is_installed", lambda module: False)


def refusal(config: dict[str, Any]) -> ModelLoadError:
    with pytest.raises(ModelLoadError) as refused:
        check_quantization("org/m", config, MACHINE)
    assert refused.value.text("ko") != refused.value.text("en")
    return refused.value


@pytest.mark.parametrize("case", CASES)
def test_what_cant_be_loaded_is_refused_and_the_package_named(case):
    quantization, key, part = CASES[case]
    error = refusal({"model_type": "llama", "quantization_config": quantization})
    assert error.key == key
    assert part in error.text("en")
    assert key != "quantizer_package" or f"-m pip install {part}" in error.text("en")


def test_what_only_mlx_writes_is_seen_in_its_other_field_and_in_the_part_that_writes_text():
    assert refusal({"quantization": {"bits": 4, "group_size": 64}}).key == "quantizer_unknown"
    assert quantization_method({"text_config": {"quantization_config": {"quant_method": "awq"}}}) == "awq"
    assert quantization_method({"quantization_config": None, "text_config": "?"}) is None
    assert quantization_method({"quantization_config": {}}) is None
    assert quantization_method({"quantization": {}}) is None


@pytest.mark.parametrize("method", ["fp8", "mxfp4"])
def test_what_is_unpacked_without_a_package_is_taken(method):
    check_quantization("org/m", {"quantization_config": {"quant_method": method}}, MACHINE)


def test_what_needs_another_machine_is_refused_in_the_loaders_words(monkeypatch):
    monkeypatch.setattr(quantizers, "_is_installed", lambda module: True)
    error = refusal({"quantization_config": {"quant_method": "fbgemm_fp8"}})
    assert error.key == "quantizer_refused"
    assert "GPU" in error.fields["problem"]


def stand_in_for_hub(monkeypatch: pytest.MonkeyPatch, info: ModelInfo, config: dict[str, Any]) -> None:
    """Let `org/m` be a model of the Hub that isn't on this machine."""
    monkeypatch.setattr(check, "find_model", lambda source: None)
    monkeypatch.setattr(check, "ask_hub", lambda source, platform: info)
    monkeypatch.setattr(check, "read_config", lambda source: config)


def check_here() -> None:
    check.check_model(HubModel("org/m"), Settings(), MACHINE)


def check_for_space(requirements: str = "") -> None:
    check.check_for_space(HubModel("org/m"), names_in(requirements), "local")


def test_a_model_of_the_hub_is_refused_before_a_byte_of_its_weights(monkeypatch):
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"], "quantization_config": {"quant_method": "awq"}}
    info = hub_info({"I32": 10}, {"config.json": 700, "model.safetensors": GB})
    stand_in_for_hub(monkeypatch, info, config)
    with pytest.raises(ModelLoadError, match="gptqmodel"):
        check_here()


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ("bitsandbytes", "bitsandbytes"),
        ("fp_quant", "fp_quant"),
        ("aqlm", "aqlm[gpu,cpu]"),
        ("spqr", "spqr_quant[gpu]"),
    ],
)
def test_what_a_space_needs_to_read_the_weights_belongs_into_its_requirements(monkeypatch, method, package):
    quantization = {"load_in_4bit": True} if method == "bitsandbytes" else {"quant_method": method}
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"], "quantization_config": quantization}
    sizes = {"config.json": 7, "tokenizer.json": 9, "model.safetensors": GB}
    stand_in_for_hub(monkeypatch, hub_info(None, sizes), config)
    with pytest.raises(ModelLoadError) as refused:
        check_for_space("torch>=2,<3")
    assert (refused.value.key, refused.value.fields["packages"]) == ("quantizer_requirement", package)
    assert "requirements.txt" in refused.value.text("en") and "pip install" not in refused.value.text("en")
    check_for_space(f"torch>=2,<3\n{package}>=0.1,<9")


def test_the_revision_that_was_named_stands_in_the_example_of_a_gguf_file(monkeypatch):
    stand_in_for_hub(monkeypatch, hub_info(None, {"m-Q4_K_M.gguf": 10}), {})
    with pytest.raises(ModelLoadError, match=r"For example org/m@v1/m-Q4_K_M\.gguf"):
        check.check_model(HubModel("org/m", "v1"), Settings(), MACHINE)
    assert parse_model("org/m@v1/m-Q4_K_M.gguf") == HubModel("org/m", "v1", "m-Q4_K_M.gguf")


@pytest.mark.parametrize(
    ("auto", "key"), [("AutoModelForCausalLM", "needs_code"), ("AutoModel", "not_text_generation")]
)
def test_a_model_whose_own_code_writes_is_refused_for_that_whatever_its_class_is_called(auto, key):
    config = {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": {auto: "modeling.ChatGLM"}}
    with pytest.raises(ModelLoadError) as refused:
        check.check_kind("m", ["config.json", "model.safetensors"], config, allow_pickle=False)
    assert refused.value.key == key


@pytest.mark.parametrize(("task", "said"), [("text-generation", "LlamaForSequenceClassification"), ("other", "other")])
def test_a_model_that_judges_texts_is_called_by_its_class_where_the_hub_has_it_for_one_that_writes(task, said):
    config = {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}
    with pytest.raises(ModelLoadError) as refused:
        check.check_kind("m", ["config.json", "model.safetensors"], config, allow_pickle=False, task=task)
    assert (refused.value.key, refused.value.fields["task"]) == ("not_text_generation", said)


@pytest.mark.parametrize(
    ("files", "key"),
    [
        (["m.onnx"], "no_weights_on_hub"),
        (["onnx/model.bin", "training_args.bin"], "no_weights_on_hub"),
        (["pytorch_model.bin"], "pickled"),
        (["pytorch_model.bin", "onnx/m.safetensors", "adapter_model.safetensors"], "pickled"),
    ],
)
def test_a_model_of_the_hub_without_weights_to_load_is_refused(monkeypatch, files, key):
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"]}
    sizes = dict.fromkeys(["config.json", *files], 9)
    stand_in_for_hub(monkeypatch, hub_info(None, sizes), config)
    with pytest.raises(ModelLoadError) as refused:
        check_here()
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [
        ("bart", "BartForConditionalGeneration", "not_text_generation"),
        ("blenderbot", "BlenderbotForConditionalGeneration", "not_text_generation"),
        ("whisper", "WhisperForConditionalGeneration", "not_text_generation"),
        ("bart", "BartForCausalLM", None),
        ("gemma3", "Gemma3ForConditionalGeneration", None),
        ("mllama", "MllamaForConditionalGeneration", None),
        ("qwen3_5", "Qwen3_5ForConditionalGeneration", None),
    ],
)
def test_what_rewrites_texts_or_writes_down_speech_is_no_chat_model(kind, name, key):
    config, files = {"model_type": kind, "architectures": [name]}, ["config.json", "model.safetensors"]
    with pytest.raises(ModelLoadError) if key else nullcontext() as refused:
        check.check_kind("m", files, config, allow_pickle=False)
    assert not key or (refused.value.key, refused.value.fields["task"]) == (key, name)


@pytest.mark.parametrize(
    ("files", "key"),
    [
        ([], "no_tokenizer_on_hub"),
        (["onnx/tokenizer.json", "README.md"], "no_tokenizer_on_hub"),
        (["tokenizer.model"], None),
        (["tokenizer_config.json"], None),
    ],
)
def test_a_model_of_the_hub_without_a_tokenizer_is_refused_before_a_byte_of_its_weights(monkeypatch, files, key):
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"]}
    sizes = {"config.json": 7, "model.safetensors": GB} | dict.fromkeys(files, 9)
    stand_in_for_hub(monkeypatch, hub_info(None, sizes), config)
    for ask in (check_here, check_for_space):
        with pytest.raises(ModelLoadError) if key else nullcontext() as refused:
            ask()
        assert not key or (refused.value.key, exit_status(refused.value)) == (key, 26)


@pytest.mark.parametrize(("changes", "key", "said"), UNUSABLE_CONFIGS)
def test_a_config_on_the_hub_is_refused_like_one_here_before_a_byte_of_the_weights(monkeypatch, changes, key, said):
    config = tiny_model("llama").config.to_dict() | {"architectures": ["LlamaForCausalLM"]} | changes
    sizes = {"config.json": 7, "tokenizer.json": 9, "model.safetensors": GB}
    stand_in_for_hub(monkeypatch, hub_info(None, sizes), config)
    for ask in (check_here, check_for_space):
        with pytest.raises(ModelLoadError) as refused:
            ask()
        assert refused.value.key == key
        assert said in refused.value.text("en") and said in refused.value.text("ko")


@pytest.mark.parametrize(
    ("others", "key"),
    [([], "gguf_repository"), (["adapter.safetensors"], "gguf_repository"), (["model.safetensors"], None)],
)
def test_a_repository_of_gguf_files_is_one_whatever_configuration_is_beside_them(monkeypatch, others, key):
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"]}
    files = ["config.json", "tokenizer.json", "m-Q4_K_M.gguf", *others]
    stand_in_for_hub(monkeypatch, hub_info(None, dict.fromkeys(files, 10)), config)
    for ask in (check_here, check_for_space):
        with pytest.raises(ModelLoadError) if key else nullcontext() as refused:
            ask()
        assert not key or (refused.value.key, refused.value.fields["first"]) == (key, "m-Q4_K_M.gguf")


@pytest.mark.parametrize(
    ("gguf", "files", "key"),
    [
        ({"architecture": "clip"}, ["m.gguf"], "gguf_architecture"),
        ({"architecture": "llama"}, ["m-00001-of-00002.gguf"], "gguf_parts_missing"),
        ({"architecture": "llama"}, ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], "gguf_parts"),
    ],
)
def test_a_gguf_file_of_the_hub_that_cant_be_loaded_is_refused(monkeypatch, gguf, files, key):
    monkeypatch.setattr(check, "find_model", lambda source: None)
    monkeypatch.setattr(check, "ask_hub", lambda *_: hub_info(None, dict.fromkeys(files, 10), gguf))
    with pytest.raises(ModelLoadError) as refused:
        check.check_model(HubModel("org/m", None, files[0]), Settings(), MACHINE)
    assert refused.value.key == key


def test_a_folder_is_refused_the_same(tmp_path):
    config = QWEN3.config | {"architectures": ["Qwen3ForCausalLM"], "quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="gptqmodel"):
        check.check_model(parse_model(str(tmp_path)), Settings(), MACHINE)
