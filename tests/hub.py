"""A stand-in for the Hugging Face Hub: enough of its protocol for the unmodified client to read models.

Source of the protocol: huggingface_hub 2.4, `hf_api.py` and `file_download.py`.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.conftest import free_port, wait_until

COMMIT = "a" * 40


class Hub:
    """Public models, each a folder on this disk, by their id."""

    def __init__(self, models: dict[str, Path]) -> None:
        self.files = {
            model: {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            for model, folder in models.items()
        }
        self.requests: list[str] = []
        self.url = ""

    def app(self) -> Starlette:
        model = "/{owner}/{name}"
        return Starlette(
            routes=[
                Route(f"/api/models{model}", self._info),
                Route(f"/api/models{model}/revision/{{revision}}", self._info),
                Route(f"/api/models{model}/tree/{{revision}}", self._tree),
                Route(f"{model}/resolve/{{revision}}/{{path:path}}", self._file, methods=["GET", "HEAD"]),
            ]
        )

    def _find(self, request: Request) -> tuple[str, dict[str, bytes]] | Response:
        self.requests.append(f"{request.method} {request.url.path}")
        model = f"{request.path_params['owner']}/{request.path_params['name']}"
        if model not in self.files:
            return refusal(401, "Invalid username or password.")
        if request.path_params.get("revision", "main") not in ("main", "v1", COMMIT):
            return refusal(404, "Invalid rev id", "RevisionNotFound")
        return model, self.files[model]

    async def _info(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        model, files = found
        return JSONResponse(
            {
                "_id": "1",
                "id": model,
                "modelId": model,
                "sha": COMMIT,
                "private": False,
                "gated": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
        )

    async def _tree(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        return JSONResponse(
            [
                {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
                for name, content in found[1].items()
            ]
        )

    async def _file(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        content = found[1].get(request.path_params["path"])
        if content is None:
            return refusal(404, "Entry not found", "EntryNotFound")
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{git_hash(content)}"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content)),
        }
        return Response(b"" if request.method == "HEAD" else content, headers=headers)


def refusal(status: int, message: str, code: str | None = None) -> Response:
    """Return an error as the Hub sends it."""
    headers = {"X-Error-Message": message, "X-Repo-Commit": COMMIT}
    return JSONResponse({"error": message}, status, headers=headers | ({"X-Error-Code": code} if code else {}))


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port of this machine while the context lasts."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(hub.app(), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 10)
    hub.url = f"http://127.0.0.1:{port}"
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(10)
