"""The names of transformers that are private or undocumented. The models' and the compute code use them only here.

`tests/unit/test_private_names.py` fails first when one of them changes.
"""

from typing import Any

from transformers import GenerationConfig
from transformers.cache_utils import (
    Cache,  # made of layers of our own, which only the class itself documents
    DynamicLayer,  # what a layer of our own must be, and what a layer is that keeps every token
    DynamicSlidingWindowLayer,  # what a layer is that keeps only the last tokens
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,  # which `model_type`s can write text, without importing their code
)
from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers, which bitsandbytes quantizes, too
from transformers.utils.logging import set_tqdm_hook  # the only way to follow the loading of weights

__all__ = [
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "WEIGHTS_BAR",
    "Cache",
    "Conv1D",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "attention_of",
    "set_tqdm_hook",
    "takes_dynamic_cache",
    "usual_generation_values",
]

WEIGHTS_BAR = "Loading weights"
"""What transformers calls the progress bar that shows a step for each weight."""


def attention_of(config: Any) -> str:
    """Return which implementation of attention a model uses, such as `sdpa` or `eager`; empty if it isn't known."""
    return str(getattr(config, "_attn_implementation", "") or "")


def usual_generation_values() -> dict[str, Any]:
    """Return every field that a `generation_config.json` can have, with the value it has if nobody sets it."""
    fields: dict[str, Any] = GenerationConfig().to_dict()
    usual: dict[str, Any] = GenerationConfig._get_default_generation_params()
    return fields | usual


def takes_dynamic_cache(model: Any) -> bool:
    """Tell whether a model's forward takes a `DynamicCache`; some older families bring a cache of their own."""
    return bool(model._supports_default_dynamic_cache())
