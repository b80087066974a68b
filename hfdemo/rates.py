"""How often messages may come: of one visitor, from one address, of all together; and how soon replies end."""

import time
from collections import OrderedDict
from collections.abc import Callable

BURST_S = 15.0
"""For how many seconds' share of messages one may go ahead of the rate."""

ADDRESS_VISITORS = 10
"""How many visitors' share of messages come from one address: behind it may be a classroom."""

ALL_VISITORS = 50
"""How many visitors' share of messages come from everywhere."""

MAX_RATED = 10_000
"""How many visitors' rates are remembered."""


class RateLimit:
    """Bounds how often each of many may pass in a minute, and how often at once.

    Args:
        per_minute: how often; 0 is without a limit.
        clock: tells the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()  # when all that passed would be due, evenly spread

    def wait_s(self, name: str) -> float:
        """Return how long one must wait to pass; 0 if they needn't. Nobody without a name has to wait."""
        if not name or not self._interval_s:
            return 0.0
        now = self._clock()
        return max(0.0, max(now, self._due.get(name, now)) - now - BURST_S)

    def passes(self, name: str) -> None:
        """Count one that passes."""
        if not name or not self._interval_s:
            return
        now = self._clock()
        self._due[name] = max(now, self._due.pop(name, now)) + self._interval_s
        if len(self._due) > MAX_RATED:
            self._due.popitem(last=False)


class MessageRates:
    """Whether a message comes too soon after others, by three limits at once.

    Args:
        per_minute: how many messages a visitor may send a minute; 0 is without any limit.
        clock: tells the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        shares = (1, ADDRESS_VISITORS, ALL_VISITORS)
        self._limits = [RateLimit(per_minute * share, clock) for share in shares]

    def wait_s(self, visitor: str, address: str) -> float:
        """Return how long a message must wait to pass; 0 if it passes, which counts. One that must wait doesn't."""
        pairs = list(zip(self._limits, (visitor, address, "all"), strict=True))
        wait_s = max(limit.wait_s(name) for limit, name in pairs)
        if not wait_s:
            for limit, name in pairs:
                limit.passes(name)
        return wait_s


class Pace:
    """How soon after one another replies end while several are in progress.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None
        self.seconds: float | None = None
        """Between the ends of two replies, the last ones counting most; None while nobody knows."""

    def one_ended(self, others: bool) -> None:
        """Note that a reply ended, and whether others are in progress."""
        now = self._clock()
        if self._last is not None:
            passed = now - self._last
            self.seconds = passed if self.seconds is None else 0.8 * self.seconds + 0.2 * passed
        self._last = now if others else None  # a pause without any is no measure
