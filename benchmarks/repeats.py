"""Drafts from the prompt: how much faster a reply is that repeats half of its prompt, and what others lose by them.

`python -m benchmarks.repeats` lets the engine write each reply with drafts and without, in turn, in one process.
"""

from dataclasses import asdict
from typing import Any

from benchmarks.peers import engine_reply, start_engine
from benchmarks.processes import model_files
from benchmarks.prompts import QUESTION, TEXT
from benchmarks.replies import Answer, Ask, measure
from benchmarks.report import parse_arguments, progress, publish, spread, table

SENTENCES = TEXT.replace("\n\n", " ").split(". ")
TO_COPY = ". ".join(SENTENCES[:5]) + "."
TASKS = {
    "repeats half of its prompt": (f"Repeat this text word for word, and write nothing else:\n\n{TO_COPY}", False),
    "repeats half of its prompt, sampled": (
        f"Repeat this text word for word, and write nothing else:\n\n{TO_COPY}",
        True,
    ),
    "says something new": (f"{QUESTION}{TO_COPY}", False),
    "says something new, sampled": (f"{QUESTION}{TO_COPY}", True),
}
"""What is asked, and whether the reply is sampled."""

NEW_TOKENS = 256
FASTER, NOT_SLOWER = 1.5, 0.98

Pair = tuple[Answer, Answer]
"""The answer with drafts, and the one without."""


def main() -> None:
    """Measure, and keep the table."""
    runs = parse_arguments(__doc__).runs
    engine = start_engine(model_files()["model"])
    measured: dict[str, list[Pair]] = {task: [] for task in TASKS}
    for run in range(runs):
        for task, (message, sampled) in TASKS.items():
            ask = Ask([{"role": "user", "content": message}], NEW_TOKENS, sampled, seed=run + 1)
            measured[task].append(_pair(engine, ask, drafts_first=run % 2 == 0))
            progress(f"run {run + 1}, {task}: {_rate(measured[task][-1]):.2f}")
    raw = {task: [[asdict(answer) for answer in pair] for pair in pairs] for task, pairs in measured.items()}
    publish("repeats", _table(measured), raw, runs)


def _pair(engine: Any, ask: Ask, drafts_first: bool) -> Pair:
    step = engine._host.model.step
    ahead = step.tokens_ahead
    answers = {}
    try:
        for drafts in (drafts_first, not drafts_first):
            step.tokens_ahead = ahead if drafts else 0
            answers[drafts] = measure(engine_reply(engine, ask))
    finally:
        step.tokens_ahead = ahead
    return answers[True], answers[False]


def _rate(pair: Pair) -> float:
    return pair[0].tokens_per_s / pair[1].tokens_per_s


def _table(measured: dict[str, list[Pair]]) -> str:
    rows = []
    for task, pairs in measured.items():
        to_reach = FASTER if task.startswith("repeats") else NOT_SLOWER
        rows.append(
            [
                task,
                spread(pair[0].new_tokens for pair in pairs).text(0),
                spread(pair[0].tokens_per_s for pair in pairs).text(1),
                spread(pair[1].tokens_per_s for pair in pairs).text(1),
                spread(map(_rate, pairs)).text(),
                f"≥ {to_reach}",
                "yes" if all(with_drafts.text == without.text for with_drafts, without in pairs) else "no",
            ]
        )
    head = ["A reply that", "Tokens", "Tokens/s with drafts", "without", "Ratio", "To reach", "The same text"]
    return table(head, rows)


if __name__ == "__main__":
    main()
