"""Are all the tensors that an architecture needs among those that are stored? Asked of the loader, without weights.

transformers gives tensors that it doesn't find random numbers, and such a model answers with noise.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig

from hfdemo.chat.notes import Note, make_note
from hfdemo.compute.transformers_private import choose_attention_freely, making_a_model, quietly
from hfdemo.errors import ModelLoadError, is_out_of_memory
from hfdemo.models.config_faults import odd_padding, unknown_value, without_empty_quantization
from hfdemo.models.explain import in_one_line
from hfdemo.models.headers import Tensor, read_rows

NAMED_AT_MOST = 5
"""So many tensors are named in a sentence."""

ROWS_LOOKED_AT = 64
"""Of a weight, spread over all of it: of a file, a third each at its beginning, in its middle and at its end."""

FLOAT_DTYPES = ("F32", "F16", "BF16")
"""The types, as safetensors names them, of weights that are looked at."""

MANY_LAYERS = 1000
"""More than any model has; making them to find out takes minutes and gigabytes."""

_LAYER = re.compile(r"(.*?\.)(\d{1,4})\.")
"""The name of a tensor in a layer: its stack of layers, and which of them."""

_EXPERT = re.compile(r"(.+\.experts\.)(\d{1,4})(\..+)")
"""A tensor of one of a layer's experts: which of them, between the rest of its name."""


def check_tensors(name: str, config: Mapping[str, Any], stored: Mapping[str, Tensor]) -> tuple[Note, ...]:
    """Refuse a model that lacks tensors, or has some of another shape than its configuration says.

    Return what else there is to say of them.

    The loader itself maps the stored names to the model's, with tensors that have a shape but no numbers.

    Args:
        name: the model's name.
        config: its config.json.
        stored: its tensors, by the names they are stored under.

    Raises:
        ModelLoadError: the text names the tensors.
    """
    known, empty = _make_empty(name, config, len(stored))
    shapes = {name: torch.empty(tensor.shape, device="meta") for name, tensor in stored.items()}
    try:
        with making_a_model, quietly():
            model, found = type(empty).from_pretrained(
                None,
                config=known,
                state_dict=shapes,
                dtype=torch.float32,
                device_map={"": "meta"},
                generation_config=GenerationConfig(),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        refuse_gaps(name, found)
    except Exception:
        _refuse_missing_experts(name, stored)  # the loader makes one tensor of them all, and says that this fails
        raise
    _refuse_unscaled(name, stored, found)
    _refuse_hollow_files(name, model, stored)
    return tensor_notes(model, found)


def refuse_unmakeable(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that no model can be made of, when nothing is known of the weights yet.

    Args:
        name: the model's name.
        config: its config.json.

    Raises:
        ModelLoadError, ValueError, ImportError: what is wrong with it.
    """
    _make_empty(name, _unquantized(config), 0)


def refuse_missing_modules(name: str, config: Mapping[str, Any], stored: Collection[str]) -> None:
    """Refuse a model with modules of which nothing is stored, whatever a quantizer made of the others.

    Args:
        name: the model's name.
        config: its config.json.
        stored: the names of its tensors.

    Raises:
        ModelLoadError: the text names what is missing.
    """
    _, empty = _make_empty(name, _unquantized(config), len(stored))
    needed = [key for key, _ in empty.named_parameters()]
    places = {key[: dot.start()] for key in stored for dot in re.finditer(r"\.", key)}
    missing = sorted(key for key in needed if key not in stored and key.rpartition(".")[0] not in places)
    if 0 < len(missing) < len(needed) / 2:  # else they are stored under other names
        raise ModelLoadError("tensors_missing", model=name, tensors=names_of(missing))


def _unquantized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what says how its weights are stored."""
    return {key: value for key, value in config.items() if key != "quantization_config"}


def _make_empty(name: str, config: Mapping[str, Any], stored: int) -> tuple[Any, Any]:
    """Return the configuration that config.json holds, and the model that it describes, without numbers.

    Raises:
        ModelLoadError: there is none.
    """
    try:
        known = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(without_empty_quantization(config))
        choose_attention_freely(known)
        _refuse_too_many_layers(name, known, stored)
        with making_a_model, torch.device("meta"):
            return known, AutoModelForCausalLM.from_config(known, dtype=torch.float32)
    except (ModelLoadError, ImportError, ValueError):  # which say what is wrong
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        problem = f"config.json: {in_one_line(error)}"
        where = config, "config.json", name
        found = unknown_value(error, *where) or odd_padding(error, *where)
        raise found or ModelLoadError("cant_load", model=name, problem=problem) from error


def refuse_gaps(name: str, found: Mapping[str, Any], in_gguf: bool = False) -> None:
    """Refuse a model for which the loader didn't find everything.

    Args:
        name: the model's name.
        found: what `from_pretrained` returns with `output_loading_info=True`.
        in_gguf: whether its configuration is in the header of a GGUF file.

    Raises:
        ModelLoadError: the text names the tensors.
    """
    if missing := sorted(found.get("missing_keys") or ()):
        raise ModelLoadError("tensors_missing", model=name, tensors=names_of(missing))
    misfits = sorted(str(entry[0]) for entry in found.get("mismatched_keys") or ())
    if misfits:
        raise ModelLoadError("gguf_misfit" if in_gguf else "tensors_misfit", model=name, tensors=names_of(misfits))


def tensor_notes(model: Any, found: Mapping[str, Any]) -> tuple[Note, ...]:
    """Return what there is to say of tensors that are stored and not read: those of layers that config.json lacks.

    Args:
        model: the model.
        found: see `refuse_gaps`.
    """
    layers = {match.group(1, 2) for key in found.get("unexpected_keys") or () if (match := _LAYER.match(key))}
    own = {match.group(1, 2) for key in model.state_dict() if (match := _LAYER.match(key))}
    stacks = {stack for stack, _ in own}
    count = len({(stack, number) for stack, number in layers - own if stack in stacks})
    return (make_note("layers_unread", count=count),) if count else ()


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the decoder layers of a model: of all its lists of modules, the one with the most parameters."""
    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(stacks, key=lambda stack: sum(p.numel() for p in stack.parameters()), default=()))


def telling_weights(model: Any) -> dict[str, nn.Parameter]:
    """Return the weights by which a file with holes of zeros is found out, by their names.

    These are the embedding, the head, and the largest of each layer: no good model has zeros there, as it may in its
    norms and biases.
    """
    parts: list[nn.Module | None] = list(decoder_layers(model))
    for find in (model.get_input_embeddings, model.get_output_embeddings):
        with suppress(NotImplementedError):  # a model that transformers doesn't find it in
            parts.append(find())
    matrices = ([p for p in part.parameters() if p.dim() > 1] for part in parts if part is not None)
    chosen = {id(max(found, key=torch.numel)) for found in matrices if found}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in chosen}


def refuse_hollow(name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse a model with a weight that is all zeros, or in which nothing is a number: what is left of a broken copy.

    Args:
        name: the model's name.
        weights: a few of its weights; see `telling_weights`.

    Raises:
        ModelLoadError: the text names them.
    """
    if hollow := [key for key, weight in weights.items() if _is_hollow(weight)]:
        raise ModelLoadError("tensors_hollow", model=name, tensors=names_of(hollow))


def _refuse_hollow_files(name: str, model: Any, stored: Mapping[str, Tensor]) -> None:
    """Refuse a model as `refuse_hollow` does, before it is loaded; a weight is read whole if some rows are hollow."""
    telling = [key for key in telling_weights(model) if key in stored and stored[key].dtype in FLOAT_DTYPES]
    hollow = [key for key in telling if _is_hollow(torch.cat(read_rows(key, stored[key], ROWS_LOOKED_AT // 3)))]
    refuse_hollow(name, {key: torch.cat(read_rows(key, stored[key])) for key in hollow})


def _is_hollow(weight: torch.Tensor) -> bool:
    """Tell whether a weight holds nothing; a look at some of its rows is enough if it does."""
    if weight.is_meta or not (weight.is_floating_point() or weight.dtype == torch.uint8):
        return False
    rows = weight.detach().flatten(end_dim=-2)
    some = rows[:: max(1, len(rows) // ROWS_LOOKED_AT)].float()
    if not some.isfinite().any():
        return True
    return not some.any() and not rows.any()


def _refuse_too_many_layers(name: str, config: Any, stored: int) -> None:
    """Refuse a model with fewer tensors than layers, before as many layers are made: a slip may ask for millions."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > max(stored, MANY_LAYERS):
        raise ModelLoadError("tensors_missing", model=name, tensors=f"{stored} < num_hidden_layers = {layers}")


def _refuse_missing_experts(name: str, stored: Collection[str]) -> None:
    """Refuse a model that lacks tensors of some of its experts, but not of all."""
    there: dict[tuple[str, str], set[int]] = {}
    for key in stored:
        if match := _EXPERT.fullmatch(key):
            there.setdefault((match[1], match[3]), set()).add(int(match[2]))
    count = 1 + max((number for numbers in there.values() for number in numbers), default=-1)
    parts = ((before, number, after) for before, after in there for number in range(count))
    missing = [f"{before}{number}{after}" for before, number, after in parts if number not in there[before, after]]
    if missing:
        raise ModelLoadError("tensors_missing", model=name, tensors=names_of(missing))


def _refuse_unscaled(name: str, stored: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
    """Refuse weights of few bits whose scales no one would read, because config.json doesn't say how they are stored.

    Whole numbers mean nothing without a scale; 8-bit floating point may, unless there is one.
    """
    unread = set(found.get("unexpected_keys") or ())
    has_scales = any("scale" in key.rpartition(".")[2] for key in unread)
    kinds = {tensor.dtype for key, tensor in stored.items() if key not in unread and len(tensor.shape) > 1}
    needs_scale = ("I", "U", "BOOL", *(("F8",) if has_scales else ()))
    odd = sorted(kind for kind in kinds if kind.startswith(needs_scale))
    if odd:
        raise ModelLoadError("quantizer_unknown", model=name, method=", ".join(odd))


def names_of(tensors: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(tensors) - NAMED_AT_MOST
    return ", ".join(tensors[:NAMED_AT_MOST]) + (f", … (+{more})" if more > 0 else "")
