"""The last reply of each chat, kept to go on with it where it was cut off, and to read only what is new next time.

What is kept is found only under the chat's secret name, which the server made. The caches of keys and values are
bounded by bytes: the chat that was silent longest loses its own first, and is then read anew.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from hfdemo.chat.messages import FinishedReply

MAX_REPLIES = 256


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply with what the model needs to go on with it."""

    finished: FinishedReply
    token_ids: tuple[int, ...]
    """What the model wrote, thought included, without a token that ended it."""
    prompt_ids: tuple[int, ...]
    cache: Any = None
    """The model's keys and values of prompt and reply, as far as it read them."""
    cache_bytes: int = 0


class KeptReplies:
    """The last replies, by the chats' secret names; safe to use from several threads.

    Args:
        max_cache_bytes: how much the caches may take together.
    """

    def __init__(self, max_cache_bytes: int = 0) -> None:
        self._max_cache_bytes = max_cache_bytes
        self._replies: OrderedDict[str, KeptReply] = OrderedDict()
        self._lock = Lock()

    def put(self, chat: str, reply: KeptReply) -> None:
        """Keep the last reply of a chat in place of the one before."""
        with self._lock:
            self._replies.pop(chat, None)
            self._replies[chat] = reply
            while len(self._replies) > MAX_REPLIES:
                self._replies.popitem(last=False)
            self._free_caches()

    def get(self, chat: str) -> KeptReply | None:
        """Return the last reply of a chat, if it is still kept."""
        with self._lock:
            return self._replies.get(chat)

    def take_prefix(self, chat: str, ids: tuple[int, ...]) -> tuple[Any, int]:
        """Take away what is kept of a chat that goes on.

        Returns:
            The cache, and how many of the prompt's tokens it holds that need not be read again: as many as are the
            same, compared one by one, but never the last, whose logits are wanted. None and 0 if there are none.
        """
        with self._lock:
            kept = self._replies.pop(chat, None)
        if kept is None or kept.cache is None:
            return None, 0
        held = (*kept.prompt_ids, *kept.token_ids)[: kept.cache.get_seq_length()]
        pairs = enumerate(zip(held, ids[:-1], strict=False))
        same = next((index for index, (one, other) in pairs if one != other), min(len(held), len(ids) - 1))
        return (kept.cache, same) if same else (None, 0)

    def forget(self, chat: str) -> None:
        """Drop the reply of a chat that is over, or that goes on."""
        with self._lock:
            self._replies.pop(chat, None)

    def model_leaves(self) -> None:
        """Drop what no other model understands; the replies as people read them stay."""
        with self._lock:
            for chat, reply in self._replies.items():
                self._replies[chat] = replace(reply, token_ids=(), prompt_ids=(), cache=None, cache_bytes=0)

    def _free_caches(self) -> None:
        in_all = sum(reply.cache_bytes for reply in self._replies.values())
        for chat, reply in self._replies.items():
            if in_all <= self._max_cache_bytes:
                return
            in_all -= reply.cache_bytes
            self._replies[chat] = replace(reply, cache=None, cache_bytes=0)
