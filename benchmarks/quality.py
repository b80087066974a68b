"""What is lost with weights in fewer bits on a CPU: how the next token's probabilities differ from those in bfloat16.

`python -m benchmarks.quality` lets each model read a fixed text token by token, as it reads what it writes itself.
`--models` names more models, as folders.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, LlamaConfig, LlamaForCausalLM

from benchmarks.processes import model_files
from benchmarks.prompts import TEXT
from benchmarks.report import parse_arguments, progress, publish, table
from hfdemo.compute.packed_linears import pack_linears

MODES = ("int8", "int4", "auto")


def main() -> None:
    """Measure, and keep the table."""
    arguments = parse_arguments(__doc__, ("--models", {"nargs": "*", "default": [], "help": "folders of more models"}))
    rows, raw = [], []
    for name, model, ids in _models(arguments.models):
        exact = _logits(model, ids)
        for mode in MODES:
            packed = copy.deepcopy(model)
            size = pack_linears(packed, mode)
            found = _compare(exact, _logits(packed, ids)) | {"model": name, "mode": mode, "packed_bytes": size}
            raw.append(found)
            progress(str(found))
            rows.append(
                [
                    name,
                    mode,
                    f"{found['kl_mean']:.4f}",
                    f"{found['kl_max']:.3f}",
                    f"{100 * found['same_top']:.1f} %",
                    f"{size / 1e6:.0f} MB",
                ]
            )
    head = ["Model", "HFDEMO_CPU_WEIGHTS", "Mean KL, nats", "Greatest KL", "Same likeliest token", "Packed weights"]
    publish("quality", table(head, rows), raw)


def _models(folders: list[str]) -> Iterator[tuple[str, Any, Tensor]]:
    """Yield the models with the text as each reads it, of shape [tokens]."""
    embedded = model_files()["model"]
    for folder in (embedded, *folders):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        yield Path(folder).name, model, torch.tensor(tokenizer(TEXT).input_ids)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=1024,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    yield "random weights, 4 layers", LlamaForCausalLM(shape).to(torch.bfloat16), torch.randint(0, 1024, (500,))


@torch.inference_mode()
def _logits(model: Any, ids: Tensor) -> Tensor:
    """Return what a model says of each token's successor when it reads one at a time, of shape [tokens - 1, words]."""
    model.eval()
    cache = DynamicCache(config=model.config)
    rows = [model(input_ids=token.view(1, 1), cache=cache).logits[0, -1].float() for token in ids[:-1]]
    return F.log_softmax(torch.stack(rows), -1)


def _compare(exact: Tensor, packed: Tensor) -> dict[str, float]:
    """Return how much two models differ in what comes next."""
    divergence = (exact.exp() * (exact - packed)).sum(-1)
    return {
        "kl_mean": divergence.mean().item(),
        "kl_max": divergence.max().item(),
        "same_top": (exact.argmax(-1) == packed.argmax(-1)).float().mean().item(),
    }


if __name__ == "__main__":
    main()
