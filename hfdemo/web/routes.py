"""Every route that the running page serves, and who may call it. What isn't listed here is not served.

A new release of Gradio may bring new routes; a test compares this table with the running page and names them.
"""

import re
from functools import cache
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.refusals import API, refusal

Callers = Literal["anyone", "signed in", "with a key", "nobody"]
"""Who may call a route: everybody who reaches the page, who has signed in (everybody, if there is no password), who
shows one of `HFDEMO_API_KEYS`, or nobody, because the page doesn't need it."""

OWN_ROUTES: dict[str, Callers] = {
    "/healthz": "anyone",
    "/readyz": "anyone",
    "/metrics": "signed in",
    "/presence/{state}": "signed in",
    "/service-worker.js": "signed in",
    "/login/huggingface": "anyone",  # Gradio's, but served before Gradio
    "/login/callback": "anyone",
}
"""What hfdemo adds."""

GRADIO_ROUTES: dict[str, Callers] = {
    "/": "signed in",  # before, there is a form to sign in
    "/login": "anyone",
    "/logout": "anyone",
    "/robots.txt": "anyone",
    "/gradio_api/startup-events": "anyone",  # Gradio calls it itself, when it has begun to listen
    # The page and its parts.
    "/assets/{path:path}": "signed in",
    "/static/{path:path}": "signed in",
    "/config": "signed in",
    "/favicon.ico": "signed in",
    "/manifest.json": "signed in",
    "/pwa_icon": "signed in",
    "/theme.css": "signed in",
    "/gradio_api/app_id": "signed in",
    "/gradio_api/theme.css": "signed in",
    # Events, and the API for programs.
    "/gradio_api/api/{api_name}": "signed in",
    "/gradio_api/call/v2/{api_name}": "signed in",
    "/gradio_api/call/v2/{api_name}/{event_id}": "signed in",
    "/gradio_api/call/{api_name}": "signed in",
    "/gradio_api/call/{api_name}/{event_id}": "signed in",
    "/gradio_api/cancel": "signed in",
    "/gradio_api/heartbeat/{session_hash}": "signed in",
    "/gradio_api/info": "signed in",
    "/gradio_api/openapi.json": "signed in",
    "/gradio_api/queue/data": "signed in",
    "/gradio_api/queue/join": "signed in",
    "/gradio_api/reset": "signed in",
    "/gradio_api/run/{api_name}": "signed in",
    # What would take or fetch files; only what the page shows itself is left of it.
    "/gradio_api/file={path_or_url:path}": "signed in",
    "/gradio_api/component_server": "nobody",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}": "nobody",
    "/gradio_api/deep_link": "nobody",
    "/gradio_api/file/{path:path}": "nobody",
    "/gradio_api/process_recording": "nobody",
    "/gradio_api/proxy={url_path:path}": "nobody",
    "/gradio_api/stream/{event_id}": "nobody",
    "/gradio_api/stream/{event_id}/close": "nobody",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file": "nobody",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8": "nobody",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}": "nobody",
    "/gradio_api/upload": "nobody",
    "/gradio_api/upload_progress": "nobody",
    # What a developer, a monitor or another kind of page would need.
    "/gradio_api/dev/reload": "nobody",
    "/gradio_api/login_check": "nobody",
    "/gradio_api/queue/status": "nobody",
    "/gradio_api/runs": "nobody",
    "/gradio_api/token": "nobody",
    "/gradio_api/undo-vibe-edit": "nobody",
    "/gradio_api/user": "nobody",
    "/gradio_api/vibe-code": "nobody",
    "/gradio_api/vibe-edit": "nobody",
    "/gradio_api/vibe-starter-queries": "nobody",
    "/monitoring": "nobody",
    "/monitoring/summary": "nobody",
    "/monitoring/{key}": "nobody",
    "/openapi.json": "nobody",
    "/pwa_icon/{size}": "nobody",
    "/svelte/{path:path}": "nobody",
}

DOOR_ROUTES: dict[str, Callers] = {
    "/v1/{path:path}": "with a key",  # `door/door.py` knows which there are
    # What `transformers chat` asks first, without its key; the answers tell nothing.
    "/health": "anyone",
    "/load_model": "anyone",
}
"""The API in OpenAI's form; there is nothing at these addresses while no key is set."""

MCP_ROUTES: dict[str, Callers] = {"/gradio_api/mcp": "signed in", "/gradio_api/mcp/http": "signed in"}
"""What Gradio serves besides if `GRADIO_MCP_SERVER` says so: the API for programs as tools of the Model Context
Protocol. Its older transport stays closed."""

ROUTES = OWN_ROUTES | DOOR_ROUTES | MCP_ROUTES | GRADIO_ROUTES

MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255
"""How long a path, and what stands between two of its slashes, may be. No file has a longer name, and looking for one
fails."""

_FETCHES = re.compile(r"/gradio_api/file=\s*https?:", re.IGNORECASE)


@cache
def _patterns() -> list[tuple[re.Pattern[str], Callers]]:
    return [(re.compile(_pattern(route) + "/?", re.DOTALL), callers) for route, callers in ROUTES.items()]


def _pattern(route: str) -> str:
    parts = re.split(r"\{\w+(:path)?\}", route)
    kinds = [".*" if kind else "[^/]+" for kind in parts[1::2]]
    texts = [re.escape(text) for text in parts[::2]]
    return "".join(text + kind for text, kind in zip(texts, [*kinds, ""], strict=True))


def _size(path: str) -> int:
    return len(path.encode("utf-8", "surrogatepass"))


def is_for_door(path: str) -> bool:
    """Tell whether a path belongs to the API in OpenAI's form."""
    return path.startswith(API) or path.rstrip("/") in DOOR_ROUTES


def callers_of(path: str) -> Callers | None:
    """Return who may call a path; None if there is no such route."""
    if _FETCHES.match(path):
        return "nobody"
    if _size(path) > MAX_PATH_BYTES or max(map(_size, path.split("/"))) > MAX_PART_BYTES:
        return None
    return next((callers for pattern, callers in _patterns() if pattern.fullmatch(path or "/")), None)


class Routes:
    """ASGI middleware: serves only what the table lists.

    Args:
        app: what it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        callers = callers_of(scope["path"])
        if callers is None:
            await refusal("no_such_route", 404, scope)(scope, receive, send)
        elif callers == "nobody":
            await refusal("closed", 403, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
