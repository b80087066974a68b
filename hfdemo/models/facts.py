"""What a model is made of, from the Hub's metadata or from its files' headers: no weights are read.

The model is built on PyTorch's meta device, which has shapes but no memory: that counts its parameters exactly, for
every family that transformers knows. Anything else is estimated from the size of the files.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub import ModelInfo
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

from hfdemo.compute.transformers_private import Conv1D, DynamicLayer, attention_of, making_a_model
from hfdemo.errors import ModelLoadError
from hfdemo.models.disk import wanted_files
from hfdemo.models.headers import GgufHeader, read_safetensors
from hfdemo.models.plan import ModelFacts, usual_facts
from hfdemo.models.quantizers import quantization_method

WEIGHTS = (".safetensors", ".bin", ".gguf")

TYPE_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}
"""By safetensors' names of the types of numbers; all others take one byte."""

MAX_LAYERS = 1000
"""No model has more; a malicious configuration must not keep this program busy."""

logger = logging.getLogger(__name__)


def facts_from_hub(
    info: ModelInfo, config: dict[str, Any] | None, name: str, gguf_file: str | None = None, have_bytes: int = 0
) -> ModelFacts:
    """Return what the Hub knows about a model.

    Args:
        info: the Hub's answer, with `files_metadata=True`.
        config: its config.json, if it has a readable one.
        name: what people call it.
        gguf_file: the file to load, in a repository of GGUF files.
        have_bytes: how much of its files is already on this disk.
    """
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
    wanted = wanted_files(list(sizes), gguf_file, allow_pickle=True)
    stored = Counter(info.safetensors.parameters) if info.safetensors and not gguf_file else Counter[str]()
    weights_bytes = sum(sizes[file] for file in wanted if file.endswith(WEIGHTS)) or stored_bytes(stored)
    if gguf_file:
        facts = _facts_of_gguf(name, dict(info.gguf or {}), gguf_file, weights_bytes)
    else:
        facts = _facts_from_config(name, config or {}, stored, weights_bytes)
    return replace(facts, download_bytes=max(0, sum(sizes[file] for file in wanted) - have_bytes))


def facts_from_folder(folder: Path, name: str) -> ModelFacts:
    """Return what the files of a model on this disk say: a folder as transformers saves one."""
    weights = [folder / file for file in wanted_files([path.name for path in folder.iterdir()], allow_pickle=True)]
    weights = [path for path in weights if path.name.endswith(WEIGHTS)]
    stored: Counter[str] = Counter()
    for path in weights:
        if path.suffix == ".safetensors":
            stored.update(_count_stored(path))
    return _facts_from_config(name, _read_config(folder), stored, sum(path.stat().st_size for path in weights))


def facts_from_gguf(name: str, path: Path, header: GgufHeader) -> ModelFacts:
    """Return what the header of a GGUF file on this disk says."""
    has_head = "output.weight" in header.tensors
    known = {"architecture": header.architecture, "total": header.parameters, "has_head": has_head}
    fields = {**header.fields, **known}
    return _facts_of_gguf(name, fields, path.name, path.stat().st_size)


def _facts_from_config(name: str, config: dict[str, Any], stored: Counter[str], weights_bytes: int) -> ModelFacts:
    """Return what the configuration and the stored numbers say together."""
    quantized = quantization_method(config)
    model = _build_without_memory(config)
    parameters = _count(model) if model else sum(stored.values()) or weights_bytes // 2
    usual = usual_facts(name, parameters)
    text = model.config.get_text_config(decoder=True) if model else _as_object(config)
    layers = min(_number(text, "num_hidden_layers", "n_layer"), MAX_LAYERS) or usual.layers
    hidden = _number(text, "hidden_size", "n_embd", "d_model") or usual.hidden
    facts = replace(
        usual,
        stored_bytes=weights_bytes,
        stored=tuple(sorted(stored.items())),
        packable_parameters=0 if quantized else _count_packable(model) if model else usual.packable_parameters,
        own_quantization=quantized,
        model_type=str(getattr(text, "model_type", "") or ""),
        layers=layers,
        hidden=hidden,
        intermediate=_intermediate(text) or 4 * hidden,
        vocabulary=_number(text, "vocab_size") or usual.vocabulary,
        heads=_number(text, "num_attention_heads", "n_head") or usual.heads,
        eager_attention=attention_of(text) == "eager",
        context_limit=_number(text, "max_position_embeddings") or None,
        active_share=_active_share(model, text) if model else 1.0,
    )
    return _with_cache(facts, model, text)


def _build_without_memory(config: dict[str, Any]) -> Any:
    """Return the model on the meta device, or None if transformers can't build it from its configuration alone."""
    config = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map")}
    layers = _number(_as_object(config), "num_hidden_layers", "n_layer")
    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING or layers > MAX_LAYERS:
        return None
    try:
        known = CONFIG_MAPPING[kind].from_dict(config)
        with making_a_model, torch.device("meta"):  # float32 is the default, so no other thread's changes
            return AutoModelForCausalLM.from_config(known, dtype=torch.float32)
    except Exception as error:  # whatever is wrong with it, loading will say
        logger.info("can't count the parameters: %s", error)
        return None


def _count(model: Any) -> int:
    return sum(int(parameter.numel()) for parameter in model.parameters())  # lists tied ones once


def _count_packable(model: Any) -> int:
    """Return how many weights can be quantized or packed: those of all linear layers but the output head.

    The experts of most mixtures are one block of weights instead of linear layers, so they stay as they are.
    """
    head = model.get_output_embeddings()
    linear = (module for module in model.modules() if type(module) in (torch.nn.Linear, Conv1D) and module is not head)
    return sum(int(module.weight.numel()) for module in linear)


def _active_share(model: Any, text: Any) -> float:
    """Return the share of the weights that is read for a token, which uses only some of the experts."""
    experts = _number(text, "num_experts", "num_local_experts", "n_routed_experts")
    used = _number(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk")
    if not 0 < used < experts:
        return 1.0
    in_experts = sum(int(weight.numel()) for name, weight in model.named_parameters() if ".experts." in name)
    return 1 - in_experts / _count(model) * (1 - used / experts)


def _intermediate(text: Any) -> int:
    """Return the width of the feed-forward part; in a mixture of experts, of all experts that a token uses."""
    width = _number(text, "intermediate_size", "n_inner", "ffn_dim")
    used = _number(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk")
    return max(width, used * (_number(text, "moe_intermediate_size") or width))


def _with_cache(facts: ModelFacts, model: Any, text: Any) -> ModelFacts:
    """Return the facts with the sizes of the keys and values that each token adds to the cache."""
    windows = _cache_windows(facts, model, text)
    full = 2 * _cached_numbers(text, facts, full_layer=True)
    windowed = 2 * _cached_numbers(text, facts, full_layer=False)
    return replace(
        facts,
        cache_bytes_per_token=full * windows.count(0),
        window_bytes_per_token=windowed * (len(windows) - windows.count(0)),
        window_tokens=max(windows, default=0),
    )


def _cache_windows(facts: ModelFacts, model: Any, text: Any) -> list[int]:
    """Return for each layer with a cache how many tokens it keeps, or 0 if it keeps all."""
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception:  # no model, or one with a different kind of cache
        return [_number(text, "sliding_window")] * facts.layers
    own = layers[: len(layers) - _number(text, "num_kv_shared_layers")]  # the last ones read the caches of others
    return [int(getattr(layer, "sliding_window", 0) or 0) for layer in own if isinstance(layer, DynamicLayer)]


def _cached_numbers(text: Any, facts: ModelFacts, full_layer: bool) -> int:
    """Return how many numbers a layer caches for a token."""
    if latent := _number(text, "kv_lora_rank"):  # DeepSeek caches what keys and values are computed from
        return latent + _number(text, "qk_rope_head_dim")
    heads = _number(text, "num_key_value_heads") or facts.heads
    if getattr(text, "multi_query", False) is True and not getattr(text, "new_decoder_architecture", False):
        heads = 1  # as in Falcon 7B
    width = _number(text, "head_dim") or facts.hidden // facts.heads
    if full_layer:  # Gemma 4 has different sizes in layers without a window
        heads = _number(text, "num_global_key_value_heads") or heads
        width = _number(text, "global_head_dim") or width
    return 2 * heads * width


UNTIED_FROM = 5_000_000_000
"""From so many parameters on, a model usually has a head besides its embedding."""


def _facts_of_gguf(name: str, header: dict[str, Any], file: str, file_bytes: int) -> ModelFacts:
    """Return what the header of a GGUF file says, as the file or the Hub has it."""
    parameters = _whole(header.get("total")) or int(file_bytes * 8 / _bits_by_name(file))
    usual = usual_facts(name, parameters)
    kind = str(header.get("architecture", ""))
    kind = {"gemma3": "gemma3_text"}.get(kind, kind)  # the only one of the fast step's that has another name there
    layers, hidden = _whole(header.get("block_count")), _whole(header.get("embedding_length"))
    heads = _whole(header.get("attention.head_count"))
    facts = replace(
        usual,
        stored_bytes=file_bytes,
        gguf=True,
        model_type=kind,
        layers=layers or usual.layers,
        hidden=hidden or usual.hidden,
        intermediate=_whole(header.get("feed_forward_length")) or usual.intermediate,
        vocabulary=_whole(header.get("vocab_size")) or usual.vocabulary,
        heads=heads or usual.heads,
        context_limit=_whole(header.get("context_length")) or None,
    )
    has_head = header.get("has_head", parameters >= UNTIED_FROM)
    embeddings = min(parameters // 2, facts.vocabulary * facts.hidden) * (2 if has_head else 1)
    facts = replace(facts, packable_parameters=parameters - embeddings)
    if not (layers and hidden and heads):
        return facts
    cached_heads = _whole(header.get("attention.head_count_kv")) or heads
    key = _whole(header.get("attention.key_length")) or hidden // heads
    value = _whole(header.get("attention.value_length")) or key
    return replace(facts, cache_bytes_per_token=2 * layers * cached_heads * (key + value))


def _bits_by_name(file: str) -> float:
    """Return the bits of each weight from a GGUF file's name, such as `Q4_K_M`; half a bit is for the scales."""
    if found := re.search(r"(?:^|[-_.])I?Q(\d)", file, re.I):
        return int(found[1]) + 0.5
    return 32.0 if re.search(r"F32", file, re.I) else 16.0


def _count_stored(path: Path) -> Counter[str]:
    """Return how many numbers of each type a file contains; none if it is broken."""
    counts: Counter[str] = Counter()
    try:
        for tensor in read_safetensors(path).values():
            counts[tensor.dtype] += prod(tensor.shape)
    except ModelLoadError as error:
        logger.info("%s", error)
    return counts


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def stored_bytes(stored: Mapping[str, int]) -> int:
    """Return the bytes of the stored numbers, given how many there are of each of safetensors' types."""
    return sum(count * TYPE_BYTES.get(dtype, 1) for dtype, count in stored.items())


def _as_object(config: dict[str, Any]) -> SimpleNamespace:
    """Return the configuration of the part that writes text, with attributes as transformers' own objects have."""
    text = config.get("text_config")
    text = text if isinstance(text, dict) else config
    return SimpleNamespace(**{str(key): value for key, value in text.items()})


def _number(config: Any, *names: str) -> int:
    """Return the first of these fields that is a number above 0, or 0."""
    return next((value for name in names if (value := _whole(getattr(config, name, None)))), 0)


def _whole(value: Any) -> int:
    """Return a positive whole number as it is, of a list (one for each layer) the largest, and 0 for anything else."""
    if isinstance(value, list):
        return max(map(_whole, value), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
