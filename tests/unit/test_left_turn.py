"""A visitor who clears the chat or undoes a turn while a reply comes doesn't get it back when it is stopped."""

from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from hfdemo.page.chat import Chat
from hfdemo.page.controls import make_controls
from hfdemo.page.transcript import entry
from tests.fakes import ScriptedEngine

ENTRIES = [entry("user", "Hi"), entry("assistant", "Hel")]


class StoppingEngine(ScriptedEngine):
    """An engine whose reply is being stopped while something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Any] = lambda: None
        self.forgotten: list[str] = []

    def last_reply(self, chat: str) -> None:
        self.meanwhile()

    def forget(self, chat: str) -> None:
        self.forgotten.append(chat)


@pytest.fixture
def engine() -> StoppingEngine:
    return StoppingEngine()


@pytest.fixture
def chat(engine: StoppingEngine) -> Chat:
    with gr.Blocks():
        return Chat(engine, make_controls(""))


def test_a_stopped_reply_stays(chat):
    _, entries, _, _ = chat._close_turn(ENTRIES, "name", "en")
    assert entries == ENTRIES


@pytest.mark.parametrize("leave", ["clear", "undo"])
@pytest.mark.parametrize("entries", [ENTRIES, ENTRIES[:1]], ids=["with a reply", "without"])
def test_a_turn_that_was_left_meanwhile_stays_away(chat, engine, leave, entries):
    def leave_it() -> None:
        left = chat._clear("name") if leave == "clear" else chat._undo(entries, "", "name")
        assert left[1:3] == ([], 0)

    engine.meanwhile = leave_it
    assert chat._close_turn(entries, "name", "en") == (gr.skip(), [], gr.skip(), gr.skip())
    assert engine.forgotten == ["name"]


@pytest.mark.parametrize("late", [[], [entry("user", "More"), entry("assistant", "I")]], ids=["", "late update"])
def test_late_updates_of_a_turn_that_was_left_before_go_away(chat, late):
    name = chat._undo([*ENTRIES, entry("user", "More")], "", "name")[2]
    assert chat._close_turn([*ENTRIES, *late], name, "en") == (gr.skip(), ENTRIES, gr.skip(), gr.skip())


def test_what_comes_after_a_turn_that_was_left_has_a_name_of_its_own(chat):
    name = chat._clear("name")[2]
    assert chat._begin([], name)[2] not in ("name", name)


def test_only_the_last_conversations_that_were_left_are_remembered(chat):
    for number in range(3000):
        chat._clear(f"name {number}")
    assert list(chat._left) == [f"name {number}" for number in range(2000, 3000)]
