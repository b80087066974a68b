"""Will a model fit this machine, how will it run, how long does its download take, and how fast will it be?

Nothing is looked up here: `models/facts.py` finds out about the model, `models/machine.py` about the machine. The
numbers of the memory are compared with measured ones in `benchmarks/README.md`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hfdemo.settings import CpuWeights, Platform, Quantize
from hfdemo.words import Language, say

Bits = Literal["8bit", "4bit"]
Way = Literal["gpu", "mps", "split", "cpu", "none"]
Speed = Literal["fast", "fluent", "slow", "very_slow"]

USUAL_CONTEXT = 4096
"""For how many tokens room is planned where nobody says; longer chats are rare, and room for them is dear."""

SHARE_USED = 0.9
"""How much of the free memory may be planned for; other programs and fragments need the rest."""

DISK_SPARE_BYTES = 500_000_000

MOST_CHATS: dict[Way, int] = {"gpu": 32, "mps": 16, "split": 1, "cpu": 16, "none": 1}
"""So many are answered at one time at most; with more, each would come more slowly than people read."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

PACKED_BYTES: dict[Bits, float] = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes of one weight that bitsandbytes packed. 4 bit is NF4 with double quantisation: each 64 weights share a scale
of 8 bits, and each 256 scales one of 32. Source: QLoRA, section 3 (https://arxiv.org/abs/2305.14314)."""

PACKED_BESIDE_BYTES: dict[CpuWeights, float] = {
    "bf16": 0.0,
    "int8": 1 + 8 / 64,
    "int4": 0.5 + 4 / 32,
    "auto": 1 + 8 / 64,
}
"""Bytes of one weight that is packed for the CPU, beside the one that came (`models/cpu_weights.py`). In 4 bit, each
32 weights share a scale and a zero of 16 bit, in 8 bit each 64 share two of them. `auto` is planned as 8 bit: what it
does is told by the weights."""

FAST_STEP_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""The `model_type` of the families that have a fast step on a CPU (`models/fast_step.py`)."""

OVERFLOWS_IN_FLOAT16 = ("gemma2", "gemma3", "gemma4", "recurrent_gemma", "t5gemma")
"""How the `model_type` of families begins whose activations exceed float16's 65,504; their replies turn to NaN.
Source: https://github.com/huggingface/transformers/issues/36822."""

PROGRAM_BYTES = 460_000_000
"""What Python, PyTorch, transformers and Gradio take in memory, without a model; measured."""

BITSANDBYTES_BYTES = 45_000_000
"""What bitsandbytes adds to that where it is installed; measured."""

TOKENIZER_BYTES_PER_TOKEN = 900
"""What each token of a vocabulary takes in the tokenizer's tables; measured."""

GPU_PROGRAM_BYTES = 400_000_000
"""What CUDA's libraries and PyTorch's allocator take on the GPU beside the model's tensors."""

ACTIVATION_HIDDEN = 4
ACTIVATION_INTERMEDIATE = 3
"""How many vectors of the hidden size (stream, residual, norm, output) and of the feed-forward size (gate, its
activation, up) there are for each token at one time while a prompt is read. PyTorch's memory profiler counts exactly
these in the models of Llama's kind, in 16 and in 32 bit."""

SCORES_COPIES = 5
"""How often the square matrix of the attention's scores is in memory at one time where it is made at all. The profiler
counts 3 for gpt-oss and 5 for Gemma 2."""

HOLES = 0.3
"""By how much the blocks that come and go take more memory than they fill, as what lies between them isn't given back:
the cache, which moves with each token, and the activations. Measured."""

DOWNLOAD_BYTES_PER_S: dict[Platform, float] = {"local": 12.5e6, "colab": 100e6, "space": 100e6, "zerogpu": 100e6}
"""An assumption, which the card states: 100 Mbit/s at home, 800 Mbit/s in a data centre."""

CPU_BYTES_PER_S = 20e9
LINK_BYTES_PER_S = 6e9
"""How fast weights go from the computer's memory to the GPU; PCIe 3.0 x16 from pageable memory."""

FAST_STEP_LAYER_S = 0.00015
FAST_STEP_CACHE_PASSES = 2
"""The two numbers that follow, for the fast step."""

LAYER_S: dict[Way, float] = {"gpu": 0.0008, "mps": 0.001, "split": 0.0015, "cpu": 0.0009}
"""What a layer costs for each token beside reading its weights: Python, and starting the kernels. Measured on a CPU;
the others are rough."""

CACHE_PASSES: dict[Way, int] = {"gpu": 3, "mps": 3, "split": 3, "cpu": 14}
"""How often the cache is gone through for a token: it is copied, with the token's keys and values at its end, and then
read. Measured on a CPU, where new memory for the copy costs most."""

PACKED_SLOWDOWN: dict[Bits | None, float] = {None: 1.0, "8bit": 3.0, "4bit": 1.0}
"""How much longer a token takes with packed weights, beside the fewer bytes: 8 bit works on outliers apart."""

SPEEDS: tuple[tuple[Speed, float], ...] = (("fast", 15.0), ("fluent", 6.0), ("slow", 2.0), ("very_slow", 0.0))
"""From how many tokens/s on. People read about 4 words/s (https://doi.org/10.1016/j.jml.2019.104047), which are 5 to 6
tokens."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What has to be known of a model. What isn't known is 0, None or empty."""

    name: str
    parameters: int
    """As they are in memory: weights that are tied count once."""
    stored_bytes: int = 0
    """The weight files, as they are stored."""
    download_bytes: int = 0
    """What is still to be fetched, tokenizer and configuration included; 0 if all is here."""
    stored: tuple[tuple[str, int], ...] = ()
    """How many numbers of which type are stored, as the Hub tells it: `(("BF16", 8030261248),)`."""
    packable_parameters: int = 0
    """The weights that bitsandbytes can pack; embeddings, output head and norms stay as they are."""
    own_quantization: str | None = None
    """How the stored weights are packed (awq, gptq, fp8, mxfp4, bitsandbytes, ...)."""
    gguf: bool = False
    """Whether it is a GGUF file; its weights are unpacked when it is loaded."""
    model_type: str = ""
    layers: int = 0
    hidden: int = 0
    """The width of the residual stream."""
    intermediate: int = 0
    """The width of the feed-forward part; for a mixture of experts, of those a token uses."""
    vocabulary: int = 0
    heads: int = 0
    """The heads of the queries."""
    eager_attention: bool = False
    """Whether attention makes the whole square matrix of its scores."""
    cache_bytes_per_token: int = 0
    """Keys and values in 16 bit, of the layers that keep every token."""
    window_bytes_per_token: int = 0
    """The same of the layers that keep the last `window_tokens` only."""
    window_tokens: int = 0
    context_limit: int | None = None
    active_share: float = 1.0
    """The share of the weights that is read for a token; 1 except in mixtures of experts."""

    def weight_bytes(self, dtype: str, bits: Bits | None = None) -> int:
        """Return the bytes of the weights in memory, in a type of numbers, or packed into fewer bits."""
        packed = self.packable_parameters if bits else 0
        return int((self.parameters - packed) * DTYPE_BYTES[dtype] + packed * PACKED_BYTES.get(bits or "8bit", 0))

    def cache_bytes(self, context: int, dtype: str = "bfloat16") -> int:
        """Return the bytes of the keys and values of so many tokens."""
        windowed = self.window_bytes_per_token * min(context, self.window_tokens)
        return (self.cache_bytes_per_token * context + windowed) * DTYPE_BYTES[dtype] // 2


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has for a model. Sizes in bytes."""

    platform: Platform = "local"
    ram_free: int = 0
    """What this program may use: what is free, and what it holds already."""
    ram_total: int = 0
    disk_free: int = 0
    """Where the downloads go."""
    gpu_name: str | None = None
    gpu_free: int = 0
    gpu_capability: tuple[int, int] | None = None
    """CUDA's compute capability."""
    mps: bool = False
    """Whether it is one of Apple's GPUs, which share the computer's memory."""
    cpu_dtype: str = "bfloat16"
    """The faster one of bfloat16 and float32 on this CPU."""
    bytes_per_s: float = CPU_BYTES_PER_S
    """How fast the memory is read, of the GPU if there is one."""
    packing_pays: bool = True
    """Whether this CPU multiplies by weights that are packed for it faster than by those that came."""
    can_quantize: bool = False
    """Whether bitsandbytes is here and works."""

    def has_gpu(self) -> bool:
        """Tell whether it has a GPU of any kind."""
        return self.gpu_name is not None or self.mps


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model needs on a machine, and how it will run there."""

    facts: ModelFacts
    machine: Machine
    way: Way
    """Where: whole on the GPU, split between GPU and CPU, on the CPU, or nowhere."""
    dtype: str
    quantize: Bits | None
    context: int
    """For how many tokens there is to be room."""
    weights_bytes: int
    packed_bytes: int
    """Of the weights that are packed for the CPU, beside the others."""
    cpu_weights: CpuWeights
    """How they are packed."""
    cache_bytes: int
    activation_bytes: int
    program_bytes: int
    free_bytes: int
    """In all memory that the way uses."""
    download_bytes: int
    download_s: float
    disk_fits: bool
    tokens_per_s: float
    speed: Speed
    instead: tuple[str, ...] = ()
    """What would fit, if this doesn't; the biggest first."""

    @property
    def needed_bytes(self) -> int:
        """All the memory it takes."""
        return self.weights_bytes + self.packed_bytes + self.cache_bytes + self.activation_bytes + self.program_bytes

    @property
    def chats(self) -> int:
        """How many chats may be answered at one time: there is room for each to be as long as planned."""
        spare = SHARE_USED * self.free_bytes - self.needed_bytes
        others = spare / ((1 + HOLES) * max(1, self.cache_bytes))
        return max(1, min(MOST_CHATS[self.way], 1 + int(others)))

    @property
    def fits(self) -> bool:
        """Whether there is room for it, in memory and on the disk."""
        return self.way != "none" and self.disk_fits


def choose_dtype_name(model_type: str, machine: Machine) -> str:
    """Return the fastest type of numbers that is safe for a model on a machine.

    A T4 (compute capability 7.5) says that it supports bfloat16, and only emulates it; for a family that overflows in
    float16, slow is better than wrong.
    """
    if machine.gpu_name and (machine.gpu_capability or (0, 0)) >= (8, 0):
        return "bfloat16"
    if machine.gpu_name or machine.mps:
        return "bfloat16" if model_type.startswith(OVERFLOWS_IN_FLOAT16) else "float16"
    return machine.cpu_dtype


def make_plan(
    facts: ModelFacts,
    machine: Machine,
    context: int | None = None,
    quantize: Quantize = "auto",
    cpu_weights: CpuWeights = "bf16",
) -> Plan:
    """Return the best way to run a model on a machine.

    In this order: whole on the GPU, there in 8 bit, in 4 bit, split between GPU and CPU, on the CPU with packed
    weights beside the others, without them, there in 8 bit, in 4 bit. A way that was asked for is kept to.

    Args:
        facts: the model.
        machine: the machine.
        context: for how many tokens there is to be room; None is `USUAL_CONTEXT`. Never more than the model can hold.
        quantize: whether to pack the weights; `auto` does where nothing else fits on the GPU or in memory.
        cpu_weights: how to pack weights beside the others on a CPU, if there is room for both; `auto` does it where
            that is faster.
    """
    limits = [context or USUAL_CONTEXT, *([facts.context_limit] if facts.context_limit else [])]
    ways = _ways(facts, machine, quantize, cpu_weights)
    plans = [_plan(facts, machine, min(limits), way, bits, beside) for way, bits, beside in ways]
    plan = next((plan for plan in plans if _has_room(plan)), None)
    if plan is None:
        nearest = min(plans, key=lambda plan: plan.needed_bytes - plan.free_bytes)
        plan = replace(nearest, way="none", tokens_per_s=0.0, speed="very_slow")
    return plan if plan.fits else replace(plan, instead=_what_fits(facts, machine))


def estimate_fits(parameters: int, machine: Machine) -> bool:
    """Tell whether a model fits of which no more is known than the number of its parameters."""
    return make_plan(usual_facts("", parameters), machine).way != "none"


def usual_facts(name: str, parameters: int) -> ModelFacts:
    """Return what a model of this size has most of the time.

    Models grow in width and depth at once; from 0.1 to 70 billion parameters, they have about `12 layers hidden²`, and
    `hidden` is about `128 layers`. Keys and values have a quarter of the queries' heads.
    """
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    hidden = 128 * layers
    return ModelFacts(
        name,
        parameters,
        stored_bytes=2 * parameters,
        packable_parameters=int(0.85 * parameters),
        layers=layers,
        hidden=hidden,
        intermediate=4 * hidden,
        vocabulary=150_000,
        heads=max(1, hidden // 128),
        cache_bytes_per_token=layers * hidden,  # key and value, each a quarter of the width, 2 bytes
    )


def _ways(
    facts: ModelFacts, machine: Machine, quantize: Quantize, cpu_weights: CpuWeights
) -> Iterator[tuple[Way, Bits | None, CpuWeights]]:
    """Yield where the model may run, in how many bits, and how its weights are packed beside; the best first."""
    bits = _bits(facts, machine, quantize)
    if machine.gpu_name:
        yield from (("gpu", packed, "bf16") for packed in bits)
    if machine.mps:
        yield "mps", None, "bf16"
    if machine.platform == "zerogpu":
        return
    if machine.gpu_name and None in bits:  # bitsandbytes packs nothing that stays on the CPU
        yield "split", None, "bf16"
    pays = cpu_weights != "bf16" and (cpu_weights != "auto" or machine.packing_pays)
    if None in bits and pays and facts.packable_parameters and not facts.own_quantization:
        yield "cpu", None, cpu_weights
    yield from (("cpu", packed, "bf16") for packed in bits)


def _bits(facts: ModelFacts, machine: Machine, quantize: Quantize) -> list[Bits | None]:
    if quantize == "off" or facts.own_quantization or facts.gguf:
        return [None]
    if quantize != "auto":
        return [quantize]
    if not machine.can_quantize or not facts.packable_parameters:
        return [None]
    overflows = facts.model_type.startswith(OVERFLOWS_IN_FLOAT16)  # 8 bit multiplies in float16
    return [None, "4bit"] if overflows else [None, "8bit", "4bit"]


def _plan(
    facts: ModelFacts, machine: Machine, context: int, way: Way, bits: Bits | None, cpu_weights: CpuWeights
) -> Plan:
    """Return the plan for one way, whether there is room or not."""
    dtype = choose_dtype_name(facts.model_type, machine)
    if way == "cpu":
        dtype = machine.cpu_dtype
    weights = facts.stored_bytes if _stays_packed(facts, machine, way) else facts.weight_bytes(dtype, bits)
    cache = facts.cache_bytes(context, dtype)
    beside, replaced = _packed_beside(facts, dtype, cpu_weights)
    read = weights - replaced + beside
    tokens_per_s = _tokens_per_s(facts, machine, way, weights, read, cache) / PACKED_SLOWDOWN[bits]
    return Plan(
        facts=facts,
        machine=machine,
        way=way,
        dtype=dtype,
        quantize=bits,
        context=context,
        weights_bytes=weights,
        packed_bytes=beside,
        cpu_weights=cpu_weights,
        cache_bytes=cache,
        activation_bytes=_activation_bytes(facts, context, dtype, cache),
        program_bytes=_program_bytes(facts, machine, way),
        free_bytes={"gpu": machine.gpu_free, "split": machine.gpu_free + machine.ram_free}.get(way, machine.ram_free),
        download_bytes=facts.download_bytes,
        download_s=facts.download_bytes / DOWNLOAD_BYTES_PER_S[machine.platform],
        disk_fits=not facts.download_bytes or facts.download_bytes + DISK_SPARE_BYTES <= machine.disk_free,
        tokens_per_s=tokens_per_s,
        speed=next(speed for speed, least in SPEEDS if tokens_per_s >= least),
    )


def _packed_beside(facts: ModelFacts, dtype: str, cpu_weights: CpuWeights) -> tuple[int, int]:
    """Return the bytes of the weights that are packed for the CPU, and those of the same weights as they came.

    The head is in 8 bit, however few bits the others have.
    """
    if cpu_weights == "bf16":
        return 0, 0
    head = facts.vocabulary * facts.hidden
    beside = int(facts.packable_parameters * PACKED_BESIDE_BYTES[cpu_weights] + head * PACKED_BESIDE_BYTES["int8"])
    return beside, (facts.packable_parameters + head) * DTYPE_BYTES[dtype]


def _has_room(plan: Plan) -> bool:
    return plan.needed_bytes <= SHARE_USED * plan.free_bytes


def _stays_packed(facts: ModelFacts, machine: Machine, way: Way) -> bool:
    """Tell whether weights that are stored packed stay so in memory.

    transformers unpacks mxfp4 where the package `kernels` isn't installed, and fp8 on CPUs and on GPUs below compute
    capability 8.9. Source: transformers 5.24, quantizers/quantizer_mxfp4.py and quantizer_finegrained_fp8.py.
    """
    if facts.own_quantization == "fp8":
        return way in ("gpu", "split") and (machine.gpu_capability or (0, 0)) >= (8, 9)
    return facts.own_quantization not in (None, "mxfp4")


def _activation_bytes(facts: ModelFacts, context: int, dtype: str, cache: int) -> int:
    """Return what is in memory for a time only: while a prompt of `context` tokens is read, or the weights are.

    The holes between these blocks and those of the cache are counted here.
    """
    vectors = ACTIVATION_HIDDEN * facts.hidden + ACTIVATION_INTERMEDIATE * facts.intermediate
    scores = SCORES_COPIES * facts.heads * context**2 if facts.eager_attention else 0
    reading = (context * vectors + scores) * DTYPE_BYTES[dtype]
    unpacking = 4 * facts.vocabulary * facts.hidden if facts.gguf else 0  # its embedding passes through float32
    return max(reading + int(HOLES * (reading + cache)), unpacking)


def _program_bytes(facts: ModelFacts, machine: Machine, way: Way) -> int:
    on_cpu = PROGRAM_BYTES + TOKENIZER_BYTES_PER_TOKEN * facts.vocabulary
    on_cpu += BITSANDBYTES_BYTES if machine.can_quantize else 0
    return {"gpu": GPU_PROGRAM_BYTES, "split": GPU_PROGRAM_BYTES + on_cpu}.get(way, on_cpu)


def _tokens_per_s(facts: ModelFacts, machine: Machine, way: Way, weights: int, read: int, cache: int) -> float:
    """Return how many tokens a second are written, in a chat that is half as long as planned.

    Each token reads the active weights, the packed ones where there are some (`read`, in bytes, were all active). What
    doesn't fit on the GPU is sent there for every token.
    """
    fast = way == "cpu" and facts.model_type in FAST_STEP_TYPES
    passes, layer_s = (FAST_STEP_CACHE_PASSES, FAST_STEP_LAYER_S) if fast else (CACHE_PASSES[way], LAYER_S[way])
    read_bytes = read * facts.active_share + passes * cache / 2
    speed = CPU_BYTES_PER_S if way == "cpu" and machine.gpu_name else machine.bytes_per_s
    sent = max(0.0, weights - SHARE_USED * machine.gpu_free) * facts.active_share if way == "split" else 0.0
    seconds = (read_bytes - sent) / speed + sent / LINK_BYTES_PER_S + facts.layers * layer_s
    return 1 / seconds if seconds else 0.0


GOOD_MODELS: tuple[tuple[str, int], ...] = (
    ("kakaocorp/kanana-1.5-8b-instruct-2505", 8_030_000_000),
    ("Qwen/Qwen3-4B-Instruct-2507", 4_022_000_000),
    ("kakaocorp/kanana-1.5-2.1b-instruct-2505", 2_100_000_000),
    ("Qwen/Qwen3-1.7B", 1_721_000_000),
    ("Qwen/Qwen3-0.6B", 596_000_000),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", 362_000_000),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", 135_000_000),
)
"""Open models (Apache-2.0, not gated) that chat well for their size, with about how many parameters they have; the
biggest first."""


def _what_fits(facts: ModelFacts, machine: Machine) -> tuple[str, ...]:
    """Return at most three good models that are smaller than this one and fit."""
    plans = (
        make_plan(replace(usual_facts(name, count), download_bytes=2 * count), machine, quantize="off")
        for name, count in GOOD_MODELS
        if count < facts.parameters
    )
    return tuple(plan.facts.name for plan in plans if plan.fits)[:3]


def card_lines(plan: Plan, language: Language) -> list[tuple[str, str]]:
    """Return what there is to say of a plan, as pairs of a label and a value in words."""
    lines = [
        ("parameters", _count_text(plan.facts.parameters)),
        ("memory", _memory_text(plan, language)),
        ("plan", _way_text(plan, language)),
        ("download", _download_text(plan, language)),
    ]
    if plan.download_bytes:
        key = "fit.disk_enough" if plan.disk_fits else "fit.disk_too_small"
        lines.append(("disk", say(key, language, free=size_text(plan.machine.disk_free))))
    if plan.way != "none":
        lines.append(("speed", _speed_text(plan, language)))
    if plan.instead:
        lines.append(("instead", ", ".join(plan.instead)))
    return [(say(f"fit.{label}", language), value) for label, value in lines]


def _memory_text(plan: Plan, language: Language) -> str:
    return say(
        "fit.memory_parts",
        language,
        needed=size_text(plan.needed_bytes),
        free=size_text(plan.free_bytes),
        weights=size_text(plan.weights_bytes + plan.packed_bytes),
        cache=size_text(plan.cache_bytes),
        tokens=plan.context,
        rest=size_text(plan.activation_bytes + plan.program_bytes),
    )


def _way_text(plan: Plan, language: Language) -> str:
    numbers = say(f"fit.in_{plan.quantize}", language) if plan.quantize else plan.dtype
    return say(f"fit.way_{plan.way}", language, gpu=plan.machine.gpu_name or "", numbers=numbers)


def _download_text(plan: Plan, language: Language) -> str:
    if not plan.download_bytes:
        return say("fit.download_none", language)
    return say(
        "fit.download_takes" if plan.download_s >= 60 else "fit.download_short",
        language,
        size=size_text(plan.download_bytes),
        minutes=round(plan.download_s / 60),
        mbits=round(DOWNLOAD_BYTES_PER_S[plan.machine.platform] * 8 / 1e6),
    )


def _speed_text(plan: Plan, language: Language) -> str:
    digits = 0 if plan.tokens_per_s >= 10 else 1
    return say(f"fit.speed_{plan.speed}", language, rate=f"{plan.tokens_per_s:.{digits}f}")


def size_text(count: int, digits: int = 1) -> str:
    """Return a number of bytes, in MB or GB with so many decimals."""
    return gigabytes_text(count, digits) if count >= 1e9 else f"{count / 1e6:.0f} MB"


def gigabytes_text(count: int, digits: int = 1) -> str:
    """Return a number of bytes in GB, however few they are."""
    return f"{count / 1e9:.{digits}f} GB"


def _count_text(count: int) -> str:
    """Return a number of parameters as models' names give it."""
    return f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"
