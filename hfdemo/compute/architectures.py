"""Which architectures the fast step can compute. The step and the plan of a model's speed both read this list.

To add one that is built like Llama, add a line. It must not need torch: the plan is made before torch is loaded.
"""

FAST_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""From a configuration's `model_type` to the class in transformers whose forward the step repeats."""
