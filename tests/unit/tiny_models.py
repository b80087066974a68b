"""Models of a few thousand random weights, of the families that people chat with."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
}


def tiny_model(model_type: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Return a model; also its biases and norms are random, so that none can be left out unseen."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**SIZES | options)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return model.to(dtype)
