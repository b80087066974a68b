"""The model tuned for chat that belongs to a base model, by the naming habits of their makers.

Source: the model pages on the Hugging Face Hub; read November 2026.
"""

import re

_HABITS = (
    (r"meta-llama/(?:Meta-)?Llama-3\.1-(\d+B)", r"meta-llama/Llama-3.1-\1-Instruct"),
    (r"meta-llama/Meta-Llama-3-(\d+B)", r"meta-llama/Meta-Llama-3-\1-Instruct"),
    (r"meta-llama/Llama-3\.2-(\d+B)", r"meta-llama/Llama-3.2-\1-Instruct"),
    (r"meta-llama/Llama-2-(\d+b)-hf", r"meta-llama/Llama-2-\1-chat-hf"),
    (r"Qwen/(Qwen2(?:\.5)?-[\d.]+B)", r"Qwen/\1-Instruct"),
    (r"Qwen/(Qwen3-[\d.]+B)-Base", r"Qwen/\1"),
    (r"google/(gemma-[23]-\d+b)(?:-pt)?", r"google/\1-it"),
    (r"mistralai/Mistral-7B-(v0\.[123])", r"mistralai/Mistral-7B-Instruct-\1"),
    (r"HuggingFaceTB/(SmolLM2?-[\d.]+[MB])", r"HuggingFaceTB/\1-Instruct"),
    (r"HuggingFaceTB/SmolLM3-3B-Base", "HuggingFaceTB/SmolLM3-3B"),
    (r"kakaocorp/(kanana-1\.5-[\d.]+b)-base", r"kakaocorp/\1-instruct-2505"),
)


def instruct_sibling(name: str) -> str | None:
    """Return the name of the model tuned for chat that belongs to a base model, or None if none is known."""
    for base, sibling in _HABITS:
        if match := re.fullmatch(base, name):
            return match.expand(sibling)
    return None
