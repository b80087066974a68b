"""The last reply of each chat is kept under the chat's secret name, within bounds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hfdemo.chat.UNKNOWN import FinishedReply

from hfdemo.decoding.prefix_cache import MAX_REPLIES, KeptReplies, KeptReply
from tests.fakes import RECEIPT

MAX_CACHE_BYTES = 1_000_000
HALF = MAX_CACHE_BYTES // 2


def reply(text: str, cache_bytes: int = 0) -> KeptReply:
    """Return a reply whose cache is named as its text is."""
    cache = f"cache of {text}" if cache_bytes else None
    return KeptReply(FinishedReply(text, "", RECEIPT), (1, 2), (3,), cache, cache_bytes)


def caches(kept: KeptReplies, *chats: str) -> list[bool]:
    """Tell which chats still have their cache; all must have their reply."""
    replies = [kept.get(chat) for chat in chats]
    assert [one.finished.text for one in replies if one] == list(chats)
    assert [one.cache_bytes > 0 for one in replies if one] == [one.cache is not None for one in replies if one]
    return [one.cache is not None for one in replies if one]


def test_nothing_is_kept_at_first():
    assert KeptReplies().get("a") is None


def test_a_chat_finds_its_reply_as_it_was_put():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", cache_bytes=5))
    assert kept.get("a") == kept.get("a") == reply("a", cache_bytes=5)


def test_only_the_last_reply_of_a_chat_is_kept():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("first", cache_bytes=HALF + 1))
    kept.put("a", reply("second", cache_bytes=HALF + 1))
    assert kept.get("a") == reply("second", cache_bytes=HALF + 1)


def test_one_chat_never_gets_the_reply_of_another():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a"))
    kept.put("b", reply("b"))
    assert [kept.get(chat).finished.text for chat in ("a", "b")] == ["a", "b"]
    assert [kept.get(other) for other in ("", "A", "ab", "a ", "c")] == [None] * 5


def test_a_chat_that_is_over_is_forgotten_and_no_other():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a"))
    kept.put("b", reply("b"))
    kept.forget("a")
    kept.forget("a")
    kept.forget("nobody")
    assert kept.get("a") is None
    assert kept.get("b") == reply("b")


@dataclass
class Cache:
    """As much of a cache as is asked for here."""

    tokens: int

    def get_seq_length(self) -> int:
        return self.tokens


def keep(kept: KeptReplies, prompt: tuple[int, ...], reply_ids: tuple[int, ...], read: int | None = None) -> Cache:
    """Keep a reply of chat "a" of which the model has read all but the last token, as always, or `read` tokens."""
    cache = Cache(len(prompt) + len(reply_ids) - 1 if read is None else read)
    kept.put("a", KeptReply(FinishedReply("", "", RECEIPT), reply_ids, prompt, cache, cache_bytes=1))
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
    kept = KeptReplies(MAX_CACHE_BYTES)
    cache = keep(kept, (1, 2, 3), (7, 8, 9))
    assert kept.take_prefix("a", ids) == ((cache, same) if same else (None, 0))
    assert kept.get("a") is None, "a cache that is being written to belongs to one reply alone"


def test_only_what_the_model_has_read_counts():
    kept = KeptReplies(MAX_CACHE_BYTES)
    cache = keep(kept, (1, 2, 3), (7, 8, 9), read=4)
    assert kept.take_prefix("a", (1, 2, 3, 7, 8, 9, 4)) == (cache, 4)


def test_nothing_is_the_same_for_another_chat_or_without_a_cache():
    kept = KeptReplies(MAX_CACHE_BYTES)
    keep(kept, (1, 2, 3), (7, 8, 9))
    assert kept.take_prefix("b", (1, 2, 3, 7)) == kept.take_prefix("", (1, 2, 3, 7)) == (None, 0)
    without = KeptReplies(0)
    keep(without, (1, 2, 3), (7, 8, 9))
    assert without.take_prefix("a", (1, 2, 3, 7)) == (None, 0)


def test_the_chat_that_was_silent_longest_falls_out_when_there_are_too_many():
    kept = KeptReplies(MAX_CACHE_BYTES)
    for number in range(MAX_REPLIES):
        kept.put(f"{number}", reply(f"{number}"))
    kept.put("0", reply("0, spoke again"))
    kept.put("new", reply("new"))
    assert kept.get("1") is None
    assert kept.get("0") == reply("0, spoke again")
    assert all(kept.get(f"{number}") == reply(f"{number}") for number in range(2, MAX_REPLIES))
    assert kept.get("new") == reply("new")


def test_caches_fill_their_room_to_the_last_byte():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES - HALF))
    assert caches(kept, "a", "b") == [True, True]
    kept.put("c", reply("c", 1))
    assert caches(kept, "a", "b", "c") == [False, True, True]


def test_the_chat_that_was_silent_longest_loses_its_cache_first_but_not_its_reply():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.put("a", reply("a", HALF))
    kept.put("c", reply("c", HALF))
    assert caches(kept, "a", "b", "c") == [True, False, True]
    assert kept.get("b").token_ids == (1, 2) and kept.get("b").prompt_ids == (3,)


def test_as_few_caches_as_needed_are_lost():
    kept = KeptReplies(MAX_CACHE_BYTES)
    for chat in "abcd":
        kept.put(chat, reply(chat, MAX_CACHE_BYTES // 4))
    kept.put("e", reply("e", MAX_CACHE_BYTES // 4 + 1))
    assert caches(kept, *"abcde") == [False, False, True, True, True]


def test_a_reply_without_a_cache_takes_no_room():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", MAX_CACHE_BYTES))
    kept.put("b", reply("b"))
    assert caches(kept, "a", "b") == [True, False]


def test_a_cache_that_is_larger_than_all_the_room_is_not_kept():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES + 1))
    assert caches(kept, "a", "b") == [False, False]


def test_a_forgotten_chat_gives_its_room_back():
    kept = KeptReplies(MAX_CACHE_BYTES)
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.forget("b")
    kept.put("c", reply("c", HALF))
    assert caches(kept, "a", "c") == [True, True]


@pytest.mark.parametrize("cache_bytes", [1, MAX_CACHE_BYTES // 3])
def test_chats_in_several_threads_each_find_their_own(cache_bytes):
    kept = KeptReplies(MAX_CACHE_BYTES)

    def chat(name: str) -> list[str]:
        wrong = []
        for turn in range(300):
            kept.put(name, reply(f"{name} {turn}", cache_bytes))
            found = kept.get(name)
            if found is None or found.finished.text != f"{name} {turn}":
                wrong.append(f"{name} {turn}: {found}")
            if turn % 7 == 0:
                kept.forget(name)
        return wrong

    with ThreadPoolExecutor(8) as threads:
        assert [wrong for wrongs in threads.map(chat, "abcdefgh") for wrong in wrongs] == []
    left = [kept.get(name) for name in "abcdefgh"]
    assert [one.finished.text for one in left if one] == [f"{name} 299" for name in "abcdefgh"]
    assert sum(one.cache_bytes for one in left if one) <= MAX_CACHE_BYTES
