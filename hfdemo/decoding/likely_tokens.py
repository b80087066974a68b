"""How likely a model found a token, and which others it found likely in its place."""

import json
import re
from functools import cache
from typing import Any

from torch import Tensor

from hfdemo.chat.prompt import PromptBuilder
from hfdemo.chat.reply import Token

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece's vocabularies write a byte that is no character."""


def describe(token_id: int, logits: Tensor, others: int, prompts: PromptBuilder) -> Token:
    """Return what can be told of a token.

    Args:
        token_id: the one that was chosen.
        logits: of the vocabulary, of shape [vocabulary].
        others: of how many of the likeliest tokens to tell, too.
        prompts: the model's.
    """
    logprobs = logits.float().log_softmax(0)
    best, ids = logprobs.topk(min(others, len(logprobs)))
    likeliest = [
        _token(other, float(value), prompts) for other, value in zip(ids.tolist(), best.tolist(), strict=True)
    ]
    return _token(token_id, float(logprobs[token_id]), prompts, tuple(likeliest))


def _token(token_id: int, logprob: float, prompts: PromptBuilder, others: tuple[Token, ...] = ()) -> Token:
    data = token_bytes(prompts, token_id)
    return Token(data.decode("utf-8", "replace"), data, logprob, others)


def token_bytes(prompts: PromptBuilder, token_id: int) -> bytes:
    """Return the bytes that a token stands for. A vocabulary writes those that are no character in one of two ways."""
    piece = prompts.tokenizer.convert_ids_to_tokens(token_id)
    if piece is None:  # a model may have more tokens than its tokenizer
        return b""
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    if token_id not in prompts.tokenizer.added_tokens_decoder and _is_byte_level(prompts.tokenizer):
        letters = _letters()
        if all(letter in letters for letter in piece):
            return bytes(letters[letter] for letter in piece)
    return prompts.text_within([token_id]).encode("utf-8", "replace")


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return False
    state = json.loads(backend.decoder.__getstate__())
    return any(step["type"] == "ByteLevel" for step in state.get("decoders", [state]))


@cache
def _letters() -> dict[str, int]:
    """Return which byte each letter of a byte-level vocabulary stands for.

    Source: `bytes_to_unicode` of GPT-2's encoder (https://github.com/openai/gpt-2/blob/master/src/encoder.py).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}
