"""Load a model once, on the best device of this machine, as a text-generation pipeline."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import BitsAndBytesConfig, GgufConfig, TextGenerationPipeline, pipeline
from transformers.utils.logging import disable_progress_bar

from hfdemo.chat.notes import Note
from hfdemo.chat.prompt import Prompt, PromptBuilder
from hfdemo.chat.template import ChatTemplate
from hfdemo.compute.allocator import PACKING_BLOCK_BYTES, PROMPT_BLOCK_BYTES, free_at_once, reuse_freed, trim_freed
from hfdemo.compute.fast_step import FastStep, make_fast_step
from hfdemo.compute.packed_linears import pack_linears
from hfdemo.compute.packed_weights import PackedWeights
from hfdemo.compute.prompt_products import widen_linears
from hfdemo.compute.recorded_step import make_recorded_step
from hfdemo.compute.shared_step import make_shared_step
from hfdemo.compute.step import Step
from hfdemo.compute.transformers_private import WEIGHTS_BAR, set_tqdm_hook
from hfdemo.errors import HfdemoError
from hfdemo.models.access import ask_hub, check_kind
from hfdemo.models.adapter import CONFIG as ADAPTER
from hfdemo.models.adapter import is_adapter, is_adapter_here
from hfdemo.models.check import find_base
from hfdemo.models.choose import choose_model
from hfdemo.models.disk import ModelFiles
from hfdemo.models.download import fetch_model
from hfdemo.models.explain import explain_load_error
from hfdemo.models.generation_config import GenerationDefaults, own_generation_config, read_generation_defaults
from hfdemo.models.gguf_weights import GgufWeights, can_be_read_in_parts
from hfdemo.models.integrity import PICKLE_INDEX, PICKLES, open_folder, read_object, weight_files
from hfdemo.models.memory import SHARE_USED
from hfdemo.models.packed_cache import PackedCache
from hfdemo.models.plan import Plan
from hfdemo.models.pretrained import load_config, load_tokenizer, load_weights, merge_adapter
from hfdemo.models.progress import SILENT, Progress
from hfdemo.models.source import HubModel, LocalModel, ModelSource
from hfdemo.models.tensors import decoder_layers, refuse_gaps, refuse_hollow, telling_weights, tensor_notes
from hfdemo.settings import Platform, Settings


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
    step: Step | None = None
    """What writes its tokens, where that isn't left to transformers."""
    chats: int = 1
    """How many may be answered at one time, if `step` is there."""
    prefix_bytes: int | None = None
    """How much memory there is to keep prompts that were read; None is as much as the host allows."""
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    """What its makers recommend for its replies."""
    notes: tuple[Note, ...] = ()
    """What people should know of its weights."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.pipeline.tokenizer


def load_model(
    files: ModelFiles, name: str, plan: Plan, progress: Progress = SILENT, settings: Settings | None = None
) -> LoadedModel:
    """Load a model as its plan says.

    Args:
        files: where the model is.
        name: what people call it.
        plan: on which device, in which type of numbers, in how many bits.
        progress: told of each weight; it may end the loading.
        settings: the host's; they may allow pickled weights and limit the context.

    Raises:
        Cancelled: `progress` ended it.
        OSError, ValueError, ...: see `explain.explain_load_error`.
    """
    settings = settings or Settings()
    disable_progress_bar()  # the page and the log show the progress
    tokenizer = load_tokenizer(files)
    if not files.gguf_file:
        load_config(files)  # fails earlier, and more clearly, than the weights would
    template = ChatTemplate(tokenizer, settings.chat_template)  # one that can't be used is refused before the weights
    placement = _placement(plan)
    on_cpu = _packs_on_cpu(plan)
    if on_cpu:
        reuse_freed(PACKING_BLOCK_BYTES)
    elif plan.way == "cpu":
        free_at_once()
    defaults = read_generation_defaults(files.folder)
    weights = _in_parts(files, plan, progress)
    if weights:  # `check_model` has looked into their file
        model, found = weights.model, weights.found
    else:
        names = [path.name for path in files.folder.iterdir()]
        pickled = not files.gguf_file and weight_files(names, settings.allow_pickle) in (PICKLES, PICKLE_INDEX)
        with _weights_reported(progress, plan.weights_bytes):
            model, found = load_weights(
                files, pickled=pickled, dtype=getattr(torch, plan.dtype), **placement, **_fewer_bits(plan, files)
            )
        refuse_hollow(name, telling_weights(model))
    if files.adapter:
        model = merge_adapter(model, files.adapter)
    # What `check_model` can't know before: the tensors of quantized and pickled weights.
    refuse_gaps(name, found, in_gguf=bool(files.gguf_file))
    notes = tensor_notes(model, found)
    model.generation_config = own_generation_config(defaults, model.config, tokenizer)
    prompts = _make_prompts(tokenizer, model.config, template, defaults, settings)
    end_ids = tuple(sorted(end_of_reply_ids(model, tokenizer, prompts)))
    chats = plan.chats if settings.batched else 1
    cache = PackedCache(settings.packed_cache_bytes)
    packed = cache.find(files, f"{plan.cpu_weights} {plan.dtype}") if _is_packed(plan) else PackedWeights()
    # The pipeline moves a model to its device, so a step comes after it; unread weights can't be moved.
    step = _make_step(model, plan, chats, weights, packed) if weights else None
    chat_pipeline = pipeline(
        "text-generation",
        model=model,
        tokenizer=tokenizer,
        device=None if placement else _device(plan),
        pipeline_class=ChatPipeline,
    )
    if not weights:
        step = _make_step(model, plan, chats, None, packed)
    cache.keep(packed, name)
    trim_freed()
    if on_cpu:
        reuse_freed(PROMPT_BLOCK_BYTES)
    return LoadedModel(
        name=name,
        pipeline=chat_pipeline,
        prompts=prompts,
        layers=step.layers if isinstance(step, FastStep) else tuple(decoder_layers(model)),
        end_ids=end_ids,
        device=_where(plan),
        step=step,
        chats=plan.chats,
        prefix_bytes=plan.prefix_bytes,
        defaults=defaults,
        notes=notes,
    )


def _in_parts(files: ModelFiles, plan: Plan, progress: Progress) -> GgufWeights | None:
    """Return a GGUF file's weights that are packed as they are read, or None for weights that are read at once."""
    if not files.gguf_file or files.adapter or not _is_packed(plan):
        return None
    path = files.folder / files.gguf_file
    if not can_be_read_in_parts(path, plan.facts.model_type):
        return None
    return GgufWeights(path, load_config(files), getattr(torch, plan.dtype), progress)


def _make_step(model: Any, plan: Plan, chats: int, weights: GgufWeights | None, packed: PackedWeights) -> Step | None:
    """Return what writes a model's tokens, or None where that is left to `generate`.

    On the CPU, what no fast step covers gets packed weights at least. Layers on several devices have no step.
    """
    on_cpu = _packs_on_cpu(plan)
    with torch.inference_mode():
        step: Step | None = None
        if on_cpu:
            step = make_fast_step(model, plan.cpu_weights, chats, weights, packed)
        if step is None and weights:
            weights.read(model)
        if step is None and on_cpu:
            pack_linears(model, plan.cpu_weights, packed)
        if step is None and on_cpu:
            widen_linears(model)
        if plan.way == "gpu" and plan.machine.platform != "zerogpu":  # there, each reply has a GPU of its own
            step = make_recorded_step(model)
        if step is None and plan.way != "split":
            step = make_shared_step(model, windows=chats > 1)
    return step


def _packs_on_cpu(plan: Plan) -> bool:
    """Tell whether the weights may be packed for the CPU; those that bitsandbytes quantizes can't."""
    return plan.way == "cpu" and not plan.quantize


def _is_packed(plan: Plan) -> bool:
    """Tell whether the weights are packed for the CPU, as far as the kernel can multiply by them."""
    return _packs_on_cpu(plan) and plan.cpu_weights != "bf16"


def _device(plan: Plan) -> torch.device:
    return torch.device({"gpu": "cuda:0", "mps": "mps"}.get(plan.way, "cpu"))


def _placement(plan: Plan) -> dict[str, Any]:
    """Return where accelerate puts the layers, if one device isn't enough or bitsandbytes asks for it."""
    if plan.way == "split":
        room = {0: int(SHARE_USED * plan.machine.gpu_free), "cpu": int(SHARE_USED * plan.machine.ram_free)}
        return {"device_map": "auto", "max_memory": room}
    # Straight to the GPU: going through the CPU, the weights would need as much of its memory, too. On ZeroGPU, which
    # attaches the GPU later, only moving the model is known to work.
    straight = plan.way == "gpu" and plan.machine.platform != "zerogpu"
    return {"device_map": {"": _device(plan)}} if straight or plan.quantize else {}


def _fewer_bits(plan: Plan, files: ModelFiles) -> dict[str, Any]:
    """Return how transformers must change the weights while it loads them, if at all."""
    if files.gguf_file:
        return {"quantization_config": GgufConfig(dequantize=True)}
    if plan.quantize == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if plan.quantize == "4bit":
        # NF4 with double quantization: the settings of QLoRA (https://arxiv.org/abs/2305.14314).
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, plan.dtype),
        )
        return {"quantization_config": nf4}
    return {}


def _where(plan: Plan) -> str:
    """Return where and how the model runs, for people."""
    device = _device(plan)
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() and plan.way != "cpu" else device.type.upper()
    if plan.way == "split":
        name += " + CPU"
    return " · ".join(filter(None, [name, plan.dtype, plan.quantize]))


@contextmanager
def _weights_reported(progress: Progress, weights_bytes: int) -> Iterator[None]:
    """Report each weight that transformers loads, through the hook for its progress bars."""

    def reported(weights: Collection[Any]) -> Iterator[Any]:
        for index, weight in enumerate(weights):
            progress.report("loading", weights_bytes * index // len(weights), weights_bytes)
            yield weight

    def make_bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return reported(args[0]) if options.get("desc") == WEIGHTS_BAR else factory(*args, **options)

    before = set_tqdm_hook(make_bar)
    try:
        progress.report("loading", 0, weights_bytes)
        yield
    finally:
        set_tqdm_hook(before)


def load_prompts(named: str | None, settings: Settings | None = None) -> PromptBuilder:
    """Return what builds a model's prompts, from its tokenizer and configuration alone: no weights are loaded.

    Args:
        named: the model as in `HFDEMO_MODEL`, or None for the default.
        settings: the host's; they may name a chat template and limit the context.

    Raises:
        HfdemoError: the model can't be found, downloaded or read.
    """
    settings = settings or Settings()
    source: ModelSource | None = None
    try:
        source = choose_model(named, has_gpu)
        files = fetch_model(source, weights=False)
        if isinstance(source, HubModel | LocalModel) and not files.gguf_file and (files.folder / ADAPTER).is_file():
            files = _with_base(files, source, settings.platform)
        return open_prompts(files, source.name, settings)
    except Exception as error:
        raise explain_load_error(error, source, settings.platform) from None


def _with_base(files: ModelFiles, source: HubModel | LocalModel, platform: Platform) -> ModelFiles:
    """Return the files of an adapter's base, with the adapter; those of a whole model as they are."""
    if not _holds_adapter(files, source, platform):
        return files
    whole = find_base(source, read_object(files.folder / ADAPTER))
    return replace(fetch_model(whole.base, weights=False), adapter=files.folder)


def _holds_adapter(files: ModelFiles, source: HubModel | LocalModel, platform: Platform) -> bool:
    """Tell whether files are an adapter's; of a model of the Hub, the weights that would tell may not be here."""
    names = [path.name for path in files.folder.iterdir()]
    if isinstance(source, LocalModel) or "config.json" not in names or is_adapter_here(source):
        return is_adapter(names)
    with suppress(HfdemoError):
        return is_adapter(file.rfilename for file in ask_hub(source, platform).siblings or [])
    return False


def open_prompts(files: ModelFiles, name: str, settings: Settings) -> PromptBuilder:
    """Return what builds the prompts of a model whose files are here; the weights needn't be.

    Raises:
        HfdemoError, OSError, ValueError, ...: see `explain.explain_load_error`.
    """
    if not files.gguf_file:
        check_kind(name, [], open_folder(files.folder), allow_pickle=True)  # none of the files has to be weights
    tokenizer, config = load_tokenizer(files), load_config(files)
    template = ChatTemplate(tokenizer, settings.chat_template)
    return _make_prompts(tokenizer, config, template, read_generation_defaults(files.folder), settings)


def _make_prompts(
    tokenizer: Any, config: Any, template: ChatTemplate, defaults: GenerationDefaults, settings: Settings
) -> PromptBuilder:
    """Return what builds the prompts of a model, whether its weights are here or not."""
    limits = (context_limit(config, tokenizer), settings.context)
    limit = min((limit for limit in limits if limit), default=None)
    return PromptBuilder(
        tokenizer, limit, embeddings=embeddings(config), template=template, stop_texts=defaults.stop_texts
    )


def end_of_reply_ids(model: Any, tokenizer: Any, prompts: PromptBuilder) -> set[int]:
    """Return every token that ends a reply: the makers' own, and the one with which the template closes a turn.

    That one doesn't count if it can stand inside a turn: gpt-oss and Solar Open close each message with `<|end|>`. The
    tokenizer's counts where the makers name none.
    """
    configured = model.generation_config.eos_token_id
    makers = set(configured if isinstance(configured, list) else [configured]) - {None}
    ends = makers or {tokenizer.eos_token_id} - {None}
    return ends | (prompts.end_of_turn_ids() - prompts.reply_format.within_turn)


def context_limit(config: Any, tokenizer: Any) -> int | None:
    """Return how many tokens the model can read and write together, or None if neither of them says."""
    text_config = config.get_text_config(decoder=True)
    known = [getattr(text_config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min((int(limit) for limit in known if limit and 0 < limit < 10**9), default=None)


def embeddings(config: Any) -> int | None:
    """Return how many tokens the model has numbers for, or None if its configuration doesn't say."""
    size = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) and size > 0 else None


def has_gpu() -> bool:
    """Tell whether torch can use a GPU here."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()
