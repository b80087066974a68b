"""The stand-in's second origin, from which large files come: it needs no token, and should never see one."""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.hub.models import File
from tests.hub.parts import Part, asked_part, part_headers
from tests.hub.refusals import Refusal, Refused, answer_refused
from tests.hub.state import Hub

PIECE_BYTES = 64 * 1024
PIECES_PER_S = 20
"""In how many pieces a second's bytes go out when the CDN is slowed down."""


class Cut(Exception):
    """Ends an answer before its time; the server then closes the connection."""


def make_cdn(hub: Hub) -> Starlette:
    """Return the app of the second origin."""

    async def send(request: Request) -> Response:
        hub.receive(request)
        hub.cdn_saw_authorization.append("Authorization" in request.headers)
        file = _find(hub, request)
        part = asked_part(request, file.true_size)
        headers = part_headers(part, file) | {"ETag": f'"{file.sha256}"'}
        return StreamingResponse(_pieces(hub, file, part), part.status, headers=headers)

    route = Route("/cdn/{owner}/{name}/{path:path}", send)
    return Starlette(routes=[route], exception_handlers={Refused: answer_refused})


def _find(hub: Hub, request: Request) -> File:
    asked = request.path_params
    model = hub.models.get(f"{asked['owner']}/{asked['name']}")
    file = model.contents.get(asked["path"]) if model else None
    if file is None or not file.is_apart:
        raise Refused(Refusal(403, "Access denied"))
    return file


async def _pieces(hub: Hub, file: File, part: Part) -> AsyncIterator[bytes]:
    """Yield a part of a file, as slowly as `hub.bytes_per_s` says, and to the end unless `hub.cut_after` was called.

    Raises:
        Cut: here the answer ends.
    """
    position = part.start
    while position < part.end:
        sent = position - part.start
        if hub.cuts_left and sent >= hub.cut_at_bytes:
            hub.cuts_left -= 1
            raise Cut
        speed = hub.bytes_per_s
        size = max(1, int(speed / PIECES_PER_S)) if speed else PIECE_BYTES
        if hub.cuts_left:
            size = min(size, hub.cut_at_bytes - sent)
        piece = file.read(position, min(position + size, part.end))
        yield piece
        position += len(piece)
        if speed:
            await asyncio.sleep(len(piece) / speed)
