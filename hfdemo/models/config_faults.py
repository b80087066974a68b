"""What is wrong in a model's configuration, named with its field: the loader's own errors often say only a value."""

from collections.abc import Iterator, Mapping
from math import isinf, isnan
from typing import Any

import transformers

from hfdemo.errors import ModelLoadError

LOWEST = {
    "num_hidden_layers": 1,
    "n_layer": 1,
    "num_attention_heads": 1,
    "n_head": 1,
    "num_key_value_heads": 1,
    "vocab_size": 1,
    "max_position_embeddings": 2,
    "n_positions": 2,
}
"""Fields that are whole numbers, and the least that a model can have: a context holds a word to read and one more."""


FINITE = ("eps", "epsilon", "theta", "scaling", "multiplier")
"""How fields end that are no bounds: those may be infinite, as Mamba's `time_step_limit` is."""


def refuse_impossible_numbers(config: Mapping[str, Any], file: str, place: str) -> None:
    """Refuse a config.json with a number that no model can have.

    Args:
        config: what it says.
        file: its name.
        place: the folder or repository, for people.

    Raises:
        ModelLoadError: the text names the field.
    """
    for key, value in _fields(config):
        if isinstance(value, float) and (isnan(value) or (isinf(value) and key.endswith(FINITE))):
            raise ModelLoadError("config_no_number", file=file, place=place, name=key, value=_shown(value))
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        for key, lowest in LOWEST.items():
            refuse_impossible_number(key, part.get(key), lowest, file, place)


def refuse_impossible_number(key: str, value: Any, lowest: int, file: str, place: str) -> None:
    """Refuse a field that is there, and is no whole number or one that is too low.

    Raises:
        ModelLoadError: the text names it.
    """
    if value is None or isinstance(value, list):  # a list has a number for each layer
        return
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or value < lowest:
        raise ModelLoadError("config_number", file=file, place=place, name=key, value=_shown(value), lowest=lowest)


def unknown_value(error: Exception, config: Mapping[str, Any], file: str, place: str) -> ModelLoadError | None:
    """Return what to say of an error that only names a value of a configuration, or None if it is another error.

    Args:
        error: what the loader raised.
        config: what the configuration says.
        file: its name.
        place: the folder or repository, for people.
    """
    if not isinstance(error, KeyError | AttributeError):
        return None
    said = str(error)
    for key, value in _texts(config):
        if f"'{value}'" in said:
            facts = {"name": key, "value": _shown(value), "version": transformers.__version__}
            return ModelLoadError("config_value", file=file, place=place, **facts)
    return None


def odd_padding(error: Exception, config: Mapping[str, Any], file: str, place: str) -> ModelLoadError | None:
    """Return what to say of a model that can't be made as its padding token is none of its words, or None otherwise.

    Many architectures don't care, so it's no fault until one does.

    Args:
        error: what the loader raised.
        config: what the configuration says.
        file: its name.
        place: the folder or repository, for people.
    """
    if not isinstance(error, AssertionError):
        return None
    text = config.get("text_config")
    for part in (text if isinstance(text, Mapping) else {}, config):
        padding, words = part.get("pad_token_id"), part.get("vocab_size")
        if isinstance(padding, int) and isinstance(words, int) and padding >= words:
            return ModelLoadError("config_padding", file=file, place=place, value=padding, words=words)
    return None


def _texts(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each field that is a text, with the names of those around it."""
    return ((key, value) for key, value in _fields(config) if isinstance(value, str) and value)


def _fields(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field that isn't an object, with the names of those around it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _shown(value: Any) -> str:
    return repr(value)[:80]


def without_empty_quantization(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json without a `quantization_config` that holds nothing: the loader takes it for something."""
    return {key: value for key, value in config.items() if value or key != "quantization_config"}
