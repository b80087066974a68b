"""The keys and values of one chat, in a buffer with space for more tokens."""

from typing import Any

import torch
from torch import Tensor

from hfdemo.compute.pages import own_pages
from hfdemo.compute.transformers_private import Cache, DynamicLayer

ROOM_TOKENS = 256
"""A cache grows by so many tokens, or by half its size if that is more."""


class ChatCache(Cache):
    """The keys and values of one chat, of all layers, in one buffer with space for more tokens.

    While a prompt is read, transformers uses it like its own `DynamicCache`. `FastStep` uses the buffer itself, of
    shape [layers, 2 * key heads, allocated tokens, head size], with the values after the keys.
    """

    def __init__(self, layers: int) -> None:
        # The layers refer to the buffer, not to the cache: a reference cycle would keep the memory of finished chats.
        self._held = _Buffer(layers)
        super().__init__(layers=[_LayerView(self._held, index) for index in range(layers)])

    @property
    def buffer(self) -> Tensor:
        """The keys and values; empty before the first token."""
        return self._held.tensor

    @property
    def tokens(self) -> int:
        """How many tokens in the buffer are valid."""
        return self._held.tokens

    def room_for(self, tokens: int, like: Tensor | None = None) -> None:
        """Make room for so many tokens in total.

        Args:
            tokens: how many.
            like: keys of shape [1, key heads, tokens, head size], needed if the cache is empty.
        """
        self._held.room_for(tokens, like)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens it holds; during a forward pass, one layer may hold more than another."""
        return int(self.layers[layer_idx].tokens)

    def set_tokens(self, tokens: int) -> None:
        """Set how many tokens in the buffer are valid: fewer than before, or one more after a step."""
        self._held.tokens = tokens
        for layer in self.layers:
            layer.tokens = tokens

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens; the number is negative, as in `DynamicCache.crop`."""
        self.set_tokens(self.tokens - abs(tokens_to_remove))

    def copy(self) -> "ChatCache":
        """Return an independent copy."""
        copied = ChatCache(len(self.layers))
        copied._held.tensor = self.buffer.clone()
        copied.set_tokens(self.tokens)
        return copied

    @property
    def nbytes(self) -> int:
        """The bytes of the buffer."""
        return int(self.buffer.nbytes)


class _Buffer:
    """The tensor that a cache and its layers share."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.tensor = torch.empty(0)
        self.tokens = 0

    def room_for(self, tokens: int, like: Tensor | None = None) -> None:
        """Make room for so many tokens in total.

        Args:
            tokens: how many.
            like: keys of shape [1, key heads, tokens, head size], needed the first time.
        """
        if not self.tensor.numel() and like is not None:
            _, heads, _, size = like.shape
            self.tensor = own_pages(like, self.layers, 2 * heads, tokens + ROOM_TOKENS, size)
        elif tokens > self.tensor.shape[2]:
            layers, heads, room, size = self.tensor.shape
            grown = own_pages(self.tensor, layers, heads, max(tokens + ROOM_TOKENS, room * 3 // 2), size)
            grown[:, :, : self.tokens] = self.tensor[:, :, : self.tokens]
            self.tensor = grown


class _LayerView(DynamicLayer):
    """One layer of a `ChatCache`, as transformers sees it."""

    def __init__(self, held: _Buffer, index: int) -> None:
        super().__init__()
        self._held, self._index = held, index
        self.tokens = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store keys and values of shape [1, key heads, new tokens, head size]; return all of them."""
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
        """Return how many tokens it holds."""
        return self.tokens
