"""How fast a model will write, estimated from how much memory each token reads."""

from typing import Literal

from hfdemo.compute.architectures import FAST_ARCHITECTURES
from hfdemo.models.memory import SHARE_USED
from hfdemo.models.plan_data import CPU_BYTES_PER_S, Machine, ModelFacts, QuantizedBits, Way

Speed = Literal["fast", "fluent", "slow", "very_slow"]

SPEEDS: tuple[tuple[Speed, float], ...] = (("fast", 15.0), ("fluent", 6.0), ("slow", 2.0), ("very_slow", 0.0))
"""From how many tokens/s on. People read about 4 words/s (https://doi.org/10.1016/j.jml.2019.104047), which are 5 to 6
tokens."""

LINK_BYTES_PER_S = 6e9
"""How fast weights go from the computer's memory to the GPU; PCIe 3.0 x16 from pageable memory."""

LAYER_S: dict[Way, float] = {"gpu": 0.0008, "mps": 0.001, "split": 0.0015, "cpu": 0.0009}
"""What a layer costs for each token beside reading its weights: Python, and starting the kernels. Measured on a CPU;
the others are rough."""

CACHE_PASSES: dict[Way, int] = {"gpu": 3, "mps": 3, "split": 3, "cpu": 14}
"""How often the whole cache is read or written for a token: it is copied, with the token's keys and values at its end,
and then read. Measured on a CPU, where allocating the copy costs most."""

FAST_STEP_LAYER_S = 0.00015
FAST_STEP_CACHE_PASSES = 2
"""The same two numbers for the fast step (`compute/fast_step.py`)."""

QUANTIZED_SLOWDOWN: dict[QuantizedBits | None, float] = {None: 1.0, "8bit": 3.0, "4bit": 1.0}
"""How much longer a token takes with quantized weights, apart from reading fewer bytes: 8 bit handles outliers
separately."""


def tokens_per_s(
    facts: ModelFacts,
    machine: Machine,
    way: Way,
    quantize: QuantizedBits | None,
    weights_bytes: int,
    cache_bytes: int,
) -> float:
    """Return how many tokens a second are written, in a chat half as long as planned.

    Args:
        facts: the model.
        machine: the machine.
        way: where it runs.
        quantize: to how many bits it is quantized.
        weights_bytes: of the weights, which a token would read if all were active; in a split, what doesn't fit on the
            GPU is sent there for every token.
        cache_bytes: of the keys and values of a chat as long as planned.
    """
    fast = way == "cpu" and facts.model_type in FAST_ARCHITECTURES
    passes, layer_s = (FAST_STEP_CACHE_PASSES, FAST_STEP_LAYER_S) if fast else (CACHE_PASSES[way], LAYER_S[way])
    read = weights_bytes * facts.active_share + passes * cache_bytes / 2
    speed = CPU_BYTES_PER_S if way == "cpu" and machine.gpu_name else machine.bytes_per_s
    sent = max(0.0, weights_bytes - SHARE_USED * machine.gpu_free) * facts.active_share if way == "split" else 0.0
    seconds = (read - sent) / speed + sent / LINK_BYTES_PER_S + facts.layers * layer_s
    return (1 / seconds if seconds else 0.0) / QUANTIZED_SLOWDOWN[quantize]


def speed_of(rate: float) -> Speed:
    """Return how `rate` tokens a second feel to a reader."""
    return next(speed for speed, least in SPEEDS if rate >= least)
