"""A chat of 20 turns: how long the first token takes when the conversation grows.

`python -m benchmarks.turns` has the same conversation with hfdemo and with others. Two of the messages are long.
"""

from dataclasses import asdict

from benchmarks.peers import TITLES
from benchmarks.processes import ask_peer, find_peers
from benchmarks.prompts import TEXT
from benchmarks.replies import Answer
from benchmarks.report import parse_arguments, progress, publish, spread, table

NEW_TOKENS = 64
LONGEST_S, LONGEST_S_PER_TOKEN = 0.15, 0.0012
"""The first token shall come within this time, and so much more for each new token of the prompt."""

QUESTIONS = [
    "Hello! Please tell me a little about yourself.",
    "What is the difference between a lake and a pond?",
    "Which animals live in both of them?",
    "Tell me more about the second animal.",
    "How long does it live?",
    "Write a short poem about it.",
    "Now make the poem funny.",
    f"Here is the beginning of a story. What is it about?\n\n{TEXT}",
    "Who is the most important person in it?",
    "What could happen next?",
    "Give the story a title.",
    "How would a child tell the story?",
    "What does a lighthouse do?",
    "When were the first ones built?",
    f"Compare the story with this part of it, and say what is missing:\n\n{TEXT[: len(TEXT) // 2]}",
    "Name three instruments with strings.",
    "Which one is the hardest to learn, and why?",
    "How does one begin to learn it?",
    "What did we talk about first?",
    "Thank you. Please say goodbye in a friendly way.",
]


def main() -> None:
    """Measure, and keep the table."""
    runs = parse_arguments(__doc__).runs
    peers, note = find_peers("usual", "llama", "ours")
    measured: dict[str, list[list[Answer]]] = {peer: [] for peer in peers}
    for run in range(runs):
        for peer in peers:
            measured[peer].append(ask_peer(peer, questions=QUESTIONS, new_tokens=NEW_TOKENS)[0])
            slowest = max(answer.first_s for answer in measured[peer][-1])
            progress(f"run {run + 1}, {TITLES[peer]}: slowest first token {slowest:.2f} s")
    raw = {peer: [[asdict(answer) for answer in answers] for answers in talks] for peer, talks in measured.items()}
    publish("turns", _table(measured), raw, runs, note)


def _table(measured: dict[str, list[list[Answer]]]) -> str:
    rows = []
    for turn in range(len(QUESTIONS)):
        ours = [answers[turn] for answers in measured["ours"]]
        within = all(answer.first_s <= _bound_s(answer) for answer in ours)
        rows.append(
            [
                str(turn + 1),
                spread(answer.prompt_tokens for answer in ours).text(0),
                spread(map(_new_prompt_tokens, ours)).text(0),
                spread(map(_bound_s, ours)).text(),
                "yes" if within else "no",
                *(spread(talk[turn].first_s for talk in measured[peer]).text() for peer in reversed(list(measured))),
            ]
        )
    titles = [f"{TITLES[peer]}, s" for peer in reversed(list(measured))]
    return table(
        ["Turn", "Prompt, tokens", "of them new", "First token to come within, s", "in all runs", *titles], rows
    )


def _new_prompt_tokens(answer: Answer) -> int:
    return answer.prompt_tokens - answer.cached_tokens


def _bound_s(answer: Answer) -> float:
    return LONGEST_S + LONGEST_S_PER_TOKEN * _new_prompt_tokens(answer)


if __name__ == "__main__":
    main()
