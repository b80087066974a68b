"""A reply's text appears as soon as its characters are whole."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hfdemo.chat.token_bytes import TokenBytes, unfinished
from hfdemo.decoding.detokenizer import REPLACEMENT, Detokenizer
from tests.unit.families import CHATML_TOKENS, THINKING, byte_level, metaspace, unigram

BYTE_LEVEL = {
    "byte-level": byte_level(CHATML_TOKENS),
    "byte-level with plain added tokens": byte_level(CHATML_TOKENS, THINKING, ignore_merges=True),
}
BYTE_FALLBACK = {
    "first": metaspace(["<s>", "</s>"], spaces="first"),
    "always": metaspace(["<s>", "</s>"], spaces="always"),
    "legacy": metaspace(["<s>", "</s>"], spaces="legacy"),
    "gemma": metaspace(["<s>", "</s>"], ["\n\n"], spaces="gemma"),
    "Unigram": unigram(["<s>", "</s>"]),
}
TOKENIZERS = BYTE_LEVEL | BYTE_FALLBACK

TEXTS = {
    "English": "The capital of Korea is Seoul, isn't it?  Yes  .",
    "Korean": "안녕하세요. 한국의 수도는 서울입니다. 꿹뷁 뛟",
    "Japanese": "日本の首都は東京です。カタカナ、ひらがな、漢字。",
    "Thai": "สวัสดีครับ กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "emoji": "😀👩‍👩‍👧‍👦 🏳️‍🌈👍🏽\n🎉\n\n😀A😀é",
    "code": "def f(x):\n\tif x:\n\t\treturn {'a':  1}\n\n\n# 끝\n",
    "spaces first": "   three spaces, then\n  two",
    "newline first": "\n\nHi\n",
    "one character": "漢",
}

real_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=REPLACEMENT), max_size=30)
korean_and_emoji = st.text(st.sampled_from("안녕힣ㄱ 😀\u200d👍🏽\n\tab\u0301é日"), max_size=30)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def stream(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return what each token makes appear, and what the end does."""
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.add(token_id) for token_id in ids), detokenizer.end()]


def assert_all_but_an_unfinished_end(tokenizer: Any, ids: Sequence[int], told: str) -> None:
    """Check that what was told is the decoded reply, but for bytes at its end that a next token makes a character."""
    text = decode(tokenizer, ids)
    known = TokenBytes(tokenizer)
    visible = [token_id for token_id in ids if token_id not in tokenizer.all_special_ids]
    missing = text.removeprefix(told)
    assert text == told + missing
    assert missing == REPLACEMENT * len(missing)
    begun = unfinished(known.of(each) or decode(tokenizer, [each]).encode() for each in visible)
    assert len(missing) in ((1, begun) if begun else (0,))


def decodes_stably(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Tell whether each token leaves the whole characters before it as they are.

    Byte fallback decodes a run of byte tokens as one: a byte that fits nowhere turns all characters of its run
    into U+FFFD, also those that a reader has seen already. No stream can take those back.
    """
    shown = [decode(tokenizer, ids[:length]).rstrip(REPLACEMENT) for length in range(len(ids) + 1)]
    return all(later.startswith(earlier) for earlier, later in pairwise(shown))


def assert_appears_at_once(tokenizer: Any, text: str) -> None:
    """Check that a text's characters appear with the token that completes them, whole, and unchanged.

    Byte fallback decodes a run of byte tokens as one, so half a character hides the whole ones before it; what
    any shorter prefix showed is decodable all the same.
    """
    ids = encode(tokenizer, text)
    told = decodable = ""
    for length, piece in enumerate(stream(tokenizer, ids)[:-1], start=1):
        told += piece
        decodable = max(decodable, decode(tokenizer, ids[:length]).rstrip(REPLACEMENT), key=len)
        assert REPLACEMENT not in piece
        assert told == decodable
    assert told == decode(tokenizer, ids)


class TestDetokenizer:
    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_shows_each_character_with_the_token_that_completes_it(self, tokenizer: Any, text: str):
        assert_appears_at_once(tokenizer, text)

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_gives_the_encoded_text_back(self, tokenizer: Any, text: str):
        shown = "".join(stream(tokenizer, encode(tokenizer, text)))
        assert shown in {text, text.removeprefix(" ")}  # Metaspace can't tell the first space from its own

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_shows_any_text_as_its_characters_complete(self, tokenizer: Any):
        @given(st.one_of(real_text, korean_and_emoji))
        @settings(deadline=None, max_examples=50)
        def check(text: str) -> None:
            assert_appears_at_once(tokenizer, text)

        check()

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_gives_the_decoded_reply_for_any_tokens(self, tokenizer: Any):
        @given(st.lists(st.integers(min_value=0, max_value=len(tokenizer) - 1), max_size=25))
        @settings(deadline=None, max_examples=100)
        def check(ids: list[int]) -> None:
            pieces = stream(tokenizer, ids)
            assert not any(piece.endswith(REPLACEMENT) for piece in pieces[:-1])
            if tokenizer in BYTE_LEVEL.values() or decodes_stably(tokenizer, ids):
                assert_all_but_an_unfinished_end(tokenizer, ids, "".join(pieces))

        check()

    @pytest.mark.parametrize("tokenizer", BYTE_FALLBACK.values(), ids=BYTE_FALLBACK)
    def test_leaves_what_was_shown_when_a_later_byte_fits_nowhere(self, tokenizer: Any):
        ids = [*encode(tokenizer, "😀"), *tokenizer.convert_tokens_to_ids(["<0xFF>"]), *encode(tokenizer, " cat")]
        pieces = stream(tokenizer, ids)
        assert "".join(pieces).startswith("😀" + REPLACEMENT)
        assert "".join(pieces).endswith(" cat")

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_shows_nothing_of_a_character_that_is_cut_in_half_at_the_end(self, tokenizer: Any):
        ids = encode(tokenizer, "cat 뷁")
        for cut in (1, 2):
            *pieces, last = stream(tokenizer, ids[:-cut])
            assert "".join(pieces) == "cat "
            assert last == ""

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_shows_a_replacement_character_that_the_model_wrote_wherever_it_stands(self, tokenizer: Any):
        for text in (f"cat {REPLACEMENT}", f"{REPLACEMENT} cat", f"cat {REPLACEMENT}{REPLACEMENT} 뷁"):
            assert "".join(stream(tokenizer, encode(tokenizer, text))) == text

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_shows_bytes_that_are_no_character_also_at_the_end(self, tokenizer: Any):
        byte = "\u00ff" if tokenizer in BYTE_LEVEL.values() else "<0xFF>"
        ids = [*encode(tokenizer, "cat"), *tokenizer.convert_tokens_to_ids([byte])]
        assert "".join(stream(tokenizer, ids)) == f"cat{REPLACEMENT}"
        ids += encode(tokenizer, "뷁")[-3:-1]
        assert "".join(stream(tokenizer, ids)) == f"cat{REPLACEMENT}"

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_hides_special_tokens_also_within_a_character(self, tokenizer: Any):
        end = tokenizer.eos_token_id
        ids = [token_id for token_id in encode(tokenizer, "뷁 cat") for token_id in (end, token_id, end)]
        assert "".join(stream(tokenizer, ids)) == "뷁 cat"

    def test_shows_added_tokens_that_are_not_special(self):
        tokenizer = BYTE_LEVEL["byte-level with plain added tokens"]
        assert "".join(stream(tokenizer, encode(tokenizer, "<think>cat</think>"))) == "<think>cat</think>"

    def test_of_nothing_shows_nothing(self):
        assert stream(BYTE_LEVEL["byte-level"], []) == [""]

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    @pytest.mark.parametrize("kind", ["text", "special tokens"])
    def test_takes_no_longer_for_a_token_the_longer_the_reply_is(self, tokenizer: Any, kind: str):
        ids = encode(tokenizer, "The capital 뷁") if kind == "text" else [tokenizer.eos_token_id]
        counting = CountingTokenizer(tokenizer)
        stream(counting, (ids * 1000)[:1000])
        assert counting.decoded_ids < 1000 * 20

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_shows_each_character_at_once_with_the_real_tokenizer(self, real_tokenizer: Any, text: str):
        assert_appears_at_once(real_tokenizer, text)
        assert "".join(stream(real_tokenizer, encode(real_tokenizer, text))) == text

    def test_gives_the_decoded_reply_for_any_tokens_of_the_real_tokenizer(self, real_tokenizer: Any):
        @given(st.lists(st.integers(min_value=0, max_value=len(real_tokenizer) - 1), max_size=25))
        @settings(deadline=None, max_examples=100)
        def check(ids: list[int]) -> None:
            assert_all_but_an_unfinished_end(real_tokenizer, ids, "".join(stream(real_tokenizer, ids)))

        check()


class CountingTokenizer:
    """Counts how many ids are decoded in all."""

    def __init__(self, tokenizer: Any):
        self.all_special_ids = tokenizer.all_special_ids
        self.decoded_ids = 0
        self._tokenizer = tokenizer

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        self.decoded_ids += len(ids)
        return str(self._tokenizer.decode(ids, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.fixture(scope="module")
def real_tokenizer(embedded_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(embedded_model)
