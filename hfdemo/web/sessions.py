"""Who is signed in: accounts, and a session for each browser or program."""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256

LASTS_S = 7 * 24 * 3600.0
"""How long a session lasts after its last request."""

MAX_SESSIONS = 10_000


class Accounts:
    """The users and their passwords.

    Args:
        passwords: by user name.
    """

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._digests = [(_digest(name), _digest(password)) for name, password in passwords.items()]

    def holds(self, name: str, password: str) -> bool:
        """Tell whether a name and a password belong together, in the same time whatever they are."""
        given, found = (_digest(name), _digest(password)), False
        for known in self._digests:
            same = [hmac.compare_digest(*pair) for pair in zip(given, known, strict=True)]
            found |= all(same)
        return found


class Sessions:
    """The sessions, each named by a secret that only its owner has.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._users: OrderedDict[str, tuple[str, float]] = OrderedDict()  # by secret, longest unused first

    def begin(self, user: str) -> str:
        """Begin a session of a user, and return its secret."""
        secret = secrets.token_urlsafe(32)
        self._users[secret] = (user, self._clock())
        if len(self._users) > MAX_SESSIONS:
            self._users.popitem(last=False)
        return secret

    def user(self, secret: str) -> str | None:
        """Return whose session a secret names; None if there is none."""
        user, used = self._users.pop(secret, ("", 0.0))
        now = self._clock()
        if not user or now - used > LASTS_S:
            return None
        self._users[secret] = (user, now)
        return user

    def end(self, secret: str) -> None:
        """End one session. Others of the same user go on."""
        self._users.pop(secret, None)


def _digest(text: str) -> bytes:
    """Return what can be compared in constant time: of the same length for every text."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
