"""A thinking model's thought is told from its answer, in whatever pieces the reply comes."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hfdemo.chat.reply import Delta
from hfdemo.chat.reply_format import ANSWERS, THOUGHTS
from hfdemo.chat.reply_reader import ChannelReader, Channels, MarkReader, Marks, ReplyReader, hold_back

THOUGHT_TAGS = [pair for pair in THOUGHTS if pair[0].startswith("<t")]
TAGS = [tag for pair in (*THOUGHT_TAGS, ("<response>", "</response>")) for tag in pair]
FRAGMENTS = [*TAGS, "<", "<th", "<think", "</th", "</", ">", "\n", " ", "Hm", "서울", "a<b", "thought", "`", "a. "]
REPLIES = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
TAG = re.compile("|".join([*map(re.escape, TAGS), r"\s"]))
OPENINGS = st.sampled_from(["", "<think>\n", "<thought>", "<think>\n\n</think>\n\n"])

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
    ("<think>Hm</think>a<think>b</think>c", "Hm\n\nb", "ac"),
    ("<think>Hm\n</think>a\n<think>\nb\n</think>\nc", "Hm\n\nb\n", "a\nc"),
    ("<think>Hm</think>One. <think>b</think>Two.", "Hm\n\nb", "One. Two."),
    ("<think>Hm</think>\n\n<think>b", "Hm\n\nb", ""),
    ("<think>a</think><thought>b</thought>c", "a\n\nb", "c"),
    ("<think>Hm</think>The tag <think> opens a thought", "Hm", "The tag <think> opens a thought"),
    ("<think>Hm</think>`<think>` and '<think>'", "Hm", "`<think>` and '<think>'"),
    ("<think>Hm</think>```\n<think>\n```", "Hm", "```\n<think>\n```"),
    ("<think>Hm</think><response>Four.</response>", "Hm", "Four."),
    ("<think>Hm</think>\n\n<response>\nFour.\n</response>\n", "Hm", "Four.\n\n"),
    (
        "<think>Hm</think><response>XML:\n```\n<response>\n</response>\n```\nSo `</response>`.</response>",
        "Hm",
        "XML:\n```\n<response>\n</response>\n```\nSo `</response>`.",
    ),
    ("<think>Hm</think>It is <response>.", "Hm", "It is <response>."),
    ("<response>Four.</response>", "", "<response>Four.</response>"),
    (
        "<think>p</think>Two tags.\n1. <think> opens.\n2. </think> closes.\nAll.",
        "p",
        "Two tags.\n1. <think> opens.\n2. </think> closes.\nAll.",
    ),
    (
        "<think>p</think>It is a tag.\n\n<think> opens. The rest is answer.",
        "p",
        "It is a tag.\n\n<think> opens. The rest is answer.",
    ),
    ("<think>p</think>Sure. <think> is a tag.", "p", "Sure. <think> is a tag."),
    ("<think>p</think>**<think>** opens; **</think>** closes.", "p", "**<think>** opens; **</think>** closes."),
    ("<think>p</think>~~~\n<think>\n~~~", "p", "~~~\n<think>\n~~~"),
    ("<think>p</think>So:\n\n    <think>\n    </think>", "p", "So:\n\n    <think>\n    </think>"),
    ("<think>p</think>[<think>], «<think>»", "p", "[<think>], «<think>»"),
    ("<think>p</think>태그:\n<think>: 시작\n</think>: 끝", "p", "태그:\n<think>: 시작\n</think>: 끝"),
    ("<think>p</think><doc><think>x</think></doc>", "p", "<doc><think>x</think></doc>"),
    ("Use </think> to end it.", "", "Use </think> to end it."),
    ("The closing tag is </think>", "", "The closing tag is </think>"),
    ("마지막은 </think>입니다.", "", "마지막은 </think>입니다."),
    ("<think><think>p</think>ok", "p", "ok"),
    ("<think>p</think></think>ok", "p", "ok"),
    ("<think>p</think>A </think> B", "p", "A </think> B"),
    ('<think>say `</think>` and "</think>" now</think>ok', 'say `</think>` and "</think>" now', "ok"),
    ("<think>Tag **</think>** ends, _</think>_ too. So</think>ok", "Tag **</think>** ends, _</think>_ too. So", "ok"),
    (
        "<think>It (</think>), [</think>] or 「</think>」. So</think>ok",
        "It (</think>), [</think>] or 「</think>」. So",
        "ok",
    ),
    ("<think>**Done**</think>\nok", "**Done**", "ok"),
    ("<think>f(x), 태그(</think>)</think>ok", "f(x), 태그(</think>)", "ok"),
    ("<think>그래서 **4**</think>**4**입니다.", "그래서 **4**", "**4**입니다."),
    ("<think>it's `x`</think>`x`를", "it's `x`", "`x`를"),
    ('<think>* 답:\n"네"</think>"네"라고', '* 답:\n"네"', '"네"라고'),
    ("<think>`a`, 태그`</think>`와 it's '</think>'.</think>**4**", "`a`, 태그`</think>`와 it's '</think>'.", "**4**"),
    ("<think>**a**\n**</think>** ends.\n\n(*</think>*)</think>ok", "**a**\n**</think>** ends.\n\n(*</think>*)", "ok"),
    ("<think>p</think>1. Open.\n   <think>\n2. Close.", "p", "1. Open.\n   <think>\n2. Close."),
    ("<think>p</think>It writes:\n<think>\nHm\n</think>\nHi.", "p", "It writes:\n<think>\nHm\n</think>\nHi."),
    ("<think>p</think>Ok.\n<think>\nq\n</think>\nHi.", "p\n\nq\n", "Ok.\nHi."),
    ("Hm\n</think>\n\nHello", "Hm\n", "Hello"),
    ("So the answer is:\n</think>\n\nHello", "So the answer is:\n", "Hello"),
    ("Hm</think>Hello</think>", "Hm", "Hello</think>"),
    ("그러므로 4이다.</think>**정답: 4**", "그러므로 4이다.", "**정답: 4**"),
    ("So it is 4.\n</think>**Answer**: 4", "So it is 4.\n", "**Answer**: 4"),
    ("So.</think># Answer", "So.", "# Answer"),
    ("So.</think>- a\n- b", "So.", "- a\n- b"),
    ("So.\n</think>\\[x\\]", "So.\n", "\\[x\\]"),
    ("It ends.</think>, they say", "", "It ends.</think>, they say"),
    ("It ends. **</think>** is its mark.", "", "It ends. **</think>** is its mark."),
    ("<think>p</think>So.</think>**a**", "p", "So.</think>**a**"),
    ("The end is `</think>`, isn't it", "", "The end is `</think>`, isn't it"),
    ('The end is "</think>"', "", 'The end is "</think>"'),
    ("<thinking>a</thinking>one", "a", "one"),
    ("[THINK]a[/THINK]one", "a", "one"),
    ("<think>Hm</think>a\n\nb\n", "Hm", "a\n\nb\n"),
    ("The tag <think> opens a thought, </think> ends it", "", "The tag <think> opens a thought, </think> ends it"),
    ("</think>Hello", "", "Hello"),
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
    "<thinkings>x",
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
    ("<think>Hm</think>Hello", "Hm", "Hello"),  # the model opened it once more
    ("\n<think>\nHm</think>Hello", "Hm", "Hello"),
    ("Hm</thought>so</think>Hello", "Hm</thought>so", "Hello"),
]


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """Cut a text at some places."""
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def new_reader(opening: str = "", own: Sequence[str] = ()) -> MarkReader:
    return MarkReader(Marks(THOUGHTS, ANSWERS, frozenset(own)), opening)


def told(parts: Sequence[str], reader: ReplyReader | None = None) -> list[tuple[str, str]]:
    """Return the thought and the answer as far as they are told after each piece, and at the end."""
    reader = reader or new_reader()
    text = thought = ""
    so_far = []
    for delta in [*map(reader.add, parts), reader.end()]:
        text, thought = delta.added_to(text, thought)
        so_far.append((thought, text))
    return so_far


def read(text: str, opening: str = "") -> tuple[str, str]:
    """Return thought and answer of a whole reply."""
    return told([text], new_reader(opening))[-1]


@pytest.mark.parametrize(("text", "thought", "answer"), WHOLE_REPLIES)
def test_a_whole_reply_splits_into_thought_and_answer(text, thought, answer):
    assert read(text) == (thought, answer)


@pytest.mark.parametrize(("text", "thought", "answer"), WHOLE_REPLIES)
def test_a_reply_that_comes_letter_by_letter_splits_in_the_same_way(text, thought, answer):
    assert told(list(text))[-1] == (thought, answer)


@pytest.mark.parametrize("text", WITHOUT_THOUGHT)
def test_a_reply_without_thought_stays_as_it_is(text):
    assert read(text) == ("", text)
    assert told(list(text))[-1] == ("", text)


@pytest.mark.parametrize(("text", "thought", "answer"), OPEN_THOUGHTS)
def test_a_thought_that_the_prompt_opened_ends_at_its_closing_tag(text, thought, answer):
    assert read(text, "<think>") == (thought, answer)
    assert told(list(text), new_reader("<think>"))[-1] == (thought, answer)


@given(REPLIES, st.lists(st.integers(0, 60), max_size=8), OPENINGS)
@settings(deadline=None, max_examples=500)
def test_every_way_of_cutting_a_reply_gives_the_same_as_the_whole(text, cuts, opening):
    assert told(pieces(text, cuts), new_reader(opening))[-1] == read(text, opening)


@given(REPLIES, OPENINGS)
@settings(deadline=None, max_examples=300)
def test_what_was_told_once_is_never_taken_back_but_an_answer_that_was_thought(text, opening):
    reader = new_reader(opening)
    so_far = ("", "")
    for piece in text:
        delta = reader.add(piece)
        answer, thought = delta.added_to(*so_far)
        if delta.answer_was_thought:
            assert thought.startswith(so_far[1] + so_far[0])
        else:
            assert answer.startswith(so_far[0]) and thought.startswith(so_far[1])
        so_far = answer, thought


@given(REPLIES, OPENINGS)
@settings(deadline=None, max_examples=300)
def test_nothing_is_lost_but_the_tags_and_the_white_space_around_them(text, opening):
    told = "\0".join(read(text, opening))
    assert sorted(TAG.sub("", told).replace("\0", "")) == sorted(TAG.sub("", text))


@pytest.mark.parametrize(("opening", "closing"), THOUGHT_TAGS)
@pytest.mark.parametrize("before", ["", "\n", "  "])
def test_no_part_of_a_tag_is_shown_even_for_a_moment(opening, closing, before):
    for thought, answer in told(list(f"{before}{opening}Hm, {closing}Hello")):
        assert "Hm, ".startswith(thought) and "Hello".startswith(answer)


def test_text_is_told_as_soon_as_it_can_be_no_tag():
    reader = new_reader()
    assert reader.add("<thi") == Delta()
    assert reader.add("s") == Delta("<this")
    assert reader.add(" <think>") == Delta(" <think>")


def test_a_thought_is_told_as_it_comes():
    reader = new_reader()
    assert reader.add("<think>Hm") == Delta(thought="Hm")
    assert reader.add(" so</") == Delta(thought=" so")
    assert reader.add("b></thi") == Delta(thought="</b>")
    assert reader.add("nk>\n") == Delta()
    assert reader.add("\nHello") == Delta("Hello")
    assert reader.add("\n\n</think>") == Delta("\n\n</think>")
    assert reader.end() == Delta()


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
    assert told(["Hm<"], new_reader("<think>")) == [("Hm", ""), ("Hm<", "")]


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


START, CHANNEL, MESSAGE, END, RETURN = "\ud800\ud801\ud802\ud803\ud804"


def channel_reader() -> ChannelReader:
    return ChannelReader(Channels(START, CHANNEL, MESSAGE, END + RETURN), f"{START}assistant")


@pytest.mark.parametrize("begun", [CHANNEL, f"{CHANNEL}analysis", f"{CHANNEL}final"])
def test_a_channel_that_is_cut_off_before_its_message_is_no_answer(begun):
    assert told([begun], channel_reader())[-1] == ("", "")


def test_without_any_channel_all_is_answer():
    assert told(["Hello"], channel_reader())[-1] == ("", "Hello")


def test_what_stands_between_two_messages_is_no_answer():
    written = f"{CHANNEL}analysis{MESSAGE}Hm{END}assistant{CHANNEL}final{MESSAGE}Hello"
    assert told([written], channel_reader())[-1] == ("Hm", "Hello")


def test_what_comes_next_is_an_answer_once_a_channel_for_it_is_open():
    reader = channel_reader()
    parts = [CHANNEL, "analysis", MESSAGE, "Hm", END, START, "assistant", CHANNEL, "final", MESSAGE, "Hi"]
    answers = []
    for part in parts:
        reader.add(part)
        answers.append(not reader.in_thought)
    assert answers == [False] * 9 + [True] * 2
