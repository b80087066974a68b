"""One reply, from an engine to its reader: it never blocks the event loop and ends by itself."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from contextvars import ContextVar
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from hfdemo import answering as answering_module
from hfdemo.answering import MAX_READERS, Answer, Answering
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Delta, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.protocol import Status
from hfdemo.errors import Busy, GenerationFailed, InvalidInput
from tests.conftest import quickest, wait_until
from tests.fakes import RECEIPT, ScriptedEngine

REQUEST = ChatRequest((Message("user", "Hi"),), "", Options())
visitor: ContextVar[str] = ContextVar("visitor", default="nobody")


class Engine:
    """Yields what a generator does."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def status(self) -> Status:
        return Status("ready")


def read(engine: Any, at_most: int | None = None) -> list[Delta]:
    """Return the pieces of a reply, leaving after so many."""

    async def collect() -> list[Delta]:
        deltas: list[Delta] = []
        async with aclosing(Answering(engine).answer(REQUEST).deltas()) as coming:
            async for delta in coming:
                deltas.append(delta)
                if len(deltas) == at_most:
                    break
        return deltas

    return asyncio.run(collect())


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


@pytest.mark.parametrize(
    "pieces", [["ok"], ["안", "녕", "하세요", " 👍🏽"], [f"{n} " for n in range(2000)], ["", "a", "", "b"]]
)
def test_a_reply_comes_whole_with_its_receipt_at_the_end(pieces):
    engine = ScriptedEngine()
    engine.enqueue(*pieces)
    deltas = read(engine)
    assert text_of(deltas) == "".join(pieces)
    assert [delta.receipt for delta in deltas] == [None] * (len(deltas) - 1) + [RECEIPT]
    assert engine.requests == [REQUEST]


def test_what_came_while_the_reader_was_away_is_one_piece():
    engine = ScriptedEngine()
    engine.enqueue("<think>Hm.</think>", *"abcdef")

    async def collect() -> list[Delta]:
        answer = Answering(engine).answer(REQUEST)
        await asyncio.to_thread(answer.ended.result, 5)
        await asyncio.sleep(0.05)
        return [delta async for delta in answer.deltas()]

    (delta,) = asyncio.run(collect())
    assert (delta.thought, delta.text, delta.receipt, delta.used_tokens) == ("Hm.", "abcdef", RECEIPT, 40)


def test_an_error_comes_after_what_came_before_it():
    engine = ScriptedEngine()
    engine.enqueue("half", GenerationFailed("generation"))
    came: list[Delta] = []

    async def collect() -> None:
        async for delta in Answering(engine).answer(REQUEST).deltas():
            came.append(delta)

    with pytest.raises(GenerationFailed):
        asyncio.run(collect())
    assert text_of(came) == "half"


def test_a_refused_request_yields_nothing():
    engine = ScriptedEngine()
    engine.now = Status("failed", error=InvalidInput("empty_message"))
    with pytest.raises(InvalidInput):
        read(engine)


def test_a_silent_engine_is_told_of_at_least_four_times_a_second():
    def longest_s() -> float:
        engine, times = ScriptedEngine(), [time.monotonic()]
        engine.enqueue(0.8, "late")

        async def collect() -> None:
            async for _ in Answering(engine).answer(REQUEST).deltas():
                times.append(time.monotonic())

        asyncio.run(collect())
        return max(later - earlier for earlier, later in pairwise(times))

    assert quickest(longest_s, 0.5) < 0.5


def test_the_event_loop_goes_on_while_the_engine_blocks():
    def block(request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        time.sleep(1)
        yield Delta("a", receipt=RECEIPT)

    async def collect() -> tuple[int, float]:
        ticks, longest = 0, 0.0

        async def tick() -> None:
            nonlocal ticks, longest
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.01)
                now = time.monotonic()
                ticks, longest, last = ticks + 1, max(longest, now - last), now

        ticking = asyncio.create_task(tick())
        assert [delta.text async for delta in Answering(Engine(block)).answer(REQUEST).deltas()] == ["a"]
        ticking.cancel()
        return ticks, longest

    ticks, longest = asyncio.run(collect())
    assert ticks > 40
    assert longest < 0.5


def test_the_engine_runs_in_one_other_thread_in_the_callers_context():
    seen: list[tuple[str, int]] = []

    def look(request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        seen.append((visitor.get(), threading.get_ident()))
        visitor.set("changed inside")
        yield Delta("a")
        seen.append((visitor.get(), threading.get_ident()))
        yield Delta(receipt=RECEIPT)

    async def collect() -> None:
        visitor.set("me")
        assert text_of([delta async for delta in Answering(Engine(look)).answer(REQUEST).deltas()]) == "a"
        assert visitor.get() == "me"

    asyncio.run(collect())
    assert [name for name, _ in seen] == ["me", "changed inside"]
    assert len({thread for _, thread in seen}) == 1 and seen[0][1] != threading.get_ident()


def test_a_reader_who_leaves_stops_the_engine_which_ends_by_itself():
    engine = ScriptedEngine()
    engine.enqueue("a", 60.0, "b")
    started = time.monotonic()
    assert text_of(read(engine, at_most=1)) == "a"
    wait_until(lambda: engine.stopped == [True], 5)
    assert time.monotonic() - started < 5


def test_a_reader_who_is_cancelled_during_a_wait_stops_the_engine_at_once():
    def silent(request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        stop.wait(60)
        yield Delta(receipt=replace(RECEIPT, finish_reason=stop.reason))

    async def leave() -> Answer:
        answer = Answering(Engine(silent)).answer(REQUEST)
        reading = asyncio.create_task(anext(answer.deltas()))
        await asyncio.sleep(0.05)
        assert not answer.stop.is_set()
        reading.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert answer.stop.is_set() and time.monotonic() - started < 5
        return answer

    answer = asyncio.run(leave())
    receipt = answer.ended.result(5)
    assert receipt is not None and receipt.finish_reason == "stopped"


def test_stop_ends_the_replies_of_one_visitor_and_their_receipts_come():
    engine = ScriptedEngine()
    engine.enqueue("mine", 60.0)
    engine.enqueue("theirs", 0.6, "!")

    async def stop() -> list[list[Delta]]:
        answering = Answering(engine)
        mine = answering.answer(REQUEST, "me")
        while not engine.requests:
            await asyncio.sleep(0.01)
        theirs = answering.answer(REQUEST, "they")

        async def collect(answer: Answer) -> list[Delta]:
            return [delta async for delta in answer.deltas()]

        reading = asyncio.gather(collect(mine), collect(theirs))
        await asyncio.sleep(0.1)
        await answering.stop("me")
        return await reading

    mine, theirs = asyncio.run(stop())
    assert mine[-1].receipt is not None and mine[-1].receipt.finish_reason == "stopped" and text_of(mine) == "mine"
    assert (theirs[-1].receipt, text_of(theirs)) == (RECEIPT, "theirs!")


def test_a_stop_that_overtakes_its_message_waits_for_it():
    engine = ScriptedEngine()
    engine.enqueue(60.0)

    async def stop_first() -> list[Delta]:
        answering = Answering(engine)
        stopping = asyncio.create_task(answering.stop("me"))
        await asyncio.sleep(0.2)
        deltas = [delta async for delta in answering.answer(REQUEST, "me").deltas()]
        await stopping
        return deltas

    receipt = asyncio.run(stop_first())[-1].receipt
    assert receipt is not None and receipt.finish_reason == "stopped"


def test_a_stop_that_comes_too_late_spares_the_next_reply():
    engine = ScriptedEngine()

    async def late() -> list[Delta]:
        answering = Answering(engine)
        assert [delta async for delta in answering.answer(REQUEST, "me").deltas()]
        stopping = asyncio.create_task(answering.stop("me"))
        await asyncio.sleep(0)
        engine.enqueue("next", 0.5, "!")
        deltas = [delta async for delta in answering.answer(REQUEST, "me").deltas()]
        await stopping
        return deltas

    deltas = asyncio.run(late())
    assert (text_of(deltas), deltas[-1].receipt) == ("next!", RECEIPT)


def test_a_stop_without_a_reply_gives_up(monkeypatch):
    monkeypatch.setattr(answering_module, "STOP_WAITS_S", 0.1)
    asyncio.run(asyncio.wait_for(Answering(ScriptedEngine()).stop("me"), 2))


def test_no_more_are_answered_at_a_time_than_the_host_allows():
    engine = ScriptedEngine()
    engine.enqueue(60.0)
    engine.enqueue(60.0)

    async def crowd() -> None:
        answering = Answering(engine, max_waiting=2)
        answers = [answering.answer(REQUEST) for _ in range(2)]
        with pytest.raises(Busy) as busy:
            answering.answer(REQUEST)
        assert busy.value.fields["waiting"] == "2"
        answers[0].stop.set()
        await asyncio.to_thread(answers[0].ended.result, 5)
        third = answering.answer(REQUEST)
        assert "".join([delta.text async for delta in third.deltas()]) == "ok"
        answers[1].stop.set()
        await asyncio.to_thread(answers[1].ended.result, 5)
        assert answering._answers == []

    asyncio.run(crowd())


def test_who_finds_no_place_is_told_when_there_may_be_one():
    engine = ScriptedEngine()

    async def crowd() -> None:
        answering = Answering(engine, max_waiting=2)
        engine.enqueue(0.05, "a")
        engine.enqueue(0.25, "b")
        answers = [answering.answer(REQUEST) for _ in range(2)]
        await asyncio.to_thread(answers[1].ended.result, 5)
        engine.enqueue(60.0)
        engine.enqueue(60.0)
        answers = [answering.answer(REQUEST) for _ in range(2)]
        with pytest.raises(Busy) as busy:
            answering.answer(REQUEST)
        assert (busy.value.key, busy.value.fields) == ("busy_for", {"waiting": "2", "seconds": "1"})
        await asyncio.to_thread(end, answers)

    asyncio.run(crowd())


def begin(answering: Answering, engine: ScriptedEngine, *who: tuple[str, str]) -> list[Answer]:
    """Begin replies that come until they are stopped, one for each visitor and address."""
    for _ in who:
        engine.enqueue(60.0)
    return [answering.answer(REQUEST, *visitor) for visitor in who]


def end(answers: list[Answer]) -> None:
    for answer in answers:
        answer.stop.set()
    for answer in answers:
        answer.ended.result(5)


def test_a_visitor_has_one_reply_that_comes_and_one_that_waits():
    engine = ScriptedEngine()

    async def crowd() -> None:
        answering = Answering(engine)
        answers = begin(answering, engine, ("me", "here"), ("me", "here"))
        with pytest.raises(Busy) as busy:
            answering.answer(REQUEST, "me", "elsewhere")
        assert busy.value.key == "busy_visitor"
        answers += begin(answering, engine, ("they", "here"), ("", "here"), ("", "here"), ("", "here"))
        await asyncio.to_thread(end, answers)

    asyncio.run(crowd())


def test_an_address_leaves_places_to_others():
    engine = ScriptedEngine()

    async def crowd() -> None:
        answering = Answering(engine, max_waiting=4, max_of_one_address=2)
        answers = begin(answering, engine, ("a", "here"), ("b", "here"))
        with pytest.raises(Busy) as busy:
            answering.answer(REQUEST, "c", "here")
        assert (busy.value.key, busy.value.fields["waiting"]) == ("busy_address", "2")
        answers += begin(answering, engine, ("d", "there"), ("e", ""))
        await asyncio.to_thread(end, answers)

    asyncio.run(crowd())


def test_who_sends_too_fast_is_told_when_to_try_again():
    async def hurry() -> None:
        answering = Answering(ScriptedEngine(), per_minute=4)
        for _ in range(2):
            assert [delta async for delta in answering.answer(REQUEST, "me", "here").deltas()]
        with pytest.raises(Busy, match="Try again in 15 s") as busy:
            answering.answer(REQUEST, "me", "here")
        assert busy.value.key == "too_many_messages"
        assert [delta async for delta in answering.answer(REQUEST, "they", "here").deltas()]

    asyncio.run(hurry())


def test_closing_lets_replies_end_and_takes_no_more():
    engine = ScriptedEngine()
    engine.enqueue("a", 0.5, "b")

    async def close() -> list[Delta]:
        answering = Answering(engine)
        assert answering.is_ready()
        answer = answering.answer(REQUEST)
        closing = asyncio.create_task(asyncio.to_thread(answering.close, 5))
        async with asyncio.timeout(10):
            while answering.is_ready():
                await asyncio.sleep(0.02)
        with pytest.raises(Busy) as busy:
            answering.answer(REQUEST)
        assert busy.value.key == "closing"
        deltas = [delta async for delta in answer.deltas()]
        started = time.monotonic()
        await closing
        assert time.monotonic() - started < 1.5
        return deltas

    assert text_of(asyncio.run(close())) == "ab"


def test_closing_waits_no_longer_than_it_may_and_tells_readers_that_their_reply_was_cut():
    engine = ScriptedEngine()
    engine.enqueue("begun", 30)

    async def close() -> tuple[float, list[Delta]]:
        answering = Answering(engine)
        answer = answering.answer(REQUEST)
        closing, started = asyncio.create_task(asyncio.to_thread(answering.close, 0.3)), time.monotonic()
        deltas = [delta async for delta in answer.deltas()]
        await closing
        return time.monotonic() - started, deltas

    waited_s, deltas = asyncio.run(close())
    assert 0.3 <= waited_s < 5
    assert (text_of(deltas), deltas[-1].receipt.finish_reason) == ("begun", "time_limit")


def test_a_reply_that_closing_cuts_before_it_is_begun_is_no_empty_one():
    engine = ScriptedEngine()
    engine.enqueue(30.0, "never")

    async def close() -> None:
        answering = Answering(engine)
        answer = answering.answer(REQUEST)
        closing = asyncio.create_task(asyncio.to_thread(answering.close, 0.1))
        with pytest.raises(Busy) as busy:
            [delta async for delta in answer.deltas()]
        await closing
        assert busy.value.key == "closing" and answer.ended.result() is None

    asyncio.run(close())


def test_closing_does_not_wait_for_an_engine_that_does_not_stop():
    released = threading.Event()

    def deaf(request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        yield Delta("begun")
        released.wait(60)

    async def close() -> float:
        answering = Answering(Engine(deaf))
        answering.answer(REQUEST)
        started = time.monotonic()
        await asyncio.to_thread(answering.close, 0.1)
        return time.monotonic() - started

    try:
        assert asyncio.run(close()) < 10
    finally:
        released.set()


@pytest.mark.parametrize(
    ("stage", "ready"), [("ready", True), ("unloaded", True), ("loading", False), ("failed", False)]
)
def test_it_is_ready_when_a_message_would_be_answered(stage, ready):
    engine = ScriptedEngine()
    engine.now = Status(stage)
    assert Answering(engine).is_ready() is ready


def test_an_engine_that_ends_without_a_receipt_leaves_nobody_waiting():
    came = []

    async def collect() -> None:
        async for delta in Answering(Engine(lambda request, stop: iter([Delta("half")]))).answer(REQUEST).deltas():
            came.append(delta.text)

    with pytest.raises(GenerationFailed):
        asyncio.run(asyncio.wait_for(collect(), 5))
    assert came == ["half"]


def test_a_reply_that_failed_leaves_its_place_and_has_no_receipt():
    engine = ScriptedEngine()
    engine.enqueue(RuntimeError("broken"))

    async def fail() -> None:
        answering = Answering(engine, max_waiting=1)
        answer = answering.answer(REQUEST)
        with pytest.raises(RuntimeError, match="broken"):
            async for _ in answer.deltas():
                pass
        assert answer.ended.result(5) is None and answering._answers == []

    asyncio.run(fail())


def test_few_pages_show_one_reply():
    engine = ScriptedEngine()
    engine.enqueue("a", 60.0)

    async def look() -> None:
        answering = Answering(engine)
        answer = answering.answer(REQUEST, "me", turn="t")
        async with AsyncExitStack() as pages:
            shown = [await pages.enter_async_context(aclosing(answer.deltas())) for _ in range(MAX_READERS)]
            for page in shown[1:]:
                await anext(page)
            assert answering.find("t", "me") is answer
            await anext(shown[0])
            with pytest.raises(Busy):
                answering.find("t", "me")
            await shown.pop().aclose()
            assert answering.find("t", "me") is answer
        answer.stop.set()

    asyncio.run(look())


def test_no_thread_is_left_when_many_readers_have_left():
    engine = ScriptedEngine()
    for _ in range(20):
        engine.enqueue("a", 60.0)

    async def all_leave() -> None:
        answering = Answering(engine)

        async def leave_early() -> None:
            async with aclosing(answering.answer(REQUEST).deltas()) as deltas:
                await anext(deltas)

        await asyncio.gather(*(leave_early() for _ in range(20)))

    asyncio.run(all_leave())
    wait_until(lambda: [thread for thread in threading.enumerate() if thread.name == "reply"] == [], 5)


def counting(words: int, step_s: float = 0.02):
    """Return an engine's stream of so many words."""

    def stream(request, stop):
        for number in range(words):
            if stop.is_set():
                break
            yield Delta(f"{number} ", used_tokens=number)
            stop.wait(step_s)
        yield Delta(receipt=replace(RECEIPT, finish_reason=stop.reason if stop.is_set() else "end_of_turn"))

    return stream


async def read_some(answer, pieces: int) -> str:
    """Read a few pieces, as a page does whose connection breaks then."""
    read = ""
    async with aclosing(answer.deltas()) as deltas:
        async for delta in deltas:
            read, pieces = read + delta.text, pieces - 1
            if not pieces:
                break
    return read


ALL = "".join(f"{number} " for number in range(20))


def test_a_reply_whose_page_lost_its_connection_goes_on_and_is_handed_over():
    async def lose_and_find() -> None:
        answering = Answering(Engine(counting(20)))
        answer = answering.answer(REQUEST, "me", turn="t")
        begun = await read_some(answer, 2)
        assert ALL.startswith(begun) and begun != ALL
        found = answering.find("t", "me again")
        pieces = [delta async for delta in found.deltas()]
        assert text_of(pieces) == ALL and pieces[0].text.startswith(begun)
        assert pieces[-1].receipt.finish_reason == "end_of_turn"
        assert text_of([delta async for delta in found.deltas()]) == ALL, "and once more, after its end"
        assert answering.find("other") is None

    asyncio.run(lose_and_find())


def test_two_readers_of_one_reply_get_all_of_it():
    async def read_twice() -> None:
        answering = Answering(Engine(counting(20)))
        answering.answer(REQUEST, "me", turn="t")

        async def read() -> str:
            return text_of([delta async for delta in answering.find("t").deltas()])

        assert await asyncio.gather(read(), read()) == [ALL, ALL]

    asyncio.run(read_twice())


def test_a_reply_that_two_pages_show_goes_on_when_one_is_closed_and_either_stops_it(monkeypatch):
    monkeypatch.setattr(answering_module, "BACK_WITHIN_S", 0.1)

    async def show_twice() -> None:
        answering = Answering(Engine(counting(500)))
        pages = [answering.answer(REQUEST, "one", turn="t").deltas()]
        await anext(pages[0])
        pages.append(answering.find("t", "two").deltas())
        await anext(pages[1])
        answering.leave("t")
        await pages[1].aclose()
        await asyncio.sleep(0.3)
        answer = answering.find("t")
        assert not answer.ended.done()
        await answering.stop("one")
        assert (await asyncio.wait_for(asyncio.wrap_future(answer.ended), 10)).finish_reason == "stopped"
        await pages[0].aclose()

    asyncio.run(show_twice())


def test_stop_reaches_a_reply_that_was_found_again():
    async def find_and_stop() -> None:
        answering = Answering(Engine(counting(500)))
        await read_some(answering.answer(REQUEST, "me", turn="t"), 1)
        found = answering.find("t", "me again")
        reading = asyncio.create_task(anext(found.deltas()))
        await reading
        await answering.stop("me again")
        receipt = await asyncio.wait_for(asyncio.wrap_future(found.ended), 2)
        assert receipt.finish_reason == "stopped"

    asyncio.run(find_and_stop())


@pytest.mark.parametrize(("unread_s", "ends"), [(0.1, True), (30, False), (0, True)])
def test_a_reply_that_nobody_asks_for_again_ends_after_the_hosts_limit(unread_s, ends):
    async def lose() -> None:
        answering = Answering(Engine(counting(500)), unread_s=unread_s)
        answer = answering.answer(REQUEST, "me", turn="t")
        await read_some(answer, 1)
        if ends:
            await asyncio.wait_for(asyncio.wrap_future(answer.ended), 10)
        else:
            await asyncio.sleep(0.4)
            assert not answer.ended.done()
        answer.stop.set()

    asyncio.run(lose())


def test_a_program_that_leaves_ends_its_reply_at_once():
    async def leave() -> None:
        answer = Answering(Engine(counting(500))).answer(REQUEST, "program")
        await read_some(answer, 1)
        await asyncio.wait_for(asyncio.wrap_future(answer.ended), 1)

    asyncio.run(leave())


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_reply_ends_when_its_page_is_closed_but_not_when_it_is_loaded_again(comes_back, monkeypatch):
    monkeypatch.setattr(answering_module, "BACK_WITHIN_S", 0.3)

    async def close() -> None:
        answering = Answering(Engine(counting(500)))
        answer = answering.answer(REQUEST, "me", turn="t")
        await read_some(answer, 1)
        answering.leave("t")
        if comes_back:
            assert answering.find("t") is answer
            await asyncio.sleep(0.6)
            assert not answer.ended.done()
        else:
            await asyncio.wait_for(asyncio.wrap_future(answer.ended), 10)
        answer.stop.set()

    asyncio.run(close())


def test_a_reply_is_forgotten_some_time_after_its_end():
    async def wait() -> None:
        answering = Answering(Engine(counting(1)), unread_s=0.5)
        answer = answering.answer(REQUEST, "me", turn="t")
        assert text_of([delta async for delta in answer.deltas()]) == "0 "
        assert answering.find("t") is answer
        async with asyncio.timeout(10):
            while answering.find("t"):
                await asyncio.sleep(0.05)

    asyncio.run(wait())


def test_a_failed_reply_fails_for_who_asks_later_too():
    def stream(request, stop):
        yield Delta("half")
        raise GenerationFailed("generation")

    async def ask_later() -> None:
        answering = Answering(Engine(stream))
        with pytest.raises(GenerationFailed):
            [delta async for delta in answering.answer(REQUEST, "me", turn="t").deltas()]
        pieces = []
        with pytest.raises(GenerationFailed):
            async for delta in answering.find("t").deltas():
                pieces.append(delta)
        assert text_of(pieces) == "half"

    asyncio.run(ask_later())
