"""What the benchmarks share: their command line, medians, Markdown tables, and where the results are kept."""

# ruff: noqa: T201  # it talks to the person in the terminal

import argparse
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).parent
CPU_FEATURES = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""What a CPU can do that changes which kernels PyTorch and llama.cpp use."""

ENOUGH_RUNS = 5
"""With fewer runs nothing is kept."""
SETTINGS = ("HFDEMO_CPU_WEIGHTS", "HFDEMO_SCHEDULING", "HFDEMO_PREFIX_CACHE_MB")
"""The variables that change the speed; they are named with the results."""


@dataclass(frozen=True)
class Spread:
    """Some measurements of the same thing."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """Return the median, with the least and the greatest behind it if there were several."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def spread(values: Iterable[float]) -> Spread:
    """Return the median of some values, the least and the greatest."""
    ordered = sorted(values)
    return Spread(median(ordered), ordered[0], ordered[-1])


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the least value that so many percent of the values don't exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]


def same_source(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how probable two samples as different as these are if they come from the same source.

    The two-sided test of Kolmogorov and Smirnov, with the asymptotic distribution.
    Source: Press et al., Numerical Recipes, 3rd edition, 14.3.3.
    """
    values = sorted([*one, *other])
    apart = max(abs(_share_up_to(one, value) - _share_up_to(other, value)) for value in values)
    root = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    scaled = (root + 0.12 + 0.11 / root) * apart
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k**2 * scaled**2) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms))) if scaled > 0.2 else 1.0


def _share_up_to(values: Sequence[float], limit: float) -> float:
    return sum(value <= limit for value in values) / len(values)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [list(head), ["---", *["--:"] * (len(head) - 1)], *[[str(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parse_arguments(description: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Read the command line: `--runs`, and what a benchmark has besides."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--runs", type=int, default=ENOUGH_RUNS, help="how often; the results of fewer than 5 are shown and not kept"
    )
    for name, options in more:
        parser.add_argument(name, **options)
    return parser.parse_args()


def publish(name: str, text: str, raw: Any, runs: int | None = None, note: str = "") -> None:
    """Show a benchmark's table, and keep it in the README, and what was measured as JSON, if it was run often enough.

    Results of other processors stay where they are.

    Args:
        name: the benchmark's; the README has a place between two marks of that name.
        text: the table, or several.
        raw: what was measured.
        runs: how often; None if it always comes to the same.
        note: versions of programs that only this benchmark needs.
    """
    said = f" Medians of {runs} runs, with least and greatest." if runs else ""
    text = f"{text}\n\n{describe_machine(note)}{said}"
    print(f"\n{text}")
    if runs and runs < ENOUGH_RUNS:
        print(f"\nNot kept: these were fewer than {ENOUGH_RUNS} runs.")
        return
    readme = FOLDER / "README.md"
    readme.write_text(put_beside_others(readme.read_text("utf-8"), name, processor(), text), "utf-8")
    results = FOLDER / "results" / re.sub(r"\W+", "-", processor()).strip("-").lower() / f"{name}.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(
        json.dumps({"machine": describe_machine(note), "runs": runs, "results": raw}, indent=1) + "\n", "utf-8"
    )


def put_between_marks(page: str, name: str, text: str) -> str:
    """Return a page with a text between the two marks of a name, in place of what was there.

    Raises:
        ValueError: the page doesn't have the marks.
    """
    start, end = _marks(name)
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {name}")
    return f"{before}{start}\n{text}\n{end}{after}"


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by the benchmark -->", f"<!-- {name}: end -->"


def put_beside_others(page: str, name: str, of: str, text: str) -> str:
    """Return a page with what a processor's benchmark found, in place of what the same one found before.

    Args:
        page: has the two marks of the name; between them, each processor's part begins with a mark of its own.
        name: the benchmark's.
        of: the processor.
        text: its part.

    Raises:
        ValueError: the page doesn't have the marks.
    """
    start, end = _marks(name)
    inner = page.partition(start)[2].partition(end)[0]
    parts = re.split(r"<!-- on (.*?) -->\n", inner)
    found = {processor: part.strip() for processor, part in zip(parts[1::2], parts[2::2], strict=True)} | {of: text}
    whole = "\n\n".join(f"<!-- on {processor} -->\n{part}" for processor, part in found.items())
    return put_between_marks(page, name, whole)


def processor() -> str:
    """Return the processor that a benchmark's speed depends on: the GPU, else the CPU with what sets it apart."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    features = [name for name in CPU_FEATURES if found.get(name)]
    return " ".join([_cpu_name(), *([f"({', '.join(features)})"] if features else [])])


def describe_machine(more: str = "") -> str:
    """Return what the numbers depend on, without the machine's name."""
    import psutil

    packages = [f"{name} {found}" for name in ("torch", "transformers", "gradio") if (found := _version(name))]
    settings = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    memory = psutil.virtual_memory().total / 1e9
    return (
        f"{_cpu_name()}, {psutil.cpu_count()} cores, {memory:.0f} GB of memory, {_gpu_name()}; {platform.system()}, "
        f"Python {platform.python_version()}, {', '.join([*packages, *filter(None, [more]), *settings])}."
    )


def progress(text: str) -> None:
    """Tell the person in the terminal how far it is."""
    print(text, flush=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
