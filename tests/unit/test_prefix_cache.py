"""The last reply of each conversation is kept under its secret key, within bounds."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from hfdemo.decoding import prefix_cache
from hfdemo.decoding.prefix_cache import MAX_CACHE_IDLE_S, MAX_IDLE_S, MAX_REPLIES, CachedReply, PrefixCache

MAX_CACHE_BYTES = 1_000_000
HALF = MAX_CACHE_BYTES // 2


@dataclass
class Cache:
    """As much of a cache as is asked for here."""

    tokens: int
    of: str = ""

    def get_seq_length(self) -> int:
        return self.tokens


def reply(text: str, cache_bytes: int = 0) -> CachedReply:
    """Return a reply whose cache is named as its text is."""
    cache = Cache(4, text) if cache_bytes else None
    return CachedReply(text, (1, 2), (3,), cache, cache_bytes, used_at=time.monotonic())


def texts(kept: PrefixCache) -> list[str]:
    return [one.text for one in kept._replies.values()]


def caches(kept: PrefixCache, *keys: str) -> list[bool]:
    """Tell which conversations still have their cache; all must have their reply."""
    replies = [kept._replies[key] for key in keys]
    assert [one.text for one in replies] == list(keys)
    assert [one.cache_bytes > 0 for one in replies] == [one.cache is not None for one in replies]
    return [one.cache is not None for one in replies]


def test_nothing_is_kept_at_first():
    assert PrefixCache().reply_ids("a", "") == ()


def test_a_conversation_finds_the_tokens_of_its_reply_while_that_says_the_same():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", cache_bytes=5))
    assert kept.reply_ids("a", "a") == kept.reply_ids("a", "a") == (1, 2)
    assert kept.reply_ids("a", "a, edited") == ()


def test_only_the_last_reply_of_a_conversation_is_kept():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("first", cache_bytes=HALF + 1))
    kept.put("a", reply("second", cache_bytes=HALF + 1))
    assert texts(kept) == ["second"] and kept._replies["a"].cache == Cache(4, "second")


def test_one_conversation_never_gets_the_reply_of_another():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("same"))
    assert kept.reply_ids("a", "same") == (1, 2)
    assert [kept.reply_ids(other, "same") for other in ("", "A", "ab", "a ", "c")] == [()] * 5


def test_nothing_is_kept_without_a_key():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("", reply("a", cache_bytes=5))
    assert texts(kept) == []


def test_nothing_is_left_for_another_model():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.clear()
    assert kept.reply_ids("a", "a") == () and kept.take("a", (3, 1, 2)) == (None, 0)


def test_what_was_silent_for_an_hour_is_dropped_with_the_next_reply(monkeypatch):
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", 5))
    now = time.monotonic()
    monkeypatch.setattr(prefix_cache.time, "monotonic", lambda: now + MAX_IDLE_S - 60)
    kept.put("b", reply("b", 5))
    assert texts(kept) == ["a", "b"]
    monkeypatch.setattr(prefix_cache.time, "monotonic", lambda: now + MAX_IDLE_S + 60)
    kept.put("c", reply("c", 5))
    assert texts(kept) == ["b", "c"]


def test_what_was_silent_for_ten_minutes_loses_its_keys_and_values_and_keeps_its_tokens(monkeypatch):
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", 5))
    kept.put("b", reply("b", 5))
    now = time.monotonic()
    monkeypatch.setattr(prefix_cache.time, "monotonic", lambda: now + MAX_CACHE_IDLE_S - 60)
    assert kept.expire() and caches(kept, "a", "b") == [True, True]
    kept.put("b", reply("b", 5))
    monkeypatch.setattr(prefix_cache.time, "monotonic", lambda: now + MAX_CACHE_IDLE_S + 60)
    assert kept.expire() and caches(kept, "a", "b") == [False, True]
    assert kept.reply_ids("a", "a") == (1, 2)
    monkeypatch.setattr(prefix_cache.time, "monotonic", lambda: now + MAX_CACHE_IDLE_S + MAX_IDLE_S)
    assert not kept.expire() and texts(kept) == []


def test_a_smaller_limit_holds_at_once():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.limit(HALF)
    assert caches(kept, "a", "b") == [False, True]


def keep(kept: PrefixCache, prompt: tuple[int, ...], reply_ids: tuple[int, ...], read: int | None = None) -> Cache:
    """Keep a reply under "a" of which the model has read all but the last token, as always, or `read` tokens."""
    cache = Cache(len(prompt) + len(reply_ids) - 1 if read is None else read)
    kept.put("a", CachedReply("", reply_ids, prompt, cache, cache_bytes=1))
    return cache


@pytest.mark.parametrize(
    ("ids", "same"),
    [
        ((1, 2, 3, 7, 8, 9, 4, 5), 5),  # the next turn: all that was read
        ((1, 2, 3, 7, 8), 4),  # it goes on where it was: never the last token, whose logits are wanted
        ((1, 2, 3), 2),  # regenerated
        ((1, 2, 3, 7), 3),
        ((1, 2, 3, 6, 8, 9, 4), 3),  # the reply reads differently when it is text again
        ((1, 9, 3, 7, 8, 9), 1),  # an earlier message was edited
        ((9, 2, 3, 7, 8, 9), 0),  # another system prompt
        ((1,), 0),
    ],
)
def test_what_is_the_same_at_the_beginning_need_not_be_read_again(ids, same):
    kept = PrefixCache(MAX_CACHE_BYTES)
    cache = keep(kept, (1, 2, 3), (7, 8, 9))
    assert kept.take("a", ids) == ((cache, same) if same else (None, 0))
    assert texts(kept) == [], "a cache that is being written to belongs to one reply alone"


def test_only_what_the_model_has_read_counts():
    kept = PrefixCache(MAX_CACHE_BYTES)
    cache = keep(kept, (1, 2, 3), (7, 8, 9), read=4)
    assert kept.take("a", (1, 2, 3, 7, 8, 9, 4)) == (cache, 4)


def test_nothing_is_the_same_for_another_chat_or_without_a_cache():
    kept = PrefixCache(MAX_CACHE_BYTES)
    keep(kept, (1, 2, 3), (7, 8, 9))
    assert kept.take("b", (1, 2, 3, 7)) == kept.take("", (1, 2, 3, 7)) == (None, 0)
    without = PrefixCache(0)
    keep(without, (1, 2, 3), (7, 8, 9))
    assert without.take("a", (1, 2, 3, 7)) == (None, 0)


def test_the_chat_that_was_silent_longest_falls_out_when_there_are_too_many():
    kept = PrefixCache(MAX_CACHE_BYTES)
    for number in range(MAX_REPLIES):
        kept.put(f"{number}", reply(f"{number}"))
    kept.put("0", reply("0, spoke again"))
    kept.put("new", reply("new"))
    assert texts(kept) == [*(f"{number}" for number in range(2, MAX_REPLIES)), "0, spoke again", "new"]


def test_caches_fill_their_room_to_the_last_byte():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES - HALF))
    assert caches(kept, "a", "b") == [True, True]
    kept.put("c", reply("c", 1))
    assert caches(kept, "a", "b", "c") == [False, True, True]


def test_the_chat_that_was_silent_longest_loses_its_cache_first_but_not_its_reply():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.put("a", reply("a", HALF))
    kept.put("c", reply("c", HALF))
    assert caches(kept, "a", "b", "c") == [True, False, True]
    assert kept.reply_ids("b", "b") == (1, 2)


def test_as_few_caches_as_needed_are_lost():
    kept = PrefixCache(MAX_CACHE_BYTES)
    for chat in "abcd":
        kept.put(chat, reply(chat, MAX_CACHE_BYTES // 4))
    kept.put("e", reply("e", MAX_CACHE_BYTES // 4 + 1))
    assert caches(kept, *"abcde") == [False, False, True, True, True]


def test_a_reply_without_a_cache_takes_no_room():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", MAX_CACHE_BYTES))
    kept.put("b", reply("b"))
    assert caches(kept, "a", "b") == [True, False]


def test_a_cache_that_is_larger_than_all_the_room_is_not_kept():
    kept = PrefixCache(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES + 1))
    assert caches(kept, "a", "b") == [False, False]


@pytest.mark.parametrize("cache_bytes", [1, MAX_CACHE_BYTES // 3])
def test_chats_in_several_threads_each_find_their_own(cache_bytes):
    kept = PrefixCache(MAX_CACHE_BYTES)

    def chat(name: str) -> list[str]:
        wrong = []
        for turn in range(300):
            kept.put(name, reply(f"{name} {turn}", cache_bytes))
            if kept.reply_ids(name, f"{name} {turn}") != (1, 2):
                wrong.append(f"{name} {turn}")
            if turn % 7 == 0:
                kept.take(name, (3,))
        return wrong

    with ThreadPoolExecutor(8) as threads:
        assert [wrong for wrongs in threads.map(chat, "abcdefgh") for wrong in wrongs] == []
    assert sorted(texts(kept)) == [f"{name} 299" for name in "abcdefgh"]
    assert sum(one.cache_bytes for one in kept._replies.values()) <= MAX_CACHE_BYTES
