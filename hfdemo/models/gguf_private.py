"""The names of the package gguf that are private, and what is changed in it. They are used only here.

`tests/unit/test_private_names.py` fails first when one of them changes.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gguf
import numpy as np
from gguf import GGUFReader, GGUFValueType, ReaderField

__all__ = ["QuickGgufReader", "headers_read_quickly"]

WORDS = "tokenizer.ggml.tokens"
"""The vocabulary; its size may stand in no other field."""


class QuickGgufReader(GGUFReader):
    """A reader of GGUF files that knows of texts in arrays only how many words there are.

    gguf's own looks at each of a vocabulary's words by itself: 150,000 of them take it 10 s.
    """

    def _push_field(self, field: ReaderField, skip_sum: bool = False) -> int:
        if field.name.startswith("tokenizer.") and field.name != WORDS:  # scores, kinds, merges: nobody asks
            field = field._replace(data=field.data[:1])
        return super()._push_field(field, skip_sum)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        kind, count = struct.unpack_from("=IQ", self.data.data, orig_offs)
        begin = orig_offs + struct.calcsize("=IQ")
        if number := self.gguf_scalar_to_np.get(kind):
            numbers = np.asarray(self._get(begin, number, count))
            types = [GGUFValueType.ARRAY, GGUFValueType(kind)]
            return begin + numbers.nbytes - orig_offs, list(numbers[:, None]), list(range(count)), types
        if kind != GGUFValueType.STRING:
            return super()._get_field_parts(orig_offs, raw_type)
        end = begin
        for _ in range(count):
            end += 8 + struct.unpack_from("=Q", self.data.data, end)[0]
        return end - orig_offs, [np.zeros(1, np.uint8)], [0] * count, [GGUFValueType.UINT8]


@contextmanager
def headers_read_quickly() -> Iterator[None]:
    """Let transformers, which asks for no texts in arrays, read the headers of GGUF files with `QuickGgufReader`."""
    gguf.GGUFReader = QuickGgufReader  # type: ignore[misc]
    try:
        yield
    finally:
        gguf.GGUFReader = GGUFReader  # type: ignore[misc]  # whatever another thread does meanwhile
