"""The stand-in's third origin: where the programs of the Spaces are reached, by those who may see them."""

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.hub.accounts import ACCOUNTS
from tests.hub.state import Hub
from tests.proxy import pass_on


def make_space_host(hub: Hub) -> Starlette:
    """Return the app of the third origin, which passes on to the page that really runs."""

    async def serve(request: Request) -> Response:
        token = request.headers.get("x-hf-authorization", "").removeprefix("Bearer ")
        hub.spaces.host_saw_token.append(bool(token))
        if any(space.private for space in hub.spaces.by_id.values()) and token not in ACCOUNTS:
            return PlainTextResponse("Not found", 404)
        if not hub.spaces.page_url:
            return PlainTextResponse("Your space is in error, check its status on hf.co", 503)
        url = httpx.URL(hub.spaces.page_url + request.url.path, query=request.url.query.encode())
        return await pass_on(request, url)

    route = Route("/{path:path}", serve, methods=["GET", "POST", "PUT", "DELETE"])
    return Starlette(routes=[route])
