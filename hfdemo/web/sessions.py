"""Who is signed in: accounts, and a session for each browser or program."""

import hmac
import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Session:
    user: str
    used: float
    token: str = field(default="", repr=False)
    ends: float = math.inf


class Sessions:
    """The sessions, each named by a secret that only its owner has.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()  # by secret, longest unused first

    def begin(self, user: str, token: str = "", token_lasts_s: float = math.inf) -> str:
        """Begin a session of a user, and return its secret.

        Args:
            user: whose it is.
            token: the user's access token at the Hub, if it is needed.
            token_lasts_s: how long that is valid; the session ends with it.
        """
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        self._sessions[secret] = _Session(user, now, token, now + token_lasts_s)
        if len(self._sessions) > MAX_SESSIONS:
            self.end(self._next_to_go())
        return secret

    def _next_to_go(self) -> str:
        """Return the longest unused session of the user who has most: to sign in signs nobody else out."""
        has_most, _ = Counter(session.user for session in self._sessions.values()).most_common(1)[0]
        return next(secret for secret, session in self._sessions.items() if session.user == has_most)

    def user(self, secret: str) -> str | None:
        """Return whose session a secret names; None if there is none."""
        session = self._sessions.pop(secret, None)
        now = self._clock()
        if session is None or now - session.used > LASTS_S or now > session.ends:
            return None
        session.used = now
        self._sessions[secret] = session
        return session.user

    def token(self, secret: str) -> str:
        """Return the access token of a session that there is; empty if it has none."""
        session = self._sessions.get(secret)
        return session.token if session else ""

    def end(self, secret: str) -> None:
        """End one session. Others of the same user go on."""
        self._sessions.pop(secret, None)


def _digest(text: str) -> bytes:
    """Return what can be compared in constant time: of the same length for every text."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
