"""The stand-in's third origin: where the programs of the Spaces are reached, by those who may see them."""

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub.accounts import ACCOUNTS
from tests.hub.state import Hub

NOT_PASSED_ON = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")


def make_space_host(hub: Hub) -> Starlette:
    """Return the app of the third origin, which passes on to the page that really runs."""

    async def pass_on(request: Request) -> Response:
        token = request.headers.get("x-hf-authorization", "").removeprefix("Bearer ")
        hub.spaces.host_saw_token.append(bool(token))
        if any(space.private for space in hub.spaces.by_id.values()) and token not in ACCOUNTS:
            return PlainTextResponse("Not found", 404)
        if not hub.spaces.page_url:
            return PlainTextResponse("Your space is in error, check its status on hf.co", 503)
        client = httpx.AsyncClient(timeout=None, trust_env=False)
        headers = [(name, value) for name, value in request.headers.items() if name not in NOT_PASSED_ON]
        url = httpx.URL(hub.spaces.page_url + request.url.path, query=request.url.query.encode())
        asked = client.build_request(request.method, url, headers=headers, content=await request.body())
        answer = await client.send(asked, stream=True)
        told = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(client.aclose))
        told.raw_headers = [pair for pair in answer.headers.raw if pair[0].decode().lower() not in NOT_PASSED_ON]
        return told

    route = Route("/{path:path}", pass_on, methods=["GET", "POST", "PUT", "DELETE"])
    return Starlette(routes=[route])
