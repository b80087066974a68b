"""From token ids to text, as soon as its characters are whole."""

from collections.abc import Mapping, Sequence
from typing import Any

from hfdemo.chat.token_bytes import TokenBytes, unfinished

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that aren't a character, or not yet."""


class Detokenizer:
    """Turns token ids into text as soon as its characters are whole.

    Only the last few tokens are decoded again, so a step costs the same at any length. They are decoded behind
    the tokens before them, because a tokenizer may write a word differently at the start of a text.

    Args:
        tokenizer: the model's tokenizer.
        before: the last tokens before the text, if it goes on from one.
        symbols: what stands in the text for control tokens that have a meaning, by their ids; the others are left out.

    Source: the offsets of text-generation-inference, `Model.decode_token`
    (https://github.com/huggingface/text-generation-inference/blob/main/server/text_generation_server/models/model.py).
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = (), symbols: Mapping[int, str] | None = None) -> None:
        self._tokenizer = tokenizer
        self._symbols = symbols or {}
        self._hidden = set(tokenizer.all_special_ids)
        self._before = list(before)  # already told in full: only context for what follows
        self._before_text = self._decode(self._before)
        self._ids: list[int] = []
        self._told = ""  # what has been told of `_ids`

    def add(self, token_id: int) -> str:
        """Take one token and return the text that became complete, which may be none."""
        if token_id in self._symbols:
            return self._flush() + self._symbols[token_id]
        if token_id in self._hidden:
            return ""
        self._ids.append(token_id)
        text = self._text(self._ids)
        whole = text.rstrip(REPLACEMENT)  # a character that is still coming ends in U+FFFD
        new = whole[len(self._told) :]
        if text and whole == text:
            self._before, self._ids, self._told = self._ids, [], ""
            self._before_text = self._decode(self._before)
        elif new:
            self._told = whole
        return new

    def end(self) -> str:
        """Return what is left: bytes that are no character, as U+FFFD, but nothing of an unfinished one."""
        if self._text(self._ids) == self._told:
            return ""
        known, ids = TokenBytes(self._tokenizer), list(self._ids)
        parts = [known.of(token_id) or self._decode([token_id]).encode() for token_id in ids]
        too_much = unfinished(parts)
        while too_much and len(parts[-1]) <= too_much:
            too_much -= len(parts.pop())
            ids.pop()
        text = self._text(ids)
        if too_much:  # of a token that begins with something whole
            text = text.removesuffix(REPLACEMENT)
        return text[len(self._told) :]

    def _flush(self) -> str:
        """Return what is left, and go on behind it."""
        left = self.end()
        self._before, self._ids, self._told = self._ids or self._before, [], ""
        self._before_text = self._decode(self._before)
        return left

    def _text(self, ids: list[int]) -> str:
        return self._decode(self._before + ids)[len(self._before_text) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
