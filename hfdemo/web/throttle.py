"""Slows down whoever guesses passwords."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from hfdemo.web.clients import client_of

FREE_TRIES = 5
LONGEST_WAIT_S = 60.0
FORGOTTEN_AFTER_S = 900.0
MAX_CLIENTS = 10_000


@dataclass(slots=True)
class _Wrong:
    tries: Counter[int] = field(default_factory=Counter)
    """How many there were for each user name, by its hash."""
    last: float = 0.0


class Throttle:
    """Counts wrong passwords by client: after five, each further one makes the next try wait twice as long.

    Whoever signs in is forgiven what was wrong with the same user name, and nothing else: with an account of one's own
    one could guess the others' passwords as fast as one likes.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()  # by client, the longest ago first

    def wait_s(self, address: str) -> float:
        """Return how long a client must wait until its next try counts; 0 if it needn't."""
        wrong = self._wrong.get(client_of(address))
        count = wrong.tries.total() if wrong else 0
        if wrong is None or count < FREE_TRIES:
            return 0.0
        return max(0.0, wrong.last + min(LONGEST_WAIT_S, 2.0 ** min(count - FREE_TRIES, 10)) - self._clock())

    def failed(self, address: str, user: str) -> None:
        """Note a wrong password of a user, or of a name that no user has."""
        now = self._clock()
        while self._wrong and now - next(iter(self._wrong.values())).last > FORGOTTEN_AFTER_S:
            self._wrong.popitem(last=False)
        wrong = self._wrong.pop(client_of(address), None) or _Wrong()
        wrong.tries[hash(user)] += 1
        wrong.last = now
        self._wrong[client_of(address)] = wrong
        if len(self._wrong) > MAX_CLIENTS:
            self._wrong.popitem(last=False)

    def succeeded(self, address: str, user: str) -> None:
        """Note a right password of a user."""
        wrong = self._wrong.get(client_of(address))
        if wrong is None:
            return
        del wrong.tries[hash(user)]
        if not wrong.tries:
            del self._wrong[client_of(address)]
