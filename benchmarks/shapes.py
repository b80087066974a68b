"""Models of the sizes that people choose, with random weights, beside llama.cpp with as many bits: speed and memory.

`python -m benchmarks.shapes` makes each shape once, as a folder and as a GGUF file (`shape_files.py`), and lets both
read prompts of several lengths and write 64 tokens after each. Tokens are numbers; nobody could read the replies.
"""

from typing import Any

from benchmarks.peers import TITLES
from benchmarks.processes import find_peers, run_job
from benchmarks.report import parse_arguments, progress, publish, spread, table
from benchmarks.shape_files import BITS, SHAPES, ensure_shape

PROMPTS = (40, 570, 2000, 8000)
NEW_TOKENS = 64
ORDER = ("llama", "ours")
"""Of the columns."""

Run = dict[str, Any]
"""What one peer measured in one run; see `shape_peers.py`."""


def main() -> None:
    """Measure, and keep the tables."""
    arguments = parse_arguments(
        __doc__,
        ("--shapes", {"nargs": "*", "choices": list(SHAPES), "default": list(SHAPES), "help": "which shapes"}),
        ("--bits", {"nargs": "*", "choices": list(BITS), "default": list(BITS), "help": "in how many bits"}),
        ("--prompts", {"nargs": "*", "type": int, "default": list(PROMPTS), "help": "tokens of the prompts"}),
    )
    peers, note = find_peers(*ORDER)
    raw: dict[str, dict[str, list[Run]]] = {}
    for shape in arguments.shapes:
        for bits in arguments.bits:
            files = ensure_shape(shape, bits)
            job = {"prompts": arguments.prompts, "new_tokens": NEW_TOKENS, "bits": bits, "shape": files}
            found: dict[str, list[Run]] = {peer: [] for peer in peers}
            for run in range(arguments.runs):
                for peer in peers:
                    found[peer].append(run_job("benchmarks.shape_peers", peer, job, HF_HUB_OFFLINE="1"))
                    progress(f"{shape} in {bits}, run {run + 1}, {TITLES[peer]}: {found[peer][-1]}")
            raw[f"{shape}, {bits} or {BITS[bits]}"] = found
    tables = (_speed(raw, arguments.prompts), _memory(raw), _loading(raw))
    publish("shapes", "\n\n".join(tables), raw, arguments.runs, note)


def _speed(raw: dict[str, dict[str, list[Run]]], prompts: list[int]) -> str:
    rows = []
    for name, found in raw.items():
        for index, tokens in enumerate(prompts):
            cells = [
                spread(run["answers"][index][figure] for run in found[peer]).text(digits) if peer in found else "-"
                for figure, digits in (("first_s", 2), ("tokens_per_s", 1))
                for peer in ORDER
            ]
            rates = [[run["answers"][index]["tokens_per_s"] for run in runs] for runs in found.values()]
            ratio = (
                spread(ours / theirs for theirs, ours in zip(*rates, strict=True)).text() if len(rates) == 2 else "-"
            )
            rows.append([name, f"{tokens:,}", *cells, ratio, "≥ 1"])
    head = ["Model", "Prompt, tokens", "First token, s: llama.cpp", "hfdemo", "Then tokens/s: llama.cpp", "hfdemo"]
    return table([*head, "Ratio", "To reach"], rows)


def _memory(raw: dict[str, dict[str, list[Run]]]) -> str:
    rows = []
    for name, found in raw.items():
        for kind in ("most_bytes", "kept_bytes"):
            sizes = {peer: spread(run[kind] for run in runs).median for peer, runs in found.items()}
            ratio = f"{sizes['ours'] / sizes['llama']:.2f}" if len(sizes) == 2 else "-"
            shown = [f"{sizes[peer] / 1e6:,.0f}" if peer in sizes else "-" for peer in ORDER]
            rows.append([f"{name}, {'most' if kind == 'most_bytes' else 'at the end'}", *shown, ratio, "≤ 1.3"])
    return table(["Memory beside the program's own", "llama.cpp, MB", "hfdemo, MB", "Ratio", "To reach"], rows)


def _loading(raw: dict[str, dict[str, list[Run]]]) -> str:
    rows = [
        [name, *(spread(run["load_s"] for run in found[peer]).text(1) if peer in found else "-" for peer in ORDER)]
        for name, found in raw.items()
    ]
    return table(["Loading", "llama.cpp, s", "hfdemo, which packs, s"], rows)


if __name__ == "__main__":
    main()
