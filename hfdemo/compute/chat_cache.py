"""The keys and values of one chat, in a buffer with room for more tokens."""

from typing import Any

import torch
from torch import Tensor

from hfdemo.compute.transformers_private import Cache, DynamicLayer

ROOM_TOKENS = 256
"""By so many tokens, or by a half, a cache grows."""


class ChatCache(Cache):
    """The keys and values of one chat, of all layers, in one buffer that has room for more tokens.

    transformers writes to it and reads it as to its own `DynamicCache` while a prompt is read; `FastStep` uses the
    buffer itself, of shape [layers, 2 * heads of keys, room, head size], values behind keys.
    """

    def __init__(self, layers: int) -> None:
        # The layers refer to the buffer and not to the cache: a circle would keep the memory of chats that are over.
        self._held = _Buffer(layers)
        super().__init__(layers=[_LayerView(self._held, index) for index in range(layers)])

    @property
    def buffer(self) -> Tensor:
        """What holds keys and values; empty before the first token."""
        return self._held.tensor

    @property
    def tokens(self) -> int:
        """How many tokens of the buffer count."""
        return self._held.tokens

    def room_for(self, tokens: int) -> None:
        """Make room for so many tokens in all; there is at least one already."""
        self._held.room_for(tokens)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens are in it; in the midst of a forward, in one layer."""
        return int(self.layers[layer_idx].tokens)

    def set_tokens(self, tokens: int) -> None:
        """Say how many of the buffer's tokens count: fewer than before, or one more after a step."""
        self._held.tokens = tokens
        for layer in self.layers:
            layer.tokens = tokens

    def crop(self, tokens_to_remove: int) -> None:
        """Take away the last tokens; a negative number, as in `DynamicCache.crop`."""
        self.set_tokens(self.tokens - abs(tokens_to_remove))

    def copy(self) -> "ChatCache":
        """Return a cache that holds the same, for itself."""
        copied = ChatCache(len(self.layers))
        copied._held.tensor = self.buffer.clone()
        copied.set_tokens(self.tokens)
        return copied

    @property
    def nbytes(self) -> int:
        """The bytes of the buffer."""
        return int(self.buffer.nbytes)


class _Buffer:
    """What a cache and its layers share."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.tensor = torch.empty(0)
        self.tokens = 0

    def room_for(self, tokens: int, like: Tensor | None = None) -> None:
        """Make room for so many tokens in all.

        Args:
            tokens: how many.
            like: keys of shape [1, heads of keys, tokens, head size], for the first time.
        """
        if not self.tensor.numel() and like is not None:
            _, heads, _, size = like.shape
            self.tensor = like.new_empty(self.layers, 2 * heads, tokens + ROOM_TOKENS, size)
        elif tokens > self.tensor.shape[2]:
            layers, heads, room, size = self.tensor.shape
            grown = self.tensor.new_empty(layers, heads, max(tokens + ROOM_TOKENS, room * 3 // 2), size)
            grown[:, :, : self.tokens] = self.tensor[:, :, : self.tokens]
            self.tensor = grown


class _LayerView(DynamicLayer):
    """One layer of a `ChatCache`, as transformers sees it."""

    def __init__(self, held: _Buffer, index: int) -> None:
        super().__init__()
        self._held, self._index = held, index
        self.tokens = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take keys and values of shape [1, heads of keys, new tokens, head size]; return all there are."""
        heads, begin, end = key_states.shape[1], self.tokens, self.tokens + key_states.shape[2]
        self._held.room_for(end, like=key_states)
        layer = self._held.tensor[self._index]
        layer[:heads, begin:end], layer[heads:, begin:end] = key_states[0], value_states[0]
        self.tokens = end
        if self._index == self._held.layers - 1:
            self._held.tokens = end
        self.is_initialized = True
        return layer[None, :heads, :end], layer[None, heads:, :end]

    def get_seq_length(self) -> int:
        """Return how many tokens are in it."""
        return self.tokens
