"""A reply ends at the first stop text that is whole, in whatever pieces it comes; nothing of it is shown."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfdemo.chat.reply import Delta
from hfdemo.chat.stop_texts import StopTexts


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


def test_the_answer_alone_is_looked_at_and_what_was_held_back_goes_where_the_answer_goes():
    stop_texts = StopTexts(["\nUser:"])
    assert stop_texts.look_at(Delta("plan\nUs", "a\nUser:")) == Delta("plan", "a\nUser:")
    turned = stop_texts.look_at(Delta("four\nUser: Hi", "b", answer_was_thought=True))
    assert turned == Delta("four", "\nUsb", answer_was_thought=True)
    assert stop_texts.found and stop_texts.end() == ""
