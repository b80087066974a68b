"""A reply's text appears as soon as its characters are whole, and its end or its error always arrives."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoTokenizer

from hfdemo.decoding import streamer as streaming
from hfdemo.decoding.streamer import (
    REPLACEMENT,
    Detokenizer,
    Finished,
    FiniteLogits,
    Stopped,
    StopTexts,
    TokenStreamer,
    interruptible,
)
from hfdemo.engines.protocol import HEARTBEAT_S
from hfdemo.errors import GenerationFailed
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
                assert "".join(pieces) == decode(tokenizer, ids)

        check()

    @pytest.mark.parametrize("tokenizer", BYTE_FALLBACK.values(), ids=BYTE_FALLBACK)
    def test_leaves_what_was_shown_when_a_later_byte_fits_nowhere(self, tokenizer: Any):
        ids = [*encode(tokenizer, "😀"), *tokenizer.convert_tokens_to_ids(["<0xFF>"]), *encode(tokenizer, " cat")]
        pieces = stream(tokenizer, ids)
        assert "".join(pieces).startswith("😀" + REPLACEMENT)
        assert "".join(pieces).endswith(" cat")

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_shows_a_character_cut_in_half_at_the_end_only(self, tokenizer: Any):
        ids = encode(tokenizer, "cat 뷁")[:-1]
        *pieces, last = stream(tokenizer, ids)
        assert "".join(pieces) == "cat "
        assert last == REPLACEMENT * len(last) != ""

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
            assert "".join(stream(real_tokenizer, ids)) == decode(real_tokenizer, ids)

        check()


class TestStopTexts:
    @pytest.mark.parametrize(
        ("stops", "text", "shown"),
        [
            (["\nUser:"], "Seoul.\nUser: And then?", "Seoul."),
            (["\nUser:", "\nSystem:"], "a\nSystem:b\nUser:c", "a"),
            (["b", "a"], "xab", "x"),
            (["END"], "END", ""),
            (["끝"], "서울입니다 끝 그리고", "서울입니다 "),
            (["aab"], "aaab", "a"),
            (["abc", "b"], "xabc", "xa"),
            (["b", "ab"], "xabc", "x"),
            (["ab", "abc"], "xabc", "x"),
            (["", "b"], "ab", "a"),
        ],
    )
    def test_end_the_reply_before_the_first_that_is_whole(self, stops: list[str], text: str, shown: str):
        for pieces in ([text], list(text)):
            stop_texts = StopTexts(stops)
            assert "".join(map(stop_texts.add, pieces)) == shown
            assert stop_texts.found
            assert stop_texts.add("more") == stop_texts.end() == ""

    @pytest.mark.parametrize(
        ("stops", "text"), [([], "a\nUser:"), ([""], "ab"), (["\nUser:"], "a User:\nUse:\n"), (["aab"], "aa")]
    )
    def test_that_do_not_come_change_nothing(self, stops: list[str], text: str):
        for pieces in ([text], list(text)):
            stop_texts = StopTexts(stops)
            assert "".join(map(stop_texts.add, pieces)) + stop_texts.end() == text
            assert not stop_texts.found

    def test_show_no_beginning_of_one_until_it_is_none(self):
        stop_texts = StopTexts(["\nUser:", "\nUnd"])
        assert [stop_texts.add(piece) for piece in ("Seoul\n", "U", "s", "a", "\n", "\nUser")] == [
            "Seoul",
            "",
            "",
            "\nUsa",
            "",
            "\n",
        ]
        assert (stop_texts.end(), stop_texts.end()) == ("\nUser", "")

    def test_of_any_kind_end_a_reply_at_the_same_place_whatever_its_pieces(self):
        @given(
            st.lists(st.text("ab\n", max_size=4), max_size=4),
            st.lists(st.text("ab\n", max_size=6), max_size=8),
        )
        @settings(deadline=None, max_examples=500)
        def check(stops: list[str], pieces: list[str]) -> None:
            text = "".join(pieces)
            expected, found = before_first_whole(text, [stop for stop in stops if stop])
            stop_texts = StopTexts(stops)
            shown = ""
            for piece in pieces:
                shown += stop_texts.add(piece)
                assert expected.startswith(shown)
            assert shown + stop_texts.end() == expected
            assert stop_texts.found is found

        check()


def before_first_whole(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the stop text that is whole first, and whether there is one."""
    for length in range(1, len(text) + 1):
        whole = [stop for stop in stops if text[:length].endswith(stop)]
        if whole:
            return text[: length - len(max(whole, key=len))], True
    return text, False


class TestFiniteLogits:
    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_that_are_no_numbers_end_the_reply(self, wrong: float, place: int):
        scores = torch.tensor([[0.5, -math.inf, -2.0]])
        scores[0, place] = wrong
        with pytest.raises(GenerationFailed) as failure:
            FiniteLogits()(torch.tensor([[1]]), scores)
        assert failure.value.key == "not_a_number"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_that_are_numbers_or_forbid_a_token_stay_as_they_are(self, dtype: torch.dtype):
        scores = torch.tensor([[0.5, -math.inf, -2.0, 60_000.0]], dtype=dtype)
        assert FiniteLogits()(torch.tensor([[1]]), scores) is scores
        assert scores.tolist()[0][1] == -math.inf

    def test_that_all_forbid_their_token_pass(self):
        scores = torch.full((1, 3), -math.inf)
        assert FiniteLogits()(torch.tensor([[1]]), scores) is scores


class TestTokenStreamer:
    def test_hands_over_the_reply_without_the_prompt(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        reply = encode(tokenizer, "서울입니다 👍🏽")
        in_a_thread(lambda: generate(streamer, prompt=encode(tokenizer, "Where?"), reply=reply))
        assert "".join(streamer.pieces(heartbeat_s=5)) == "서울입니다 👍🏽"
        assert streamer.token_ids == reply

    def test_gathers_what_comes_soon_after_the_first_piece(self, tokenizer: Any, monkeypatch: Any):
        monkeypatch.setattr(streaming, "gathering_s", lambda reply_s: 60.0)
        streamer = TokenStreamer(tokenizer, threading.Event())
        pieces = streamer.pieces(heartbeat_s=0.01)
        first, *others = encode(tokenizer, "The cat sat.")
        streamer.put(torch.tensor([[1]]))
        streamer.put(torch.tensor([first]))
        assert next(pieces) == decode(tokenizer, [first])
        for token_id in others:
            streamer.put(torch.tensor([token_id]))
        assert next(pieces) == ""
        streamer.fail(Stopped())
        assert next(pieces) == decode(tokenizer, others)
        with pytest.raises(Stopped):
            next(pieces)

    @pytest.mark.parametrize(("reply_s", "seconds"), [(0, 0.04), (0.2, 0.04), (0.5, 0.1), (1, 0.2), (60, 0.2)])
    def test_gathers_longer_when_there_is_enough_to_read(self, reply_s: float, seconds: float):
        assert streaming.gathering_s(reply_s) == pytest.approx(seconds)

    def test_no_heartbeat_comes_between_the_pieces_of_a_fast_model(self):
        assert streaming.gathering_s(60) + 0.04 < HEARTBEAT_S

    def test_hands_over_each_piece_before_the_next_token_comes(self, tokenizer: Any, monkeypatch: Any):
        monkeypatch.setattr(streaming, "gathering_s", lambda reply_s: 0.0)
        streamer = TokenStreamer(tokenizer, threading.Event())
        pieces = streamer.pieces(heartbeat_s=5)
        streamer.put(torch.tensor([encode(tokenizer, "Where?")]))
        for token_id in encode(tokenizer, "The cat"):
            streamer.put(torch.tensor([token_id]))
            assert next(pieces) == decode(tokenizer, [token_id])

    def test_hands_over_a_reply_without_text(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        generate(streamer, prompt=[1], reply=[tokenizer.eos_token_id])
        assert list(streamer.pieces(heartbeat_s=5)) == []
        assert streamer.token_ids == [tokenizer.eos_token_id]

    def test_hands_over_half_a_character_at_the_end(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        generate(streamer, prompt=[1], reply=encode(tokenizer, "cat 뷁")[:-1])
        assert "".join(streamer.pieces(heartbeat_s=5)) == "cat " + REPLACEMENT

    def test_raises_the_error_after_the_text_that_came_before_it(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        streamer.put(torch.tensor([[1]]))
        streamer.put(torch.tensor(encode(tokenizer, "cat")))
        streamer.fail(MemoryError("too much"))
        pieces = streamer.pieces(heartbeat_s=5)
        with pytest.raises(MemoryError, match="too much"):
            shown = [next(pieces) for _ in encode(tokenizer, "cat")]
            assert "".join(shown) == "cat"
            next(pieces)

    def test_wakes_a_reader_that_waits_when_it_fails(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        in_a_thread(lambda: (time.sleep(0.05), streamer.fail(RuntimeError("broken"))))
        with pytest.raises(RuntimeError, match="broken"):
            list(streamer.pieces(heartbeat_s=30))

    def test_gives_heartbeats_while_no_text_comes(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        pieces = streamer.pieces(heartbeat_s=0.01)
        assert [next(pieces), next(pieces)] == ["", ""]
        generate(streamer, prompt=[1], reply=encode(tokenizer, "cat"))
        assert "".join(pieces) == "cat"

    @pytest.mark.parametrize("puts_before", [0, 1, 2])
    def test_takes_no_token_after_the_stop(self, tokenizer: Any, puts_before: int):
        stop = threading.Event()
        streamer = TokenStreamer(tokenizer, stop)
        ids = encode(tokenizer, "cat cat")
        for value in [torch.tensor([[1, 2, 3]]), torch.tensor(ids[:1])][:puts_before]:
            streamer.put(value)
        stop.set()
        with pytest.raises(Stopped):
            streamer.put(torch.tensor(ids[1:2]))
        assert streamer.token_ids == ids[: max(puts_before - 1, 0)]

    @pytest.mark.parametrize("stop_text", ["\nUser:", "r: H"])
    def test_ends_at_a_stop_text_and_shows_nothing_of_it(self, tokenizer: Any, stop_text: str):
        streamer = TokenStreamer(tokenizer, threading.Event(), stop_texts=["never", stop_text])
        reply = encode(tokenizer, "The cat\nUser: Hi again")
        with pytest.raises(Finished) as finished:
            generate(streamer, prompt=[1], reply=reply)
        assert finished.value.reason == "stop_text"
        streamer.end()
        shown = "The cat\nUser: Hi".partition(stop_text)[0]
        assert "".join(streamer.pieces(heartbeat_s=5)) == streamer.text == shown
        read = decode(tokenizer, streamer.token_ids)
        assert stop_text in read
        assert stop_text not in decode(tokenizer, streamer.token_ids[:-1])

    def test_never_finds_a_stop_text_in_the_prompt(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event(), stop_texts=["\nUser:"])
        prompt = encode(tokenizer, "a\nUser: Hi\nUser")
        generate(streamer, prompt=prompt, reply=encode(tokenizer, ": cat"))
        assert "".join(streamer.pieces(heartbeat_s=5)) == ": cat"

    def test_tells_at_the_end_what_only_looked_like_a_stop_text(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event(), stop_texts=["\nUser:"])
        generate(streamer, prompt=[1], reply=encode(tokenizer, "The cat\nUser"))
        assert "".join(streamer.pieces(heartbeat_s=5)) == streamer.text == "The cat\nUser"

    def test_ends_when_its_time_is_over_and_keeps_what_came(self, tokenizer: Any, clock: "Clock"):
        streamer = TokenStreamer(tokenizer, threading.Event(), time_limit_s=10)
        ids = encode(tokenizer, "The cat and the hat")
        streamer.put(torch.tensor([[1]]))
        clock.now += 10
        streamer.put(torch.tensor(ids[:1]))
        clock.now += 1
        with pytest.raises(Finished) as finished:
            streamer.put(torch.tensor(ids[1:2]))
        assert finished.value.reason == "time_limit"
        streamer.end()
        assert "".join(streamer.pieces(heartbeat_s=5)) == decode(tokenizer, ids[:2])
        assert streamer.token_ids == ids[:2]

    def test_does_not_count_the_time_before_its_prompt_came(self, tokenizer: Any, clock: "Clock"):
        streamer = TokenStreamer(tokenizer, threading.Event(), time_limit_s=10)
        clock.now += 60
        generate(streamer, prompt=[1], reply=encode(tokenizer, "The cat"))
        assert "".join(streamer.pieces(heartbeat_s=5)) == "The cat"

    def test_tells_when_the_first_and_the_last_token_came(self, tokenizer: Any, clock: "Clock"):
        streamer = TokenStreamer(tokenizer, threading.Event())
        first = []
        streamer.on_first_token = lambda: first.append(clock.now)
        streamer.put(torch.tensor([[1]]))
        assert (streamer.first_token_at, first) == (0.0, [])
        for _ in range(3):
            clock.now += 2
            streamer.put(torch.tensor([5]))
        assert (streamer.first_token_at, streamer.last_token_at, first) == (102, 106, [102])

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    def test_goes_on_with_a_reply_wherever_it_was_cut_off(self, tokenizer: Any):
        ids = encode(tokenizer, "The cat 뷁👍🏽 and  the hat")
        for cut in range(len(ids) + 1):
            streamer = TokenStreamer(tokenizer, threading.Event())
            streamer.resume(ids[:cut])
            told = streamer.text
            assert decode(tokenizer, ids[:cut]).startswith(told) and REPLACEMENT not in told
            generate(streamer, prompt=[1, 2], reply=ids[cut:])
            pieces = list(streamer.pieces(heartbeat_s=5))
            assert "".join(pieces) == streamer.text == decode(tokenizer, ids)
            assert pieces[0] == told or not told
            assert streamer.token_ids == ids

    def test_that_goes_on_with_half_a_character_tells_it_whole(self, tokenizer: Any):
        *ids, last = encode(tokenizer, "cat 뷁")
        streamer = TokenStreamer(tokenizer, threading.Event())
        streamer.resume(ids)
        assert streamer.text == "cat "
        generate(streamer, prompt=[1], reply=[last])
        assert list(streamer.pieces(heartbeat_s=5)) == ["cat ", "뷁"]

    def test_that_goes_on_finds_a_stop_text_that_lies_across(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event(), stop_texts=["\nUser:"])
        streamer.resume(encode(tokenizer, "The cat\nUs"))
        with pytest.raises(Finished):
            generate(streamer, prompt=[1], reply=encode(tokenizer, "er: Hi"))
        streamer.end()
        assert list(streamer.pieces(heartbeat_s=5)) == ["The cat"]

    @pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
    @pytest.mark.parametrize("start", ["The cat", "서울 "])
    def test_begins_with_the_text_the_prompt_ends_in(self, tokenizer: Any, start: str):
        prompt = encode(tokenizer, start)
        more = encode(tokenizer, f"{start} and the 뷁")[len(prompt) :]
        streamer = TokenStreamer(tokenizer, threading.Event(), before=prompt)
        streamer.begin_with(start)
        generate(streamer, prompt=prompt, reply=more)
        first, *others = streamer.pieces(heartbeat_s=5)
        assert first == start
        assert start + "".join(others) == streamer.text
        both = decode(tokenizer, [*prompt, *more])
        assert streamer.text.removeprefix(start) == both.removeprefix(decode(tokenizer, prompt))
        assert streamer.token_ids == more

    def test_that_begins_with_nothing_tells_nothing(self, tokenizer: Any):
        streamer = TokenStreamer(tokenizer, threading.Event())
        streamer.begin_with("")
        streamer.resume([])
        generate(streamer, prompt=[1], reply=[])
        assert list(streamer.pieces(heartbeat_s=5)) == []

    @pytest.fixture
    def tokenizer(self) -> Any:
        return BYTE_LEVEL["byte-level"]


def test_end_soon_lets_the_token_through_that_was_written_and_no_other():
    streamer = TokenStreamer(BYTE_LEVEL["byte-level"], threading.Event())
    first, second = encode(BYTE_LEVEL["byte-level"], "q7")
    streamer.put(torch.tensor([[1]]))
    streamer.put(torch.tensor([first]))
    streamer.end_soon("model_changed")
    with pytest.raises(Finished) as finished:
        streamer.put(torch.tensor([second]))
    assert finished.value.reason == "model_changed"
    assert streamer.token_ids == [first, second]


class TestInterruptible:
    """A forward pass with a streamer's check between its layers, as in `generate_reply`."""

    def test_ends_a_forward_pass_between_two_layers(self):
        stop = threading.Event()
        layers = [Layer(), Layer(then=stop.set), Layer()]
        with pytest.raises(Stopped), interruptible(layers, reading(stop).check):
            nn.Sequential(*layers)(torch.ones(1))
        assert [layer.passes for layer in layers] == [1, 1, 0]

    def test_lets_a_forward_pass_through_that_nobody_stops(self):
        layers = [Layer(), Layer()]
        with interruptible(layers, reading().check):
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3

    def test_leaves_the_layers_as_they_were(self):
        stop = threading.Event()
        layers = [Layer(), Layer(then=stop.set), Layer()]
        with pytest.raises(Stopped), interruptible(layers, reading(stop).check):
            nn.Sequential(*layers)(torch.ones(1))
        assert nn.Sequential(*layers)(torch.ones(1)).item() == 4

    def test_ends_a_forward_pass_when_its_time_is_over(self, clock: "Clock"):
        layers = [Layer(), Layer(then=lambda: clock.forward(11)), Layer()]
        with pytest.raises(Finished) as finished, interruptible(layers, reading(time_limit_s=10).check):
            nn.Sequential(*layers)(torch.ones(1))
        assert finished.value.reason == "time_limit"
        assert [layer.passes for layer in layers] == [1, 1, 0]

    def test_ends_a_forward_pass_when_another_model_is_chosen(self):
        streamer = reading()
        layers = [Layer(), Layer(then=lambda: streamer.end_soon("model_changed")), Layer()]
        with pytest.raises(Finished) as finished, interruptible(layers, streamer.check):
            nn.Sequential(*layers)(torch.ones(1))
        assert finished.value.reason == "model_changed"
        assert [layer.passes for layer in layers] == [1, 1, 0]

    def test_lets_a_forward_pass_through_that_takes_all_its_time(self, clock: "Clock"):
        layers = [Layer(then=lambda: clock.forward(10)), Layer()]
        with interruptible(layers, reading(time_limit_s=10).check):
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3

    def test_is_over_once_the_checks_are_taken_out(self, clock: "Clock"):
        stop = threading.Event()
        layers = [Layer(), Layer()]
        with interruptible(layers, reading(stop, time_limit_s=10).check) as lift:
            lift()
            stop.set()
            clock.now += 11
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3


def reading(stop: threading.Event | None = None, time_limit_s: float = 300) -> TokenStreamer:
    """Return a streamer whose prompt is being read."""
    streamer = TokenStreamer(BYTE_LEVEL["byte-level"], stop or threading.Event(), time_limit_s=time_limit_s)
    streamer.put(torch.tensor([[1]]))
    return streamer


class Clock:
    """Stands in for the module `time`; it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("hfdemo.decoding.streamer.time", clock)
    return clock


class Layer(nn.Module):
    """Adds one, counts its passes and then does what it is told to."""

    def __init__(self, then: Callable[[], object] = lambda: None):
        super().__init__()
        self.passes = 0
        self.then = then

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        self.then()
        return value + 1


class CountingTokenizer:
    """Counts how many ids are decoded in all."""

    def __init__(self, tokenizer: Any):
        self.all_special_ids = tokenizer.all_special_ids
        self.decoded_ids = 0
        self._tokenizer = tokenizer

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        self.decoded_ids += len(ids)
        return str(self._tokenizer.decode(ids, **options))


def generate(streamer: TokenStreamer, prompt: list[int], reply: list[int]) -> None:
    """Call the streamer as transformers' `generate` does."""
    streamer.put(torch.tensor([prompt]))
    for token_id in reply:
        streamer.put(torch.tensor([token_id]))
    streamer.end()


def in_a_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


@pytest.fixture(scope="module")
def real_tokenizer(embedded_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(embedded_model)
