"""One chat alone: the first token and the rate after it, of hfdemo and of what a person would run instead.

`python -m benchmarks.single` lets each of them answer the same six questions, in turn, in each run.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.peers import TITLES
from benchmarks.processes import ask_peer, find_peers, model_files
from benchmarks.prompts import message_of
from benchmarks.replies import Answer, Ask
from benchmarks.report import parse_arguments, progress, publish, spread, table

PROMPT_TOKENS = (40, 570, 2000)
NEW_TOKENS = 128
WAYS = {"greedy": False, "sampled": True}

Cell = tuple[int, str]
"""The length of the prompt, and how the reply is chosen."""
Run = dict[str, dict[Cell, Answer]]
"""The answers of each peer."""


def main() -> None:
    """Measure, and keep the tables."""
    runs = parse_arguments(__doc__).runs
    peers, note = find_peers(*TITLES)
    messages = _messages()
    measured = [_run(peers, messages, seed=run + 1) for run in range(runs)]
    raw = [
        {peer: [{"case": cell} | asdict(answer) for cell, answer in answers.items()] for peer, answers in run.items()}
        for run in measured
    ]
    publish("single", f"{_times(measured, peers)}\n\n{_ratios(measured)}", raw, runs, note)


def _messages() -> dict[int, str]:
    """Return the questions, by the length of the prompt that they make."""
    from hfdemo.models.load import load_prompts

    builder = load_prompts(model_files()["model"])
    return {tokens: message_of(builder, tokens) for tokens in PROMPT_TOKENS}


def _run(peers: list[str], messages: dict[int, str], seed: int) -> Run:
    cells = [(tokens, way) for tokens in PROMPT_TOKENS for way in WAYS]
    asks = [
        Ask([{"role": "user", "content": messages[tokens]}], NEW_TOKENS, WAYS[way], seed, chat=f"{tokens} {way}")
        for tokens, way in cells
    ]
    run = {}
    for peer in peers:
        run[peer] = dict(zip(cells, ask_peer(peer, asks=asks)[0], strict=True))
        shown = ", ".join(
            f"{answer.first_s:.2f} s {answer.tokens_per_s:.0f}/s of {answer.prompt_tokens}+{answer.new_tokens}"
            for answer in run[peer].values()
        )
        progress(f"run {seed}, {TITLES[peer]}: {shown}")
    return run


def _times(runs: list[Run], peers: list[str]) -> str:
    rows: list[list[str]] = []
    for tokens in PROMPT_TOKENS:
        for way in WAYS:
            for peer in peers:
                answers = [run[peer][tokens, way] for run in runs]
                rows.append(
                    [
                        TITLES[peer],
                        f"{spread(answer.prompt_tokens for answer in answers).median:.0f}, {way}",
                        spread(answer.first_s for answer in answers).text(),
                        spread(answer.tokens_per_s for answer in answers).text(1),
                        str(min(answer.new_tokens for answer in answers)),
                    ]
                )
    return table(["Program", "Prompt, tokens", "First token, s", "Then tokens/s", "Shortest reply, tokens"], rows)


def _ratios(runs: list[Run]) -> str:
    def ratio(peer: str, cell: Cell, figure: Callable[[Answer], float]) -> str:
        if peer not in runs[0]:
            return "not measured"
        return spread(figure(run["ours"][cell]) / figure(run[peer][cell]) for run in runs).text()

    def rate(answer: Answer) -> float:
        return answer.tokens_per_s

    rows: list[list[Any]] = []
    for tokens in PROMPT_TOKENS:
        for way in WAYS:
            aimed = tokens != PROMPT_TOKENS[-1] and way == "greedy"
            cell = (tokens, way)
            case = f"{tokens} tokens, {way}"
            rows.append(
                [f"tokens/s over usual Space code, {case}", ratio("usual", cell, rate), "≥ 3.5" if aimed else ""]
            )
            rows.append([f"tokens/s over llama.cpp, {case}", ratio("llama", cell, rate), "≥ 1" if aimed else ""])
    first = ratio("llama", (570, "greedy"), lambda answer: answer.first_s)
    rows.append(["first token over llama.cpp, 570 tokens, greedy", first, "≤ 0.35"])
    return table(["hfdemo", "Ratio", "To reach"], rows)


if __name__ == "__main__":
    main()
