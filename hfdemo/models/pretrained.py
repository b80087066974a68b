"""The one door through which transformers reads anything of a model: configuration, tokenizer and weights.

Each switch that decides whether a model's own code could run, or something else be fetched, is said here. Left out,
transformers would ask a person at a terminal whether to run the code, and act on a careless `y`.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hfdemo.compute.transformers_private import choose_attention_freely, making_a_model, quietly
from hfdemo.errors import ModelLoadError, install_command
from hfdemo.models.access import read_json
from hfdemo.models.config_faults import refuse_impossible_number, unknown_value, without_empty_quantization
from hfdemo.models.disk import ModelFiles
from hfdemo.models.explain import NeedsCode, in_one_line
from hfdemo.models.headers import shown_path
from hfdemo.models.integrity import has_tokenizer, refuse_without_tokenizer

_SWITCHES = {"trust_remote_code": False, "local_files_only": True}
"""No code of the model's, and nothing but the files that are here: a configuration may name others on the Hub."""

_WEIGHTS_SWITCHES = {"weights_only": True, "use_kernels": False, "allow_all_kernels": False}
"""No pickled objects but tensors, and no compiled code from the Hub."""

SENTENCEPIECE = ("sentencepiece", "protobuf")
"""The packages with which transformers reads SentencePiece's files."""


def load_tokenizer(files: ModelFiles) -> Any:
    """Read a model's tokenizer.

    Raises:
        NeedsCode: it is a program.
        ImportError, PermissionError: it needs a package that isn't here, or may not be read.
        ModelLoadError: there is none, or it can't be read, or not without a package.
    """
    # An adapter may bring its own.
    folder = files.adapter if files.adapter and has_tokenizer(files.adapter) else files.folder
    try:
        config = _read_odd_config(files)
        tokenizer = _read(AutoTokenizer, files, folder, **({"config": config} if config else {}))
        _refuse_impossible(tokenizer, folder)
        tokenizer.encode("a", add_special_tokens=False)  # some vocabularies lack what they need for any text at all
        return tokenizer
    except (NeedsCode, ImportError, PermissionError, ModelLoadError):
        raise
    except Exception as error:  # of many kinds, some of which name nothing but a key or a line
        if not files.gguf_file:
            refuse_without_tokenizer(folder)
            _refuse_without_sentencepiece(folder)
        place = shown_path(folder / files.gguf_file if files.gguf_file else folder)
        raise _unreadable(place, in_one_line(error)) from error


def load_config(files: ModelFiles) -> Any:
    """Read a model's configuration.

    Raises:
        NeedsCode: it is a program.
        OSError, ValueError, ...: it can't be read; see `explain.explain_load_error`.
    """
    config = _read_odd_config(files) or _read(AutoConfig, files, files.folder)
    choose_attention_freely(config)
    return config


def load_weights(files: ModelFiles, *, pickled: bool = False, **options: Any) -> Any:
    """Read a whole model; return it, and transformers' account of tensors that were missing or had other sizes.

    Args:
        files: where it is.
        pickled: whether to read weights that were pickled; all but tensors in them is refused.
        options: how the weights are placed and stored: `dtype`, `device_map`, `max_memory`, `quantization_config`.

    Raises:
        NeedsCode: it is a program.
        OSError, ValueError, ...: it can't be read; see `explain.explain_load_error`.
    """
    no_wish = GenerationConfig()  # so that transformers doesn't read the makers' file
    switches = {**_WEIGHTS_SWITCHES, "use_safetensors": None if files.gguf_file else not pickled}
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if not files.gguf_file:
        options["config"] = load_config(files)
    with making_a_model, quietly():
        return _read(
            AutoModelForCausalLM, files, files.folder, generation_config=no_wish, **switches, **told, **options
        )


def load_adapter(model: Any, folder: Path, **options: Any) -> Any:
    """Return a model with an adapter in it.

    Args:
        model: its base.
        folder: where the adapter is; its weights are safetensors, which `adapter.read_weights` has seen to.
        options: as `PeftModel.from_pretrained` takes them.
    """
    from peft import PeftModel

    with making_a_model:
        return PeftModel.from_pretrained(model, str(folder), **options)


def merge_adapter(model: Any, folder: Path) -> Any:
    """Return a model with an adapter merged into its weights, so that it is as fast as its base."""
    return load_adapter(model, folder).merge_and_unload(progressbar=False)


def _read(kind: Any, files: ModelFiles, folder: Path, **options: Any) -> Any:
    try:
        if not files.gguf_file:
            return kind.from_pretrained(folder, **_SWITCHES, **options)
        from hfdemo.models.gguf_private import headers_read_quickly  # which imports gguf

        with headers_read_quickly():
            return kind.from_pretrained(folder, gguf_file=files.gguf_file, **_SWITCHES, **options)
    except ValueError as error:
        if _brings_code(folder):
            raise NeedsCode from error
        raise
    except (KeyError, AttributeError) as error:
        if found := unknown_value(error, read_json(folder / "config.json"), "config.json", shown_path(folder)):
            raise found from error
        raise


def _refuse_impossible(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer without words, and a context or a chat template that can't be one."""
    file, place = "tokenizer_config.json", shown_path(folder)
    limit = tokenizer.model_max_length
    if not isinstance(limit, int | float) or limit > 0:  # 0 and less say that there is none
        refuse_impossible_number("model_max_length", limit, 2, file, place)
    template = tokenizer.chat_template
    if not isinstance(template, str | dict | None):
        raise _unreadable(place, f"{file}: chat_template = {template!r:.80}")
    if not len(tokenizer):
        raise _unreadable(place, "its vocabulary is empty")


def _refuse_without_sentencepiece(folder: Path) -> None:
    """Refuse a tokenizer that is only there as SentencePiece saves it, if the package that reads it isn't here."""
    names = [path.name for path in folder.glob("*.model") if _is_sentencepiece(path)]
    if names and not (folder / "tokenizer.json").exists() and find_spec("sentencepiece") is None:
        command = install_command(*SENTENCEPIECE)
        raise ModelLoadError("tokenizer_package", file=names[0], place=shown_path(folder), command=command)


def _is_sentencepiece(path: Path) -> bool:
    """Tell whether a file begins as SentencePiece's do: with a word, in Protocol Buffers' form."""
    with path.open("rb") as file:
        return file.read(1) == b"\n"


def _unreadable(place: str, problem: str) -> ModelLoadError:
    return ModelLoadError("tokenizer_unreadable", place=place, problem=problem)


def _read_odd_config(files: ModelFiles) -> Any:
    """Return the configuration if transformers can't read its file as it is, or None if it can.

    It may begin with a byte order mark, or hold nothing where it would say how the weights are quantized.
    """
    path = files.folder / "config.json"
    if files.gguf_file or not path.is_file():
        return None
    config = read_json(path)
    said = without_empty_quantization(config)
    if said == config and not path.read_bytes().startswith(BOM_UTF8):
        return None
    return CONFIG_MAPPING[str(config.get("model_type"))].from_dict(said)


def _brings_code(folder: Path) -> bool:
    """Tell whether one of a model's files names code of its own."""
    for name in ("config.json", "tokenizer_config.json"):
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads((folder / name).read_bytes())
            if isinstance(content, Mapping) and "auto_map" in content:
                return True
    return False
