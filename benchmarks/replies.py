"""A question, and what its reply took by the clock of whoever reads it.

The standard library alone is needed: llama.cpp's environment holds nothing else.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """A question."""

    messages: list[dict[str, str]]
    """The conversation, without the system prompt."""
    new_tokens: int
    """How long the reply may be."""
    sampled: bool = False
    seed: int = 1
    chat: str = ""
    """A name of the conversation; questions of one conversation may use what was read before."""


@dataclass(frozen=True)
class Counts:
    """The tokens of a reply."""

    prompt: int
    cached: int
    new: int


@dataclass(frozen=True)
class Answer:
    """A reply, and what it took."""

    prompt_tokens: int
    cached_tokens: int
    new_tokens: int
    first_s: float
    """From the question to the first text."""
    rest_s: float
    """From the first text to the last."""
    text: str

    @property
    def tokens_per_s(self) -> float:
        """How fast the reply came after its first token."""
        return (self.new_tokens - 1) / self.rest_s if self.rest_s else 0.0


Reply = Generator[str, None, Counts]


def measure(reply: Reply) -> Answer:
    """Read a reply to its end, by the clock.

    Raises:
        ValueError: the reply is empty.
    """
    started = time.perf_counter()
    times, pieces = [], []
    while True:
        try:
            piece = next(reply)
        except StopIteration as end:
            counts: Counts = end.value
            break
        if piece:
            times.append(time.perf_counter())
            pieces.append(piece)
    if not times:
        raise ValueError("an empty reply")
    return Answer(counts.prompt, counts.cached, counts.new, times[0] - started, times[-1] - times[0], "".join(pieces))


def talk(reply: Callable[[Ask], Reply], questions: list[str], new_tokens: int) -> list[Answer]:
    """Have a conversation in which each question comes with all that was said before."""
    messages: list[dict[str, str]] = []
    answers = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        answers.append(measure(reply(Ask(list(messages), new_tokens, chat="talk"))))
        messages.append({"role": "assistant", "content": answers[-1].text})
    return answers
