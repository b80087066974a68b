"""Replies that have to follow a JSON schema: only tokens are allowed after which they still can.

This needs llguidance (https://github.com/guidance-ai/llguidance), which is optional.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy
import torch
from torch import Tensor

from hfdemo.errors import InvalidInput, install_command

MAX_PROBLEM_CHARS = 200

_tokenizers: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""llguidance's form of each tokenizer; making it takes up to a second."""


class Grammar:
    """What the answer of one reply may go on with.

    Args:
        tokenizer: the model's.
        end_ids: the tokens that end a reply.
        schema: a JSON schema, as JSON.
        field: what the program that asks calls it, for errors.

    Raises:
        InvalidInput: the schema can't be used, or llguidance isn't installed.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int], schema: str, field: str = "response_format") -> None:
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise InvalidInput("no_grammar_library", name=field, command=install_command("llguidance")) from None
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
            self._matcher = LLMatcher(_form_of(tokenizer, end_ids), grammar, log_level=0)  # its warnings quote
        except ValueError as error:
            raise InvalidInput("bad_schema", name=field, problem=_first_line(str(error))) from None
        self._field = field
        self._check()
        self._end_ids = frozenset(end_ids)
        self.is_complete = False
        """Whether nothing can follow."""

    def allowed(self, logits: Tensor) -> Tensor:
        """Return logits of shape [vocabulary] in which what can't follow is minus infinity.

        Raises:
            InvalidInput: nothing can follow: nothing follows the schema, or it is too much for llguidance.
        """
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
        self._check()
        allowed = torch.from_numpy(numpy.unpackbits(bits, bitorder="little")).bool()[: len(logits)]
        padded = torch.zeros(len(logits), dtype=torch.bool)
        padded[: len(allowed)] = allowed
        return logits.masked_fill(~padded.to(logits.device), -torch.inf)

    def take(self, token_id: int) -> None:
        """Take the token that was chosen.

        Raises:
            InvalidInput: the schema is too much for llguidance.
        """
        if token_id not in self._end_ids:
            self._matcher.consume_token(token_id)
            self._check()
            self.is_complete = self._matcher.is_stopped()

    def _check(self) -> None:
        if problem := self._matcher.get_error():
            raise InvalidInput("bad_schema", name=self._field, problem=_first_line(problem))


def _form_of(tokenizer: Any, end_ids: Sequence[int]) -> Any:
    from llguidance.hf import from_tokenizer

    if tokenizer not in _tokenizers:
        _tokenizers[tokenizer] = from_tokenizer(tokenizer, eos_token=next(iter(end_ids), None))
    return _tokenizers[tokenizer]


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["-"])[0][:MAX_PROBLEM_CHARS]
