"""One step of any decoder in transformers, for one token of each of several chats, with the model's own forward.

The weights are read once for all chats. To the model, the chats are the rows of one left-padded batch, as `generate`
makes it of prompts of different lengths
(https://huggingface.co/docs/transformers/llm_tutorial#wrong-padding-side). Each chat has its own keys and values, so
it can join and leave at any step.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from hfdemo.compute.chat_cache import ChatCache
from hfdemo.compute.step import TOLERANCE, agrees
from hfdemo.compute.torch_private import copy_each
from hfdemo.compute.transformers_private import (
    Cache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    takes_dynamic_cache,
)

logger = logging.getLogger(__name__)


class SharedStep:
    """The step of one model. Use `make_shared_step`.

    Args:
        model: a causal language model on one device whose layers cache keys and values.
    """

    tokens_ahead = 0  # the products and the attention that a model chooses round otherwise for several tokens

    def __init__(self, model: Any) -> None:
        self._model = model

    def new_cache(self) -> ChatCache:
        """Return a cache for the keys and values of a chat; layers with a sliding window keep all of theirs, too."""
        return ChatCache(self._model.config.get_text_config(decoder=True).num_hidden_layers)

    def read(self, tokens: Tensor, cache: ChatCache) -> Tensor:
        """Read the next tokens of a chat; see `step.Step`."""
        ids = tokens.to(self._model.device)[None]
        logits: Tensor = self._model(ids, cache=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        return logits

    def __call__(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        """Read one token of each chat; see `step.Step`."""
        device = self._model.device
        ids = tokens.to(device)[:, None]
        if len(caches) == 1:
            alone: Tensor = self._model(ids, cache=caches[0], use_cache=True).logits[:, -1]
            return alone
        known = torch.tensor([[cache.tokens] for cache in caches], device=device)
        longest = max(cache.tokens for cache in caches) + 1
        rows = _Rows(caches, longest)
        logits: Tensor = self._model(
            ids,
            attention_mask=(torch.arange(longest, device=device) >= longest - known - 1).long(),
            position_ids=known,
            cache=Cache(layers=[_LayerOfRows(rows, index) for index in range(len(caches[0].layers))]),
            use_cache=True,
        ).logits[:, -1]
        for cache in caches:
            cache.set_tokens(cache.tokens + 1)
        return logits


class _Rows:
    """The keys and values of several chats with one more token each, as the rows of a batch.

    Args:
        caches: of the chats.
        longest: how many tokens the longest of them has, with the new one.
    """

    def __init__(self, caches: Sequence[ChatCache], longest: int) -> None:
        self.caches, self.longest = caches, longest
        for cache in caches:
            cache.room_for(cache.tokens + 1)
        _, heads, _, size = caches[0].buffer.shape
        # The layers use it one after the other. The padding must not be NaN: attention gives it a weight of 0, and 0
        # times NaN is NaN.
        self.padded = caches[0].buffer.new_zeros(len(caches), heads, longest, size)
        self.ends = [row[:, longest - cache.tokens - 1 :] for row, cache in zip(self.padded, caches, strict=True)]


class _LayerOfRows(DynamicLayer):
    """One layer of `_Rows`, as transformers sees it."""

    def __init__(self, rows: _Rows, index: int) -> None:
        super().__init__()
        self._rows, self._index = rows, index

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store keys and values of shape [chats, key heads, 1, head size]; return all of them, padded on the left."""
        rows, heads = self._rows, key_states.shape[1]
        new = torch.cat([key_states, value_states], 1)[:, :, 0]
        held = [cache.buffer[self._index, :, : cache.tokens + 1] for cache in rows.caches]
        copy_each([tokens[:, -1] for tokens in held], list(new))  # on a GPU, one operation for all chats
        copy_each(rows.ends, held)
        return rows.padded[:, :heads], rows.padded[:, heads:]

    def get_seq_length(self) -> int:
        """Return how many tokens precede the new one, including the padding."""
        return self._rows.longest - 1


def make_shared_step(model: Any, windows: bool = True) -> SharedStep | None:
    """Return the shared step of a model, or None if it doesn't compute what the model computes for each chat alone.

    Args:
        model: a causal language model.
        windows: whether layers are covered that look back through a window. Their keys and values are kept whole here,
            where transformers' own caches forget what is behind the window.
    """
    step = SharedStep(model)
    covered = (DynamicLayer, DynamicSlidingWindowLayer) if windows else (DynamicLayer,)
    try:
        if not keeps_keys_and_values(model, covered):
            reason = "it keeps more than keys and values"
        elif agrees(step, model):
            return step
        else:
            reason = "it computes something else"
    except Exception as error:  # a model's own code may do anything with a cache it doesn't know
        reason = type(error).__name__
    logger.warning("no step writes this model's tokens (%s): generate writes its replies one by one", reason)
    return None


def keeps_keys_and_values(model: Any, covered: tuple[type, ...]) -> bool:
    """Tell whether all layers of a model cache keys and values as one of some classes does."""
    if model.dtype not in TOLERANCE or not takes_dynamic_cache(model):
        return False
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    return all(type(layer) in covered for layer in layers)
