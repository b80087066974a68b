"""Memory beside llama.cpp and the usual Space code: what a process holds at most, and after a reply.

`python -m benchmarks.memory` counts resident memory, of which the file of the weights is a part, as it is mapped.
No page is shown in any of them; the usual code imports Gradio, and the others don't. `benchmarks.prediction` is about
what is predicted.
"""

import os

from benchmarks.peers import TITLES
from benchmarks.processes import ask_peer, find_peers, model_files
from benchmarks.prompts import message_of
from benchmarks.replies import Ask
from benchmarks.report import parse_arguments, progress, publish, spread, table

PROMPT_TOKENS = 570
NEW_TOKENS = 128


def main() -> None:
    """Measure, and keep the table."""
    from hfdemo.models.load import load_prompts

    os.environ["HFDEMO_PACKED_CACHE_GB"] = "0"  # loading takes the most where the weights are still to be packed
    runs = parse_arguments(__doc__).runs
    peers, note = find_peers("usual", "llama", "ours")
    message = message_of(load_prompts(model_files()["model"]), PROMPT_TOKENS)
    ask = Ask([{"role": "user", "content": message}], NEW_TOKENS, chat="memory")
    measured: dict[str, list[dict[str, int]]] = {peer: [] for peer in peers}
    for run in range(runs):
        for peer in peers:
            measured[peer].append(ask_peer(peer, asks=[ask])[1])
            progress(f"run {run + 1}, {TITLES[peer]}: {measured[peer][-1]}")
    rows = [
        [
            TITLES[peer],
            *(spread(kinds[kind] / 1e6 for kinds in found).text(0) for kind in ("peak_bytes", "kept_bytes")),
        ]
        for peer, found in measured.items()
    ]
    publish("memory", table(["Program", "Most, MB", "After the reply, MB"], rows), measured, runs, note)


if __name__ == "__main__":
    main()
