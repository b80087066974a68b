"""A blocking generator never blocks the event loop, and ends soon after its reader has left."""

import asyncio
import threading
import time
from collections.abc import Generator
from contextlib import aclosing
from contextvars import ContextVar
from threading import Event

import pytest

from hfdemo.page.bridge import iterate_in_thread
from tests.conftest import wait_until

visitor: ContextVar[str] = ContextVar("visitor", default="nobody")


class Source:
    """A generator that remembers in which threads it ran and was closed, and can be made to wait."""

    def __init__(self) -> None:
        self.ran_in: set[int] = set()
        self.closed_in: int | None = None
        self.waiting, self.go_on = Event(), Event()

    def count(self, wait_before: int | None = None) -> Generator[int, None, None]:
        try:
            for number in range(5):
                self.ran_in.add(threading.get_ident())
                if number == wait_before:
                    self.waiting.set()
                    self.go_on.wait(10)
                yield number
        finally:
            self.closed_in = threading.get_ident()


def test_all_items_come_in_order_and_the_generator_runs_in_one_other_thread():
    source, stop = Source(), Event()

    async def read() -> list[int]:
        return [item async for item in iterate_in_thread(source.count(), stop)]

    assert asyncio.run(read()) == [0, 1, 2, 3, 4]
    assert source.ran_in == {source.closed_in} != {threading.get_ident()}
    assert stop.is_set()


def test_none_is_an_item_as_any_other():
    async def read() -> list[object]:
        return [item async for item in iterate_in_thread((item for item in (None, 0, "")), Event())]

    assert asyncio.run(read()) == [None, 0, ""]


def test_an_error_of_the_generator_arrives_after_what_came_before():
    error, stop = ValueError("broken"), Event()

    def fail() -> Generator[int, None, None]:
        yield 1
        raise error

    async def read() -> list[int]:
        items = []
        with pytest.raises(ValueError, match="broken") as raised:
            async for item in iterate_in_thread(fail(), stop):
                items.append(item)
        assert raised.value is error
        return items

    assert asyncio.run(read()) == [1]
    assert stop.is_set()


def test_the_event_loop_goes_on_while_the_generator_blocks():
    def block() -> Generator[int, None, None]:
        time.sleep(1)
        yield 1

    async def read() -> tuple[int, float]:
        ticks, longest = 0, 0.0

        async def tick() -> None:
            nonlocal ticks, longest
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.01)
                now = time.monotonic()
                ticks, longest, last = ticks + 1, max(longest, now - last), now

        ticking = asyncio.create_task(tick())
        assert [item async for item in iterate_in_thread(block(), Event())] == [1]
        ticking.cancel()
        return ticks, longest

    ticks, longest = asyncio.run(read())
    assert ticks > 40
    assert longest < 0.5


def test_a_reader_who_leaves_between_items_closes_the_generator_in_its_own_thread():
    source, stop = Source(), Event()

    async def read() -> None:
        async with aclosing(iterate_in_thread(source.count(), stop)) as items:
            async for _ in items:
                break
        assert stop.is_set()

    asyncio.run(read())
    wait_until(lambda: source.closed_in is not None, 5)
    assert source.ran_in == {source.closed_in} != {threading.get_ident()}


def test_a_reader_who_leaves_during_a_wait_sets_stop_at_once():
    source, stop = Source(), Event()

    async def read() -> None:
        items = iterate_in_thread(source.count(wait_before=1), stop)
        assert await anext(items) == 0
        reading = asyncio.create_task(anext(items))
        await asyncio.to_thread(source.waiting.wait, 5)
        assert not stop.is_set()
        reading.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert stop.is_set() and time.monotonic() - start < 0.5
        assert source.closed_in is None

    asyncio.run(read())
    source.go_on.set()
    wait_until(lambda: source.closed_in is not None, 5)
    assert source.ran_in == {source.closed_in}


def test_the_generator_sees_the_readers_context_from_beginning_to_end():
    seen: list[str] = []

    def look() -> Generator[str, None, None]:
        try:
            yield visitor.get()
            visitor.set("changed inside")
            yield visitor.get()
        finally:
            seen.append(visitor.get())

    async def read() -> list[str]:
        visitor.set("me")
        items = [item async for item in iterate_in_thread(look(), Event())]
        assert visitor.get() == "me"
        return items

    assert asyncio.run(read()) == ["me", "changed inside"]
    assert seen == ["changed inside"]


def test_no_thread_is_left_when_many_readers_have_left():
    def reply_threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("reply")]

    async def leave_early() -> None:
        async with aclosing(iterate_in_thread(Source().count(), Event())) as items:
            await anext(items)

    async def all_leave() -> None:
        await asyncio.gather(*(leave_early() for _ in range(20)))

    asyncio.run(all_leave())
    wait_until(lambda: reply_threads() == [], 5)
