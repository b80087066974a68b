"""What was read and written of each conversation, kept so that the next turn reads only what is new.

It is found only under the conversation's cache key, a secret that the server made: no visitor's text is reused for
another. The keys and values are bounded by bytes and evicted least recently used first.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from hfdemo.chat.request import ChatRequest

MAX_REPLIES = 256

MAX_IDLE_S = 3600
"""After so long without a message, the tokens of a conversation's last reply are found from its text."""

MAX_CACHE_IDLE_S = 600
"""After so long without a message, a conversation's prompt is read anew."""


@dataclass(frozen=True, slots=True)
class CachedReply:
    """The last reply of a conversation, with what the model needs to go on with it."""

    text: str
    """The answer as people read it."""
    token_ids: tuple[int, ...]
    """What the model wrote, thought included, without a token that ended it."""
    prompt_ids: tuple[int, ...]
    cache: Any = None
    """The model's keys and values of prompt and reply, as far as it read them."""
    cache_bytes: int = 0
    thought: str = ""
    begins_in_prompt: bool = False
    """Whether the reply began with text that the prompt ended in, so that its tokens are not the whole of it."""
    used_at: float = field(default_factory=time.monotonic)


class PrefixCache:
    """The last replies by cache key; safe to use from several threads.

    Args:
        max_bytes: how much the keys and values may take together.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self._max_bytes = max_bytes
        self._replies: OrderedDict[str, CachedReply] = OrderedDict()
        self._lock = Lock()

    def put(self, key: str, reply: CachedReply) -> None:
        """Keep the last reply of a conversation in place of the one before; without a key, nothing is kept."""
        if not key:
            return
        with self._lock:
            self._replies.pop(key, None)
            self._replies[key] = reply
            self._evict()

    def reply_ids(self, key: str, text: str, thought: str = "") -> tuple[int, ...]:
        """Return the tokens of a conversation's last reply, if these are its answer and thought; else none."""
        with self._lock:
            kept = self._replies.get(key)
        if kept is None or kept.begins_in_prompt or (kept.text, kept.thought) != (text, thought):
            return ()
        return kept.token_ids

    def continued_ids(self, request: ChatRequest) -> tuple[int, ...]:
        """Return the tokens of the reply that a request goes on with, if they are kept; else none."""
        if not request.continues:
            return ()
        return self.reply_ids(request.cache_key, request.reply_start, request.thought_start)

    def take(self, key: str, ids: tuple[int, ...]) -> tuple[Any, int]:
        """Take away what is kept of a conversation that goes on.

        Returns:
            The keys and values, and how many of the prompt's tokens they hold: as many as are the same, compared one
            by one, but never the last, whose logits are wanted. None and 0 if there are none.
        """
        with self._lock:
            kept = self._replies.pop(key, None)
        if kept is None or kept.cache is None:
            return None, 0
        held = (*kept.prompt_ids, *kept.token_ids)[: kept.cache.get_seq_length()]
        pairs = enumerate(zip(held, ids[:-1], strict=False))
        same = next((index for index, (one, other) in pairs if one != other), min(len(held), len(ids) - 1))
        return (kept.cache, same) if same else (None, 0)

    def limit(self, max_bytes: int) -> None:
        """Change how much the keys and values may take together."""
        with self._lock:
            self._max_bytes = max_bytes
            self._evict()

    def clear(self) -> None:
        """Drop everything: no other model understands it."""
        with self._lock:
            self._replies.clear()

    def expire(self) -> bool:
        """Drop what is too old; tell whether anything is left that will be."""
        with self._lock:
            self._evict()
            return bool(self._replies)

    def _evict(self) -> None:
        """Drop what is too old or too much, the oldest first."""
        now = time.monotonic()
        while self._replies and (len(self._replies) > MAX_REPLIES or now - self._oldest().used_at > MAX_IDLE_S):
            self._replies.popitem(last=False)
        total = sum(reply.cache_bytes for reply in self._replies.values())
        for key, reply in self._replies.items():
            if total <= self._max_bytes and now - reply.used_at <= MAX_CACHE_IDLE_S:
                return
            total -= reply.cache_bytes
            self._replies[key] = replace(reply, cache=None, cache_bytes=0)

    def _oldest(self) -> CachedReply:
        return next(iter(self._replies.values()))
