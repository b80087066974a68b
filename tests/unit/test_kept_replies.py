"""The last reply of each chat is kept under the chat's secret name, within bounds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from hfdemo.engines.kept_replies import MAX_CACHE_BYTES, MAX_REPLIES, KeptReplies, KeptReply
from hfdemo.messages import FinishedReply
from tests.fakes import RECEIPT

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
    kept = KeptReplies()
    kept.put("a", reply("a", cache_bytes=5))
    assert kept.get("a") == kept.get("a") == reply("a", cache_bytes=5)


def test_only_the_last_reply_of_a_chat_is_kept():
    kept = KeptReplies()
    kept.put("a", reply("first", cache_bytes=HALF + 1))
    kept.put("a", reply("second", cache_bytes=HALF + 1))
    assert kept.get("a") == reply("second", cache_bytes=HALF + 1)


def test_one_chat_never_gets_the_reply_of_another():
    kept = KeptReplies()
    kept.put("a", reply("a"))
    kept.put("b", reply("b"))
    assert [kept.get(chat).finished.text for chat in ("a", "b")] == ["a", "b"]
    assert [kept.get(other) for other in ("", "A", "ab", "a ", "c")] == [None] * 5


def test_a_chat_that_is_over_is_forgotten_and_no_other():
    kept = KeptReplies()
    kept.put("a", reply("a"))
    kept.put("b", reply("b"))
    kept.forget("a")
    kept.forget("a")
    kept.forget("nobody")
    assert kept.get("a") is None
    assert kept.get("b") == reply("b")


def test_the_chat_that_was_silent_longest_falls_out_when_there_are_too_many():
    kept = KeptReplies()
    for number in range(MAX_REPLIES):
        kept.put(f"{number}", reply(f"{number}"))
    kept.put("0", reply("0, spoke again"))
    kept.put("new", reply("new"))
    assert kept.get("1") is None
    assert kept.get("0") == reply("0, spoke again")
    assert all(kept.get(f"{number}") == reply(f"{number}") for number in range(2, MAX_REPLIES))
    assert kept.get("new") == reply("new")


def test_caches_fill_their_room_to_the_last_byte():
    kept = KeptReplies()
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES - HALF))
    assert caches(kept, "a", "b") == [True, True]
    kept.put("c", reply("c", 1))
    assert caches(kept, "a", "b", "c") == [False, True, True]


def test_the_chat_that_was_silent_longest_loses_its_cache_first_but_not_its_reply():
    kept = KeptReplies()
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.put("a", reply("a", HALF))
    kept.put("c", reply("c", HALF))
    assert caches(kept, "a", "b", "c") == [True, False, True]
    assert kept.get("b").token_ids == (1, 2) and kept.get("b").prompt_ids == (3,)


def test_as_few_caches_as_needed_are_lost():
    kept = KeptReplies()
    for chat in "abcd":
        kept.put(chat, reply(chat, MAX_CACHE_BYTES // 4))
    kept.put("e", reply("e", MAX_CACHE_BYTES // 4 + 1))
    assert caches(kept, *"abcde") == [False, False, True, True, True]


def test_a_reply_without_a_cache_takes_no_room():
    kept = KeptReplies()
    kept.put("a", reply("a", MAX_CACHE_BYTES))
    kept.put("b", reply("b"))
    assert caches(kept, "a", "b") == [True, False]


def test_a_cache_that_is_larger_than_all_the_room_is_not_kept():
    kept = KeptReplies()
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", MAX_CACHE_BYTES + 1))
    assert caches(kept, "a", "b") == [False, False]


def test_a_forgotten_chat_gives_its_room_back():
    kept = KeptReplies()
    kept.put("a", reply("a", HALF))
    kept.put("b", reply("b", HALF))
    kept.forget("b")
    kept.put("c", reply("c", HALF))
    assert caches(kept, "a", "c") == [True, True]


@pytest.mark.parametrize("cache_bytes", [1, MAX_CACHE_BYTES // 3])
def test_chats_in_several_threads_each_find_their_own(cache_bytes):
    kept = KeptReplies()

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
