"""Slows down whoever guesses passwords."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

FREE_TRIES = 5
LONGEST_WAIT_S = 60.0
FORGOTTEN_AFTER_S = 900.0
MAX_CLIENTS = 10_000


class Throttle:
    """Counts wrong passwords by client: after five, each further one makes the next try wait twice as long.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last one was

    def wait_s(self, address: str) -> float:
        """Return how long a client must wait until its next try counts; 0 if it needn't."""
        wrong, last = self._wrong.get(client_of(address), (0, 0.0))
        if wrong < FREE_TRIES:
            return 0.0
        return max(0.0, last + min(LONGEST_WAIT_S, 2.0 ** min(wrong - FREE_TRIES, 10)) - self._clock())

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        now = self._clock()
        while self._wrong and now - next(iter(self._wrong.values()))[1] > FORGOTTEN_AFTER_S:
            self._wrong.popitem(last=False)
        wrong, _ = self._wrong.pop(client_of(address), (0, 0.0))
        self._wrong[client_of(address)] = (wrong + 1, now)
        if len(self._wrong) > MAX_CLIENTS:
            self._wrong.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Note a right password."""
        self._wrong.pop(client_of(address), None)


def client_of(address: str) -> str:
    """Return what stands for a client: its address, or the network of an IPv6 address, of which one client has all."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if found.version == 6 else address
