"""How much memory a model takes: weights, cache, activations, program. All of its arithmetic is in this file.

The numbers are compared with measured ones in `benchmarks/README.md`.
"""

from hfdemo.compute.architectures import FAST_ARCHITECTURES
from hfdemo.models.plan_data import Machine, ModelFacts, QuantizedBits, Way
from hfdemo.settings import CpuWeights

SHARE_USED = 0.9
"""How much of the free memory a plan may use; other programs and fragmentation need the rest."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

QUANTIZED_BYTES: dict[QuantizedBits, float] = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes of one weight that bitsandbytes quantized. 4 bit is NF4 with double quantization: each 64 weights share a
scale of 8 bits, and each 256 scales one of 32. Source: QLoRA, section 3 (https://arxiv.org/abs/2305.14314)."""

PACKED_BYTES: dict[str, float] = {
    "int8": 1 + 8 / 64,
    "int4": 0.5 + 4 / 32,
    "auto": 1 + 8 / 64,
}
"""Bytes of one weight that is packed for the CPU (`compute/cpu_weights.py`). In 4 bit, each 32 weights share a scale
and a zero of 16 bits; in 8 bit, each 64 share two of them. `auto` is planned as 8 bit, because only the weights
themselves tell which it will be; a GGUF file's size tells roughly."""

Q4_BITS, Q6_BITS = 4.5, 6.5625
"""Bits of one weight in GGUF's formats of 4 and of 6 bits; files named `Q4_K_M` have weights in both.
Source: https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h."""

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
activation, up) exist for each token at once while a prompt is read. PyTorch's memory profiler counts exactly these in
Llama-like models, in 16 and in 32 bit."""

SCORES_COPIES = 5
"""How many copies of the square matrix of attention scores are in memory at once, where it is materialized at all. The
profiler counts 3 for gpt-oss and 5 for Gemma 2."""

FRAGMENTATION = 0.3
"""How much more memory short-lived blocks take than they fill, because the gaps between them aren't given back: the
cache, which moves with each token, and the activations. Measured."""


def weight_bytes(facts: ModelFacts, dtype: str, quantize: QuantizedBits | None = None) -> int:
    """Return the bytes of the weights in memory, as numbers of type `dtype` or quantized to fewer bits."""
    quantized = facts.packable_parameters if quantize else 0
    return int(
        (facts.parameters - quantized) * DTYPE_BYTES[dtype] + quantized * QUANTIZED_BYTES.get(quantize or "8bit", 0)
    )


def loaded_bytes(facts: ModelFacts, machine: Machine, way: Way, dtype: str, quantize: QuantizedBits | None) -> int:
    """Return the bytes of the weights once they are loaded; those stored quantized may stay so."""
    return facts.stored_bytes if _stays_quantized(facts, machine, way) else weight_bytes(facts, dtype, quantize)


def packed_bytes(facts: ModelFacts, dtype: str, cpu_weights: CpuWeights) -> tuple[int, int]:
    """Return the bytes of the weights packed for the CPU, and those of the same weights as they came.

    The head is in 8 bit, however few bits the others have, and so is the embedding where the fast step reads it and it
    wasn't stored in 4 bit. Where the model itself reads it, one that is also the head stays as it came beside the
    packed head.
    """
    if cpu_weights == "bf16":
        return 0, 0
    head = facts.vocabulary * facts.hidden
    is_apart = facts.parameters - facts.packable_parameters >= 2 * head
    is_fast = facts.model_type in FAST_ARCHITECTURES
    embedding = head if is_fast and is_apart else 0
    in_4_bit = _share_in_4_bit(facts)
    stored_as = in_4_bit * PACKED_BYTES["int4"] + (1 - in_4_bit) * PACKED_BYTES["int8"]
    of_one = stored_as if cpu_weights == "auto" else PACKED_BYTES[cpu_weights]
    packed = int(facts.packable_parameters * of_one + embedding * stored_as + head * PACKED_BYTES["int8"])
    embeddings = head + embedding if is_fast or is_apart else 0
    return packed, (facts.packable_parameters + embeddings) * DTYPE_BYTES[dtype]


def _share_in_4_bit(facts: ModelFacts) -> float:
    """Return the share of the weights that were stored in 4 bit, as far as the size of a GGUF file tells."""
    return min(1.0, max(0.0, (Q6_BITS - stored_bits(facts)) / (Q6_BITS - Q4_BITS))) if facts.gguf else 0.0


def stored_bits(facts: ModelFacts) -> float:
    """Return how many bits of the weight files there are for each weight."""
    return 8 * facts.stored_bytes / max(1, facts.parameters)


def loading_bytes(facts: ModelFacts, dtype: str, packed: int, unpacked: int) -> int:
    """Return the bytes that loading takes beside what stays of the weights.

    Where the file has the numbers as they are computed with, it is mapped into memory, where it takes no room that
    anything else needs. A GGUF file that the fast step packs is read a layer at a time, after its embedding and its
    head, when nothing is packed yet. Else all weights are there before the first of them is packed.
    """
    head = facts.vocabulary * facts.hidden
    if facts.gguf and packed and facts.model_type in FAST_ARCHITECTURES:
        layer = facts.packable_parameters // max(1, facts.layers)
        return DTYPE_BYTES[dtype] * max(layer, 2 * head - packed // DTYPE_BYTES[dtype])
    loading = 4 * head if facts.gguf else 0  # its embedding passes through float32
    is_mapped = not facts.gguf and abs(facts.stored_bytes - weight_bytes(facts, dtype)) <= 0.1 * facts.stored_bytes
    return loading if is_mapped else loading + max(0, unpacked - packed)


def cache_bytes(facts: ModelFacts, context: int, dtype: str = "bfloat16", way: Way = "gpu") -> int:
    """Return the bytes of the keys and values of `context` tokens.

    On a CPU, the fast step keeps those of all of them, also in layers that see a window only.
    """
    whole = way == "cpu" and facts.model_type in FAST_ARCHITECTURES
    windowed = facts.window_bytes_per_token * (context if whole else min(context, facts.window_tokens))
    return (facts.cache_bytes_per_token * context + windowed) * DTYPE_BYTES[dtype] // 2


def activation_bytes(facts: ModelFacts, context: int, dtype: str, cache: int, loading: int) -> int:
    """Return the bytes that are needed only while a prompt of `context` tokens is read, or while weights are loaded.

    The latter are `loading`. The gaps between these blocks and those of the cache are counted here.
    """
    vectors = ACTIVATION_HIDDEN * facts.hidden + ACTIVATION_INTERMEDIATE * facts.intermediate
    scores = SCORES_COPIES * facts.heads * context**2 if facts.eager_attention else 0
    reading = (context * vectors + scores) * DTYPE_BYTES[dtype]
    return max(reading + int(FRAGMENTATION * (reading + cache)), loading)


def program_bytes(facts: ModelFacts, machine: Machine, way: Way) -> int:
    """Return the bytes of everything but the model."""
    on_cpu = PROGRAM_BYTES + TOKENIZER_BYTES_PER_TOKEN * facts.vocabulary
    on_cpu += BITSANDBYTES_BYTES if machine.can_quantize else 0
    return {"gpu": GPU_PROGRAM_BYTES, "split": GPU_PROGRAM_BYTES + on_cpu}.get(way, on_cpu)


def free_bytes(machine: Machine, way: Way) -> int:
    """Return the free bytes of all the memory that a way uses."""
    return {"gpu": machine.gpu_free, "split": machine.gpu_free + machine.ram_free}.get(way, machine.ram_free)


def has_room(needed: int, free: int) -> bool:
    """Tell whether a plan may use so much of the free memory."""
    return needed <= SHARE_USED * free


def prefix_bytes(needed: int, free: int, wanted: int) -> int:
    """Return how many bytes the prefix cache may take: what the host allows, as far as there is room."""
    return max(0, min(wanted, int(SHARE_USED * free - needed)))


def more_chats(needed: int, free: int, cache: int) -> int:
    """Return for how many chats besides the first there is room; each may grow as long as planned."""
    return max(0, int((SHARE_USED * free - needed) / chat_bytes(cache)))


def chat_bytes(cache: int) -> int:
    """Return the bytes of one more chat beside the first, whose cache takes so many."""
    return int((1 + FRAGMENTATION) * max(1, cache))


def _stays_quantized(facts: ModelFacts, machine: Machine, way: Way) -> bool:
    """Tell whether weights that are stored quantized stay so in memory.

    transformers dequantizes mxfp4 where the package `kernels` isn't installed, and fp8 on CPUs and on GPUs below
    compute capability 8.9. Source: transformers 5.24, quantizers/quantizer_mxfp4.py and quantizer_finegrained_fp8.py.
    """
    if facts.own_quantization == "fp8":
        return way in ("gpu", "split") and (machine.gpu_capability or (0, 0)) >= (8, 9)
    return facts.own_quantization not in (None, "mxfp4")
