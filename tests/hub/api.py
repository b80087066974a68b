"""The stand-in's first origin: the API, and the addresses of files."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.hub import refusals
from tests.hub.accounts import Account, find_account
from tests.hub.models import COMMIT, REVISIONS, File, Model
from tests.hub.parts import asked_part, part_headers
from tests.hub.refusals import Refusal, Refused
from tests.hub.spaces import space_routes
from tests.hub.state import Hub

NOT_GATED = ("README.md",)
"""The files of a gated model that everybody may read."""

ALWAYS_TOLD = ("_id", "id", "modelId")
LISTED = (*ALWAYS_TOLD, "createdAt", "downloads", "library_name", "likes", "pipeline_tag", "private", "tags")
"""What the list of models tells unless more is asked for."""
LISTED_IN_FULL = (*LISTED, "author", "disabled", "gated", "lastModified", "sha", "siblings")


def make_api(hub: Hub) -> Starlette:
    """Return the app of the first origin."""
    routes = [*space_routes(hub), *_Api(hub).routes()]
    return Starlette(routes=routes, exception_handlers={Refused: refusals.answer_refused})


class _Api:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        info = "/api/models/{owner}/{name}"
        return [
            self._route("/api/whoami-v2", self._whoami),
            self._route("/api/models", self._list),
            self._route(info, self._info),
            self._route(f"{info}/revision/{{revision:path}}", self._info),  # a revision can be refs/pr/1
            self._route(f"{info}/auth-check", self._auth_check),
            self._route(f"{info}/tree/{{revision}}", self._tree),
            self._route(f"{info}/tree/{{revision}}/{{folder:path}}", self._tree),
            self._route("/{owner}/{name}/resolve/{revision}/{path:path}", self._file),
            self._route("/{path:path}", self._nothing, ("GET", "POST", "PUT", "DELETE")),
        ]

    def _route(self, path: str, answer: Callable[[Request], Response], methods: tuple[str, ...] = ("GET",)) -> Route:
        async def endpoint(request: Request) -> Response:
            self._hub.receive(request)
            return answer(request)

        return Route(path, endpoint, methods=methods)

    def _whoami(self, request: Request) -> Response:
        account = find_account(request.headers)
        if account is None:
            raise Refused(refusals.bad_token())
        return JSONResponse(account.whoami())

    def _list(self, request: Request) -> Response:
        account, asked = find_account(request.headers), request.query_params
        found = [
            model.describe(model_id)
            for model_id, model in self._hub.models.items()
            if _may_see(account, model) and _is_wanted(model_id, model, asked)
        ]
        if asked.get("sort") == "downloads":
            found.sort(key=lambda fields: -fields["downloads"])
        limit = int(asked.get("limit", 1000))
        told = LISTED_IN_FULL if asked.get("full") == "true" else LISTED
        return JSONResponse([_expand(fields, asked, told) for fields in found[:limit]])

    def _info(self, request: Request) -> Response:
        model_id, model, _ = self._find(request)
        if model.disabled and model.hides_info:
            raise Refused(refusals.disabled())
        _check_revision(request)
        asked = request.query_params
        fields = model.describe(model_id, blobs=asked.get("blobs") == "true")
        return JSONResponse(_expand(fields, asked, tuple(fields)))

    def _auth_check(self, request: Request) -> Response:
        _check_access(*self._find(request))
        return PlainTextResponse("OK")

    def _tree(self, request: Request) -> Response:
        _, model, _ = self._find(request)
        revision = _check_revision(request)
        folder = request.path_params.get("folder", "").strip("/")
        entries = model.tree(folder, recursive=request.query_params.get("recursive") == "true")
        if folder and not entries:
            raise Refused(refusals.no_entry(f'{folder} does not exist on "{revision}"', COMMIT))
        return JSONResponse(entries)

    def _file(self, request: Request) -> Response:
        model_id, model, account = self._find(request)
        path = request.path_params["path"]
        _check_access(model_id, model, account, path)
        _check_revision(request)
        file = model.contents.get(path)
        if file is None:
            raise Refused(refusals.no_entry("Entry not found", COMMIT))
        return self._send_elsewhere(model_id, file) if file.is_apart else _send(file, request)

    def _nothing(self, request: Request) -> Response:
        raise Refused(Refusal(404, "Sorry, we can't find the page you are looking for."))

    def _find(self, request: Request) -> tuple[str, Model, Account | None]:
        """Return the model that is asked for, and who asks.

        Raises:
            Refused: the token is bad, or there is no such model for whoever asks.
        """
        account = find_account(request.headers)
        model_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        model = self._hub.models.get(model_id)
        if model is None or not _may_see(account, model):
            raise Refused(refusals.missing(signed_in=account is not None))
        return model_id, model, account

    def _send_elsewhere(self, model_id: str, file: File) -> Response:
        """Tell everything of a large file, and where it is: the client takes its size and hash from here."""
        headers = {
            "Location": f"{self._hub.cdn_url}/cdn/{model_id}/{file.name}?Signature={file.sha256}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(file.size),
            "X-Linked-Etag": f'"{file.sha256}"',
            "ETag": f'"{file.blob_id}"',
            "Accept-Ranges": "bytes",
        }
        return Response(status_code=302, headers=headers)


def _may_see(account: Account | None, model: Model) -> bool:
    return not model.private or (account is not None and account.sees_private)


def _check_revision(request: Request) -> str:
    revision = request.path_params.get("revision", "main")
    if revision not in REVISIONS:
        raise Refused(refusals.no_revision(revision))
    return revision


def _check_access(model_id: str, model: Model, account: Account | None, path: str = "") -> None:
    """Let a reader pass, or say why the gate is closed. The gate says nothing of what is behind it.

    Raises:
        Refused: the model is disabled, or gated and closed to whoever asks.
    """
    if model.disabled:
        raise Refused(refusals.disabled())
    if not model.gated or path in NOT_GATED:
        return
    if account is None:
        raise Refused(refusals.gate_without_token(model_id))
    if not account.may_read_gated:
        raise Refused(refusals.gate_without_right())
    if account.request != "accepted":
        raise Refused(refusals.gate_closed(model_id, account.request))


def _is_wanted(model_id: str, model: Model, asked: QueryParams) -> bool:
    """Tell whether a model is among those searched for."""
    name = model_id.lower()
    tags = {model.pipeline_tag, model.library_name}
    return (
        all(word in name for word in asked.get("search", "").lower().split())
        and asked.get("pipeline_tag", model.pipeline_tag) == model.pipeline_tag
        and tags.issuperset(asked.getlist("filter"))
        and asked.get("author", model_id.split("/")[0]) == model_id.split("/")[0]
        and asked.get("gated", "true" if model.gated else "false") == ("true" if model.gated else "false")
    )


def _expand(fields: dict[str, Any], asked: QueryParams, unasked: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that are asked for with `expand`, once for each; those of `unasked` if none is."""
    expanded = asked.getlist("expand") + asked.getlist("expand[]")
    told = (*ALWAYS_TOLD, *expanded) if expanded else unasked
    return {name: value for name, value in fields.items() if name in told}


def _send(file: File, request: Request) -> Response:
    part = asked_part(request, file.true_size)
    headers = part_headers(part, file) | {"X-Repo-Commit": COMMIT, "ETag": f'"{file.blob_id}"'}
    return Response(file.read(part.start, part.end), part.status, headers=headers)
