"""Well-known models in numbers: what their config.json says and what the Hub counts in their safetensors files.

`parameters` are those in memory. They are the published counts, except where the files hold a tied head twice
(Qwen3), buffers (GPT-2) or packed weights (gpt-oss); there they follow from the configuration.
"""

from dataclasses import dataclass
from typing import Any

GB = 1_000_000_000


@dataclass(frozen=True)
class Known:
    """A model on the Hub."""

    config: dict[str, Any]
    stored: dict[str, int]
    """The Hub's count of the stored numbers, by their type."""
    parameters: int
    cache_bytes_per_token: int
    """In 16 bit, of the layers that keep all tokens."""
    window_bytes_per_token: int = 0
    window_tokens: int = 0
    stored_bytes: int = 0
    """Where the weights are packed, so that it doesn't follow from `stored`."""


def shape(kind: str, sizes: tuple[int, int, int, int, int, int], vocabulary: int, **more: Any) -> dict[str, Any]:
    """Return a configuration, with hidden size, feed-forward size, layers, heads, key-value heads and head size."""
    hidden, intermediate, layers, heads, kv_heads, head = sizes
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    } | more


TIED: dict[str, Any] = {"tie_word_embeddings": True}

KNOWN: dict[str, Known] = {
    "meta-llama/Llama-3.1-8B-Instruct": Known(
        shape("llama", (4096, 14336, 32, 32, 8, 128), 128256, max_position_embeddings=131072),
        {"BF16": 8_030_261_248},
        8_030_261_248,
        131_072,
    ),
    "meta-llama/Llama-3.1-70B-Instruct": Known(
        shape("llama", (8192, 28672, 80, 64, 8, 128), 128256, max_position_embeddings=131072),
        {"BF16": 70_553_706_496},
        70_553_706_496,
        327_680,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": Known(
        shape("llama", (2048, 8192, 16, 32, 8, 64), 128256, max_position_embeddings=131072, **TIED),
        {"BF16": 1_235_814_400},
        1_235_814_400,
        32_768,
    ),
    "Qwen/Qwen3-0.6B": Known(
        shape("qwen3", (1024, 3072, 28, 16, 8, 128), 151936, max_position_embeddings=40960, **TIED),
        {"BF16": 751_632_384},
        596_049_920,
        114_688,
    ),
    "Qwen/Qwen3-4B-Instruct-2507": Known(
        shape("qwen3", (2560, 9728, 36, 32, 8, 128), 151936, max_position_embeddings=262144, **TIED),
        {"BF16": 4_022_468_096},
        4_022_468_096,
        147_456,
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": Known(
        shape("qwen2", (896, 4864, 24, 14, 2, 64), 151936, **TIED), {"BF16": 494_032_768}, 494_032_768, 12_288
    ),
    "Qwen/Qwen2.5-7B-Instruct": Known(
        shape("qwen2", (3584, 18944, 28, 28, 4, 128), 152064), {"BF16": 7_615_616_512}, 7_615_616_512, 57_344
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Known(
        shape("llama", (576, 1536, 30, 9, 3, 64), 49152, max_position_embeddings=8192, **TIED),
        {"BF16": 134_515_008},
        134_515_008,
        23_040,
    ),
    "HuggingFaceTB/SmolLM2-360M-Instruct": Known(
        shape("llama", (960, 2560, 32, 15, 5, 64), 49152, max_position_embeddings=8192, **TIED),
        {"BF16": 361_821_120},
        361_821_120,
        40_960,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": Known(
        shape("mistral", (4096, 14336, 32, 32, 8, 128), 32768, sliding_window=None),
        {"BF16": 7_248_023_552},
        7_248_023_552,
        131_072,
    ),
    "google/gemma-2-2b-it": Known(
        shape(
            "gemma2", (2304, 9216, 26, 8, 4, 256), 256000, sliding_window=4096, max_position_embeddings=8192, **TIED
        ),
        {"BF16": 2_614_341_888},
        2_614_341_888,
        53_248,
        53_248,
        4096,
    ),
    "google/gemma-3-1b-it": Known(
        shape(
            "gemma3_text", (1152, 6912, 26, 4, 1, 256), 262144, sliding_window=512, sliding_window_pattern=6, **TIED
        ),
        {"BF16": 999_885_952},
        999_885_952,
        4_096,
        22_528,
        512,
    ),
    "google/gemma-3-4b-it": Known(
        {
            "model_type": "gemma3",
            "text_config": shape("gemma3_text", (2560, 10240, 34, 8, 4, 256), 262208, sliding_window=1024, **TIED),
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "patch_size": 14,
                "image_size": 896,
                "vision_use_head": False,
            },
            "tie_word_embeddings": True,
        },
        {"BF16": 4_300_079_472},
        4_300_079_472,
        20_480,
        118_784,
        1024,
    ),
    "microsoft/Phi-3-mini-4k-instruct": Known(
        shape(
            "phi3",
            (3072, 8192, 32, 32, 32, 96),
            32064,
            sliding_window=2047,
            max_position_embeddings=4096,
            pad_token_id=0,
        ),
        {"BF16": 3_821_079_552},
        3_821_079_552,
        0,
        393_216,
        2047,
    ),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": Known(
        shape("llama", (2048, 5632, 22, 32, 4, 64), 32000, max_position_embeddings=2048),
        {"BF16": 1_100_048_384},
        1_100_048_384,
        22_528,
    ),
    "Qwen/Qwen3-30B-A3B": Known(
        shape(
            "qwen3_moe",
            (2048, 6144, 48, 32, 4, 128),
            151936,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
            max_position_embeddings=40960,
        ),
        {"BF16": 30_532_122_624},
        30_532_122_624,
        98_304,
    ),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": Known(
        shape(
            "mixtral",
            (4096, 14336, 32, 32, 8, 128),
            32000,
            num_local_experts=8,
            num_experts_per_tok=2,
            sliding_window=None,
        ),
        {"BF16": 46_702_792_704},
        46_702_792_704,
        131_072,
    ),
    "deepseek-ai/DeepSeek-V2-Lite-Chat": Known(
        shape(
            "deepseek_v2",
            (2048, 10944, 27, 16, 16, 64),
            102400,
            moe_intermediate_size=1408,
            n_routed_experts=64,
            n_shared_experts=2,
            num_experts_per_tok=6,
            first_k_dense_replace=1,
            kv_lora_rank=512,
            q_lora_rank=None,
            qk_nope_head_dim=128,
            qk_rope_head_dim=64,
            v_head_dim=128,
        ),
        {"BF16": 15_706_484_224},
        15_706_484_224,
        31_104,
    ),
    "openai/gpt-oss-20b": Known(
        shape(
            "gpt_oss",
            (2880, 2880, 24, 64, 8, 64),
            201088,
            num_local_experts=32,
            num_experts_per_tok=4,
            sliding_window=128,
            max_position_embeddings=131072,
            quantization_config={"quant_method": "mxfp4"},
        ),
        {"BF16": 1_804_459_584, "U8": 19_707_494_400},
        20_914_757_184,
        24_576,
        24_576,
        128,
        stored_bytes=13_761_264_768,
    ),
    "openai-community/gpt2": Known(
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024},
        {"F32": 137_022_720},
        124_439_808,
        36_864,
    ),
}
