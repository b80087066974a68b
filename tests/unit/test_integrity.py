"""A model on this disk that isn't whole is refused, with the name of what is missing or broken."""

import json
import math
import os
import shutil
import struct
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from hfdemo.commands import check
from hfdemo.commands.terminal import exit_status
from hfdemo.compute.transformers_private import loads_gguf_of
from hfdemo.errors import ModelLoadError, hub_command, install_command
from hfdemo.models import pretrained
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.config_faults import refuse_impossible_numbers
from hfdemo.models.disk import ModelFiles
from hfdemo.models.headers import Tensor, read_rows, shown_path
from hfdemo.models.integrity import unnamed_gguf_error
from hfdemo.models.load import load_model, load_prompts
from hfdemo.models.plan import Machine, make_plan, usual_facts
from hfdemo.models.pretrained import load_config
from hfdemo.settings import Settings
from tests.unit.tiny_models import tiny_model

MACHINE = Machine(ram_free=8 * 10**9, disk_free=10**10)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 269060552\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole model, in two shards."""
    folder = tmp_path_factory.mktemp("models") / "whole"
    model = tiny_model("llama", tie_word_embeddings=False)
    model.save_pretrained(folder, max_shard_size="150KB")
    words = {"a": 0, "</s>": 1}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, "a")), eos_token="</s>"
    ).save_pretrained(folder)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def merge(folder: Path) -> Path:
    """Put the shards into one file, and return it."""
    tensors = {}
    for path in shards(folder):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def without(folder: Path, *names: str, **changed: torch.Tensor) -> None:
    """Take tensors away."""
    path = merge(folder)
    with safe_open(path, "pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    gone = [name for name in kept if any(part in name for part in names)]
    assert gone or changed
    kept = {name: tensor for name, tensor in kept.items() if name not in gone}
    save_file(kept | changed, path, {"format": "pt"})


def refusal(model: Path | str, **settings: object) -> ModelLoadError:
    with pytest.raises(ModelLoadError) as refused:
        check_model(parse_model(str(model)), Settings(**settings), MACHINE)
    error = refused.value
    assert error.text("ko") != error.text("en")
    assert "text-generation" not in error.text("en")
    return error


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_whole_model_is_taken(folder):
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.facts.layers == 3
    merge(folder)
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model-00001-of-*", "generation_config.json"]
)
def test_a_pointer_to_any_file_is_named_with_the_real_size(folder, name):
    path = next(folder.glob(name))
    path.write_bytes(POINTER)
    error = refusal(folder)
    assert error.key == "file_pointer"
    for part in (path.name, "269 MB", "git lfs pull", f"{hub_command()} download", str(folder)):
        assert part in error.text("en"), error.text("en")


@pytest.mark.parametrize("name", ["notes.txt", "requirements.txt", "eval_results.json", "model.fp16.safetensors"])
@pytest.mark.parametrize("content", [b"", POINTER], ids=["empty", "pointer"])
def test_a_file_that_is_not_read_may_be_anything(folder, name, content):
    (folder / name).write_bytes(content)
    (folder / "log.txt").symlink_to(folder / "gone")
    (folder / "results.json").mkdir()
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.facts.layers == 3


def test_shards_that_are_missing_are_named(folder):
    gone = shards(folder)[1]
    gone.unlink()
    error = refusal(folder)
    assert error.key == "shards_missing"
    assert gone.name in error.text("en") and "model.safetensors.index.json" in error.text("en")


def test_shards_without_their_index_are_refused(folder):
    (folder / "model.safetensors.index.json").unlink()
    error = refusal(folder)
    assert error.key == "no_weights"
    assert shards(folder)[0].name in error.text("en")


def test_an_index_cant_lead_out_of_the_folder(folder, tmp_path):
    shutil.copy(shards(folder)[0], tmp_path / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    assert refusal(folder).key == "shards_missing"


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_that_names_nothing_is_refused(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    error = refusal(folder)
    assert (error.key, exit_status(error)) == ("index_empty", 26)
    assert "model.safetensors.index.json" in error.text("en") and "?" not in error.text("en")


def test_a_small_file_has_its_size_too(folder):
    (folder / "tokenizer.json").write_bytes(POINTER.replace(POINTER.split(b"size ")[1].split()[0], b"46123"))
    assert "the real file has 46.1 kB" in refusal(folder).text("en")


def test_a_list_in_place_of_the_configuration_is_said_to_be_no_object(folder):
    (folder / "config.json").write_text("[]")
    error = refusal(folder)
    assert (error.key, exit_status(error)) == ("file_no_object", 26)
    assert "config.json" in error.text("en") and "JSON object, which is written between { and }" in error.text("en")
    assert "{ 와 } 로" in error.text("ko")


def with_mark(folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


NOTHING: list[Any] = [{}, None, False, 0, "", []]


@pytest.mark.parametrize(
    "change",
    [with_mark, *(partial(change_config, quantization_config=value) for value in NOTHING)],
    ids=["mark", *map(repr, NOTHING)],
)
def test_a_byte_order_mark_or_an_empty_field_hurts_no_configuration(folder, change):
    change(folder)
    checked = check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert checked.files and checked.plan.facts.layers == 3
    assert load_model(checked.files, "model", checked.plan).prompts.context_limit == 2048
    assert load_prompts(str(folder)).context_limit == 2048


@pytest.mark.parametrize("kept", [0, 5, 20, -1, -4096], ids=["nothing", "5", "in the header", "one short", "tail"])
def test_a_file_that_is_cut_is_named(folder, kept):
    path = shards(folder)[1]
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    error = refusal(folder)
    assert error.key == {0: "file_empty"}.get(kept, "file_cut")
    assert path.name in error.text("en") and str(folder) in error.text("en")
    if kept < 0:
        assert f"{len(content) + kept:,} bytes" in error.text("en") and f"{len(content):,}" in error.text("en")


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html>", b"Entry not found", b"\0" * 4096, struct.pack("<Q", 3) + b"[1]", b"\xff" * 99],
    ids=["a page", "an error", "zeros", "a list", "ones"],
)
def test_what_is_no_safetensors_file_is_named(folder, content):
    shards(folder)[0].write_bytes(content)
    assert refusal(folder).key in ("file_damaged", "file_cut")


def test_a_longer_file_is_refused_as_safetensors_does(folder):
    path = shards(folder)[0]
    path.write_bytes(path.read_bytes() + b"more")
    assert refusal(folder).key == "file_damaged"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "broken", [lambda text: text[: len(text) // 2], lambda _: b"", lambda text: b"\xef\xbb" + text]
)
def test_a_json_file_that_is_broken_is_named(folder, name, broken):
    path = folder / name
    path.write_bytes(broken(path.read_bytes()))
    error = refusal(folder)
    assert error.key in ("file_damaged", "file_empty")
    assert name in error.text("en")


def test_a_head_a_layer_or_all_that_is_missing_is_named(folder, whole, tmp_path):
    without(folder, "lm_head")
    error = refusal(folder)
    assert (error.key, error.fields["tensors"]) == ("tensors_missing", "lm_head.weight")
    layer = Path(shutil.copytree(whole, tmp_path / "layer"))
    without(layer, "layers.1.mlp")
    named = [f"model.layers.1.mlp.{part}_proj.weight" for part in ("down", "gate", "up")]
    assert refusal(layer).fields["tensors"] == ", ".join(named)
    nothing = Path(shutil.copytree(whole, tmp_path / "nothing"))
    without(nothing, "model.", "lm_head", unknown=torch.zeros(1))
    assert "(+" in refusal(nothing).fields["tensors"]
    empty = Path(shutil.copytree(whole, tmp_path / "empty"))
    without(empty, "model.", "lm_head")
    assert "(+" in refusal(empty).fields["tensors"], "the file is whole and holds no tensor at all"


def test_a_tied_head_needs_no_tensor(folder):
    change_config(folder, tie_word_embeddings=True)
    without(folder, "lm_head")
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits


def test_tensors_of_another_shape_are_named(folder):
    change_config(folder, intermediate_size=80)
    error = refusal(folder)
    assert error.key == "tensors_misfit"
    assert "mlp" in error.fields["tensors"]


@pytest.mark.parametrize("missing", ["lm_head", "layers.2."])
def test_loading_refuses_the_same_even_if_nobody_checked(folder, missing):
    without(folder, missing)
    plan = make_plan(usual_facts("tiny", 10**6), MACHINE)
    with pytest.raises(ModelLoadError) as refused:
        load_model(ModelFiles(folder), "tiny", plan)
    assert refused.value.key == "tensors_missing"


@pytest.mark.parametrize(
    "model_type", ["gpt2", "gpt_neox", "mistral", "qwen3", "qwen3_moe", "gemma3_text", "phi3", "mamba"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_whole_model_is_refused(model_type, dtype, whole, tmp_path):
    options = {"num_experts": 4, "moe_intermediate_size": 32} if "moe" in model_type else {}
    options |= {"pad_token_id": 0} if model_type == "phi3" else {}
    tiny_model(model_type, dtype, **options).save_pretrained(tmp_path / "model")
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "model")
    assert check_model(parse_model(str(tmp_path / "model")), Settings(), MACHINE).plan.fits


def test_a_padding_token_beyond_the_vocabulary_hurts_no_architecture_that_ignores_it(whole, tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path / "model")
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "model")
    change_config(tmp_path / "model", pad_token_id=96)
    assert check_model(parse_model(str(tmp_path / "model")), Settings(), MACHINE).plan.fits


def test_a_folder_without_a_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).key == "no_tokenizer", "its settings alone are none"
    (folder / "tokenizer_config.json").unlink()
    assert refusal(folder).key == "no_tokenizer"
    with pytest.raises(ModelLoadError) as refused:
        load_prompts(str(folder))
    assert refused.value.key == "no_tokenizer"


def test_a_tokenizer_of_bytes_needs_no_file_of_words(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits


def test_pickles_are_looked_at_too(folder, whole):
    model = AutoModelForCausalLM.from_pretrained(whole)
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert refusal(folder).key == "pickled"
    save_file({"other": torch.ones(1)}, folder / "consolidated.safetensors")  # which transformers doesn't look for
    allowed = Settings(allow_pickle=True)
    checked = check_model(parse_model(str(folder)), allowed, MACHINE)
    assert checked.plan.fits and checked.files
    assert load_model(checked.files, "model", checked.plan, settings=allowed).prompts.context_limit == 2048
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-500])
    assert refusal(folder, allow_pickle=True).key == "file_damaged"
    path.write_bytes(POINTER)
    assert refusal(folder, allow_pickle=True).key == "file_pointer"


def test_a_file_that_only_ends_as_pickled_weights_do_is_none(folder):
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "training_args.bin").write_bytes(b"PK")
    error = refusal(folder)
    assert error.key == "no_weights" and "training_args.bin" in error.text("en")


def test_an_empty_folder_that_hides_a_model_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    error = refusal("org/name")
    assert error.key == "folder_empty"
    assert str(tmp_path / "org" / "name") in error.text("en")
    assert "hides the model org/name on the Hub" in error.text("en")
    (tmp_path / "org" / "name" / "notes.md").touch()
    (tmp_path / "org" / "name" / "checkpoint-500").mkdir()
    error = refusal("org/name")
    assert error.key == "no_config"
    assert "checkpoint-500/, notes.md" in error.text("en") and "hides" in error.text("en")
    assert "hides" not in refusal(str(tmp_path / "org" / "name")).text("en")


def test_a_path_is_shown_without_the_owners_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shown_path(tmp_path / "models" / "a") == "~/models/a"
    assert shown_path(Path("/srv/a")) == "/srv/a"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_utf_8_is_not_said_to_be_damaged(folder, tmp_path):
    error = refusal(folder.rename(tmp_path / os.fsdecode(b"\xb8\xf0")))
    assert (error.key, exit_status(error)) == ("path_no_utf8", 26)
    assert r"\udcb8\udcf0" in error.text("en").encode().decode()


GGUF_PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def make_gguf(
    path: Path,
    layers: int = 2,
    architecture: str = "llama",
    without: str = "",
    shapes: Mapping[str, tuple[int, int]] | None = None,
    filled: Mapping[str, float] | None = None,
    said_layers: int = 2,
    **split: int,
) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(said_layers)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_feed_forward_length(64)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_token_list(["a", "b"])
    for name, value in split.items():
        writer.add_uint16(f"split.{name}", value)
    usual: dict[str, tuple[int, ...]] = {"token_embd.weight": (2, 64), "output_norm.weight": (64,)}
    for layer in range(layers):
        usual |= {f"blk.{layer}.{part}.weight": (64, 64) for part in GGUF_PARTS}
        usual |= {f"blk.{layer}.{part}_norm.weight": (64,) for part in ("attn", "ffn")}
    for name, shape in usual.items():
        if not fnmatch(name, without):
            numbers = torch.full((shapes or {}).get(name, shape), (filled or {}).get(name, 1.0))
            writer.add_tensor(name, numbers.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_whole_gguf_file_is_taken(tmp_path):
    plan = check_model(parse_model(str(make_gguf(tmp_path / "m.gguf"))), Settings(), MACHINE).plan
    parameters = 2 * 64 + 2 * (7 * 64 * 64 + 2 * 64) + 64
    assert (plan.facts.parameters, plan.facts.layers, plan.facts.vocabulary) == (parameters, 2, 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [("token_embd.weight", "model.embed_tokens.weight"), ("blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj")],
)
def test_weights_of_zeros_in_a_gguf_file_are_refused_before_they_are_read(tmp_path, name, said):
    filled = dict.fromkeys([name, *(name.replace("attn_q", part) for part in GGUF_PARTS)], 0.0)
    error = refusal(make_gguf(tmp_path / "m.gguf", filled=filled))
    assert (error.key, exit_status(error)) == ("tensors_hollow", 26)
    assert said in error.fields["tensors"]


def test_what_a_gguf_files_header_hides_is_told(tmp_path):
    path = make_gguf(tmp_path / "m.gguf", layers=3)
    (note,) = check_model(parse_model(str(path)), Settings(), MACHINE).notes
    assert (note.key, dict(note.fields)["count"]) == ("layers_unread", "1")


def test_a_folder_of_gguf_files_is_one_whatever_configuration_is_beside_them(folder):
    (folder / "m-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits, "its whole weights count more"
    merge(folder).rename(folder / "own.safetensors")
    change_config(folder, transformers_weights="own.safetensors")
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits
    (folder / "own.safetensors").unlink()
    error = refusal(folder)
    assert (error.key, exit_status(error)) == ("gguf_repository", 26)
    assert f"{shown_path(folder)}/m-Q4_K_M.gguf" in error.text("en")
    assert load_prompts(str(folder)).context_limit == 2048, "which need no weights"


@pytest.mark.parametrize(
    ("names", "first", "files"),
    [
        (["m-BF16.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], "m-Q4_K_M.gguf", "m-Q4_K_M.gguf, m-BF16.gguf, m-Q8_0.gguf"),
        (["m-bf16.gguf", "m-q4_0.gguf", "m-q8_0.gguf"], "m-q4_0.gguf", "m-q4_0.gguf, m-bf16.gguf, m-q8_0.gguf"),
        (["m-BF16.gguf", "m-Q8_0.gguf"], "m-Q8_0.gguf", "m-Q8_0.gguf, m-BF16.gguf"),
        (["b.gguf", "a.gguf"], "a.gguf", "a.gguf, b.gguf"),
        (
            [
                "imatrix.gguf",
                "m-Q4_K_M-00001-of-00002.gguf",
                "m-Q4_K_M-00002-of-00002.gguf",
                "mmproj-F16.gguf",
                "z.gguf",
            ],
            "z.gguf",
            "z.gguf",
        ),
        (["m-00001-of-00001.gguf", "mmproj.gguf"], "m-00001-of-00001.gguf", "m-00001-of-00001.gguf"),
        (["m-00001-of-00002.gguf"], "m-00001-of-00002.gguf", "m-00001-of-00002.gguf"),
        (
            [f"m-IQ{bits}.gguf" for bits in range(1, 9)] + ["m-Q4_K_M.gguf"],
            "m-Q4_K_M.gguf",
            "m-Q4_K_M.gguf, " + ", ".join(f"m-IQ{bits}.gguf" for bits in range(1, 8)) + ", …",
        ),
    ],
)
def test_of_gguf_files_those_are_named_that_hold_a_model_and_one_that_suits_most_machines_first(names, first, files):
    error = unnamed_gguf_error("org/m@v1", names)
    assert (error.fields["first"], error.fields["files"]) == (first, files)
    assert f"For example org/m@v1/{first}" in error.text("en")


def test_the_words_of_a_gguf_file_are_not_read_for_its_configuration(tmp_path, monkeypatch):
    def read_field(reader: GGUFReader, begin: int, kind: int) -> Any:
        assert kind != GGUFValueType.ARRAY
        return usual(reader, begin, kind)

    path, usual = make_gguf(tmp_path / "m.gguf"), GGUFReader._get_field_parts
    monkeypatch.setattr(GGUFReader, "_get_field_parts", read_field)
    with pytest.raises(AssertionError):
        AutoConfig.from_pretrained(tmp_path, gguf_file=path.name)
    assert load_config(ModelFiles(tmp_path, path.name)).vocab_size == 2


def test_a_gguf_file_whose_header_says_too_little_is_named(tmp_path):
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_embedding_length(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    error = refusal(tmp_path / "m.gguf")
    assert (error.key, error.fields["problem"]) == ("gguf_unreadable", "no llama.block_count")


@pytest.mark.parametrize(
    ("content", "key"),
    [("{", "generation_broken"), ('{"temperature": "x"}', "generation_ignored"), ('{"temperature": 0.5}', None)],
)
def test_what_is_wrong_with_the_generation_config_is_noted_before_the_model_is_loaded(folder, content, key):
    (folder / "generation_config.json").write_text(content)
    notes = check_model(parse_model(str(folder)), Settings(), MACHINE).notes
    assert [note.key for note in notes] == [key] * bool(key)


@pytest.mark.parametrize("part", [*GGUF_PARTS, "attn_norm", "ffn_norm"])
def test_what_all_layers_of_a_gguf_file_lack_is_named(tmp_path, part):
    error = refusal(make_gguf(tmp_path / "m.gguf", without=f"blk.*.{part}.weight"))
    theirs = {"attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "ffn_gate": "mlp.gate_proj"}
    theirs |= {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    said = [f"model.layers.{layer}.{theirs[part]}.weight" for layer in (0, 1)] if part in theirs else [f"blk.*.{part}"]
    assert (error.key, error.fields["tensors"]) == ("tensors_missing", ", ".join(said))


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "token_embd.weight"])
def test_a_tensor_of_another_shape_in_a_gguf_file_is_named(tmp_path, name):
    layers = 3 if name.startswith("blk") else 2
    error = refusal(make_gguf(tmp_path / "m.gguf", layers, shapes={name: (32, 32)}))
    assert (error.key, error.fields["tensors"], exit_status(error)) == ("gguf_misfit", name, 26)
    assert "config.json" not in error.text("en") + error.text("ko")


@pytest.mark.parametrize("kept", [{}, {"quant_method": "fp8"}, {"quant_method": "mxfp4"}], ids=str)
@pytest.mark.parametrize("gone", ["layers.1.self_attn.q_proj", "lm_head"])
def test_what_a_quantized_model_lacks_is_named_too(folder, kept, gone):
    change_config(folder, quantization_config=kept, tie_word_embeddings=False)
    without(folder, gone)
    error = refusal(folder)
    assert error.key == "tensors_missing" and gone in error.fields["tensors"]


@pytest.mark.parametrize(
    ("broken", "key"),
    [
        (lambda content: b"", "file_empty"),
        (lambda content: bytes(len(content)), "file_damaged"),
        (lambda content: b"PK" + content[2:], "file_damaged"),
        (lambda content: content[:3], "file_damaged"),
        (lambda content: content[:10], "file_cut"),
        (lambda content: content[:40], "file_cut"),
        (lambda content: content[:200], "file_cut"),
        (lambda content: content[:-4096], "file_cut"),
        (lambda content: content[:-1], "file_cut"),
        (lambda content: b"GGUF" + b"\xff" * 96, "gguf_unreadable"),
        (lambda content: b"GGUF" + struct.pack("<I", 1) + content[8:], "gguf_unreadable"),
        (lambda content: POINTER, "file_pointer"),
    ],
    ids=[
        "empty",
        "zeros",
        "magic",
        "3 bytes",
        "10 bytes",
        "40 bytes",
        "200 bytes",
        "tail",
        "1 short",
        "ones",
        "v1",
        "pointer",
    ],
)
def test_a_gguf_file_that_is_broken_is_named(tmp_path, broken, key):
    path = make_gguf(tmp_path / "m.gguf")
    path.write_bytes(broken(path.read_bytes()))
    error = refusal(path)
    assert error.key == key, error
    assert "m.gguf" in error.text("en") and str(tmp_path) in error.text("en")


def test_a_part_of_a_split_gguf_file_names_the_others(tmp_path):
    first = make_gguf(tmp_path / "m-00001-of-00002.gguf", layers=1, no=0, count=2)
    error = refusal(first)
    assert error.key == "gguf_parts_missing"
    assert "m-00002-of-00002.gguf" in error.text("en")
    make_gguf(tmp_path / "m-00002-of-00002.gguf", layers=1, no=1, count=2)
    assert refusal(first).key == "gguf_parts"
    assert refusal(first.rename(tmp_path / "half.gguf")).key == "gguf_parts"


def test_a_gguf_file_without_a_layer_is_refused(tmp_path):
    error = refusal(make_gguf(tmp_path / "m.gguf", layers=1))
    assert (error.key, error.fields["tensors"]) == ("tensors_missing", "blk.1")


@pytest.mark.parametrize(
    ("said", "key", "field", "part"),
    [
        (3 * 10**6, "tensors_missing", "tensors", "20 < block_count = 3000000"),
        (0, "gguf_unreadable", "problem", "llama.block_count = 0"),
    ],
)
def test_a_gguf_file_whose_header_asks_for_no_or_millions_of_layers_is_refused_at_once(
    tmp_path, said, key, field, part
):
    began = time.monotonic()
    error = refusal(make_gguf(tmp_path / "m.gguf", said_layers=said))
    assert (error.key, error.fields[field]) == (key, part)
    assert time.monotonic() - began < 5


def test_a_gguf_file_of_an_unknown_architecture_is_refused(tmp_path):
    error = refusal(make_gguf(tmp_path / "m.gguf", architecture="clip"))
    assert (error.key, error.fields["architecture"]) == ("gguf_architecture", "clip")
    for known in ("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma3", "gpt-oss", "phi3"):
        assert loads_gguf_of(known), known


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "model-00001-of-*"])
def test_a_link_that_leads_nowhere_and_a_folder_in_place_of_a_file_are_named(folder, name):
    path = next(folder.glob(name), folder / name)
    path.unlink(missing_ok=True)
    path.symlink_to("gone")
    error = refusal(folder)
    assert (error.key, error.fields["file"]) == ("file_link_broken", path.name)
    path.unlink()
    path.mkdir()
    error = refusal(folder)
    assert (error.key, error.fields["file"]) == ("file_is_folder", path.name)


def test_a_header_that_safetensors_refuses_is_refused_before_loading(folder):
    path = merge(folder)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for damage in ({"dtype": "F64"}, {"dtype": "Q7"}, {"shape": [1, 1]}):
        header = json.loads(whole[8 : 8 + length])
        header["lm_head.weight"] |= damage
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
        assert refusal(folder).key == "file_damaged"


def test_weights_of_few_bits_that_nothing_scales_are_refused(folder):
    path = merge(folder)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.int8)}, path, {"format": "pt"})
    assert (refusal(folder).key, refusal(folder).fields["method"]) == ("quantizer_unknown", "I8")
    eight_bit = tensors | {name: tensors[name].to(torch.float8_e4m3fn)}
    save_file(eight_bit, path, {"format": "pt"})
    assert check_model(parse_model(str(folder)), Settings(), MACHINE).plan.fits
    save_file(tensors | {name: tensors[name].bool()}, path, {"format": "pt"})
    assert (refusal(folder).key, refusal(folder).fields["method"]) == ("quantizer_unknown", "BOOL")
    save_file(eight_bit | {f"{name}_scale": torch.ones(1)}, path, {"format": "pt"})
    assert (refusal(folder).key, refusal(folder).fields["method"]) == ("quantizer_unknown", "F8_E4M3")


def test_millions_of_layers_are_refused_at_once(folder):
    change_config(folder, num_hidden_layers=10**8)
    began = time.monotonic()
    assert refusal(folder).key == "tensors_missing"
    assert time.monotonic() - began < 5


UNUSABLE_CONFIGS = [
    ({"model_type": "llama99"}, "architecture_unknown", "llama99"),
    ({"model_type": None}, "architecture_unknown", "None"),
    ({"model_type": ""}, "not_a_language_model", "config.json"),
    ({"hidden_size": "many"}, "cant_load", "hidden_size"),
    ({"num_hidden_layers": -3}, "config_number", "num_hidden_layers = -3"),
    ({"num_hidden_layers": 0}, "config_number", "num_hidden_layers = 0"),
    ({"num_attention_heads": 0}, "config_number", "num_attention_heads = 0"),
    ({"vocab_size": "96"}, "config_number", "vocab_size = '96'"),
    ({"vocab_size": True}, "config_number", "vocab_size = True"),
    ({"max_position_embeddings": 1}, "config_number", "max_position_embeddings = 1"),
    ({"rms_norm_eps": math.nan}, "config_no_number", "rms_norm_eps = nan"),
    ({"rms_norm_eps": math.inf}, "config_no_number", "rms_norm_eps = inf"),
    ({"rope_scaling": {"factor": math.nan}}, "config_no_number", "rope_scaling.factor = nan"),
    ({"max_position_embeddings": 0.5}, "config_number", "max_position_embeddings = 0.5"),
    ({"pad_token_id": 96}, "config_padding", "pad_token_id = 96"),
    ({"pad_token_id": 200}, "config_padding", "vocab_size = 96"),
    ({"dtype": "float99"}, "config_value", "dtype = 'float99'"),
    ({"hidden_act": "nonsense"}, "config_value", "hidden_act = 'nonsense'"),
    ({"rope_parameters": {"rope_type": "weird"}}, "config_value", "rope_parameters.rope_type = 'weird'"),
    ({"architectures": "LlamaForSequenceClassification"}, "not_text_generation", "LlamaForSequenceClassification"),
]
"""Changes of a config.json after which no model can be made of it, with the error's key and a part of its text."""


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        *UNUSABLE_CONFIGS,
        ({"quantization_config": "awq"}, "quantizer_package", "gptqmodel"),
        ({"quantization_config": [4]}, "quantizer_unknown", "[4]"),
        ({"quantization_config": {"quant_method": None}}, "quantizer_unknown", "?"),
        ({"quantization_config": {"quant_method": ["awq"]}}, "quantizer_unknown", "awq"),
        ({"quantization_config": {"load_in_4bit": False}}, "quantizer_unknown", "?"),
    ],
)
def test_a_config_that_cant_be_used_is_refused_for_what_is_wrong_in_it(folder, changes, key, said):
    change_config(folder, **changes)
    with pytest.raises(ModelLoadError) as refused:
        check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert refused.value.key == key
    assert said in refused.value.text("en") and said in refused.value.text("ko")


def test_a_trainers_folder_leads_to_the_checkpoint_in_it(folder, tmp_path, monkeypatch):
    for number in (100, 200):
        shutil.copytree(folder, tmp_path / "run" / f"checkpoint-{number}")
    monkeypatch.chdir(tmp_path.parent)  # from where it is called as a model of the Hub could be
    for run in (tmp_path / "run", f"{tmp_path.name}/run"):
        error = refusal(run)
        assert (error.key, error.advice) == ("no_config", "name_inner")
        assert "checkpoint-200?" in error.text("en")


def test_the_folder_of_the_hubs_cache_leads_to_the_snapshot_in_it(folder, tmp_path):
    cached = tmp_path / "models--org--name"
    for name in ("blobs", "refs"):
        (cached / name).mkdir(parents=True)
    shutil.copytree(folder, cached / "snapshots" / ("a" * 40))
    error = refusal(cached)
    assert (error.key, error.advice) == ("no_config", "name_inner")
    assert f"snapshots/{'a' * 40}?" in error.text("en")


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe"])
def test_an_expert_that_is_missing_is_named(model_type, whole, tmp_path):
    options = {"num_experts": 4, "moe_intermediate_size": 32} if model_type == "qwen3_moe" else {}
    tiny_model(model_type, **options).save_pretrained(tmp_path / "model")
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    with safe_open(path, "pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    gone = next(name for name in sorted(kept) if ".experts.2." in name)
    save_file({name: tensor for name, tensor in kept.items() if name != gone}, path, {"format": "pt"})
    error = refusal(tmp_path / "model")
    assert (error.key, error.fields["tensors"]) == ("tensors_missing", gone)


def without_its_model(text: str) -> str:
    return json.dumps({name: part for name, part in json.loads(text).items() if name != "model"})


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("tokenizer.json", lambda text: "{}"),
        ("tokenizer.json", lambda text: "[]"),
        ("tokenizer.json", lambda text: '{"error": "Repository not found"}'),
        ("tokenizer.json", lambda text: text.replace('":', '"', 1)),
        ("tokenizer.json", without_its_model),
        ("tokenizer_config.json", lambda text: "[]"),
        ("tokenizer_config.json", lambda text: '{"eos_token": 5}'),
    ],
)
def test_a_tokenizer_that_is_broken_inside_is_said_to_be_it(folder, name, broken):
    path = folder / name
    path.write_text(broken(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ModelLoadError) as refused:
        load_prompts(str(folder))
    assert refused.value.key == "tokenizer_unreadable"
    assert str(folder) in refused.value.text("en") and "토크나이저" in refused.value.text("ko")


def test_a_bound_that_is_infinite_is_none():
    """As in the configurations of Mamba."""
    refuse_impossible_numbers({"time_step_limit": [0.0, math.inf], "time_step_max": math.inf}, "config.json", "model")


@pytest.mark.parametrize(
    ("content", "line"),
    [('{\n "a": 1, // one\n "b": 2}', 2), ('{"a": 1,\n}', 2), ('{"a": True}', 1), ('{"a"\n:\n}', 3)],
)
def test_the_line_of_a_configuration_that_was_edited_wrongly_is_named(folder, content, line):
    (folder / "config.json").write_text(content)
    error = refusal(folder)
    assert error.key == "file_no_json"
    assert f"line {line} is not JSON" in error.text("en") and f"{line}번째 줄" in error.text("ko")


def test_layers_that_config_json_leaves_out_are_told(folder, caplog, capsys):
    def notes() -> list[str]:
        checked = check_model(parse_model(str(folder)), Settings(), MACHINE)
        assert checked.files
        told = [note.text() for note in load_model(checked.files, "model", checked.plan).notes]
        assert told == [note.text() for note in checked.notes], "as the check did before"
        return told

    assert notes() == []
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    change_config(folder, num_hidden_layers=layers - 1)
    assert ["does not count, and that are not used: 1." in note for note in notes()] == [True]
    assert "UNEXPECTED" not in caplog.text, "transformers' own table"
    assert check.run(str(folder), None, None, "en", False) == 0
    assert "does not count, and that are not used: 1." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"model_max_length": "many"}, "config_number", "model_max_length = 'many'"),
        ({"model_max_length": 1}, "config_number", "model_max_length = 1"),
        ({"model_max_length": 512.5}, "config_number", "model_max_length = 512.5"),
        ({"chat_template": 5}, "tokenizer_unreadable", "chat_template = 5"),
    ],
)
def test_a_tokenizers_setting_that_cant_be_is_named(folder, changes, key, said):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelLoadError) as refused:
        load_prompts(str(folder))
    assert (refused.value.key, exit_status(refused.value)) == (key, 26)
    assert "tokenizer_config.json" in refused.value.text("en") and said in refused.value.text("ko")


def a_piece(text: str, kind: int) -> bytes:
    """Return a word as a file of SentencePiece holds it."""
    body = bytes([0x0A, len(text)]) + text.encode() + b"\x15" + struct.pack("<f", 0) + bytes([0x18, kind])
    return bytes([0x0A, len(body)]) + body


SENTENCEPIECE = a_piece("<unk>", 2) + a_piece("<s>", 3) + a_piece("</s>", 3) + a_piece("a", 1)


@pytest.mark.parametrize(
    ("content", "installed", "key"),
    [
        (SENTENCEPIECE, False, "tokenizer_package"),
        (b"<!DOCTYPE html>", False, "tokenizer_unreadable"),
        (SENTENCEPIECE[:20], True, "tokenizer_unreadable"),
    ],
    ids=["whole", "a page", "cut"],
)
def test_a_tokenizer_that_needs_a_package_is_not_said_to_be_broken(folder, monkeypatch, content, installed, key):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(content)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    monkeypatch.setattr(pretrained, "find_spec", lambda name: name if installed else None)
    with pytest.raises(ModelLoadError) as refused:
        load_prompts(str(folder))
    assert (refused.value.key, exit_status(refused.value)) == (key, 26)
    for text in (refused.value.text("en"), refused.value.text("ko")):
        assert key != "tokenizer_package" or "tokenizer.model" in text
        assert key != "tokenizer_package" or install_command("sentencepiece", "protobuf") in text


@pytest.mark.parametrize(
    ("words", "unknown", "said"), [({"b": 0}, "a", "not found in the vocabulary"), ({}, None, "vocabulary is empty")]
)
def test_a_tokenizer_without_words_is_refused(folder, words, unknown, said):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "BPE", "vocab": words, "merges": [], "unk_token": unknown}
    path.write_text(json.dumps(content | {"added_tokens": []}))
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match=said) as refused:
        load_prompts(str(folder))
    assert refused.value.key == "tokenizer_unreadable"


@pytest.mark.parametrize("limit", [1e30, 0, -1], ids=["a whole number with a point", "none", "less than none"])
def test_a_tokenizer_without_a_limit_leaves_it_to_the_model(folder, limit):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": limit}))
    assert load_prompts(str(folder)).context_limit == 2048


def test_checking_writes_no_bar(folder, capfd):
    transformers_logging.enable_progress_bar()  # another test may have turned it off
    capfd.readouterr()
    check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["token_embd.weight", "output_norm.weight", "blk.1.ffn_up.weight", "blk.0.ffn_down.weight"]
)
def test_a_tensor_that_a_gguf_file_lacks_is_named(tmp_path, name):
    error = refusal(make_gguf(tmp_path / "m.gguf", without=name))
    assert (error.key, error.fields["tensors"]) == ("tensors_missing", name)


def fill(folder: Path, number: float, only: str = "") -> None:
    """Let weights of a model in one file be all the same."""
    path = merge(folder)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    filled = {name: torch.full_like(tensor, number) if only in name else tensor for name, tensor in tensors.items()}
    save_file(filled, path, {"format": "pt"})


@pytest.mark.parametrize("number", [0.0, float("nan")])
@pytest.mark.parametrize("only", ["", "embed_tokens", "layers.0.mlp", "layers.1.mlp", "layers.2.mlp", "lm_head"])
def test_weights_that_hold_nothing_are_refused(folder, number, only):
    checked = check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert checked.files
    fill(folder, number, only)
    with pytest.raises(ModelLoadError) as refused:  # as of pickled weights, of which the check knows nothing
        load_model(checked.files, "model", checked.plan)
    for error in (refused.value, refusal(folder)):
        assert (error.key, exit_status(error)) == ("tensors_hollow", 26)
        assert (only or "embed_tokens") in error.text("en") and (only or "embed_tokens") in error.text("ko")


def test_experts_in_one_tensor_are_looked_at_with_few_of_their_rows(tmp_path):
    experts = torch.arange(5 * 100 * 2).view(5, 100, 2)
    save_file({"experts": experts}, tmp_path / "m.safetensors")
    found = read_rows("experts", Tensor("I64", (5, 100, 2), tmp_path / "m.safetensors"), 4)
    assert torch.equal(torch.cat(found), experts[[0, 2, 4], :4])
    whole = read_rows("experts", Tensor("I64", (5, 100, 2), tmp_path / "m.safetensors"))
    assert torch.equal(torch.cat(whole), experts)


@pytest.mark.parametrize("only", ["norm", "o_proj", "down_proj"])
def test_zeros_where_a_good_model_may_have_them_are_taken(folder, only):
    fill(folder, 0.0, only)
    checked = check_model(parse_model(str(folder)), Settings(), MACHINE)
    assert checked.files
    assert load_model(checked.files, "model", checked.plan).name == "model"


def test_models_that_are_checked_at_one_time_leave_everything_as_it_was(whole, tmp_path):
    tiny_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "tied")
    before = (PreTrainedModel.tie_weights, torch.linspace, torch.get_default_dtype(), nn.Module.register_parameter)

    def check() -> bool:
        return check_model(parse_model(str(tmp_path / "tied")), Settings(), MACHINE).plan.fits

    with ThreadPoolExecutor(4) as threads:
        assert [job.result() for job in [threads.submit(check) for _ in range(12)]] == [True] * 12
    now = (PreTrainedModel.tie_weights, torch.linspace, torch.get_default_dtype(), nn.Module.register_parameter)
    assert now == before
