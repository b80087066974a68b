"""Drafts from the prompt: how much faster a reply is that repeats its prompt, and what others lose by them.

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
ONE, OTHER, COPIED = (". ".join(part) + "." for part in (SENTENCES[5:7], SENTENCES[8:10], SENTENCES[:5]))
COPY = "Repeat this text word for word: "
TASKS = {
    "repeats its prompt": [
        {"role": "user", "content": COPY + ONE},
        {"role": "assistant", "content": ONE},
        {"role": "user", "content": COPY + OTHER},
        {"role": "assistant", "content": OTHER},
        {"role": "user", "content": COPY + COPIED},
    ],
    "says something new": [{"role": "user", "content": f"{QUESTION}{COPIED}"}],
}
"""The conversations. The first turns of one show a small model what is wanted; greedily, it then copies well."""

WAYS = {"greedy": False, "sampled": True}
NEW_TOKENS = 256
FASTER, NOT_SLOWER = 1.5, 0.98

Pair = tuple[Answer, Answer]
"""The answer with drafts, and the one without."""


def main() -> None:
    """Measure, and keep the table."""
    runs = parse_arguments(__doc__).runs
    engine = start_engine(model_files()["model"])
    measured: dict[str, list[Pair]] = {f"{task}, {way}": [] for task in TASKS for way in WAYS}
    for run in range(runs):
        for task, messages in TASKS.items():
            for way, sampled in WAYS.items():
                pairs = measured[f"{task}, {way}"]
                ask = Ask(messages, NEW_TOKENS, sampled, seed=run + 1)
                pairs.append(_pair(engine, ask, drafts_first=run % 2 == 0))
                progress(f"run {run + 1}, {task}, {way}: {_ratio(pairs[-1]):.2f}")
    raw = {case: [[asdict(answer) for answer in pair] for pair in pairs] for case, pairs in measured.items()}
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


def _ratio(pair: Pair) -> float:
    return pair[0].tokens_per_s / pair[1].tokens_per_s


def _table(measured: dict[str, list[Pair]]) -> str:
    rows = []
    for case, pairs in measured.items():
        to_reach = FASTER if case.startswith("repeats") else NOT_SLOWER
        rows.append(
            [
                case,
                spread(pair[0].new_tokens for pair in pairs).text(0),
                spread(pair[0].tokens_per_s for pair in pairs).text(1),
                spread(pair[1].tokens_per_s for pair in pairs).text(1),
                spread(map(_ratio, pairs)).text(),
                f"≥ {to_reach}",
                "yes" if all(with_drafts.text == without.text for with_drafts, without in pairs) else "no",
            ]
        )
    head = ["A reply that", "Tokens", "Tokens/s with drafts", "without", "Ratio", "To reach", "The same text"]
    return table(head, rows)


if __name__ == "__main__":
    main()
