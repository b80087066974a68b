"""What reads prompts and computes the next tokens of chats, and a check that it agrees with the model."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from hfdemo.compute.chat_cache import ChatCache

TOLERANCE = {torch.bfloat16: 0.2, torch.float16: 0.2, torch.float32: 0.01}
"""How far a step's logits may differ from those of the model's own forward, relative to their spread. Rounding to
bfloat16 at other points causes 0.06 in 30 layers; a wrong operation causes 0.5 and more."""

SHORTEST_DRAFT, LONGEST_DRAFT = 2, 4
"""How many tokens of one chat it is tried to read in one step behind the one that was written last."""


class Step(Protocol):
    """Reads the tokens of chats, and returns the logits of the next ones."""

    tokens_ahead: int
    """How many tokens of one chat may be read in one step with the one before them, so that everything computed for
    each is the same to the bit as if it were read alone; 0 where that isn't so."""

    def new_cache(self) -> ChatCache:
        """Return an empty cache for the keys and values of a chat."""
        ...

    def read(self, tokens: Tensor, cache: ChatCache) -> Tensor:
        """Read the next tokens of one chat, as many as there are.

        Args:
            tokens: of shape [tokens].
            cache: of the chat; it holds so many more afterwards.

        Returns:
            The logits of the token behind them, of shape [vocabulary].
        """
        ...

    def __call__(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        """Read one token of each chat.

        Args:
            tokens: of shape [chats].
            caches: of the chats; each must hold at least one token, and holds one more afterwards. One that comes
                several times reads its tokens one behind the other, if `tokens_ahead` allows.

        Returns:
            The logits of the next token, of shape [chats, vocabulary].
        """
        ...


def agrees(step: Step, model: Any) -> bool:
    """Tell whether a step and the model's own forward agree on two conversations of different lengths.

    The step reads the beginning of each in two pieces, then two tokens of both together, and two more of each alone.
    """
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = (torch.arange(13, device=model.device) * 7919 % vocabulary)[None]
    lengths = [3, 9]
    caches = [step.new_cache() for _ in lengths]
    expected = model(ids).logits[0].float()

    def are_close(found: Tensor, at: list[int]) -> bool:
        apart = (found.float() - expected[at]).norm(dim=1)
        spread = (expected[at] - expected[at].mean(1, keepdim=True)).norm(dim=1)
        return bool((apart <= TOLERANCE[model.dtype] * spread).all())

    for length, cache in zip(lengths, caches, strict=True):
        for piece in (ids[0, :2], ids[0, 2:length]):
            logits = step.read(piece, cache)
        if not are_close(logits[None], [length - 1]):
            return False
    for present in ([0, 1], [0, 1], [0], [0], [1], [1]):
        at = [lengths[chat] for chat in present]
        if not are_close(step(ids[0, at], [caches[chat] for chat in present]), at):
            return False
        for chat in present:
            lengths[chat] += 1
    return True
