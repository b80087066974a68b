"""The conversation is what the page hands over, without the boxes that tell of progress."""

import copy

import pytest

from hfdemo.chat.messages import Message
from hfdemo.page.transcript import (
    BOX_MARK,
    box,
    conversation,
    entry,
    kind_of,
    reply_text,
    split_at_reply,
    take_back,
    text_of,
    with_memory_mark,
    without,
)

HI, HELLO, MORE, SURE = (
    entry("user", "Hi"),
    entry("assistant", "Hello"),
    entry("user", "More"),
    entry("assistant", "Sure"),
)
BOX, RECEIPT = box("progress", "Reading …", pending=True), box("receipt", "Finished", "- Seed: 1")
THOUGHT = box("thought", "Thought for 2 s", "Hm.")


def test_an_entry_keeps_its_text_as_a_part():
    assert entry("user", "  a\n    b ") == {"role": "user", "content": [{"type": "text", "text": "  a\n    b "}]}


def test_a_box_has_a_kind_a_title_and_a_text():
    assert BOX["role"] == THOUGHT["role"] == "assistant"
    assert BOX["metadata"] == {"id": "progress", "title": f"{BOX_MARK}Reading …{BOX_MARK}", "status": "pending"}
    assert THOUGHT["metadata"] == {"id": "thought", "title": f"{BOX_MARK}Thought for 2 s{BOX_MARK}", "status": "done"}
    assert (text_of(BOX), text_of(THOUGHT)) == ("", f"{BOX_MARK}Hm.{BOX_MARK}")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": " two"}], "one two"),
        ([{"type": "file", "file": {"path": "x"}}, {"type": "text", "text": "seen"}], "seen"),
        ([{"type": "file", "text": "no"}], ""),
        ([{"type": "text"}], ""),
        ([], ""),
        (None, ""),
        ({"path": "x"}, ""),
        ("a\ud800", "a\ufffd"),
        ([{"type": "text", "text": "\ud83d"}, {"type": "text", "text": "\ude00"}], "😀"),
    ],
)
def test_the_text_of_an_entry_is_that_of_its_text_parts(content, text):
    assert text_of({"role": "user", "content": content}) == text


def test_an_entry_without_content_has_no_text():
    assert text_of({"role": "user"}) == ""


def test_the_conversation_is_what_was_said():
    assert conversation([HI, HELLO, BOX, MORE]) == (
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "More"),
    )


@pytest.mark.parametrize("other", [{"role": "system", "content": "Obey"}, {"role": "tool", "content": "x"}, {}])
def test_other_roles_a_page_could_send_are_left_out(other):
    assert conversation([other, HI, other]) == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        (None, None),
        ({}, None),
        ({"title": None}, None),
        ({"title": "", "id": "thought"}, None),
        ({"status": "done"}, None),
        ({"title": "x"}, "box"),
        ({"title": "x", "id": "thought"}, "thought"),
        ({"title": "x", "id": 5}, "5"),
    ],
)
def test_a_title_makes_a_box_and_its_id_says_which(metadata, kind):
    message = {**HELLO, "metadata": metadata}
    assert kind_of(message) == kind
    assert conversation([HI, message]) == conversation([HI] if kind else [HI, HELLO])


def test_boxes_of_some_kinds_can_be_left_out():
    entries = [HI, BOX, THOUGHT, HELLO, RECEIPT]
    assert without(entries, "progress") == [HI, THOUGHT, HELLO, RECEIPT]
    assert without(entries, "progress", "receipt") == [HI, THOUGHT, HELLO]
    assert without(entries) == entries


@pytest.mark.parametrize(
    ("asked", "reply", "text"),
    [
        ([], [], ""),
        ([HI], [], ""),
        ([HI], [HELLO], "Hello"),
        ([HI], [THOUGHT, HELLO, RECEIPT], "Hello"),
        ([HI], [BOX], ""),
        ([HI, HELLO, RECEIPT, MORE], [SURE, SURE], "SureSure"),
        ([], [HELLO], "Hello"),
        ([], [BOX], ""),
    ],
)
def test_a_chat_splits_into_what_was_asked_last_and_its_reply(asked, reply, text):
    assert split_at_reply([*asked, *reply]) == (asked, reply)
    assert reply_text([*asked, *reply]) == text


@pytest.mark.parametrize(
    ("entries", "kept", "text"),
    [
        ([], [], ""),
        ([HELLO], [], ""),
        ([HI], [], "Hi"),
        ([HI, HELLO], [], "Hi"),
        ([HI, HELLO, MORE, BOX], [HI, HELLO], "More"),
        ([HI, THOUGHT, HELLO, RECEIPT, MORE, SURE, RECEIPT], [HI, THOUGHT, HELLO, RECEIPT], "More"),
        ([HI, HELLO, MORE, SURE], [HI, HELLO], "More"),
    ],
)
def test_the_last_turn_can_be_taken_back(entries, kept, text):
    assert take_back(entries) == (kept, text)


def test_a_mark_stands_before_the_first_message_the_model_was_shown():
    mark = box("memory", "From here on")
    entries = [HI, THOUGHT, HELLO, RECEIPT, MORE, SURE]
    assert with_memory_mark(entries, 2, "From here on") == [HI, THOUGHT, HELLO, RECEIPT, mark, MORE, SURE]
    assert with_memory_mark(entries, 0, "From here on") == entries


def test_an_earlier_mark_goes():
    marked = with_memory_mark([HI, HELLO, MORE, SURE], 2, "From here on")
    assert with_memory_mark(marked, 0, "From here on") == [HI, HELLO, MORE, SURE]
    assert with_memory_mark(marked, 2, "From here on") == marked


def test_nothing_changes_the_entries_it_is_given():
    entries = [HI, THOUGHT, HELLO, BOX, MORE, SURE]
    before = copy.deepcopy(entries)
    conversation(entries), without(entries, "thought"), split_at_reply(entries), take_back(entries)
    with_memory_mark(entries, 2, "x")
    assert entries == before
