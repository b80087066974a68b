"""Compare the memory that the plan (`hfdemo/models/memory.py`) predicts with what loading and a long chat really take.

`python -m benchmarks.prediction` runs each case in a process of its own, prints a table and keeps the numbers in
`benchmarks/results`. See `benchmarks/README.md` for what is measured and why.
"""

# ruff: noqa: T201  # it talks to the person in the terminal

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.report import publish
from benchmarks.report import table as markdown

DEMO_MODEL = "SmolLM2-135M-Instruct"
"""The embedded demo model, with its real weights; the others have random ones, which take as much memory."""

NEW_TOKENS = 16
SAMPLES_PER_S = 200


@dataclass(frozen=True)
class Case:
    """A model to load, and how."""

    model: str
    """A name in `tests/unit/known_models.py`, or the demo model's."""
    context: int
    dtype: str = "bfloat16"
    quantize: str = "off"


CASES = (
    Case(DEMO_MODEL, 512),
    Case(DEMO_MODEL, 2048),
    Case(DEMO_MODEL, 8192),
    Case(DEMO_MODEL, 2048, dtype="float32"),
    Case(DEMO_MODEL, 2048, quantize="8bit"),
    Case(DEMO_MODEL, 2048, quantize="4bit"),
    Case("HuggingFaceTB/SmolLM2-360M-Instruct", 2048),
    Case("Qwen/Qwen2.5-0.5B-Instruct", 4096),
    Case("Qwen/Qwen3-0.6B", 512),
    Case("Qwen/Qwen3-0.6B", 4096),
    Case("Qwen/Qwen3-0.6B", 2048, dtype="float32"),
    Case("Qwen/Qwen3-0.6B", 2048, quantize="8bit"),
    Case("Qwen/Qwen3-0.6B", 2048, quantize="4bit"),
    Case("meta-llama/Llama-3.2-1B-Instruct", 512),
    Case("meta-llama/Llama-3.2-1B-Instruct", 4096),
    Case("google/gemma-3-1b-it", 4096),
)


@dataclass(frozen=True)
class Result:
    """What came of a case, in bytes and tokens a second."""

    case: Case
    predicted: int
    parts: dict[str, int]
    """Of the prediction."""
    measured: int
    """The most that was needed, in loading or in the chat."""
    loading: int
    chat: int
    rss_peak: int
    """The most that was resident in the chat, with pages of the weights' file that nobody needs any more."""
    predicted_tokens_per_s: float
    tokens_per_s: float

    @property
    def error(self) -> float:
        """How much more is predicted than measured, as a share of the measured."""
        return self.predicted / self.measured - 1


def main() -> None:
    """Run the cases named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only the models whose names hold this")
    parser.add_argument("--case", help="one case as JSON, in this process", metavar="JSON")
    parser.add_argument("--folder", type=Path, help="where the models with random weights are, or will be")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(asdict(measure(Case(**json.loads(options.case)), options.folder))))
        return
    cases = [case for case in CASES if options.only in case.model]
    with tempfile.TemporaryDirectory() as temporary:
        results = [_run(case, options.folder or Path(temporary)) for case in cases]
    if options.only:
        print(table(results))
    else:
        publish(
            "prediction",
            table(results),
            [asdict(result) for result in results],
            note=f"bitsandbytes {version('bitsandbytes')}",
        )


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    head = ["Model", "Weights", "Tokens", "Predicted", "Measured", "Error", "Tokens/s predicted", "measured"]
    return markdown(
        head,
        [
            [
                result.case.model,
                result.case.dtype if result.case.quantize == "off" else result.case.quantize.replace("bit", " bit"),
                result.case.context,
                f"{result.predicted / 1e6:.0f} MB",
                f"{result.measured / 1e6:.0f} MB",
                f"{100 * result.error:+.0f} %",
                f"{result.predicted_tokens_per_s:.0f}",
                f"{result.tokens_per_s:.0f}",
            ]
            for result in results
        ],
    )


def _run(case: Case, folder: Path) -> Result:
    command = [
        sys.executable,
        "-m",
        "benchmarks.prediction",
        "--folder",
        str(folder),
        "--case",
        json.dumps(asdict(case)),
    ]
    if case.model != DEMO_MODEL and not (folder / _folder_name(case)).is_dir():
        make = f"from benchmarks.prediction import *; make_model({case.model!r}, Path({str(folder)!r}))"
        subprocess.run([sys.executable, "-c", make], check=True)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    values = json.loads(output.splitlines()[-1])
    result = Result(**values | {"case": case})
    print(table([result]).splitlines()[-1], file=sys.stderr, flush=True)
    return result


def _folder_name(case: Case) -> str:
    return case.model.replace("/", "--")


def make_model(name: str, folder: Path) -> None:
    """Save a model of a known one's shape, with random weights in bfloat16, and a tokenizer as large as its own."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from tests.unit.known_models import KNOWN

    config = CONFIG_MAPPING[KNOWN[name].config["model_type"]].from_dict(KNOWN[name].config)
    target = folder / name.replace("/", "--")
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(target)
    _make_tokenizer(config.vocab_size).save_pretrained(target)


def _make_tokenizer(size: int) -> Any:
    """Return a byte-level BPE tokenizer of so many tokens, made by joining tokens at random."""
    import random

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    chance = random.Random(0)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    known, merges = set(tokens), []
    while len(tokens) < size:
        left, right = chance.choice(tokens[:2000]), chance.choice(tokens[:2000])
        if left + right not in known and len(left + right) < 12:
            known.add(left + right)
            tokens.append(left + right)
            merges.append((left, right))
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=tokens[0])


def measure(case: Case, folder: Path) -> Result:
    """Load a model as the chat does, fill its context, and return what that took."""
    import gradio

    import hfdemo.page.page  # noqa: F401  # the page is part of the program
    from hfdemo.compute.allocator import free_at_once
    from hfdemo.models.disk import ModelFiles
    from hfdemo.models.embedded import ensure_embedded_model
    from hfdemo.models.facts import facts_from_folder
    from hfdemo.models.load import load_model
    from hfdemo.models.machine import look_at_machine
    from hfdemo.models.plan import make_plan
    from hfdemo.settings import Settings

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of each layer, for each token
    gradio.ChatInterface(lambda message, history: message).launch(prevent_thread_lock=True, quiet=True)
    path = ensure_embedded_model() if case.model == DEMO_MODEL else folder / _folder_name(case)
    machine = replace(look_at_machine("local"), cpu_dtype=case.dtype)
    plan = make_plan(facts_from_folder(path, case.model), machine, case.context, case.quantize)  # type: ignore[arg-type]
    if plan.quantize:
        free_at_once()
    program_files = _memory("RssFile")
    with _peak_of("RssAnon") as loading:
        anew = Settings(packed_cache_gb=0)  # loading takes the most memory where the weights are still to be packed
        model = load_model(ModelFiles(path), case.model, plan, settings=anew).pipeline.model
    _reset_counters()
    with _peak_of("RssAnon") as chat:
        _chat(model, case.context)
    resident, referenced = _weights_in_memory()
    return Result(
        case=case,
        predicted=plan.needed_bytes,
        parts={name: getattr(plan, f"{name}_bytes") for name in ("weights", "cache", "activation", "program")},
        measured=max(
            in_loading := max(loading) + program_files,
            in_chat := max(chat) + _memory("RssFile") - resident + referenced,
        ),
        loading=in_loading,
        chat=in_chat,
        rss_peak=_memory("VmHWM"),
        predicted_tokens_per_s=plan.tokens_per_s,
        tokens_per_s=max(_chat(model, case.context // 2) for _ in range(2)),
    )


def _reset_counters() -> None:
    """Forget which pages were touched, and what the peak was. Source: proc_pid_clear_refs(5)."""
    for what in ("1", "5"):
        Path("/proc/self/clear_refs").write_text(what)


def _weights_in_memory() -> tuple[int, int]:
    """Return how much of the weights' files is resident, and how much of that was touched since the reset."""
    sizes, inside = {"Rss:": 0, "Referenced:": 0}, False
    for line in Path("/proc/self/smaps").read_text("utf-8", "replace").splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            inside = line.endswith(".safetensors")
        elif inside and name in sizes:
            sizes[name] += int(rest[0]) * 1024
    return sizes["Rss:"], sizes["Referenced:"]


def _chat(model: Any, context: int) -> float:
    """Fill the context: read a prompt of random tokens and write a few more. Return the tokens written a second."""
    import torch
    from transformers import DynamicCache

    times: list[float] = []

    class Clock:
        """A streamer that notes when each token comes."""

        def put(self, _: Any) -> None:
            times.append(time.perf_counter())

        def end(self) -> None:
            pass

    ids = torch.randint(300, 20000, (1, context - NEW_TOKENS))
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        cache=DynamicCache(config=model.config),
        streamer=Clock(),
    )
    return (len(times) - 2) / (times[-1] - times[1])  # the first is the prompt, the second ends its reading


@contextmanager
def _peak_of(name: str) -> Iterator[list[int]]:
    """Watch a kind of this process's memory; the peak is in the list that is given."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1 / SAMPLES_PER_S):
            peak[0] = max(peak[0], _memory(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _memory(name: str) -> int:
    """Return a kind of memory of this process in bytes, as Linux counts it."""
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
