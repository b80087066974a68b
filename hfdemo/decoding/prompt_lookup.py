"""Drafts of a reply's next tokens, taken from what it has read and written, and whether checking them pays.

A reply that changes code, sums up or translates repeats much of its prompt. Where its last tokens stood before, what
followed them there is a draft of what follows here (https://arxiv.org/abs/2304.04487). The model reads all of a draft
in one step, and what it then chooses itself is written, so that a wrong draft costs time and changes nothing.
"""

from collections import deque
from collections.abc import Sequence

from hfdemo.compute.step import LONGEST_DRAFT, SHORTEST_DRAFT

SIZES = (3, 2)
"""How many of the last tokens must have stood in the same order before; more of them predict better."""

CONSIDERED_TOKENS = 64
"""After so many tokens from the first draft on, drafts must not lose time, or no more are made."""

MOST_LOST, LENT_STEPS = 0.01, 1.0
"""The share of the time that drafts may lose, and how many steps more: without these, the first wrong draft of a reply
would mostly be its last one."""

RECENT = 9
"""How many times are remembered; the shortest counts, so that other work on the machine changes nothing."""

GUESSED_SLOPE, MEASURED_STEPS = 0.5, 3
"""What one more token of a step is taken to cost, in steps of one token, until so many steps were measured."""


class PromptLookup:
    """Where each few tokens of a text were last seen.

    Args:
        ids: the text, to which its owner adds tokens.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self._behind: dict[tuple[int, ...], int] = {}  # the position behind the tokens
        self._indexed = 0
        self._source = self._used_at = 0

    def find(self, tokens: int) -> tuple[int, list[int]]:
        """Return how many of the last tokens stood before, and a draft of so many behind them; 0 and none if none."""
        self._index()
        for size in SIZES:
            source = self._source_of(tuple(self._ids[-size:]))
            if source:
                self._source, self._used_at = source, len(self._ids)
                return size, self._copy(source, tokens)
        return 0, []

    def _index(self) -> None:
        """Take in the tokens that were added; the very last have nothing behind them yet."""
        for end in range(self._indexed, len(self._ids)):
            for size in SIZES:
                if end >= size:
                    self._behind[tuple(self._ids[end - size : end])] = end
        self._indexed = len(self._ids)

    def _source_of(self, last: tuple[int, ...]) -> int:
        """Return the position behind an earlier place of the last tokens; 0 if there is none.

        The place behind the last draft comes first: a copy seldom jumps.
        """
        going_on = self._source + len(self._ids) - self._used_at
        if len(last) <= going_on < len(self._ids) and tuple(self._ids[going_on - len(last) : going_on]) == last:
            return going_on
        return self._behind.get(last, 0)

    def _copy(self, source: int, tokens: int) -> list[int]:
        """Return the tokens from a position on; behind the end, what would then stand there."""
        draft = list(self._ids[source : source + tokens])
        while len(draft) < tokens:
            draft.append(draft[len(draft) - (len(self._ids) - source)])
        return draft


class Speculation:
    """Drafts for one reply, as long as they pay.

    How many tokens of a draft are right is known without a cost: drafts are compared with what is written, checked or
    not. What a step takes is measured.

    Args:
        ids: prompt and reply, to which its owner adds tokens.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self._lookup = PromptLookup(ids)
        self._predicted: tuple[int, int, list[int]] | None = None  # its place, its kind, and the tokens
        self._right = dict.fromkeys(SIZES, 0.0)
        self._alone_s: deque[float] = deque(maxlen=RECENT)
        self._slopes: deque[float] = deque(maxlen=RECENT)
        self._spent_s = self._saved_s = 0.0
        self._first_at = 0
        self.is_over = False
        """Whether no more drafts are made."""

    def draft(self, most: int) -> list[int]:
        """Return a draft of the next tokens that is worth a step; empty if none is.

        Args:
            most: how many tokens it may have.
        """
        if not self._is_affordable and len(self._ids) - self._first_at >= CONSIDERED_TOKENS:
            self.is_over = True
        if self.is_over:
            return []
        size, tokens = self._lookup.find(LONGEST_DRAFT)
        self._look_back()
        if tokens and not self._predicted:
            self._predicted = (len(self._ids), size, tokens)
        length = min(most, LONGEST_DRAFT, max(SHORTEST_DRAFT, round(self._right[size]))) if tokens else 0
        if length < SHORTEST_DRAFT or not self._pays(length, self._right[size]):
            return []
        self._first_at = self._first_at or len(self._ids)
        return tokens[:length]

    def took(self, drafted: int, written: int, seconds: float) -> None:
        """Learn what a step took.

        Args:
            drafted: how many tokens of a draft it read; it always reads the last one that was written, too.
            written: how many tokens could be written after it.
            seconds: what the step took.
        """
        self._spent_s += seconds
        if not drafted:
            self._alone_s.append(seconds)
            return
        alone_s = min(self._alone_s)
        slope = (seconds / alone_s - 1) / drafted
        self._slopes.append(slope)
        if len(self._slopes) >= MEASURED_STEPS:
            slope = self._slope
        self._saved_s += (written - 1 - drafted * min(slope, 1)) * alone_s  # it costs no more than one by one

    @property
    def _slope(self) -> float:
        return min(self._slopes) if len(self._slopes) >= MEASURED_STEPS else GUESSED_SLOPE

    @property
    def _is_affordable(self) -> bool:
        """Whether a draft may be wrong once more."""
        alone_s = min(self._alone_s, default=0.0)
        return self._saved_s >= -MOST_LOST * self._spent_s - LENT_STEPS * alone_s

    def _pays(self, length: int, right: float) -> bool:
        """Tell whether a draft of some length is expected to save time."""
        return bool(self._alone_s) and self._is_affordable and min(right, length) > length * self._slope

    def _look_back(self) -> None:
        """See how many tokens of a draft were right, once that is known."""
        if not self._predicted:
            return
        at, size, tokens = self._predicted
        written = self._ids[at : at + len(tokens)]
        right = next((n for n, (one, other) in enumerate(zip(written, tokens, strict=False)) if one != other), None)
        if right is None and len(written) == len(tokens):
            right = len(tokens)
        if right is not None:
            self._right[size] = (self._right[size] + right) / 2
            self._predicted = None
