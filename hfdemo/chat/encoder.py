"""Encode text as text and the template's own words with their control tokens.

Contents are encoded by a copy of the tokenizer that knows no control token, and that composes characters.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hfdemo.chat.template import make_placeholder

EncodeText = Callable[[str, bool], list[int]]
"""`encode(text, at_start) -> ids`, which never makes a control token of text.

`at_start` says whether the text opens the prompt: tokenizers that put a space before the first word only
must not put one before a run that follows a control token.
"""


class ControlTokens:
    """Finds the tokenizer's control tokens in the template's own words."""

    def __init__(self, tokens: Mapping[str, tuple[int, Any]]) -> None:
        self._tokens = tokens
        self.ids = [token_id for token_id, _ in tokens.values()]
        longest_first = sorted(tokens, key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def ids_in(self, text: str) -> list[int]:
        """Return the ids of the control tokens in the template's words."""
        return [piece for piece in self.split(text) if isinstance(piece, int)]

    def hide_in(self, text: str, hide: Callable[[str], str]) -> str:
        """Return a text with something else in the place of each control token in it."""
        return self._pattern.sub(lambda found: hide(found[0]), text) if self._pattern else text

    def without_last(self, text: str, kept: Collection[str]) -> str:
        """Return a text up to the special tokens at its end, but for some."""
        special = [name for name, (_, token) in self._tokens.items() if token.special and name not in kept]
        text = text.rstrip()
        while last := next((name for name in special if text.endswith(name)), ""):
            text = text.removesuffix(last).rstrip()
        return text

    def split(self, text: str) -> list[str | int]:
        """Split the template's words into plain text and the ids of control tokens.

        A token that swallows the white space beside it (`lstrip`, `rstrip`) does so here, too.
        """
        if self._pattern is None:
            return [text] if text else []
        pieces: list[str | int] = []
        swallow = False
        for part in self._pattern.split(text):
            if part in self._tokens:
                token_id, token = self._tokens[part]
                if token.lstrip and pieces and isinstance(pieces[-1], str):
                    pieces[-1] = pieces[-1].rstrip()
                pieces.append(token_id)
                swallow = token.rstrip
            else:
                pieces.append(part.lstrip() if swallow else part)
                swallow = False
        return [piece for piece in pieces if piece != ""]


def find_control_tokens(tokenizer: Any) -> dict[str, tuple[int, Any]]:
    """Return the added tokens, with their ids, that mean more than their text.

    The others are words and white space that the vocabulary lacks: runs of spaces (GPT-NeoX), of newlines (Gemma).
    """
    return {
        str(token): (token_id, token)
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if not _is_plain(str(token), token.special)
    }


def _is_plain(token: str, special: bool) -> bool:
    text = token.replace("▁", " ").strip()
    return not text or (text.isalnum() and not special)


OWN_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "Precompiled", "BertNormalizer", "Nmt", "StripAccents")
"""The normalizers that bring text into the form of Unicode that a tokenizer's makers chose."""


def make_text_encoder(tokenizer: Any, hidden_tokens: Collection[str]) -> EncodeText:
    """Return an encoder for text alone: a copy of the tokenizer that doesn't know some tokens.

    What macOS pastes has each letter of Hangul apart (NFD), which the vocabularies know far less of, so text is
    composed (NFC) unless the tokenizer's own normalizer decides.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return lambda text, at_start: tokenizer.encode(
            unicodedata.normalize("NFC", text), add_special_tokens=False, split_special_tokens=True
        )
    from tokenizers import Tokenizer

    state = _without_tokens(json.loads(backend.to_str()), hidden_tokens)
    state |= {"post_processor": None, "truncation": None, "padding": None, "normalizer": _composing(state)}
    later_state = _without_first_space(state)
    first = Tokenizer.from_str(json.dumps(state))
    later = first if later_state == state else Tokenizer.from_str(json.dumps(later_state))

    def encode(text: str, at_start: bool) -> list[int]:
        encoder = first if at_start else later
        return list(encoder.encode(text, add_special_tokens=False).ids) if text else []

    return encode


def _composing(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's normalizer, which composes characters first unless it has a form of its own."""
    own = state.get("normalizer")
    steps = own.get("normalizers", [own]) if own else []
    if own and any(step["type"] in OWN_FORMS for step in steps):
        return dict(own)
    return {"type": "Sequence", "normalizers": [{"type": "NFC"}, *steps]}


def _without_tokens(state: dict[str, Any], hidden_tokens: Collection[str]) -> dict[str, Any]:
    """Return the tokenizer's state with some tokens renamed to words no text holds; all ids stay the same.

    Leaving them out of the added tokens isn't enough: most vocabularies hold them, too, and Unigram, BPE with
    such merges and BPE that ignores merges find them there.
    """
    names = {token: make_placeholder() for token in hidden_tokens}
    added_tokens = [
        token | {"content": names.get(token["content"], token["content"])} for token in state["added_tokens"]
    ]
    model = dict(state["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): piece_id for piece, piece_id in model["vocab"].items()}
    else:  # Unigram: pairs of piece and score
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if left not in names and right not in names and left + right not in names
        ]
    if model.get("unk_token"):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return state | {"added_tokens": added_tokens, "model": model}


def _without_first_space(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's state with Metaspace's `prepend_scheme` "first" switched off."""
    pre_tokenizer = state.get("pre_tokenizer") or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    changed = [step | {"prepend_scheme": "never"} if step.get("prepend_scheme") == "first" else step for step in steps]
    if "pretokenizers" in pre_tokenizer:
        return state | {"pre_tokenizer": pre_tokenizer | {"pretokenizers": changed}}
    return state | {"pre_tokenizer": changed[0] or None}
