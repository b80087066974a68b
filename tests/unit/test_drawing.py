"""What the transcript shows is made from the turns: texts, and folded boxes for what isn't part of the chat."""

from dataclasses import replace
from typing import Any

import pytest

from hfdemo.chat.conversation import Conversation, Turn
from hfdemo.page.drawing import LiveDrawing, draw, draw_progress, draw_turn
from hfdemo.page.markdown import draw_list, draw_markdown, draw_typed
from hfdemo.page.receipt import receipt_lines, receipt_title
from hfdemo.words import say
from tests.fakes import RECEIPT, displayed_text

REPLY = Turn("b", "a", "assistant", "Hello", receipt=RECEIPT)


def kinds(entries: list[dict[str, Any]]) -> list[str]:
    """Return what each entry is: a role, or the kind of a box."""
    return [entry["metadata"]["id"] if "metadata" in entry else entry["role"] for entry in entries]


def text_of(entry: dict[str, Any]) -> str:
    return "".join(part["text"] for part in entry["content"])


def title_of(entry: dict[str, Any]) -> str:
    return displayed_text(str(entry["metadata"]["title"]))


def test_a_message_is_drawn_as_typed_and_a_reply_as_markdown():
    (typed,) = draw_turn(Turn("a", None, "user", "  *a*\n    b "), "en")
    assert typed == {"role": "user", "content": [{"type": "text", "text": draw_typed("  *a*\n    b ")}]}
    (reply,) = draw_turn(Turn("a", None, "assistant", "*a*"), "en")
    assert reply == {"role": "assistant", "content": [{"type": "text", "text": draw_markdown("*a*", "en")}]}


def test_a_reply_has_its_receipt_under_it():
    text, receipt = draw_turn(REPLY, "en")
    assert (text["role"], displayed_text(text_of(text))) == ("assistant", "Hello")
    assert kinds([receipt]) == ["receipt"] and receipt["role"] == "assistant"
    assert title_of(receipt) == receipt_title(REPLY, RECEIPT, "en")
    assert text_of(receipt) == draw_list(receipt_lines(RECEIPT, "en"))
    assert receipt["metadata"]["status"] == "done"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_thought_stands_over_the_reply_with_its_seconds(language):
    thinker = replace(REPLY, thought="Hm.", receipt=replace(RECEIPT, thought_s=2.25))
    drawn = draw_turn(thinker, language)
    assert kinds(drawn) == ["thought", "assistant", "receipt"]
    assert title_of(drawn[0]) == say("receipt.thought", language, seconds="2.2")
    assert displayed_text(text_of(drawn[0])) == "Hm."


def test_a_thought_whose_end_never_came_has_no_seconds():
    assert title_of(draw_turn(replace(REPLY, thought="Hm.", receipt=None), "en")[0]) == "Thought"


def test_a_reply_that_is_all_thought_has_no_empty_text():
    assert kinds(draw_turn(replace(REPLY, content="", thought="Hm."), "en")) == ["thought", "receipt"]


def test_blank_thought_is_none():
    assert kinds(draw_turn(replace(REPLY, thought=" \n"), "en")) == ["assistant", "receipt"]


def test_the_name_of_a_model_is_no_markdown_and_no_html():
    receipt = replace(RECEIPT, model="my_own_model *b* <i>")
    assert "my_own_model *b* <i>" in displayed_text(text_of(draw_turn(replace(REPLY, receipt=receipt), "en")[1]))
    assert title_of(draw_progress("Loading my_own_model *b* <i>")[0]) == "Loading my_own_model *b* <i>"


def test_a_reply_that_comes_shows_what_there_is():
    nothing, thinking = (
        replace(REPLY, content="", receipt=None),
        replace(REPLY, content="", thought="Hm", receipt=None),
    )
    assert LiveDrawing("en").draw(nothing, 0.0) == []
    (box,) = LiveDrawing("en").draw(thinking, 1.26)
    assert (title_of(box), box["metadata"]["status"]) == (say("receipt.thinking", "en", seconds="1.3"), "pending")
    box, text = LiveDrawing("ko").draw(replace(thinking, content="Hel"), 2.0)
    assert (title_of(box), box["metadata"]["status"]) == (say("receipt.thought", "ko", seconds="2.0"), "done")
    assert displayed_text(text_of(text)) == "Hel"


def test_progress_is_a_box_at_work():
    (box,) = draw_progress("Reading …")
    assert kinds([box]) == ["progress"] and text_of(box) == ""
    assert box["metadata"] == {"id": "progress", "title": "Reading …", "status": "pending"}


def conversation(dropped: int) -> Conversation:
    told = Conversation().add("user", "Hi").add("assistant", "Hello").add("user", "More")
    return told.put(Turn("r", told.head, "assistant", "Sure", receipt=replace(RECEIPT, dropped_messages=dropped)))


def test_a_path_is_drawn_turn_by_turn():
    path = conversation(0).path
    earlier, latest = draw(path, "en")
    *before, question, reply = path
    assert earlier == [entry for turn in before for entry in draw_turn(turn, "en")]
    assert latest == [*draw_turn(question, "en"), *draw_turn(reply, "en")]
    assert draw(path[:-1], "en") == (earlier, draw_turn(question, "en"))
    assert draw((), "en") == ([], [])


def test_a_mark_stands_before_the_first_message_the_model_was_shown():
    earlier, latest = draw(conversation(2).path, "ko")
    assert kinds(earlier) == ["user", "assistant", "memory"]
    assert kinds(latest) == ["user", "assistant", "receipt"]
    assert title_of(earlier[2]) == say("receipt.memory", "ko")


def test_the_last_receipt_says_where_the_mark_stands():
    longer = conversation(2).add("user", "And?")
    earlier, latest = draw(longer.path, "en")
    assert kinds(earlier) == ["user", "assistant", "memory", "user", "assistant", "receipt"]
    assert kinds(latest) == ["user"]
    again = longer.put(Turn("s", longer.head, "assistant", "So", receipt=replace(RECEIPT, dropped_messages=0)))
    assert "memory" not in [kind for entries in draw(again.path, "en") for kind in kinds(entries)]
