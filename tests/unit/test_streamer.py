"""What a model writes reaches its reader in pieces, in another thread, and its end or its error always does."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from hfdemo.chat.reply import HEARTBEAT_S, Delta
from hfdemo.decoding import streamer as streamer_module
from hfdemo.decoding.detokenizer import REPLACEMENT
from hfdemo.decoding.streamer import TokenStreamer, gathering_s
from tests.fakes import RECEIPT
from tests.unit.test_detokenizer import BYTE_LEVEL, TOKENIZERS, decode, encode

TOKENIZER = BYTE_LEVEL["byte-level"]
THINKER = BYTE_LEVEL["byte-level with plain added tokens"]


def write(streamer: TokenStreamer, reply: Sequence[int]) -> None:
    """Write a reply to its end, as whoever generates it does."""
    for token_id in reply:
        streamer.add(token_id)
    streamer.complete()
    streamer.finish(RECEIPT)


def read(streamer: TokenStreamer) -> list[Delta]:
    """Return the pieces that say something, and the end."""
    return [delta for delta in streamer.deltas() if delta.text or delta.thought or delta.receipt]


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def in_a_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


def test_the_reply_comes_whole_with_its_receipt_at_the_end():
    streamer, reply = TokenStreamer(TOKENIZER), encode(TOKENIZER, "서울입니다 👍🏽")
    in_a_thread(lambda: write(streamer, reply))
    deltas = read(streamer)
    assert text_of(deltas) == streamer.text == "서울입니다 👍🏽"
    assert [delta.receipt for delta in deltas] == [None] * (len(deltas) - 1) + [RECEIPT]
    assert streamer.token_ids == reply


def test_generate_can_hand_over_the_tokens_behind_the_prompt():
    streamer, reply = TokenStreamer(TOKENIZER), encode(TOKENIZER, "The cat")
    streamer.put(torch.tensor([encode(TOKENIZER, "Where?")]))
    for token_id in reply:
        streamer.put(torch.tensor([token_id]))
    streamer.end()
    assert (streamer.text, streamer.token_ids) == ("The cat", reply)


def test_what_comes_soon_after_the_first_piece_is_gathered(monkeypatch):
    monkeypatch.setattr(streamer_module, "gathering_s", lambda reply_s: 0.4)
    streamer = TokenStreamer(TOKENIZER)
    first, *others = encode(TOKENIZER, "The cat sat.")
    streamer.add(first)
    deltas = streamer.deltas()
    assert next(deltas).text == decode(TOKENIZER, [first])
    for token_id in others:
        streamer.add(token_id)
    started = time.monotonic()
    assert next(deltas).text == decode(TOKENIZER, others)
    assert 0.3 < time.monotonic() - started < 2


def test_the_end_does_not_wait_for_more(monkeypatch):
    monkeypatch.setattr(streamer_module, "gathering_s", lambda reply_s: 60.0)
    streamer = TokenStreamer(TOKENIZER)
    first, *others = encode(TOKENIZER, "The cat sat.")
    streamer.add(first)
    deltas = streamer.deltas()
    next(deltas)
    started = time.monotonic()
    in_a_thread(lambda: (time.sleep(0.1), write(streamer, others)))
    last = next(deltas)
    assert (last.text, last.receipt) == (decode(TOKENIZER, others), RECEIPT)
    assert time.monotonic() - started < 5


def test_pieces_come_no_more_often_than_the_reader_asks_for():
    streamer, times = TokenStreamer(TOKENIZER), []

    def slowly() -> None:
        for token_id in encode(TOKENIZER, "The cat sat on the mat and slept."):
            streamer.add(token_id)
            time.sleep(0.02)
        streamer.finish(RECEIPT)

    in_a_thread(slowly)
    for delta in streamer.deltas(interval_s=0.3):
        times += [time.monotonic()] if delta.text and not delta.receipt else []
    assert len(times) >= 2
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.25


@pytest.mark.parametrize(("reply_s", "seconds"), [(0, 0.04), (0.2, 0.04), (0.5, 0.1), (1, 0.2), (60, 0.2)])
def test_text_is_gathered_longer_when_there_is_enough_to_read(reply_s: float, seconds: float):
    assert gathering_s(reply_s) == pytest.approx(seconds)


def test_no_heartbeat_comes_between_the_pieces_of_a_fast_model():
    assert gathering_s(60) + 0.04 < HEARTBEAT_S


def test_a_reply_without_text_has_an_end():
    streamer = TokenStreamer(TOKENIZER, end_ids=[TOKENIZER.eos_token_id])
    write(streamer, [TOKENIZER.eos_token_id])
    assert [(delta.text, delta.receipt) for delta in streamer.deltas()] == [("", RECEIPT)]


def test_a_token_that_ends_a_reply_has_no_text_whatever_kind_it_is_of():
    (end,) = encode(TOKENIZER, "q")
    streamer = TokenStreamer(TOKENIZER, end_ids=[end])
    write(streamer, [*encode(TOKENIZER, "cat"), end])
    assert streamer.text == "cat"


def test_half_a_character_is_not_told_at_the_end_and_a_reply_goes_on_with_it():
    *ids, last = encode(TOKENIZER, "cat 뷁")
    streamer = TokenStreamer(TOKENIZER)
    write(streamer, ids)
    assert text_of(read(streamer)) == streamer.text == "cat "
    assert streamer.token_ids == ids
    later = TokenStreamer(TOKENIZER)
    later.resume(streamer.token_ids)
    write(later, [last])
    assert text_of(read(later)) == "cat 뷁"


def test_an_error_comes_after_the_text_that_came_before_it():
    streamer, shown = TokenStreamer(TOKENIZER), ""
    for token_id in encode(TOKENIZER, "cat"):
        streamer.add(token_id)
    streamer.fail(MemoryError("too much"))
    with pytest.raises(MemoryError, match="too much"):
        for delta in streamer.deltas():
            shown += delta.text
    assert shown == "cat"


def test_a_reader_that_waits_is_woken_by_an_error():
    streamer = TokenStreamer(TOKENIZER)
    in_a_thread(lambda: (time.sleep(0.05), streamer.fail(RuntimeError("broken"))))
    with pytest.raises(RuntimeError, match="broken"):
        list(streamer.deltas())


def test_heartbeats_come_while_no_text_does(monkeypatch):
    monkeypatch.setattr(streamer_module, "HEARTBEAT_S", 0.01)
    streamer = TokenStreamer(TOKENIZER)
    deltas = streamer.deltas(prompt_tokens=7, ahead=lambda: 3)
    assert [next(deltas), next(deltas)] == [Delta(used_tokens=7, ahead=3)] * 2
    write(streamer, encode(TOKENIZER, "cat"))
    last = next(deltas)
    assert (last.text, last.ahead) == ("cat", 0)


def test_each_piece_tells_how_much_of_the_context_is_used():
    streamer, reply = TokenStreamer(TOKENIZER), encode(TOKENIZER, "The cat")
    streamer.add(reply[0])
    deltas = streamer.deltas(prompt_tokens=30)
    assert next(deltas).used_tokens == 31
    write(streamer, reply[1:])
    assert next(deltas).used_tokens == 30 + len(reply)


@pytest.mark.parametrize("stop_text", ["\nUser:", "r: H"])
def test_a_stop_text_is_found_and_nothing_of_it_is_shown(stop_text: str):
    streamer = TokenStreamer(TOKENIZER, stop_texts=["never", stop_text])
    for token_id in encode(TOKENIZER, "The cat\nUser: Hi"):
        streamer.add(token_id)
        if streamer.stop_text_found:
            break
    streamer.complete()
    streamer.finish(RECEIPT)
    assert text_of(read(streamer)) == streamer.text == "The cat\nUser: Hi".partition(stop_text)[0]
    assert stop_text in decode(TOKENIZER, streamer.token_ids)
    assert stop_text not in decode(TOKENIZER, streamer.token_ids[:-1])


def test_what_only_looked_like_a_stop_text_is_told_at_the_end():
    streamer = TokenStreamer(TOKENIZER, stop_texts=["\nUser:"])
    write(streamer, encode(TOKENIZER, "The cat\nUser"))
    assert text_of(read(streamer)) == streamer.text == "The cat\nUser"


def test_thought_and_answer_come_apart_and_stop_texts_look_at_the_answer_only():
    streamer = TokenStreamer(THINKER, stop_texts=["stop"])
    write(streamer, encode(THINKER, "<think>\nNo stop yet.</think>\n\nIt is."))
    deltas = read(streamer)
    assert ("".join(delta.thought for delta in deltas), text_of(deltas)) == ("No stop yet.", "It is.")
    assert (streamer.thought, streamer.text, streamer.stop_text_found) == ("No stop yet.", "It is.", False)


def test_a_thought_that_the_prompt_opened_is_one():
    streamer = TokenStreamer(THINKER, opening="<think>\n")
    write(streamer, encode(THINKER, "Hm.</think>Yes."))
    assert (streamer.thought, streamer.text) == ("Hm.", "Yes.")


def test_it_is_known_when_the_first_and_the_last_token_came_and_the_first_of_the_answer(clock: "Clock"):
    streamer = TokenStreamer(THINKER)
    assert (streamer.first_token_at, streamer.first_text_at) == (0.0, 0.0)
    for token_id in encode(THINKER, "<think>a</think>b"):
        clock.now += 2
        streamer.add(token_id)
    assert (streamer.first_token_at, streamer.last_token_at) == (102, 108)
    assert streamer.first_text_at == 108


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_reply_goes_on_wherever_it_was_cut_off(tokenizer: Any):
    ids = encode(tokenizer, "The cat 뷁👍🏽 and  the hat")
    for cut in range(len(ids) + 1):
        streamer = TokenStreamer(tokenizer)
        streamer.resume(ids[:cut])
        told = streamer.text
        assert decode(tokenizer, ids[:cut]).startswith(told) and REPLACEMENT not in told
        write(streamer, ids[cut:])
        assert text_of(read(streamer)) == streamer.text == decode(tokenizer, ids)
        assert streamer.token_ids == ids


def test_a_reply_that_goes_on_with_half_a_character_tells_it_whole():
    *ids, last = encode(TOKENIZER, "cat 뷁")
    streamer = TokenStreamer(TOKENIZER)
    streamer.resume(ids)
    deltas = streamer.deltas()
    assert next(deltas).text == streamer.text == "cat "
    write(streamer, [last])
    assert next(deltas).text == "뷁"


def test_a_stop_text_is_found_that_lies_across_where_a_reply_goes_on():
    streamer = TokenStreamer(TOKENIZER, stop_texts=["\nUser:"])
    streamer.resume(encode(TOKENIZER, "The cat\nUs"))
    write(streamer, encode(TOKENIZER, "er: Hi"))
    assert streamer.stop_text_found and text_of(read(streamer)) == "The cat"


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("start", ["The cat", "서울 "])
def test_a_reply_begins_with_the_text_the_prompt_ends_in(tokenizer: Any, start: str):
    prompt = encode(tokenizer, start)
    more = encode(tokenizer, f"{start} and the 뷁")[len(prompt) :]
    streamer = TokenStreamer(tokenizer, before=prompt)
    streamer.begin_with(start)
    deltas = streamer.deltas()
    assert next(deltas).text == start
    write(streamer, more)
    both = decode(tokenizer, [*prompt, *more])
    assert text_of(list(deltas)) == streamer.text.removeprefix(start)
    assert streamer.text.removeprefix(start) == both.removeprefix(decode(tokenizer, prompt))
    assert streamer.token_ids == more


def test_a_reply_that_begins_with_nothing_tells_nothing():
    streamer = TokenStreamer(TOKENIZER)
    streamer.begin_with("")
    streamer.resume([])
    write(streamer, [])
    assert list(streamer.deltas()) == [Delta(receipt=RECEIPT)]


def test_two_pieces_are_one():
    first, second = Delta("a", "b", used_tokens=3, ahead=2), Delta("c", "d", receipt=replace(RECEIPT, seed=5))
    assert first.then(second) == Delta("ac", "bd", 3, 0, second.receipt)


class Clock:
    """Stands in for the module `time`; it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(streamer_module, "time", clock)
    return clock
