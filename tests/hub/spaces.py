"""The stand-in's Spaces: made, filled, configured, built and started by their script, as the client asks for it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub import refusals
from tests.hub.accounts import Account, find_account
from tests.hub.models import A_DAY, git_hash
from tests.hub.refusals import Refusal, Refused

if TYPE_CHECKING:
    from tests.hub.state import Hub

FREE = ("zero-a10g",)
"""The hardware that a free account can have; `cpu-basic` needs a subscription, the rest payment."""

PLAN = (
    "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces on free cpu-basic requires a PRO "
    "subscription. Subscribe at https://huggingface.co/pro"
)
PAYMENT = (
    "You must add a payment method to your account to upgrade your space's hardware. Visit your billing settings to "
    "add one: https://huggingface.co/settings/billing"
)
COLOURS = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]


@dataclass
class Space:
    """A Space, and all that was asked of it."""

    created: dict[str, Any] = field(default_factory=dict)
    """What the call that made it said."""
    files: dict[str, bytes] = field(default_factory=dict)
    stored_apart: set[str] = field(default_factory=set)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    hardware: str | None = None
    private: bool = False
    commits: list[dict[str, Any]] = field(default_factory=list)
    """The summary of each, and the names of the files that it added and removed."""
    restarts: list[bool] = field(default_factory=list)
    """Of each, whether everything was to be built anew."""
    sha: str = "0" * 40
    stages: list[tuple[str, str]] = field(default_factory=lambda: [("NO_APP_FILE", "0" * 40)])
    """The stages to come, each with the commit it is about; each question takes one, and the last stays."""


class Spaces:
    """All Spaces by their ids, and the switches for what happens to them; they may be changed at any time."""

    def __init__(self) -> None:
        self.by_id: dict[str, Space] = {}
        self.script = ["BUILDING", "APP_STARTING", "RUNNING"]
        """The stages after each commit and each restart."""
        self.lag = 0
        """How many questions are answered with the old stage after a commit."""
        self.error_message = ""
        self.logs: dict[str, list[str]] = {"build": [], "run": []}
        self.metadata_errors: list[str] = []
        """What is wrong with every README."""
        self.objects: dict[str, bytes] = {}
        """The files that were uploaded apart, by their SHA-256."""
        self.host_url = ""
        """The third origin, that of the programs in the Spaces; known once it is served."""
        self.page_url = ""
        """Where the program of all Spaces really runs."""
        self.host_saw_token: list[bool] = []
        """For every request to a Space's program, whether a token came with it."""


def space_routes(hub: Hub) -> list[Route]:
    """Return the addresses under which Spaces are made and looked after."""
    return _Routes(hub).routes()


class _Routes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @property
    def _spaces(self) -> Spaces:
        return self._hub.spaces

    def routes(self) -> list[Route]:
        space = "/api/spaces/{owner}/{name}"
        return [
            self._route("POST", "/api/repos/create", self._create),
            self._route("POST", "/api/validate-yaml", self._validate),
            self._route("GET", space, self._info),
            self._route("GET", f"{space}/revision/{{revision}}", self._info),
            self._route("POST", f"{space}/preupload/{{revision}}", self._preupload),
            self._route("POST", f"{space}/commit/{{revision}}", self._commit),
            self._route("POST", "/spaces/{owner}/{name}.git/info/lfs/objects/batch", self._batch),
            self._route("PUT", "/lfs/{oid}", self._put),
            self._route("GET", f"{space}/secrets", self._list_secrets),
            self._route("POST", f"{space}/secrets", self._add_secret),
            self._route("GET", f"{space}/variables", self._list_variables),
            self._route("POST", f"{space}/variables", self._add_variable),
            self._route("POST", f"{space}/hardware", self._set_hardware),
            self._route("PUT", f"{space}/settings", self._set_visibility),
            self._route("GET", f"{space}/runtime", self._runtime),
            self._route("POST", f"{space}/restart", self._restart),
            self._route("GET", f"{space}/logs/{{kind}}", self._log),
        ]

    def _route(self, method: str, path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        async def endpoint(request: Request) -> Response:
            self._hub.receive(request)
            return await answer(request)

        return Route(path, endpoint, methods=[method])

    async def _create(self, request: Request) -> Response:
        account, asked = _writer(request), await request.json()
        namespace = asked.get("organization") or account.name
        space_id = f"{namespace}/{asked['name']}"
        if not account.may_write(namespace):
            words = f'You don\'t have the rights to create a space under the namespace "{namespace}"'
            raise Refused(Refusal(403, words))
        _check_plan(account, asked.get("hardware"))
        if space_id in self._spaces.by_id:
            return JSONResponse({"error": "You already created this space repo", "url": self._url(space_id)}, 409)
        self._spaces.by_id[space_id] = Space(
            created=asked,
            secrets={secret["key"]: secret for secret in asked.get("secrets", [])},
            variables={variable["key"]: variable["value"] for variable in asked.get("variables", [])},
            hardware=asked.get("hardware"),
            private=asked.get("visibility") == "private",
            files={".gitattributes": b"*.png filter=lfs\n", "README.md": b"---\nsdk: gradio\n---\n"},
        )
        return JSONResponse({"url": self._url(space_id), "name": space_id, "id": "1"})

    async def _validate(self, request: Request) -> Response:
        asked = await request.json()
        facts = yaml.safe_load(asked["content"].split("---")[1])
        errors = list(self._spaces.metadata_errors)
        if len(facts.get("short_description") or "") > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters long')
        if facts.get("colorFrom") not in (None, *COLOURS):
            errors.append(f'"colorFrom" must be one of [{", ".join(COLOURS)}]')
        answer = {"errors": [{"message": error} for error in errors], "warnings": []}
        return JSONResponse(answer, 400 if errors else 200)

    async def _info(self, request: Request) -> Response:
        space_id, space, _ = self._find(request)
        facts = {
            "_id": "1",
            "id": space_id,
            "author": space_id.split("/")[0],
            "sha": space.sha,
            "createdAt": A_DAY,
            "private": space.private,
            "sdk": "gradio",
            "host": self._spaces.host_url,
            "siblings": [_sibling(space, name) for name in sorted(space.files)],
        }
        return JSONResponse(facts)

    async def _preupload(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        asked = await request.json()
        return JSONResponse({"files": [_upload_mode(space, file) for file in asked["files"]]})

    async def _commit(self, request: Request) -> Response:
        space_id, space, _ = self._find(request, to_write=True)
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line]
        commit: dict[str, Any] = {"summary": lines[0]["value"]["summary"], "added": [], "removed": []}
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "deletedFile":
                del space.files[path]
                commit["removed"].append(path)
                continue
            if line["key"] == "lfsFile":
                if line["value"]["oid"] not in self._spaces.objects:
                    raise Refused(Refusal(400, f"{path} was never uploaded"))
                space.files[path] = self._spaces.objects[line["value"]["oid"]]
                space.stored_apart.add(path)
            else:
                space.files[path] = base64.b64decode(line["value"]["content"])
            commit["added"].append(path)
        space.commits.append(commit)
        before = (self._now(space)[0], space.sha)
        space.sha = f"{len(space.commits):040x}"
        self._begin(space, [before] * self._spaces.lag)
        url = f"{self._url(space_id)}/commit/{space.sha}"
        return JSONResponse({"success": True, "commitOid": space.sha, "commitUrl": url, "hookOutput": ""})

    async def _batch(self, request: Request) -> Response:
        self._find(request, to_write=True)
        asked = await request.json()
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self._hub.url}/lfs/{wanted['oid']}"}}}
            for wanted in asked["objects"]
        ]
        answer = {"transfer": "basic", "objects": objects}
        return JSONResponse(answer, media_type="application/vnd.git-lfs+json")

    async def _put(self, request: Request) -> Response:
        content, oid = await request.body(), request.path_params["oid"]
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(Refusal(400, "wrong checksum"))
        self._spaces.objects[oid] = content
        return Response()

    async def _list_secrets(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        shown = {
            name: {"key": name, "description": secret.get("description"), "updatedAt": A_DAY}
            for name, secret in space.secrets.items()
        }
        return JSONResponse(shown)

    async def _add_secret(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        secret = await request.json()
        space.secrets[secret["key"]] = secret
        self._begin(space)
        return JSONResponse({"ok": True})

    async def _list_variables(self, request: Request) -> Response:
        _, space, _ = self._find(request)
        return JSONResponse(_variables(space))

    async def _add_variable(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        variable = await request.json()
        space.variables[variable["key"]] = variable["value"]
        self._begin(space)
        return JSONResponse(_variables(space))

    async def _set_hardware(self, request: Request) -> Response:
        _, space, account = self._find(request, to_write=True)
        flavor = (await request.json())["flavor"]
        _check_plan(account, flavor)
        space.hardware = flavor
        self._begin(space)
        return JSONResponse(self._runtime_of(space))

    async def _set_visibility(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        space.private = (await request.json())["visibility"] == "private"
        return JSONResponse({"private": space.private})

    async def _runtime(self, request: Request) -> Response:
        _, space, _ = self._find(request)
        told = self._runtime_of(space)
        if len(space.stages) > 1:
            space.stages.pop(0)
        return JSONResponse(told)

    async def _restart(self, request: Request) -> Response:
        _, space, _ = self._find(request, to_write=True)
        space.restarts.append(request.query_params.get("factory") == "true")
        self._begin(space)
        return JSONResponse(self._runtime_of(space))

    async def _log(self, request: Request) -> Response:
        self._find(request, to_write=True)
        lines = self._spaces.logs[request.path_params["kind"]]
        return StreamingResponse(_events(lines), media_type="text/event-stream")

    def _find(self, request: Request, to_write: bool = False) -> tuple[str, Space, Account | None]:
        account = _writer(request) if to_write else find_account(request.headers)
        space_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        space = self._spaces.by_id.get(space_id)
        if space is None or (space.private and (account is None or not account.sees_private)):
            raise Refused(refusals.missing(signed_in=account is not None))
        if to_write and account and not account.may_write(space_id.split("/")[0]):
            raise Refused(Refusal(403, "Forbidden: you don't have the rights to change this Space"))
        return space_id, space, account

    def _begin(self, space: Space, first: list[tuple[str, str]] | None = None) -> None:
        """Let a Space go through the script's stages from now on."""
        space.stages = [*(first or []), *((stage, space.sha) for stage in self._spaces.script)]

    def _now(self, space: Space) -> tuple[str, str]:
        return space.stages[0]

    def _runtime_of(self, space: Space) -> dict[str, Any]:
        stage, sha = self._now(space)
        told: dict[str, Any] = {
            "stage": stage,
            "hardware": {"current": None if stage == "BUILDING" else space.hardware, "requested": space.hardware},
            "gcTimeout": 172800,
            "replicas": {"current": 1, "requested": 1},
            "devMode": False,
            "sha": sha,
        }
        if stage.endswith("_ERROR") and self._spaces.error_message:
            told["errorMessage"] = self._spaces.error_message
        return told

    def _url(self, space_id: str) -> str:
        return f"{self._hub.url}/spaces/{space_id}"


def _writer(request: Request) -> Account:
    """Return who asks for something to be changed.

    Raises:
        Refused: nobody, or with a token that only reads.
    """
    account = find_account(request.headers)
    if account is None:
        raise Refused(refusals.bad_token())
    if account.role == "read":
        raise Refused(Refusal(403, "Forbidden: this token has no write access"))
    return account


def _check_plan(account: Account | None, hardware: str | None) -> None:
    assert account
    if hardware in FREE or account.can_pay:
        return
    raise Refused(Refusal(402, PLAN if hardware in (None, "cpu-basic") else PAYMENT))


def _sibling(space: Space, name: str) -> dict[str, Any]:
    content = space.files[name]
    told: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
    if name in space.stored_apart:
        told["blobId"] = git_hash(b"pointer")
        told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return told


def _upload_mode(space: Space, file: dict[str, Any]) -> dict[str, Any]:
    """Tell how a file has to come: apart, if it holds what isn't text."""
    path = file["path"]
    apart = b"\0" in base64.b64decode(file["sample"])
    oid = None
    if (content := space.files.get(path)) is not None:
        oid = hashlib.sha256(content).hexdigest() if apart else git_hash(content)
    return {"path": path, "uploadMode": "lfs" if apart else "regular", "shouldIgnore": False, "oid": oid}


def _variables(space: Space) -> dict[str, Any]:
    return {name: {"key": name, "value": value, "updatedAt": A_DAY} for name, value in space.variables.items()}


def _events(lines: list[str]) -> Iterator[str]:
    yield ": keep-alive\n\ndata:\n\n"
    for line in lines:
        yield f"data: {json.dumps({'data': line, 'timestamp': A_DAY})}\n\n"
