"""A conversation is a tree of turns, of which the path to its head is read; it is the same behind any JSON."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfdemo.chat.conversation import Conversation, Turn, messages_of, new_id, read_conversation, to_data
from hfdemo.chat.messages import Message
from hfdemo.errors import InvalidInput
from tests.fakes import RECEIPT


def said(conversation: Conversation) -> list[str]:
    return [turn.content for turn in conversation.path]


def two_turns() -> Conversation:
    return Conversation().add("user", "Hi").add("assistant", "Hello").add("user", "More").add("assistant", "Sure")


def test_a_conversation_begins_empty():
    empty = Conversation()
    assert (empty.path, empty.question, empty.reply, empty.head) == ((), None, None, None)


def test_what_is_added_stands_behind_the_head():
    conversation = two_turns()
    assert said(conversation) == ["Hi", "Hello", "More", "Sure"]
    assert [turn.role for turn in conversation.path] == ["user", "assistant"] * 2
    assert [turn.parent for turn in conversation.path] == [None, *(turn.id for turn in conversation.path[:-1])]
    assert conversation.question == conversation.path[2] and conversation.reply == conversation.path[3]


def test_a_question_without_a_reply_has_none():
    asked = two_turns().add("user", "And?")
    assert asked.reply is None and asked.question == asked.path[-1]


def test_another_try_is_a_sibling_and_nothing_is_deleted():
    first = two_turns()
    question = first.question
    assert question is not None
    second = first.at(question.id).add("assistant", "Of course")
    assert said(second) == ["Hi", "Hello", "More", "Of course"]
    assert len(second.turns) == 5 and said(second.at(first.head)) == ["Hi", "Hello", "More", "Sure"]


@pytest.mark.parametrize(("content", "thought"), [("Of cour", ""), ("", "Hm."), ("Of course", "Hm.")])
def test_the_last_reply_to_a_question_is_the_last_of_which_anything_is_there(content, thought):
    first = two_turns()
    question = first.question
    assert question is not None
    assert first.at(question.id).last_reply_to(question) == first.reply
    other = Turn(new_id(), question.id, "assistant", content, thought)
    nothing = Turn(new_id(), question.id, "assistant", "")
    assert first.put(other).put(nothing).last_reply_to(question) == other


def test_another_wording_is_a_sibling_too():
    first = two_turns()
    question = first.question
    assert question is not None
    second = first.at(question.parent).add("user", "Less")
    assert said(second) == ["Hi", "Hello", "Less"]
    assert said(second.at(first.head)) == ["Hi", "Hello", "More", "Sure"]


def test_a_turn_that_goes_on_takes_its_own_place():
    first = two_turns()
    assert first.reply is not None
    longer = first.put(replace(first.reply, content="Sure, but", receipt=RECEIPT))
    assert said(longer) == ["Hi", "Hello", "More", "Sure, but"] and len(longer.turns) == 4
    assert longer.head == first.head and longer.path[-1].receipt == RECEIPT


def test_the_very_beginning_can_be_the_head():
    assert said(two_turns().at(None).add("user", "Anew")) == ["Anew"]


def test_an_engine_is_told_what_was_said():
    assert messages_of(two_turns().path[:2]) == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_ids_differ():
    assert len({new_id() for _ in range(1000)}) == 1000


texts = st.text(max_size=20)
numbers = st.integers(0, 2**32)
receipts = st.builds(
    lambda tokens, seconds, limit, model: replace(
        RECEIPT, new_tokens=tokens, first_token_s=seconds, context_limit=limit, model=model, seed=tokens
    ),
    numbers,
    st.floats(0, 1e6),
    st.none() | numbers,
    texts,
)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts, texts, st.none() | receipts), max_size=8))
@settings(deadline=None)
def test_a_conversation_is_the_same_behind_json(turns: list[Any]):
    conversation = Conversation()
    for role, content, thought, receipt in turns:
        conversation = conversation.put(Turn(new_id(), conversation.head, role, content, thought, receipt))
    assert read_conversation(json.loads(json.dumps(to_data(conversation)))) == conversation


def test_a_browser_writes_whole_numbers_without_a_point():
    conversation = Conversation().put(Turn("a", None, "assistant", "x", receipt=replace(RECEIPT, first_token_s=1.0)))
    data = to_data(conversation)
    data["turns"][0]["receipt"]["first_token_s"] = 1
    read = read_conversation(data)
    assert read == conversation
    assert read.turns[0].receipt is not None and isinstance(read.turns[0].receipt.first_token_s, float)


def test_a_receipt_of_an_older_page_lacks_nothing_that_matters():
    data = to_data(Conversation().put(Turn("a", None, "user", "x")))
    del data["turns"][0]["thought"], data["turns"][0]["receipt"]
    assert read_conversation(data).turns == (Turn("a", None, "user", "x"),)


def test_nothing_is_an_empty_conversation():
    assert read_conversation(None) == Conversation()
    assert read_conversation({"turns": [], "head": None}) == Conversation()


def test_half_a_surrogate_pair_is_read_as_a_replacement_character():
    data = {"turns": [{"id": "a", "parent": None, "role": "user", "content": "a\ud800"}], "head": "a"}
    assert said(read_conversation(data)) == ["a\ufffd"]


GOOD = {"id": "a", "parent": None, "role": "user", "content": "Hi", "thought": "", "receipt": None}
WRONG: list[Any] = [
    "text",
    5,
    [],
    {},
    {"turns": None, "head": None},
    {"turns": "abc", "head": None},
    {"turns": [], "head": "a"},
    {"turns": [], "head": 5},
    {"turns": [], "head": ["a"]},
    {"turns": ["a"], "head": None},
    *(
        {"turns": [GOOD | wrong], "head": None}
        for wrong in (
            {"id": None},
            {"id": ""},
            {"id": "x" * 65},
            {"id": 5},
            {"parent": "nowhere"},
            {"parent": 5},
            {"parent": "a"},
            {"role": "system"},
            {"role": None},
            {"role": ["user"]},
            {"content": None},
            {"content": ["Hi"]},
            {"thought": 5},
        )
    ),
    {"turns": [GOOD, GOOD], "head": "a"},
    {"turns": [GOOD | {"id": "b", "parent": "a"}, GOOD], "head": "b"},
    {"turns": [GOOD | {"parent": "b"}, GOOD | {"id": "b", "parent": "a"}], "head": "b"},
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_anything_else_that_a_page_sends_is_refused(value):
    with pytest.raises(InvalidInput):
        read_conversation(value)


@pytest.mark.parametrize(
    "receipt",
    [
        "x",
        {},
        asdict(RECEIPT) | {"new_tokens": "10"},
        asdict(RECEIPT) | {"new_tokens": True},
        asdict(RECEIPT) | {"tokens_per_s": None},
        asdict(RECEIPT) | {"finish_reason": "boredom"},
        asdict(RECEIPT) | {"model": 5},
        asdict(RECEIPT) | {"finish_reason": ["stopped"]},
        asdict(RECEIPT) | {"seed": 1.5},
        asdict(RECEIPT) | {"context_limit": "100"},
        asdict(RECEIPT) | {"seed": 10**400},
        asdict(RECEIPT) | {"thought_s": 10**400},
        asdict(RECEIPT) | {"thought_s": float("nan")},
    ],
    ids=repr,
)
def test_a_receipt_that_cant_be_read_is_none_and_the_texts_stay(receipt):
    conversation = read_conversation({"turns": [GOOD | {"receipt": receipt}], "head": "a"})
    assert conversation.path[0].receipt is None
    assert conversation.path[0].content == GOOD["content"]
