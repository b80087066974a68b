"""For a base model, the page names the model tuned for chat that its makers published beside it."""

import pytest

from hfdemo.models.siblings import instruct_sibling

SIBLINGS = {
    "meta-llama/Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Meta-Llama-3-8B": "meta-llama/Meta-Llama-3-8B-Instruct",
    "meta-llama/Llama-3.2-1B": "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-2-7b-hf": "meta-llama/Llama-2-7b-chat-hf",
    "Qwen/Qwen2-1.5B": "Qwen/Qwen2-1.5B-Instruct",
    "Qwen/Qwen2.5-0.5B": "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen3-0.6B-Base": "Qwen/Qwen3-0.6B",
    "google/gemma-2-2b": "google/gemma-2-2b-it",
    "google/gemma-3-4b-pt": "google/gemma-3-4b-it",
    "mistralai/Mistral-7B-v0.1": "mistralai/Mistral-7B-Instruct-v0.1",
    "mistralai/Mistral-7B-v0.3": "mistralai/Mistral-7B-Instruct-v0.3",
    "HuggingFaceTB/SmolLM-360M": "HuggingFaceTB/SmolLM-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "HuggingFaceTB/SmolLM3-3B-Base": "HuggingFaceTB/SmolLM3-3B",
    "kakaocorp/kanana-1.5-2.1b-base": "kakaocorp/kanana-1.5-2.1b-instruct-2505",
    "kakaocorp/kanana-1.5-8b-base": "kakaocorp/kanana-1.5-8b-instruct-2505",
}
UNKNOWN = [
    "",
    "openai-community/gpt2",
    "somebody/Llama-3.1-8B",
    "meta-llama/Llama-3.1-8B-finetuned",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen2.5-Coder-7B",
    "Llama-3.1-8B",
    "meta-llama/Llama-3x1-8B",
    "Qwen/Qwen2.5-0.5B\n",
    "models/Qwen/Qwen2.5-0.5B",
    "SmolLM2-135M",
    "한국/모델",
]


@pytest.mark.parametrize(("base", "sibling"), SIBLINGS.items())
def test_a_base_model_has_a_sibling_tuned_for_chat(base, sibling):
    assert instruct_sibling(base) == sibling


@pytest.mark.parametrize("sibling", sorted(set(SIBLINGS.values())))
def test_a_model_tuned_for_chat_has_none(sibling):
    assert instruct_sibling(sibling) is None


@pytest.mark.parametrize("name", UNKNOWN)
def test_for_a_name_of_no_known_habit_nothing_is_guessed(name):
    assert instruct_sibling(name) is None
