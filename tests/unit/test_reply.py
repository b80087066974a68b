"""A reply reaches the page whole, no more often than it can be drawn; an error reaches it without any secret."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise
from threading import Event

import gradio as gr
import pytest

from hfdemo.chat.messages import ChatRequest, Delta, Message, Options, Receipt
from hfdemo.errors import Busy, GenerationFailed
from hfdemo.page import reply
from hfdemo.page.reply import Reply, page_error, said_kindly, stream_reply, update_interval_s
from tests.conftest import wait_until
from tests.fakes import ScriptedEngine

REQUEST = ChatRequest((Message("user", "Hi"),), "", Options())
SECRET = "".join(["hf", "_", "secretsecret"])


def read(engine: ScriptedEngine, at_most: int | None = None) -> list[tuple[float, str]]:
    """Return the texts of a reply with the time each came, leaving after `at_most` of them."""

    async def collect() -> list[tuple[float, str]]:
        start, texts = time.monotonic(), []
        async with aclosing(stream_reply(engine, REQUEST)) as replies:
            async for so_far in replies:
                texts.append((time.monotonic() - start, so_far.text))
                if len(texts) == at_most:
                    break
        return texts

    return asyncio.run(collect())


@pytest.mark.parametrize(("messages", "tokens"), [(1, 0), (2, 100), (50, 2000), (1000, 0), (1000, 4096)])
def test_updates_are_further_apart_the_more_there_is_to_draw(messages, tokens):
    here = update_interval_s(messages, tokens)
    assert here >= 1 / 30
    assert update_interval_s(messages + 1, tokens) >= here
    assert update_interval_s(messages, tokens + 1) >= here
    assert update_interval_s(messages + 100, tokens) > here
    assert update_interval_s(messages, tokens + 10_000) > here


@pytest.mark.parametrize(
    ("messages", "tokens", "seconds"), [(0, 0, 1 / 30), (1, 0, 1 / 30), (100, 0, 0.153), (1, 4000, 0.07095)]
)
def test_the_interval_is_three_times_what_a_browser_takes(messages, tokens, seconds):
    assert update_interval_s(messages, tokens) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "pieces", [["ok"], ["안", "녕", "하세요", " 👍🏽"], [f"{n} " for n in range(2000)], ["", "a", "", "b"]]
)
def test_the_updates_grow_to_the_whole_text(pieces):
    engine = ScriptedEngine()
    engine.enqueue(*pieces)
    texts = [text for _, text in read(engine)]
    assert texts[-1] == "".join(pieces)
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert engine.requests == [REQUEST]


def test_the_first_text_and_the_last_come_at_once(monkeypatch):
    monkeypatch.setattr(reply, "update_interval_s", lambda *_: 60.0)
    engine = ScriptedEngine()
    engine.enqueue("a", "b", "c", "d")
    texts = read(engine)
    assert list(dict.fromkeys(text for _, text in texts)) == ["a", "abcd"]
    assert texts[-1][0] < 5


def test_updates_come_no_faster_than_the_page_draws_them(monkeypatch):
    monkeypatch.setattr(reply, "update_interval_s", lambda *_: 0.1)
    engine = ScriptedEngine()
    engine.enqueue(*["x"] * 20_000)
    texts = read(engine)
    assert texts[-1][1] == "x" * 20_000
    assert len({text for _, text in texts}) <= texts[-1][0] / 0.1 + 2


def test_a_silent_engine_is_told_of_at_least_four_times_a_second():
    engine = ScriptedEngine()
    engine.enqueue(0.8, "late")
    times = [0.0, *(when for when, _ in read(engine))]
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.5
    assert len(times) >= 4


def test_leaving_stops_the_engine():
    engine = ScriptedEngine()
    engine.enqueue("a", 60.0, "b")
    start = time.monotonic()
    assert read(engine, at_most=1)[0][1] == "a"
    wait_until(lambda: engine.stopped == [True], 5)
    assert time.monotonic() - start < 5


def test_an_error_of_the_engine_comes_through_after_what_came_before():
    engine = ScriptedEngine()
    engine.enqueue("half", GenerationFailed("generation"))
    with pytest.raises(GenerationFailed):
        read(engine)
    assert engine.stopped == [True]


class Thinker:
    """An engine that thinks before it answers."""

    def __init__(self, *deltas: Delta) -> None:
        self.deltas = deltas

    def stream(self, request: ChatRequest, stop: Event) -> Iterator[Delta]:
        for delta in self.deltas:
            time.sleep(0.1)
            yield delta


def test_thoughts_and_text_come_apart_with_the_time_the_thinking_took():
    receipt = Receipt(5, 0, 4, 0.1, 10.0, "end_of_turn", 1, "m", "CPU", None, 0)
    engine = Thinker(
        Delta(thought="Hm, "), Delta(thought="yes."), Delta("It "), Delta("is."), Delta(used_tokens=9, receipt=receipt)
    )

    async def collect() -> list[Reply]:
        return [so_far async for so_far in stream_reply(engine, REQUEST)]

    replies = asyncio.run(collect())
    assert [(so_far.thought, so_far.text) for so_far in replies] == [
        ("Hm, ", ""),
        ("Hm, yes.", ""),
        ("Hm, yes.", "It "),
        ("Hm, yes.", "It is."),
        ("Hm, yes.", "It is."),
    ]
    assert [so_far.receipt for so_far in replies] == [None] * 4 + [receipt]
    assert replies[-1].used_tokens == 9
    assert 0.1 <= replies[0].thought_s < replies[1].thought_s == replies[-1].thought_s


def kindly(error: BaseException, language: str = "en") -> gr.Error:
    with pytest.raises(gr.Error) as shown, said_kindly(language):
        raise error
    return shown.value


def test_nothing_is_said_when_nothing_happens():
    with said_kindly("en"):
        pass


@pytest.mark.parametrize(
    ("language", "title", "text"), [("en", "Error", "Too many people"), ("ko", "오류", "기다리는 사람이")]
)
def test_an_error_for_people_is_said_in_their_language(language, title, text):
    shown = kindly(Busy("busy", waiting=3), language)
    assert shown.message.startswith(text)
    assert shown.title == title
    assert shown.print_exception is False


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, OSError, MemoryError, UnicodeError])
def test_any_other_error_shows_neither_its_text_nor_a_token(kind, language, caplog):
    private = "the visitor said " + "strawberry"
    with caplog.at_level(logging.DEBUG):
        shown = kindly(kind(f"{private} {SECRET}"), language)
    beginnings = {"en": "Something went wrong on our side.", "ko": "서버에서 문제가 생겼습니다."}
    assert shown.message.startswith(beginnings[language])
    for text in (str(shown), repr(shown), shown.message, caplog.text):
        assert "strawberry" not in text and "secretsecret" not in text
    assert kind.__name__ in caplog.text and "test_reply.py" in caplog.text


def test_a_line_of_code_in_the_log_has_its_token_masked(caplog):
    with pytest.raises(gr.Error), said_kindly("en"):
        {}["hf_thisTokenStandsInTheCode"]
    assert "hf_***" in caplog.text and "StandsInTheCode" not in caplog.text


def test_what_led_to_the_error_is_not_told_with_it():
    shown = kindly(ValueError("private"))
    assert shown.__cause__ is None and shown.__suppress_context__


def test_an_error_made_for_the_page_passes_as_it_is():
    error = page_error("text", "ko")
    assert kindly(error) is error
    assert (error.message, error.title, error.duration) == ("text", "오류", 20)


@pytest.mark.parametrize("error", [GeneratorExit(), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_leaving_is_no_error(error):
    with pytest.raises(type(error)), said_kindly("en"):
        raise error
