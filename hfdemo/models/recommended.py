"""Models to recommend where the chosen one doesn't fit."""

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
