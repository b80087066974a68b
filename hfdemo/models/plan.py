"""Will a model fit this machine, how will it run, how long does its download take, and how fast will it be?

Nothing is looked up here, and nothing slow is imported. `memory.py` has the arithmetic of the memory, `speed.py` that
of the speed, `plan_text.py` the words for a plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hfdemo.models.memory import (
    activation_bytes,
    cache_bytes,
    chat_bytes,
    free_bytes,
    has_room,
    loaded_bytes,
    loading_bytes,
    more_chats,
    packed_bytes,
    prefix_bytes,
    program_bytes,
    stored_bits,
)
from hfdemo.models.plan_data import Machine, ModelFacts, QuantizedBits, Way, usual_facts
from hfdemo.models.recommended import GOOD_MODELS
from hfdemo.models.speed import Speed, speed_of, tokens_per_s
from hfdemo.settings import CpuWeights, Platform, Quantize

__all__ = [
    "DOWNLOAD_BYTES_PER_S",
    "USUAL_CONTEXT",
    "Machine",
    "ModelFacts",
    "Plan",
    "QuantizedBits",
    "Speed",
    "Way",
    "choose_dtype_name",
    "estimate_fits",
    "make_plan",
    "usual_facts",
]

USUAL_CONTEXT = 4096
"""For how many tokens memory is planned where nobody says; longer chats are rare, and their memory is expensive."""

DISK_SPARE_BYTES = 500_000_000

MOST_CHATS: dict[Way, int] = {"gpu": 32, "mps": 16, "split": 1, "cpu": 16, "none": 1}
"""At most so many chats are answered at once; with more, each would be written more slowly than people read."""

FEW_BITS = 4.6
"""A GGUF file with at most so many bits for each weight is packed in 4 bit, however they were stored: beside what they
lost already, it takes little, and in 8 bit they would take twice the room of the file."""

OVERFLOWS_IN_FLOAT16 = ("gemma2", "gemma3", "gemma4", "recurrent_gemma", "t5gemma")
"""How the `model_type` of families begins whose activations exceed float16's 65,504; their replies turn to NaN.
Source: https://github.com/huggingface/transformers/issues/36822."""

DOWNLOAD_BYTES_PER_S: dict[Platform, float] = {"local": 12.5e6, "colab": 100e6, "space": 100e6, "zerogpu": 100e6}
"""An assumption, which the card states: 100 Mbit/s at home, 800 Mbit/s in a data centre."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model needs on a machine, and how it will run there."""

    facts: ModelFacts
    machine: Machine
    way: Way
    dtype: str
    quantize: QuantizedBits | None
    context: int
    """For how many tokens memory is planned."""
    weights_bytes: int
    cpu_weights: CpuWeights
    """How they are packed for a CPU."""
    cache_bytes: int
    activation_bytes: int
    program_bytes: int
    free_bytes: int
    """Of all the memory that the way uses."""
    download_bytes: int
    download_s: float
    disk_fits: bool
    tokens_per_s: float
    speed: Speed
    instead: tuple[str, ...] = ()
    """Models that would fit, if this one doesn't; the biggest first."""
    prefix_bytes: int = 0
    """What the prefix cache may take besides."""
    batched: bool = True
    """Whether several chats are answered at once."""

    @property
    def needed_bytes(self) -> int:
        """All the memory that one chat takes."""
        return self.weights_bytes + self.cache_bytes + self.activation_bytes + self.program_bytes

    @property
    def chats(self) -> int:
        """How many chats may be answered at once: there is room for each to grow as long as planned."""
        most = MOST_CHATS[self.way] if self.batched else 1
        return min(most, 1 + more_chats(self.needed_bytes + self.prefix_bytes, self.free_bytes, self.cache_bytes))

    @property
    def most_bytes(self) -> int:
        """All the memory it ever takes, with as many chats as may be and a full prefix cache."""
        return self.needed_bytes + self.prefix_bytes + (self.chats - 1) * chat_bytes(self.cache_bytes)

    @property
    def fits(self) -> bool:
        """Whether memory and disk have room for it."""
        return self.way != "none" and self.disk_fits


def choose_dtype_name(model_type: str, machine: Machine) -> str:
    """Return the fastest type of numbers that is safe for a model on a machine.

    A T4 (compute capability 7.5) claims to support bfloat16, but only emulates it. For a family that overflows in
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
    prefix_cache_bytes: int = 0,
    batched: bool = True,
) -> Plan:
    """Return the best way to run a model on a machine.

    In this order: whole on the GPU, there in 8 bit, in 4 bit, split between GPU and CPU, on the CPU with packed
    weights or as they came, whichever is faster, then in 8 bit, in 4 bit. What the host asked for is never replaced.

    Args:
        facts: the model.
        machine: the machine.
        context: for how many tokens to plan memory; None is `USUAL_CONTEXT`. Never more than the model can hold.
        quantize: whether to quantize the weights; `auto` does where nothing else fits on the GPU or in memory.
        cpu_weights: how to pack the weights on a CPU; `auto` does it where that is faster, or where they have no room
            otherwise.
        prefix_cache_bytes: how much the prefix cache may take; it gets less where there is less room.
        batched: whether several chats are answered at once.
    """
    limits = [context or USUAL_CONTEXT, *([facts.context_limit] if facts.context_limit else [])]
    ways = _ways(facts, machine, quantize, cpu_weights)
    plans = [_plan(facts, machine, min(limits), way, bits, packing) for way, bits, packing in ways]
    plan = next((plan for plan in plans if has_room(plan.needed_bytes, plan.free_bytes)), None)
    if plan is None:
        nearest = min(plans, key=lambda plan: plan.needed_bytes - plan.free_bytes)
        plan = replace(nearest, way="none", tokens_per_s=0.0, speed="very_slow")
    spare = prefix_bytes(plan.needed_bytes, plan.free_bytes, prefix_cache_bytes)
    plan = replace(plan, prefix_bytes=spare, batched=batched)
    return plan if plan.fits else replace(plan, instead=_what_fits(facts, machine))


def estimate_fits(parameters: int, machine: Machine) -> bool:
    """Tell whether a model fits of which only the number of parameters is known."""
    return make_plan(usual_facts("", parameters), machine).way != "none"


def _ways(
    facts: ModelFacts, machine: Machine, quantize: Quantize, cpu_weights: CpuWeights
) -> Iterator[tuple[Way, QuantizedBits | None, CpuWeights]]:
    """Yield where the model may run, to how many bits it is quantized, and how it is packed; the best first."""
    bits = _bits(facts, machine, quantize)
    if machine.gpu_name:
        yield from (("gpu", fewer, "bf16") for fewer in bits)
    if machine.mps:
        yield "mps", None, "bf16"
    if machine.platform == "zerogpu":
        return
    if machine.gpu_name and None in bits:  # bitsandbytes quantizes nothing that stays on the CPU
        yield "split", None, "bf16"
    packings: tuple[CpuWeights, ...] = ()
    if None in bits and cpu_weights != "bf16" and facts.packable_parameters and not facts.own_quantization:
        packings = ("auto", "int4") if cpu_weights == "auto" else (cpu_weights,)
        if cpu_weights == "auto" and facts.gguf and stored_bits(facts) <= FEW_BITS:
            packings = ("int4",)
    if cpu_weights != "auto" or machine.packing_pays:
        yield from (("cpu", None, packing) for packing in packings[:1])
    if None in bits:
        yield "cpu", None, "bf16"
    yield from (("cpu", None, packing) for packing in packings)
    yield from (("cpu", fewer, "bf16") for fewer in bits if fewer)


def _bits(facts: ModelFacts, machine: Machine, quantize: Quantize) -> list[QuantizedBits | None]:
    if quantize == "off" or facts.own_quantization or facts.gguf:
        return [None]
    if quantize != "auto":
        return [quantize]
    if not machine.can_quantize or not facts.packable_parameters:
        return [None]
    overflows = facts.model_type.startswith(OVERFLOWS_IN_FLOAT16)  # 8 bit multiplies in float16
    return [None, "4bit"] if overflows else [None, "8bit", "4bit"]


def _plan(
    facts: ModelFacts, machine: Machine, context: int, way: Way, bits: QuantizedBits | None, cpu_weights: CpuWeights
) -> Plan:
    """Return the plan for one way, whether there is room or not."""
    dtype = machine.cpu_dtype if way == "cpu" else choose_dtype_name(facts.model_type, machine)
    packed, unpacked = packed_bytes(facts, dtype, cpu_weights)
    weights = loaded_bytes(facts, machine, way, dtype, bits) - unpacked + packed
    cache = cache_bytes(facts, context, dtype, way)
    loading = loading_bytes(facts, dtype, packed, unpacked)
    rate = tokens_per_s(facts, machine, way, bits, weights, cache)
    return Plan(
        facts=facts,
        machine=machine,
        way=way,
        dtype=dtype,
        quantize=bits,
        context=context,
        weights_bytes=weights,
        cpu_weights=cpu_weights,
        cache_bytes=cache,
        activation_bytes=activation_bytes(facts, context, dtype, cache, loading),
        program_bytes=program_bytes(facts, machine, way),
        free_bytes=free_bytes(machine, way),
        download_bytes=facts.download_bytes,
        download_s=facts.download_bytes / DOWNLOAD_BYTES_PER_S[machine.platform],
        disk_fits=not facts.download_bytes or facts.download_bytes + DISK_SPARE_BYTES <= machine.disk_free,
        tokens_per_s=rate,
        speed=speed_of(rate),
    )


def _what_fits(facts: ModelFacts, machine: Machine) -> tuple[str, ...]:
    """Return at most three recommended models that are smaller than this one and fit."""
    plans = (
        make_plan(replace(usual_facts(name, count), download_bytes=2 * count), machine, quantize="off")
        for name, count in GOOD_MODELS
        if count < facts.parameters
    )
    return tuple(plan.facts.name for plan in plans if plan.fits)[:3]
