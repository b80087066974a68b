"""Bodies are bounded by their route, in size and time, and few large ones are read at once."""

import asyncio
import json

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hfdemo.web.bodies import MOST_ADDRESS_BYTES, SMALL_BYTES, BodyLimits, FewLargeBodies
from tests.unit.web import Recorder, request, scope_of, send_request

MIB = 2**20
EVENTS = ["queue/join", "queue/join/", "call/chat", "call/v2/chat", "run/predict", "api/chat"]
OTHERS = ["/login", "/", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/call/chat/a/b"]


def post(app, path: str, *body: bytes | float, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return request(app, scope_of(path, "POST", headers), body)


@pytest.mark.parametrize(
    ("path", "limit"),
    [*((f"/gradio_api/{event}", 4 * MIB) for event in EVENTS), *((path, SMALL_BYTES) for path in OTHERS)],
)
def test_a_body_up_to_its_routes_limit_is_read_and_one_byte_more_is_not(path, limit):
    app = Recorder()
    guarded = BodyLimits(app, 4 * MIB)
    assert post(guarded, path, b"x" * limit)[0] == 200
    assert [len(body) for body in app.bodies] == [limit]
    status, headers, body = post(guarded, path, b"x" * limit, b"y")
    assert (status, headers["connection"], len(app.bodies)) == (413, "close", 1)
    assert json.loads(body)["error"].startswith("The request is too large; the limit is ")


@pytest.mark.parametrize(("language", "said"), [("en", "This address is too long."), ("ko", "주소가 너무 깁니다.")])
def test_an_address_that_gradio_cant_read_is_refused(language, said):
    app = Recorder()
    guarded = BodyLimits(app, 4 * MIB)
    assert request(guarded, scope_of("/?q=" + "x" * (MOST_ADDRESS_BYTES - 10)))[0] == 200
    for path in ("/?q=" + "x" * MOST_ADDRESS_BYTES, "/" + "x" * MOST_ADDRESS_BYTES):
        status, _, body = request(guarded, scope_of(path, headers={"accept-language": language}))
        assert status == 414 and json.loads(body)["error"].startswith(said)
    assert len(app.bodies) == 1


def test_a_told_length_is_believed_if_it_is_too_large():
    async def receive() -> dict:
        raise AssertionError("nothing is to be read")

    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    scope = scope_of("/gradio_api/call/chat", "POST", {"content-length": str(4 * MIB + 1)})
    asyncio.run(BodyLimits(Recorder(), 4 * MIB)(scope, receive, send))
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 40, "", "²"])
def test_a_length_that_is_none_is_too_large(length):
    assert request(BodyLimits(Recorder(), MIB), scope_of("/login", "POST", {"content-length": length}))[0] == 413


def test_a_limit_holds_for_what_parses_bodies_itself():
    async def parse(asked: Request) -> JSONResponse:
        return JSONResponse(len(await asked.body()))

    app = BodyLimits(Starlette(routes=[Route("/gradio_api/call/chat", parse, methods=["POST"])]), MIB)
    scope = scope_of("/gradio_api/call/chat", "POST", query_string=b"", http_version="1.1", root_path="")
    assert request(app, scope, [b"x" * MIB])[2] == str(MIB).encode()
    assert request(app, dict(scope), [b"x" * MIB, b"y"])[0] == 413


def test_a_part_that_does_not_come_in_time_is_not_waited_for():
    app = Recorder()
    status, headers, body = post(BodyLimits(app, MIB, chunk_s=0.05), "/login", b"x", 5.0, b"y")
    assert (status, headers["connection"], app.bodies) == (408, "close", [])
    assert json.loads(body)["error"] == "The request took too long to arrive. Send it again."


def test_a_body_that_comes_in_drops_has_a_limit_too():
    drops = [part for _ in range(100) for part in (b"x", 0.02)]
    assert post(BodyLimits(Recorder(), MIB, chunk_s=5, body_s=0.2), "/login", *drops)[0] == 408


def test_the_end_of_a_connection_is_waited_for_as_long_as_it_takes():
    async def listen(scope, receive, send) -> None:
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> int:
        messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
        sent: list[dict] = []

        async def receive() -> dict:
            await asyncio.sleep(0.2 if len(messages) == 1 else 0)
            return messages.pop(0)

        async def send(message: dict) -> None:
            sent.append(message)

        await BodyLimits(listen, MIB, chunk_s=0.1, body_s=0.1)(scope_of("/", "GET"), receive, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == 200


class Counter:
    """An app that tells how many requests it served at one time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, scope, receive, send) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.05)
        self.now -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask_together(app, count: int, **headers: str) -> list[int]:
    async def ask() -> list[int]:
        asked = (send_request(app, scope_of("/", "POST", headers)) for _ in range(count))
        return [status for status, _, _ in await asyncio.gather(*asked)]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("headers", "most"),
    [
        ({"content-length": str(SMALL_BYTES + 1)}, 2),
        ({"transfer-encoding": "chunked"}, 2),
        ({"content-length": "5"}, 6),
    ],
)
def test_large_bodies_take_turns_and_small_ones_do_not_wait_for_them(headers, most):
    app = Counter()
    assert ask_together(FewLargeBodies(app, most=2), 6, **headers) == [200] * 6
    assert app.most == most


def test_slow_senders_keep_nobody_waiting():
    inside = Recorder()
    app = FewLargeBodies(inside, most=1, waits_s=0.3)
    chunked = scope_of("/", "POST", {"transfer-encoding": "chunked"})

    async def ask() -> tuple[list[int], list[bytes]]:
        slow = [asyncio.ensure_future(send_request(app, chunked, (b"slow", 0.6, b" one"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        status, _, _ = await send_request(app, chunked, (b"quick", b" one"))
        first = list(inside.bodies)
        return [status, *(one[0] for one in await asyncio.gather(*slow))], first

    statuses, first = asyncio.run(ask())
    assert (statuses, first) == ([200] * 4, [b"quick one"])
    assert inside.bodies == [b"quick one"] + [b"slow one"] * 3


def test_what_large_bodies_take_is_bounded_and_given_back():
    app = FewLargeBodies(Recorder(), most_bytes=10)
    chunked = scope_of("/", "POST", {"transfer-encoding": "chunked"})

    async def ask(*bodies: bytes) -> list[int]:
        asked = (send_request(app, chunked, (body, 0.05)) for body in bodies)
        return sorted(status for status, _, _ in await asyncio.gather(*asked))

    assert asyncio.run(ask(b"123456", b"123456")) == [200, 503]
    assert asyncio.run(ask(b"12345", b"12345")) == [200, 200]


def test_one_sender_does_not_keep_all_others_out():
    app = FewLargeBodies(Recorder(), most_bytes=10, most_of_one=5)
    headers = {"transfer-encoding": "chunked"}

    async def ask(*addresses: str) -> list[int]:
        scopes = (scope_of("/", "POST", headers, client=(address, 1)) for address in addresses)
        asked = (send_request(app, scope, (b"12345", 0.05)) for scope in scopes)
        return [status for status, _, _ in await asyncio.gather(*asked)]

    assert asyncio.run(ask("192.0.2.1", "192.0.2.1", "192.0.2.2")) == [200, 503, 200]
    assert asyncio.run(ask("2001:db8::1", "2001:db8::2", "192.0.2.1")) == [200, 503, 200]


def test_an_answer_that_goes_on_for_long_takes_no_turn():
    """Two event streams whose requests came in chunks kept everybody's long messages out, as long as they liked."""
    open_streams: list[asyncio.Event] = []

    async def stream(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            open_streams.append(asyncio.Event())
            await open_streams[-1].wait()
        await send({"type": "http.response.body", "body": b""})

    app = FewLargeBodies(stream, most=2, waits_s=0.2)

    async def ask() -> list[int]:
        chunked = {"transfer-encoding": "chunked"}
        streams = [asyncio.ensure_future(send_request(app, scope_of("/stream", "GET", chunked))) for _ in range(3)]
        await asyncio.sleep(0.05)
        statuses = [(await send_request(app, scope_of("/", "POST", chunked), [b"long"]))[0] for _ in range(3)]
        for one in open_streams:
            one.set()
        return [*statuses, *(status for status, _, _ in await asyncio.gather(*streams))]

    assert asyncio.run(ask()) == [200] * 6


def test_who_hangs_up_while_sending_is_not_served():
    inside = Recorder()
    app = FewLargeBodies(inside, most=1)
    coming = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict:
        return next(coming)

    asyncio.run(app(scope_of("/", "POST", {"transfer-encoding": "chunked"}), receive, inside))
    assert inside.bodies == [] and ask_together(app, 1, **{"transfer-encoding": "chunked"}) == [200]


def test_whoever_waits_too_long_is_told_so():
    app = Counter()
    statuses = ask_together(FewLargeBodies(app, most=1, waits_s=0.01), 3, **{"content-length": "100000"})
    assert sorted(statuses) == [200, 503, 503]


def test_a_turn_is_given_back_when_a_request_fails():
    async def fail(scope, receive, send) -> None:
        raise OSError

    app = FewLargeBodies(fail, most=1, waits_s=1)

    async def ask() -> None:
        for _ in range(3):
            with pytest.raises(OSError):
                await send_request(app, scope_of("/", "POST", {"content-length": "100000"}))

    asyncio.run(ask())
