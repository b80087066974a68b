"""The bytes of tokens that are less than a character: a letter of Korean or an emoji is often two to four of them."""

import codecs
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece's vocabularies write a byte that is no character."""


class TokenBytes:
    """Knows which bytes a tokenizer's tokens stand for, in both ways in which vocabularies write bytes.

    Args:
        tokenizer: the model's tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._is_byte_level = _is_byte_level(tokenizer)
        self._added = set(tokenizer.added_tokens_decoder) if self._is_byte_level else set()

    def of(self, token_id: int) -> bytes | None:
        """Return the bytes of a token; None if it is written as text, or isn't in the vocabulary."""
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:  # a model may have more tokens than its tokenizer
            return None
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        letters = _letters()
        if self._is_byte_level and token_id not in self._added and all(letter in letters for letter in piece):
            return bytes(letters[letter] for letter in piece)
        return None


def unfinished(parts: Iterable[bytes]) -> int:
    """Return how many bytes at the end are the beginning of a character that is not whole yet."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in parts:
        decoder.decode(part)
    return len(decoder.getstate()[0])


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
