"""Load a model once, on the best device of this machine, as a text-generation pipeline."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    TextGenerationPipeline,
    pipeline,
)
from transformers.utils.logging import disable_progress_bar

from hfdemo.models.choose import ModelSource, choose_model
from hfdemo.models.download import fetch_model
from hfdemo.models.explain import explain_load_error
from hfdemo.prompt import Prompt, PromptBuilder


class ChatPipeline(TextGenerationPipeline):
    """transformers' text-generation pipeline, fed with the ids of a `Prompt` instead of text.

    The stock pipeline makes ids from text by itself, and then takes control tokens that a visitor typed for real.
    """

    def preprocess(self, prompt: Prompt, **_: Any) -> dict[str, Any]:
        """Return the model's inputs: ids and mask, both of shape [1, prompt tokens]."""
        input_ids = torch.tensor([prompt.ids])
        return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "prompt_text": ""}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, with what is known of it."""

    name: str
    pipeline: ChatPipeline
    prompts: PromptBuilder
    end_ids: tuple[int, ...]
    """Tokens that end a reply."""
    layers: tuple[torch.nn.Module, ...]
    """The decoder layers, between which a generation can be stopped."""
    device: str
    """Where and how it runs, for people: `CPU · bfloat16`."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.pipeline.tokenizer


def load_model(folder: Path, name: str, gguf_file: str | None = None) -> LoadedModel:
    """Load the model in a folder.

    Raises:
        OSError, ValueError, ...: see `explain.explain_load_error`.
    """
    disable_progress_bar()  # the page and the log tell the progress
    device = choose_device()
    dtype = choose_dtype(device)
    options: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    if gguf_file:
        options["quantization_config"] = GgufConfig(dequantize=True)
    else:
        AutoConfig.from_pretrained(folder)  # fails sooner, and more clearly, than the weights would
        options["use_safetensors"] = True  # pickled weights can run code
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    chat_pipeline = pipeline(
        "text-generation",
        model=model,
        tokenizer=tokenizer,
        device=device,
        pipeline_class=ChatPipeline,
    )
    prompts = PromptBuilder(tokenizer, context_limit(model.config, tokenizer))
    return LoadedModel(
        name=name,
        pipeline=chat_pipeline,
        prompts=prompts,
        layers=tuple(decoder_layers(model)),
        end_ids=tuple(sorted(end_of_reply_ids(model, tokenizer, prompts))),
        device=f"{_device_name(device)} · {str(dtype).removeprefix('torch.')}",
    )


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the decoder layers of a model: of all its stacks of modules, the one that holds most parameters."""
    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(stacks, key=lambda stack: sum(p.numel() for p in stack.parameters()), default=()))


def load_prompts(named: str | None) -> PromptBuilder:
    """Return what makes a model's prompts, from its tokenizer and configuration alone: no weights are loaded.

    Args:
        named: the model as in `HFDEMO_MODEL`, or None for the default.

    Raises:
        HfdemoError: the model can't be found, fetched or read.
    """
    source: ModelSource | None = None
    try:
        source = choose_model(named, has_gpu)
        files = fetch_model(source, lambda *_: None, weights=False)
        options = {"gguf_file": files.gguf_file} if files.gguf_file else {}
        tokenizer = AutoTokenizer.from_pretrained(files.folder, **options)
        config = AutoConfig.from_pretrained(files.folder, **options)
    except Exception as error:
        raise explain_load_error(error, source) from None
    return PromptBuilder(tokenizer, context_limit(config, tokenizer))


def end_of_reply_ids(model: Any, tokenizer: Any, prompts: PromptBuilder) -> set[int]:
    """Return every token that ends a reply: the model's own, the tokenizer's, and the chat template's."""
    configured = model.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    return (ids | {tokenizer.eos_token_id} | prompts.end_of_turn_ids()) - {None}


def context_limit(config: Any, tokenizer: Any) -> int | None:
    """Return how many tokens the model can read and write together, or None where neither side says."""
    text_config = config.get_text_config(decoder=True)
    known = [getattr(text_config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min((int(limit) for limit in known if limit and limit < 10**9), default=None)


def has_gpu() -> bool:
    """Tell whether torch can use a GPU here."""
    return choose_device().type != "cpu"


def choose_device() -> torch.device:
    """Return the device to compute on."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest number type that is safe on a device.

    A T4 (compute capability 7.5) says that it supports bfloat16, and only emulates it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if _bfloat16_pays() else torch.float32


def _bfloat16_pays() -> bool:
    """Measure whether this CPU reads bfloat16 weights at least about as fast as float32 ones.

    Reading weights is what a token costs, and bfloat16 halves it; a CPU without bfloat16 instructions can still
    be many times slower. Where the two are close, bfloat16 wins, because it needs half the memory. The best of
    several tries counts, in turn, so that a busy machine changes nothing.
    """
    best = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    inputs = {dtype: (torch.ones(1, 2048, dtype=dtype), torch.ones(2048, 2048, dtype=dtype)) for dtype in best}
    for _ in range(10):
        for dtype, (row, weight) in inputs.items():
            start = time.perf_counter()
            torch.nn.functional.linear(row, weight)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.bfloat16] < 1.5 * best[torch.float32]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
