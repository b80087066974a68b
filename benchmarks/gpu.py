"""One chat and 32 at once on a GPU: tokens per second, beside what the GPU's memory allows.

`python -m benchmarks.gpu` needs a GPU. It measures the attentions that are there, with a cache that grows, with a
static one and a compiled step if asked for, and with hfdemo's step as it is shared by the chats and as it is recorded,
for models of four sizes. Those that are no files have random weights, made on the spot, which take as long to compute
with.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.report import parse_arguments, progress, publish, spread, table
from hfdemo.compute.recorded_step import make_recorded_step
from hfdemo.compute.shared_step import SharedStep
from hfdemo.models.embedded import ensure_embedded_model

PROMPT_TOKENS, NEW_TOKENS = 512, 64
CHATS = (1, 32)
BANDWIDTH_BYTES = 1_000_000_000
"""So much is copied to find out how fast the memory is."""

SHAPES = {
    "tiny": LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
    ),
    "1B": LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    ),
    "8B": LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    ),
}
"""Models without files; `1B` and `8B` have the shapes of Llama 3.2 1B and 3.1 8B."""


@dataclass(frozen=True)
class Way:
    """How a model computes."""

    attention: str
    step: Literal["growing cache", "static cache, compiled", "hfdemo's shared step", "hfdemo's recorded step"]

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.attention}, {self.step}"


@dataclass(frozen=True)
class Result:
    """What one way took."""

    model: str
    way: Way
    chats: int
    first_s: list[float]
    tokens_per_s: list[float]
    """Of all chats together, after their first tokens."""
    limit: float
    """Tokens a second if nothing took time but reading the weights once for each step."""


def main() -> None:
    """Measure, and keep the table."""
    arguments = parse_arguments(
        __doc__,
        (
            "--models",
            {"nargs": "+", "default": ["tiny", "embedded", "1B", "8B"], "help": "which of tiny, embedded, 1B, 8B"},
        ),
        (
            "--compiled",
            {"action": "store_true", "help": "also a static cache and a compiled step; takes minutes"},
        ),
        ("--device", {"default": "cuda", "help": "cpu only tells whether this program runs"}),
    )
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here that PyTorch can use.")
    bandwidth = _bandwidth(arguments.device)
    progress(f"memory: {bandwidth / 1e9:.0f} GB/s")
    results = []
    for name in arguments.models:
        for way in _ways(arguments.device, arguments.compiled):
            model = _model(name, way.attention, arguments.device)
            limit = bandwidth / _read_bytes(model)
            for chats in CHATS:
                measure = _share if way.step.startswith("hfdemo") else _generate
                runs = [measure(model, way, chats) for _ in range(arguments.runs + 1)][1:]  # the first one warms up
                first_s, rates = [list(figures) for figures in zip(*runs, strict=True)]
                results.append(Result(name, way, chats, first_s, rates, limit * chats))
                progress(f"{name}, {way.title}, {chats} chats: {spread(rates).text(0)} tokens/s")
            del model
        # After each model: the time on the GPU may be over before the last one is done.
        publish("gpu", _table(results), [asdict(result) for result in results], arguments.runs)


def _read_bytes(model: Any) -> int:
    """Return how many bytes of weights a step reads: of an embedding that is no head, only a few rows."""
    embedding = model.get_input_embeddings().weight
    is_head = embedding is model.get_output_embeddings().weight
    return sum(weight.nbytes for weight in model.parameters() if is_head or weight is not embedding)


def _ways(device: str, compiled: bool) -> Iterator[Way]:
    attentions = ["sdpa", *(["flash_attention_2"] if device == "cuda" and find_spec("flash_attn") else [])]
    for attention in attentions:
        yield Way(attention, "growing cache")
        if compiled:
            yield Way(attention, "static cache, compiled")
    yield Way("sdpa", "hfdemo's shared step")
    if device == "cuda":
        yield Way("sdpa", "hfdemo's recorded step")


def _model(name: str, attention: str, device: str) -> Any:
    if name == "embedded":
        model = AutoModelForCausalLM.from_pretrained(
            ensure_embedded_model(), dtype=torch.bfloat16, attn_implementation=attention
        )
    else:
        with torch.device(device):
            model = LlamaForCausalLM._from_config(SHAPES[name], dtype=torch.bfloat16, attn_implementation=attention)
    return model.to(device).eval()


class Clock:
    """A stopping criterion that notes when tokens come; a streamer works for one chat only."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Note the time, when the GPU is done; never end a chat."""
        if ids.is_cuda:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)


def _generate(model: Any, way: Way, chats: int) -> tuple[float, float]:
    """Return the time to the first tokens, and how many came a second after them, of all chats together."""
    ids = torch.randint(100, model.config.vocab_size, (chats, PROMPT_TOKENS), device=model.device)
    clock = Clock()
    started = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
            stopping_criteria=[clock],
            **({"cache_implementation": "static"} if way.step == "static cache, compiled" else {}),
        )
    first, last = clock.times[0], clock.times[-1]
    return first - started, chats * (len(clock.times) - 1) / (last - first)


def _share(model: Any, way: Way, chats: int) -> tuple[float, float]:
    """Return the same for chats that each have a cache of their own; their prompts are read one after the other."""
    with torch.inference_mode():
        step = make_recorded_step(model) if way.step == "hfdemo's recorded step" else SharedStep(model)
    assert step is not None
    caches = [step.new_cache() for _ in range(chats)]
    prompts = torch.randint(100, model.config.vocab_size, (chats, 1, PROMPT_TOKENS), device=model.device)
    started = time.perf_counter()
    with torch.inference_mode():
        for ids, cache in zip(prompts, caches, strict=True):
            model(ids[:, :-1], cache=cache, use_cache=True, logits_to_keep=1)
        tokens = step(prompts[:, 0, -1], caches).argmax(-1).cpu()
        first = time.perf_counter()
        for _ in range(NEW_TOKENS - 1):
            tokens = step(tokens, caches).argmax(-1).cpu()
    return first - started, chats * (NEW_TOKENS - 1) / (time.perf_counter() - first)


def _bandwidth(device: str) -> float:
    """Return how many bytes a second the memory is read or written at, while one part of it is copied to another."""
    source = torch.ones(BANDWIDTH_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * BANDWIDTH_BYTES / (time.perf_counter() - started))
    return best


def _table(results: list[Result]) -> str:
    rows = [
        [
            result.model,
            result.way.title,
            str(result.chats),
            spread(result.first_s).text(),
            spread(result.tokens_per_s).text(0),
            f"{result.limit:,.0f}",
            f"{100 * spread(result.tokens_per_s).median / result.limit:.0f} %",
        ]
        for result in results
    ]
    head = ["Model", "Attention", "Chats", "First token, s", "Tokens/s together", "The memory allows", "Share"]
    return table(head, rows)


if __name__ == "__main__":
    main()
