"""What the server keeps of the programs that call the API: their conversations, bounded, and fairly.

Gradio's own state forgets a session in silence as soon as 500 others have come. Here whoever brings most has to give
way first, and a conversation that was forgotten is said to be.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hfdemo.answering import Answer
from hfdemo.chat.conversation import Conversation
from hfdemo.chat.reply import Receipt
from hfdemo.errors import InvalidInput

KEPT_S = 3600.0
"""How long a conversation is kept after its last call."""

MAX_CHARS = 50_000_000
"""How much text is kept of all conversations together."""

MAX_CLIENTS = 5_000

MAX_FORGOTTEN = 20_000
"""How many names of forgotten conversations are remembered, to say so."""


@dataclass(frozen=True, eq=False, slots=True)
class Client:
    """What is kept of one program, from call to call."""

    conversation: Conversation
    cache_key: str
    answer: Answer | None = None
    """The last reply, while it comes."""
    receipt: Receipt | None = None
    """That of the last reply, if it came to its end."""

    @property
    def chars(self) -> int:
        """How much text that is."""
        return sum(len(turn.content) + len(turn.thought) for turn in self.conversation.turns)


@dataclass(slots=True)
class _Kept:
    client: Client
    address: str
    chars: int
    used_at: float


class ProgramClients:
    """The programs that may come again, by the session that each of them names.

    Args:
        clock: tells the time in seconds.
        max_chars: how much text is kept.
        max_clients: of how many.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        max_chars: int = MAX_CHARS,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._clock = clock
        self._max_chars = max_chars
        self._max_clients = max_clients
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # longest unused first
        self._chars = 0
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def find(self, session: str) -> Client | None:
        """Return what is kept of a program; None if it comes for the first time.

        Raises:
            InvalidInput: its conversation was forgotten. Its next call begins a new one.
        """
        self._forget_old()
        if session in self._forgotten:
            del self._forgotten[session]
            raise InvalidInput("conversation_forgotten")
        kept = self._kept.get(session)
        return kept.client if kept else None

    def keep(self, session: str, address: str, client: Client) -> None:
        """Keep a program's conversation until its next call, in place of what was kept of it."""
        before = self._kept.pop(session, None)
        self._chars -= before.chars if before else 0
        self._kept[session] = _Kept(client, address, client.chars, self._clock())
        self._chars += self._kept[session].chars
        while len(self._kept) > self._max_clients or (self._chars > self._max_chars and len(self._kept) > 1):
            self._forget(self._next_to_go())

    def _next_to_go(self) -> str:
        """Return the session of the address that has most, which it hasn't used for the longest time."""
        shares: dict[str, int] = {}
        for kept in self._kept.values():
            shares[kept.address] = shares.get(kept.address, 0) + kept.chars + self._max_chars // self._max_clients
        largest = max(shares, key=lambda address: shares[address])
        return next(session for session, kept in self._kept.items() if kept.address == largest)

    def _forget_old(self) -> None:
        while self._kept:
            session, kept = next(iter(self._kept.items()))
            if self._clock() - kept.used_at <= KEPT_S:
                return
            self._forget(session)

    def _forget(self, session: str) -> None:
        self._chars -= self._kept.pop(session).chars
        self._forgotten[session] = None
        if len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
