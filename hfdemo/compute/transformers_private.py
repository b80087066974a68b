"""The names of transformers that are private or undocumented. The models' and the compute code use them only here.

`tests/unit/test_private_names.py` fails first when one of them changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import SimpleNamespace
from typing import Any

from transformers import GenerationConfig
from transformers.cache_utils import (
    Cache,  # made of layers of our own, which only the class itself documents
    DynamicLayer,  # what a layer of our own must be, and what a layer is that keeps every token
    DynamicSlidingWindowLayer,  # what a layer is that keeps only the last tokens
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,  # which `model_type`s can write text, without importing their code
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,  # the classes of those that rewrite a text that an encoder read
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,  # and of those that write down what is said
)
from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers, which bitsandbytes quantizes, too
from transformers.utils import logging as transformers_logging
from transformers.utils.logging import set_tqdm_hook  # the only way to follow the loading of weights

__all__ = [
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "WEIGHTS_BAR",
    "Cache",
    "Conv1D",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "attention_of",
    "loads_gguf_of",
    "loads_lazily",
    "making_a_model",
    "name_gguf_tensors",
    "quietly",
    "read_gguf_fields",
    "read_gguf_table",
    "set_tqdm_hook",
    "takes_dynamic_cache",
    "unpack_gguf",
    "usual_generation_values",
]

WEIGHTS_BAR = "Loading weights"
"""What transformers calls the progress bar that shows a step for each weight."""


GGUF_NAMES = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2"}
"""What `load_gguf_checkpoint` calls some of llama.cpp's architectures."""


def read_gguf_table(path: str) -> Any:
    """Return where each tensor of a GGUF file is, without reading one.

    Raises:
        ValueError: its numbers are stored in a way that this reader doesn't know.
    """
    from transformers.integrations.gguf.reader import GgufHeader  # imported when needed: these files import much

    return GgufHeader.from_file(path)


def unpack_gguf(blocks: Any, ggml_type: int) -> Any:
    """Return numbers as a GGUF file stores them, in 32 bit.

    Args:
        blocks: the bytes, a tensor.
        ggml_type: how they are stored, as `read_gguf_table` says.

    Raises:
        ValueError: this reader doesn't know how.
    """
    from transformers.integrations.gguf.dequant import dequantize
    from transformers.integrations.gguf.reader import _TORCH_DTYPE

    plain = _TORCH_DTYPE.get(ggml_type)
    return blocks.view(plain).float() if plain else dequantize(blocks, ggml_type)


def name_gguf_tensors(architecture: str, model: Any) -> tuple[dict[str, str], Callable[[str, Any], Any]]:
    """Return what the tensors of a GGUF file are called in a model, and what makes their numbers the model's.

    For the architectures that transformers loads the older way: llama.cpp stores some in another order, or plus 1.

    Args:
        architecture: as the file names it.
        model: of transformers; its weights needn't be there.

    Returns:
        The model's names by the file's, and a function of a file's name and a numpy array that returns an array.
    """
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    # Without its modules: each would be asked for names of its own, which takes 5 s for 30 layers.
    whole = SimpleNamespace(config=model.config, state_dict=model.state_dict, named_children=tuple)
    names = get_gguf_hf_weights_map(whole, processor)

    def process(name: str, numbers: Any) -> Any:
        return processor.process(weights=numbers, name=name, tensor_key_mapping=names).weights

    return names, process


def read_gguf_fields(path: str) -> dict[str, Any]:
    """Return the fields of a GGUF file's header, a hundred times faster than the package gguf.

    Of an array of texts, the field is its length.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    fields: dict[str, Any] = read_gguf_metadata(path)[0]
    return fields


def loads_lazily(architecture: str) -> bool:
    """Tell which of transformers' two ways to load GGUF files an architecture goes: the newer one, or the older."""
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    return bool(is_gguf_arch_supported(architecture))


def loads_gguf_of(architecture: str) -> bool:
    """Tell whether transformers loads GGUF files of an architecture, as llama.cpp names it."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return loads_lazily(architecture) or GGUF_NAMES.get(architecture, architecture) in GGUF_SUPPORTED_ARCHITECTURES


def attention_of(config: Any) -> str:
    """Return which implementation of attention a model uses, such as `sdpa` or `eager`; empty if it isn't known."""
    return str(getattr(config, "_attn_implementation", "") or "")


def choose_attention_freely(config: Any) -> None:
    """Let transformers choose the implementation of attention, whatever a model's configuration names.

    It may name one that has to be installed first, or compiled code on the Hub, which would be fetched and run.
    """
    config._attn_implementation = None


def usual_generation_values() -> dict[str, Any]:
    """Return every field that a `generation_config.json` can have, with the value it has if nobody sets it."""
    fields: dict[str, Any] = GenerationConfig().to_dict()
    usual: dict[str, Any] = GenerationConfig._get_default_generation_params()
    return fields | usual


def takes_dynamic_cache(model: Any) -> bool:
    """Tell whether a model's forward takes a `DynamicCache`; some older families bring a cache of their own."""
    return bool(model._supports_default_dynamic_cache())


making_a_model = RLock()
"""Held by the one thread that makes or loads a model.

transformers, accelerate and peft change functions and defaults of theirs and of torch meanwhile, for all threads. Of
two at once, the later one would put back what the other had changed: tied weights then stay untied for ever.
"""


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from drawing a bar, and from logging what it did not find or use: the caller says it."""
    before = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
