"""What an event gives to the page at each point of a turn: the box, the transcript, and the conversation as data."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from hfdemo.answering import Answering
from hfdemo.chat.conversation import Conversation, Turn, read_conversation
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Delta
from hfdemo.engines.protocol import Status
from hfdemo.errors import GenerationFailed, HfdemoError, InvalidInput
from hfdemo.page import turn as turn_module
from hfdemo.page.controls import PageOptions
from hfdemo.page.drawing import draw
from hfdemo.page.turn import PageTurn, TurnView, address_of, request_of, stream_turn, update_interval_s
from hfdemo.words import say
from tests.fakes import RECEIPT, ScriptedEngine, displayed_text

OPTIONS = PageOptions("Be kind.", Options(seed=7), "")
CUT = replace(RECEIPT, finish_reason="max_new_tokens")


class Page:
    """What a page shows after each update of an event."""

    def __init__(self) -> None:
        self.box = self.earlier = self.latest = self.conversation = self.can_continue = self.meter = None
        self.draft: str | None = None
        """What goes back into the box."""
        self.locked = False
        self.keys: list[str] = []
        self.updates = self.drawn_anew = 0

    def take(self, update: tuple[Any, ...]) -> None:
        box, earlier, latest, data, button, meter, key = update
        self.updates += 1
        assert "value" not in box and "interactive" not in box, "what is being typed there is the visitor's"
        if "stop_btn" in box:
            assert box["stop_btn"] and not box["submit_btn"], "the browser unlocks it, when the event has ended"
            self.locked = True
        if earlier != gr.skip():
            self.earlier = earlier
            self.drawn_anew += 1
        self.latest = latest
        if data != gr.skip():
            self.conversation, self.draft = read_conversation(data), data.get("draft")
        if "visible" in button:
            self.can_continue = button["visible"]
        self.meter = meter
        self.keys.append(key)

    @property
    def shown(self) -> list[str]:
        """What the transcript says, boxes by their titles."""
        return [
            displayed_text(str(entry["metadata"]["title"]) if "metadata" in entry else entry["content"][0]["text"])
            for entry in [*self.earlier, *self.latest]
        ]


def run(engine: ScriptedEngine, turn: PageTurn, at_most: int | None = None, key: str = "key") -> Page:
    """Run the event of a question; raise what it raises, with the page as it was left."""
    page = Page()

    async def collect() -> None:
        view = TurnView(turn, engine.status, "en")
        async with aclosing(stream_turn(Answering(engine), view, OPTIONS, key, "me")) as updates:
            async for update in updates:
                page.take(update)
                if page.updates == at_most:
                    return

    try:
        asyncio.run(collect())
    except HfdemoError as error:
        error.page = page
        raise
    return page


def asked(text: str = "Hi", before: Conversation | None = None) -> PageTurn:
    before = before or Conversation()
    return PageTurn(before, before.add("user", text), draft=text)


def answered(receipt: Any = RECEIPT) -> Conversation:
    told = Conversation().add("user", "Hi")
    return told.put(Turn("r", told.head, "assistant", "Hel", "Hm.", receipt))


def test_a_piece_of_a_reply_leaves_the_earlier_turns_as_they_are():
    engine = ScriptedEngine()
    engine.enqueue("a", 0.3, "b", 0.3, "c")
    page = run(engine, asked())
    assert page.updates > 2
    assert page.drawn_anew == 2  # when the reply begins, and when it has ended


def test_the_message_is_in_the_conversation_with_the_first_piece():
    engine = ScriptedEngine()
    engine.enqueue(0.5, "Hello")
    page = run(engine, asked(), at_most=1)
    assert (page.draft, page.locked, page.can_continue) == (None, True, False)
    assert page.shown == ["Hi", say("status.reading")]
    assert [turn.content for turn in page.conversation.path] == ["Hi"]


def test_a_whole_turn_ends_with_its_receipt():
    engine = ScriptedEngine()
    engine.enqueue("<think>Hm.</think>", "Hel", "lo")
    page = run(engine, asked())
    question, reply = page.conversation.path
    assert (question.content, question.receipt) == ("Hi", None)
    assert (reply.content, reply.thought, reply.receipt, reply.parent) == ("Hello", "Hm.", RECEIPT, question.id)
    assert (page.earlier, page.latest) == draw(page.conversation.path, "en")
    assert (page.draft, page.can_continue, page.meter) == (None, False, "40 of 100 tokens")
    assert engine.requests == [replace(request_of(page.conversation.path[:1], OPTIONS), cache_key="key")]


def test_a_first_message_gets_a_secret_key_and_the_next_one_keeps_it():
    first = run(ScriptedEngine(), asked(), key="")
    assert len(set(first.keys)) == 1 and len(first.keys[0]) >= 20
    assert run(ScriptedEngine(), asked(), key="").keys != first.keys
    assert set(run(ScriptedEngine(), asked(), key="mine").keys) == {"mine"}


def test_a_reply_that_was_cut_off_can_be_continued():
    engine = ScriptedEngine()
    engine.receipt = CUT
    assert run(engine, asked()).can_continue is True


def test_a_reply_goes_on_in_its_place_and_keeps_its_thought():
    engine, before = ScriptedEngine(), answered(replace(CUT, thought_s=3.0))
    engine.enqueue("lo")
    page = run(engine, PageTurn(before, before.at(before.path[0].id), goes_on=before.reply))
    assert [turn.id for turn in page.conversation.path] == [turn.id for turn in before.path]
    reply = page.conversation.path[-1]
    assert (reply.content, reply.thought) == ("Hello", "Hm.")
    assert reply.receipt == RECEIPT.after(replace(CUT, thought_s=3.0))
    assert (reply.receipt.new_tokens, reply.receipt.thought_s) == (20, 3.0)
    assert page.meter == "40 of 100 tokens"
    (request,) = engine.requests
    assert (request.messages, request.reply_start, request.continues) == ((Message("user", "Hi"),), "Hel", True)
    assert request.thought_start == "Hm."


def test_a_thought_that_was_cut_off_goes_on():
    engine, before = ScriptedEngine(), answered(CUT)
    cut = before.put(replace(before.reply, content=""))
    engine.enqueue("<think>, so</think>", "Hello")
    page = run(engine, PageTurn(cut, cut.at(cut.path[0].id), goes_on=cut.reply))
    reply = page.conversation.path[-1]
    assert (reply.thought, reply.content) == (", so", "Hello"), "the engine tells the whole thought"
    (request,) = engine.requests
    assert (request.reply_start, request.thought_start, request.continues) == ("", "Hm.", True)


def test_a_continue_that_is_stopped_before_its_first_piece_leaves_the_reply_as_it_was():
    engine, before = ScriptedEngine(), answered(CUT)

    def stream(request, stop):
        yield Delta(receipt=replace(RECEIPT, finish_reason="stopped", new_tokens=0))

    engine.stream = stream
    page = run(engine, PageTurn(before, before.at(before.path[0].id), goes_on=before.reply))
    assert page.conversation == before and page.can_continue is True


def test_a_thought_that_goes_on_is_one_that_comes_also_for_a_page_that_is_loaded_again():
    engine, before = ScriptedEngine(), answered(CUT)
    cut = before.put(replace(before.reply, content=""))
    engine.enqueue("<think>, so", 0.2, " it is")
    page = run(engine, PageTurn(cut, cut.at(cut.path[0].id), goes_on=cut.reply), at_most=1)
    assert page.conversation.reply.receipt is None
    assert page.conversation.reply.id == cut.reply.id


def test_a_thought_that_is_told_again_is_there_once():
    engine, before = ScriptedEngine(), answered(CUT)
    engine.enqueue("<think>Hm.</think>", "lo")
    page = run(engine, PageTurn(before, before.at(before.path[0].id), goes_on=before.reply))
    assert (page.conversation.path[-1].content, page.conversation.path[-1].thought) == ("Hello", "Hm.")


def test_a_reply_that_goes_on_is_shown_from_the_beginning():
    engine, before = ScriptedEngine(), answered(CUT)
    engine.enqueue(0.5, "lo")
    page = run(engine, PageTurn(before, before.at(before.path[0].id), goes_on=before.reply), at_most=1)
    assert page.shown[-1] == "Hel"


def test_another_try_stands_beside_the_first():
    before = answered()
    page = run(ScriptedEngine(), PageTurn(before, before.at(before.path[0].id)))
    assert [turn.content for turn in page.conversation.path] == ["Hi", "ok"]
    assert len(page.conversation.turns) == 3


@pytest.mark.parametrize("error", [InvalidInput("empty_message"), GenerationFailed("template")])
def test_a_refused_message_never_leaves_the_box(error):
    engine = ScriptedEngine()
    engine.enqueue(error)
    with pytest.raises(type(error)) as refused:
        run(engine, asked())
    assert refused.value.page.updates == 0


def test_a_message_without_any_reply_goes_back_into_the_box():
    engine = ScriptedEngine()
    engine.enqueue(0.3, GenerationFailed("generation"))
    with pytest.raises(GenerationFailed) as failed:
        run(engine, asked("More", answered()))
    page = failed.value.page
    assert page.draft == "More"
    assert (page.earlier, page.latest) == draw(answered().path, "en")
    assert [turn.content for turn in page.conversation.path] == ["Hi", "Hel"]


def test_what_came_before_an_error_stays_and_can_be_continued():
    engine = ScriptedEngine()
    engine.enqueue("half", 0.3, GenerationFailed("generation"))
    with pytest.raises(GenerationFailed) as failed:
        run(engine, asked())
    page = failed.value.page
    assert [turn.content for turn in page.conversation.path] == ["Hi", "half"]
    assert (page.draft, page.can_continue) == (None, True)


def test_a_failed_retry_leaves_the_reply_that_was_there():
    engine, before = ScriptedEngine(), answered()
    engine.enqueue(0.3, GenerationFailed("generation"))
    with pytest.raises(GenerationFailed) as failed:
        run(engine, PageTurn(before, before.at(before.path[0].id)))
    page = failed.value.page
    assert page.conversation == before and page.draft is None


@pytest.mark.parametrize("reason", ["end_of_turn", "max_new_tokens"])
def test_a_model_that_says_nothing_is_said_and_the_message_is_back(reason):
    engine = ScriptedEngine()
    engine.receipt = replace(RECEIPT, finish_reason=reason)
    engine.enqueue("")
    with pytest.raises(GenerationFailed) as failed:
        run(engine, asked())
    assert failed.value.key == "empty_reply"
    assert (failed.value.page.draft, failed.value.page.shown) == ("Hi", [])


@pytest.mark.parametrize("reason", ["stopped", "time_limit"])
def test_a_reply_that_ends_before_a_word_gives_the_message_back(reason):
    engine = ScriptedEngine()
    engine.receipt = replace(RECEIPT, finish_reason=reason, new_tokens=0)
    engine.enqueue("")
    page = run(engine, asked())
    assert (page.draft, page.shown, page.conversation) == ("Hi", [], Conversation())


def test_a_reply_that_is_all_thought_stays():
    engine = ScriptedEngine()
    engine.receipt = CUT
    engine.enqueue("<think>Hm.</think>")
    page = run(engine, asked())
    assert page.conversation.path[-1].thought == "Hm." and page.draft is None
    assert page.can_continue is True


@pytest.mark.parametrize(("half", "content", "thought"), [("half", "half", ""), ("<think>Hm.</think>", "", "Hm.")])
def test_the_browser_gets_a_long_reply_as_data_while_it_comes(monkeypatch, half, content, thought):
    monkeypatch.setattr(turn_module, "KEPT_S", -1.0)
    engine = ScriptedEngine()
    engine.enqueue(half, 5.0, "whole")
    page = run(engine, asked(), at_most=3)
    question, reply = page.conversation.path
    assert (question.content, reply.content, reply.thought, reply.receipt) == ("Hi", content, thought, None)


def test_what_is_waited_for_is_said():
    engine = ScriptedEngine()
    engine.now = Status("loading", model="org/model")
    engine.enqueue(0.5, "ok")
    assert run(engine, asked(), at_most=1).shown[-1] == say("status.loading", model="org/model")


@pytest.mark.parametrize(("turns", "seconds"), [(0, 1 / 20), (1, 1 / 20), (100, 0.057)])
def test_updates_are_further_apart_the_more_there_is_to_draw(turns, seconds):
    assert update_interval_s(turns) == pytest.approx(seconds)
    assert update_interval_s(turns + 100) > update_interval_s(turns)


def test_whoever_has_a_network_of_ipv6_counts_as_one_address():
    """Else one client has as many as it likes, and no limit by address is one."""
    one, same, other, nobody = (
        SimpleNamespace(client=host and SimpleNamespace(host=host))
        for host in ("2001:db8::1", "2001:db8::2", "192.0.2.1", None)
    )
    assert address_of(one) == address_of(same)
    assert (address_of(other), address_of(nobody)) == ("192.0.2.1", "")
