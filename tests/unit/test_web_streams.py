"""Event streams are bounded, for one address and in all; those that end make place."""

import asyncio
from collections.abc import Sequence

import pytest

from hfdemo.web.streams import FewStreams
from hfdemo.words import say
from tests.unit.web import Recorder, request, scope_of, send_request

STREAMS = (
    "/gradio_api/queue/data?session_hash=a",
    "/gradio_api/heartbeat/a",
    "/gradio_api/call/chat/b",
    "/gradio_api/call/v2/chat/b",
)


class Open:
    """An app whose answers go on until they are let go."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        await self.end.wait()
        await Recorder()(scope, receive, send)


def statuses(guarded: FewStreams, app: Open, asked: Sequence[tuple[str, str]]) -> list[int]:
    """Ask for paths from addresses, one after the other, and return the answers once the streams have ended."""

    async def ask() -> list[int]:
        asking = []
        for path, address in asked:
            asking.append(asyncio.create_task(send_request(guarded, scope_of(path, client=(address, 1)))))
            await asyncio.sleep(0)
        app.end.set()
        return [status for status, _, _ in await asyncio.gather(*asking)]

    return asyncio.run(ask())


@pytest.mark.parametrize("path", STREAMS)
def test_one_address_has_so_many_and_others_theirs(path):
    app = Open()
    asked = [(path, "10.0.0.1")] * 3 + [(path, "10.0.0.2")] * 2
    assert statuses(FewStreams(app, of_one_address=2, in_all=9), app, asked) == [200, 200, 429, 200, 200]


def test_all_addresses_together_have_so_many():
    app = Open()
    asked = [(STREAMS[0], f"10.0.0.{n}") for n in range(5)]
    assert statuses(FewStreams(app, of_one_address=2, in_all=3), app, asked) == [200] * 3 + [429] * 2


def test_one_client_has_a_whole_network_of_ipv6_addresses():
    app = Open()
    asked = [(STREAMS[1], f"2001:db8:0:1::{n}") for n in range(3)]
    assert statuses(FewStreams(app, of_one_address=2, in_all=9), app, asked) == [200, 200, 429]


def test_streams_that_ended_make_place_and_leave_nothing():
    guarded = FewStreams(Recorder(), of_one_address=1)
    assert [request(guarded, scope_of(STREAMS[0]))[0] for _ in range(5)] == [200] * 5
    assert guarded._open == {}


def test_a_stream_that_breaks_makes_place_too():
    async def broken(scope, receive, send) -> None:
        raise OSError

    guarded = FewStreams(broken, of_one_address=1)
    for _ in range(3):
        with pytest.raises(OSError):
            request(guarded, scope_of(STREAMS[0]))
    assert guarded._open == {}


def test_what_is_no_stream_is_not_counted():
    app = Recorder()
    guarded = FewStreams(app, of_one_address=0)
    for scope in (
        scope_of("/"),
        scope_of("/gradio_api/queue/join", "POST"),
        scope_of("/gradio_api/call/chat", "POST"),
    ):
        assert request(guarded, scope)[0] == 200
    status, _, body = request(guarded, scope_of(STREAMS[0], headers={"accept-language": "ko"}))
    assert status == 429 and say("refused.too_many_streams", "ko") in body.decode()
