"""What a plan is made from: a model's facts, a machine, and the ways to run one on the other. Data only.

`facts.py` finds out about the model, `machine.py` about the machine.
"""

from dataclasses import dataclass
from typing import Literal

from hfdemo.settings import Platform

QuantizedBits = Literal["8bit", "4bit"]
"""How many bits bitsandbytes leaves of each weight."""

Way = Literal["gpu", "mps", "split", "cpu", "none"]
"""Where a model runs: whole on the GPU, on Apple's GPU, split between GPU and CPU, on the CPU, or nowhere."""

CPU_BYTES_PER_S = 20e9
"""How fast a usual computer reads its memory, where nobody measured it."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a plan needs to know of a model. What isn't known is 0, None or empty."""

    name: str
    parameters: int
    """As they are in memory: tied weights count once."""
    stored_bytes: int = 0
    """The weight files, as they are stored."""
    download_bytes: int = 0
    """What is still to be downloaded, tokenizer and configuration included; 0 if everything is here."""
    stored: tuple[tuple[str, int], ...] = ()
    """How many numbers of each type are stored, as the Hub reports it: `(("BF16", 8030261248),)`."""
    packable_parameters: int = 0
    """The weights that can be quantized, or packed for the CPU; embeddings, output head and norms stay as they are."""
    own_quantization: str | None = None
    """How the stored weights are quantized (awq, gptq, fp8, mxfp4, bitsandbytes, ...)."""
    gguf: bool = False
    """Whether it is a GGUF file, whose weights are unpacked when it is loaded, and packed again for a CPU."""
    model_type: str = ""
    layers: int = 0
    hidden: int = 0
    """The width of the residual stream."""
    intermediate: int = 0
    """The width of the feed-forward part; in a mixture of experts, of the experts that one token uses."""
    vocabulary: int = 0
    heads: int = 0
    """The query heads."""
    eager_attention: bool = False
    """Whether attention materializes the whole square matrix of its scores."""
    cache_bytes_per_token: int = 0
    """Keys and values in 16 bit, of the layers that keep every token."""
    window_bytes_per_token: int = 0
    """The same of the layers that keep only the last `window_tokens`."""
    window_tokens: int = 0
    context_limit: int | None = None
    active_share: float = 1.0
    """The share of the weights that is read for each token; 1 except in mixtures of experts."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has for a model. Sizes in bytes."""

    platform: Platform = "local"
    ram_free: int = 0
    """What this program may use: the free memory, and what it holds already."""
    ram_total: int = 0
    disk_free: int = 0
    """Where the downloads go."""
    gpu_name: str | None = None
    gpu_free: int = 0
    gpu_capability: tuple[int, int] | None = None
    """CUDA's compute capability."""
    mps: bool = False
    """Whether it has one of Apple's GPUs, which share the computer's memory."""
    cpu_dtype: str = "bfloat16"
    """Whichever of bfloat16 and float32 is faster on this CPU."""
    bytes_per_s: float = CPU_BYTES_PER_S
    """How fast the memory is read: the GPU's if there is one."""
    packing_pays: bool = True
    """Whether this CPU multiplies by packed weights faster than by the original ones."""
    can_quantize: bool = False
    """Whether bitsandbytes is installed and works."""

    def has_gpu(self) -> bool:
        """Tell whether it has a GPU of any kind."""
        return self.gpu_name is not None or self.mps


def usual_facts(name: str, parameters: int) -> ModelFacts:
    """Return what a model of this size usually has.

    Models grow in width and depth at once; from 0.1 to 70 billion parameters, they have about `12 layers hidden²`, and
    `hidden` is about `128 layers`. Keys and values have a quarter of the query heads.
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
