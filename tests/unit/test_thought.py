"""A thinking model's thought is told from its answer, in whatever pieces the reply comes."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hfdemo.chat.prompt import THOUGHT_TAGS
from hfdemo.chat.reply_format import ThoughtSplitter, hold_back, split_thought

TAGS = [tag for pair in THOUGHT_TAGS for tag in pair]
FRAGMENTS = [*TAGS, "<", "<th", "<think", "</th", "</", ">", "\n", " ", "Hm", "서울", "a<b", "thought"]
REPLIES = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
CLOSINGS = st.sampled_from([None, "</think>", "</thought>"])

WHOLE_REPLIES = [
    ("", "", ""),
    ("Hello", "", "Hello"),
    ("<think>Hm</think>Hello", "Hm", "Hello"),
    ("<thought>Hm</thought>Hello", "Hm", "Hello"),
    ("\n <think>\n\nHm.\nSo \n</think>\n\n Hello\n", "Hm.\nSo \n", " Hello\n"),
    ("<think>\n\n</think>\n\nHello", "", "Hello"),
    ("<think></think>", "", ""),
    ("<think>Hm</think>\n", "Hm", ""),
    ("<think>Hm", "Hm", ""),
    ("<think>Hm</thi", "Hm</thi", ""),
    ("<think>", "", ""),
    ("<think>a</thought>b</think>c", "a</thought>b", "c"),
    ("<think>a<think>b</think>c", "a<think>b", "c"),
    ("<think>Hm</think>a<think>b</think>c", "Hm", "a<think>b</think>c"),
    ("<think>Hm</think>\n\n<think>b", "Hm", "<think>b"),
    ("<think>Hm</think>a\n\nb\n", "Hm", "a\n\nb\n"),
    ("The tag <think> opens a thought, </think> ends it", "", "The tag <think> opens a thought, </think> ends it"),
    ("</think>Hello", "", "</think>Hello"),
]
WITHOUT_THOUGHT = [
    "<",
    "<th",
    "<think",
    "<thought",
    "  <th",
    "<b>bold</b>",
    "< think>",
    "<thin",
    "<thinking>x",
    "<Think>",
]
WITHOUT_THOUGHT += ["<thoughts>", " ", "\n\n", "  two spaces", "\n\nHello", "\t<", "a<b", "\u3000넓은 칸", "<<think>"]

OPEN_THOUGHTS = [
    ("", "", ""),
    ("Hm", "Hm", ""),
    ("Hm</think>Hello", "Hm", "Hello"),
    ("\nHm\n</think>\n\nHello", "Hm\n", "Hello"),
    ("</think>\n\nHello", "", "Hello"),
    ("Hm</think", "Hm</think", ""),
    ("  Hm</think>a</think>b", "  Hm", "a</think>b"),
    ("<think>Hm</think>Hello", "<think>Hm", "Hello"),
    ("Hm</thought>so</think>Hello", "Hm</thought>so", "Hello"),
]


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """Cut a text at some places."""
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def told(parts: Sequence[str], closing: str | None = None) -> list[tuple[str, str]]:
    """Return the thought and the answer as far as they are told after each piece, and at the end."""
    splitter = ThoughtSplitter(closing)
    thought = answer = ""
    so_far = []
    for more_thought, more_answer in [*map(splitter.add, parts), splitter.end()]:
        thought, answer = thought + more_thought, answer + more_answer
        so_far.append((thought, answer))
    return so_far


@pytest.mark.parametrize(("text", "thought", "answer"), WHOLE_REPLIES)
def test_a_whole_reply_splits_into_thought_and_answer(text, thought, answer):
    assert split_thought(text) == (thought, answer)


@pytest.mark.parametrize(("text", "thought", "answer"), WHOLE_REPLIES)
def test_a_reply_that_comes_letter_by_letter_splits_in_the_same_way(text, thought, answer):
    assert told(list(text))[-1] == (thought, answer)


@pytest.mark.parametrize("text", WITHOUT_THOUGHT)
def test_a_reply_without_thought_stays_as_it_is(text):
    assert split_thought(text) == ("", text)
    assert told(list(text))[-1] == ("", text)


@pytest.mark.parametrize(("text", "thought", "answer"), OPEN_THOUGHTS)
def test_a_thought_that_the_prompt_opened_ends_at_its_closing_tag(text, thought, answer):
    assert split_thought(text, "</think>") == (thought, answer)
    assert told(list(text), "</think>")[-1] == (thought, answer)


@given(REPLIES, st.lists(st.integers(0, 60), max_size=8), CLOSINGS)
@settings(deadline=None, max_examples=500)
def test_every_way_of_cutting_a_reply_gives_the_same_as_the_whole(text, cuts, closing):
    assert told(pieces(text, cuts), closing)[-1] == split_thought(text, closing)


@given(REPLIES, CLOSINGS)
@settings(deadline=None, max_examples=300)
def test_what_was_told_once_is_never_taken_back(text, closing):
    whole_thought, whole_answer = split_thought(text, closing)
    for thought, answer in told(list(text), closing):
        assert whole_thought.startswith(thought) and whole_answer.startswith(answer)


@given(REPLIES, CLOSINGS)
@settings(deadline=None, max_examples=300)
def test_nothing_is_lost_but_the_tags_and_the_white_space_around_them(text, closing):
    thought, answer = split_thought(text, closing)
    if closing is None and not any(text.lstrip().startswith(opening) for opening, _ in THOUGHT_TAGS):
        assert (thought, answer) == ("", text)
        return
    opening, ending = next(
        ((o, c) for o, c in THOUGHT_TAGS if closing is None and text.lstrip().startswith(o)), ("", closing)
    )
    inside, _, after = text.lstrip().removeprefix(opening).partition(ending) if opening else text.partition(ending)
    assert (thought, answer) == (inside.lstrip("\n"), after.lstrip("\n"))


@pytest.mark.parametrize(("opening", "closing"), THOUGHT_TAGS)
@pytest.mark.parametrize("before", ["", "\n", "  "])
def test_no_part_of_a_tag_is_shown_even_for_a_moment(opening, closing, before):
    for thought, answer in told(list(f"{before}{opening}Hm, {closing}Hello")):
        assert "Hm, ".startswith(thought) and "Hello".startswith(answer)


def test_text_is_told_as_soon_as_it_can_be_no_tag():
    splitter = ThoughtSplitter()
    assert splitter.add("<thi") == ("", "")
    assert splitter.add("s") == ("", "<this")
    assert splitter.add(" <think>") == ("", " <think>")


def test_a_thought_is_told_as_it_comes():
    splitter = ThoughtSplitter()
    assert splitter.add("<think>Hm") == ("Hm", "")
    assert splitter.add(" so</") == (" so", "")
    assert splitter.add("b></thi") == ("</b>", "")
    assert splitter.add("nk>\n") == ("", "")
    assert splitter.add("\nHello") == ("", "Hello")
    assert splitter.add("\n\n</think>") == ("", "\n\n</think>")
    assert splitter.end() == ("", "")


@pytest.mark.parametrize("parts", [["<think>\n\nHm"], ["<think>", "\n", "\nHm"], ["<think>\n", "\n", "Hm"]])
def test_the_blank_line_before_a_thought_is_left_out_also_in_pieces(parts):
    assert told(parts)[-1] == ("Hm", "")


@pytest.mark.parametrize(
    "parts",
    [
        ["</think>\n\nHello"],
        ["</think>", "\n", "\n", "Hello"],
        ["</think>\n", "\nHello"],
        ["</", "think>\n\n", "Hello"],
    ],
)
def test_the_blank_line_after_a_thought_is_left_out_also_in_pieces(parts):
    assert told(["<think>Hm", *parts])[-1] == ("Hm", "Hello")


def test_what_was_held_back_is_told_at_the_end():
    assert told(["<th"]) == [("", ""), ("", "<th")]
    assert told([" \n"]) == [("", ""), ("", " \n")]
    assert told(["<think>Hm</th"]) == [("Hm", ""), ("Hm</th", "")]
    assert told(["Hm<"], "</think>") == [("Hm", ""), ("Hm<", "")]


@pytest.mark.parametrize(
    ("text", "markers", "shown", "held"),
    [
        ("", ["ab"], "", ""),
        ("xa", ["ab"], "x", "a"),
        ("xab", ["abc"], "x", "ab"),
        ("xabc", ["abc"], "xabc", ""),
        ("aab", ["aabb", "b"], "", "aab"),
        ("ab", ["b1", "abc"], "", "ab"),
        ("axb", ["b1", "abc"], "ax", "b"),
        ("aaa", ["aab"], "a", "aa"),
        ("a", ["a"], "a", ""),
        ("abc", [], "abc", ""),
        ("\n", ["\nUser:"], "", "\n"),
    ],
)
def test_an_end_that_may_be_the_beginning_of_a_marker_is_held_back(text, markers, shown, held):
    assert hold_back(text, markers) == (shown, held)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=5), max_size=4))
def test_the_longest_such_end_is_held_back_and_nothing_more(text, markers):
    assume(not any(marker in text for marker in markers))  # it would have been found
    shown, held = hold_back(text, markers)
    assert shown + held == text
    unfinished = {marker[:length] for marker in markers for length in range(1, len(marker))}
    assert held == max((end for end in unfinished if text.endswith(end)), key=len, default="")
