"""How many GPU seconds to request for a reply: few, because the request must fit the visitor's remaining quota."""

import math

START_S = 4.0
"""A worker starts, and CUDA in it."""

WEIGHT_BYTES_PER_S = 2e9
"""How fast weights go from the Space's disk to the GPU."""

FIRST_S = 2.0
"""The first step loads the GPU's programs."""

PROMPT_TOKENS_PER_S = 2000.0
"""How fast prompts are read, at least, by models that fit ZeroGPU."""

MARGIN = 1.25
"""How much slower than the last ones a reply may be."""

FIRST_GUESS = 0.5
"""The share of the planned speed that is counted on until a reply was measured."""

SHORTEST_WORK_S = 10.0
"""A short reply isn't cut off because the GPU was slow to begin."""

LONGEST_S = 90
"""Three quarters of what ZeroGPU gives a visitor in a day who isn't signed in.
Source: https://huggingface.co/docs/hub/spaces-zerogpu."""

ENOUGH_TOKENS = 16
"""Shorter replies say little about the speed."""

NEWEST_WEIGHS = 0.3


class GpuTime:
    """Says for how long to ask, by how fast the last replies came.

    Args:
        planned_tokens_per_s: how fast the model should write.
        weights_bytes: how much has to go to the GPU.
        factor: how many seconds ZeroGPU asks its scheduler for, for each second it is told.
    """

    def __init__(self, planned_tokens_per_s: float = 0.0, weights_bytes: int = 0, factor: float = 1.0) -> None:
        self._tokens_per_s = max(1.0, FIRST_GUESS * planned_tokens_per_s)
        self._measured = False
        self._start_s = START_S + weights_bytes / WEIGHT_BYTES_PER_S
        self._factor = factor

    def learn(self, new_tokens: int, tokens_per_s: float) -> None:
        """Take the speed of a reply into account."""
        if new_tokens < ENOUGH_TOKENS or tokens_per_s <= 0:
            return
        weight = NEWEST_WEIGHS if self._measured else 1.0
        self._tokens_per_s += weight * (tokens_per_s - self._tokens_per_s)
        self._measured = True

    def work_s(self, prompt_tokens: int, max_new_tokens: int, time_limit_s: float = math.inf) -> float:
        """Return how many seconds the model itself may take for a reply; after them it is to end the reply."""
        needed = FIRST_S + prompt_tokens / PROMPT_TOKENS_PER_S + MARGIN * max_new_tokens / self._tokens_per_s
        return max(1.0, min(max(needed, SHORTEST_WORK_S), time_limit_s, LONGEST_S - self._start_s))

    def duration_s(self, work_s: float) -> int:
        """Return what to tell ZeroGPU, in whole seconds, so that there is time for the start and for this work."""
        return math.ceil((self._start_s + work_s) / self._factor)
