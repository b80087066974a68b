"""Which architectures the fast step can compute. The step reads this list, and so do the plan and how GGUF is loaded.

To add one that is built like these, add a line. It must not need torch: the plan is made before torch is loaded.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a class of transformers differs from Llama, as far as its modules and its configuration don't say it."""

    class_name: str
    """Whose forward the step repeats."""
    before_attention: str = "input_layernorm"
    """The norm of what a layer's attention reads; empty if there is none."""
    after_attention: str = ""
    """The norm of what it returns, before that is added."""
    before_feed_forward: str = "post_attention_layernorm"
    after_feed_forward: str = ""
    norm_offset: float = 0.0
    """What the norms add to their weights."""
    rotates_in_windows_only: bool = False
    """Whether the layers that see all, if others have a window, know nothing of places."""


_WITH_NORMS_BEHIND = Architecture(
    "",
    before_attention="",
    after_attention="post_attention_layernorm",
    before_feed_forward="",
    after_feed_forward="post_feedforward_layernorm",
)

FAST_ARCHITECTURES = {
    "exaone4": replace(_WITH_NORMS_BEHIND, class_name="Exaone4ForCausalLM", rotates_in_windows_only=True),
    "gemma3_text": Architecture(
        "Gemma3ForCausalLM",
        after_attention="post_attention_layernorm",
        before_feed_forward="pre_feedforward_layernorm",
        after_feed_forward="post_feedforward_layernorm",
        norm_offset=1.0,
    ),
    "granite": Architecture("GraniteForCausalLM"),
    "llama": Architecture("LlamaForCausalLM"),
    "mistral": Architecture("MistralForCausalLM"),
    "olmo2": replace(_WITH_NORMS_BEHIND, class_name="Olmo2ForCausalLM"),
    "phi3": Architecture("Phi3ForCausalLM"),
    "qwen2": Architecture("Qwen2ForCausalLM"),
    "qwen3": Architecture("Qwen3ForCausalLM"),
    "smollm3": Architecture("SmolLM3ForCausalLM"),
}
"""By a configuration's `model_type`."""
