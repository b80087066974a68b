"""The server behind an address: what it has, and how it is asked over HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from hfdemo.chat.options import THINKING, Thinking
from hfdemo.engines.remote.address import Address
from hfdemo.engines.remote.refusal import Refusal, read_refusal
from hfdemo.errors import GenerationFailed

CONNECT_S = 10.0
"""How long a connection may take to be made."""

SESSION_HEADER = "X-Session-ID"
"""By this header vllm-router (`consistent_hash`) sends a conversation to the server that has read it already."""

MAX_ERROR_BYTES = 100_000
ERROR_S = 10.0
"""How long the words of an error may take to come, when its status has come."""
MAX_LIST_BYTES = 32 * 1024 * 1024
MAX_REDIRECTS = 5

LIMIT_NAMES = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "max_total_tokens")
"""How servers call the number of tokens that a model's context holds: vLLM and SGLang, Hugging Face's router and
OpenRouter, Groq, Mistral, llama.cpp, TGI."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that an endpoint has."""

    name: str
    context_limit: int | None = None
    """How many tokens its context holds, where the server tells."""
    modes: tuple[Thinking, ...] = THINKING[1:]
    """How it can be asked to think; all ways where that isn't known."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an endpoint tells of itself."""

    address: Address
    models: tuple[ServedModel, ...] = ()
    program: str = ""
    """Which program the server is, where it tells."""

    def model(self, name: str) -> ServedModel:
        """Return what is known of a model; a provider may stand behind its name."""
        bare = name.partition(":")[0]
        by_name = {model.name: model for model in self.models}
        return by_name.get(name) or ServedModel(name, *_facts(by_name.get(bare)))


def by_bearer(key: str) -> dict[str, str]:
    """Return the header by which servers are shown a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def by_own_header(key: str) -> dict[str, str]:
    """Return the headers by which Anthropic's is shown it for the list of models; for replies it takes the usual one.

    Source: https://github.com/Jeffser/Alpaca/issues/727
    """
    return {"x-api-key": key, "anthropic-version": "2023-06-01"}


class Server:
    """Sends requests to one endpoint. Every method is called in the same event loop.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        here = ("localhost", "127.0.0.1", "[::1]")
        self._address = address
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=None),  # answering bounds how many reply at a time
            mounts={f"all://{host}": None for host in here},  # a proxy knows nothing of this machine
        )

    @asynccontextmanager
    async def ask(
        self,
        url: str,
        body: Mapping[str, Any] | None = None,
        session: str = "",
        key: str = "",
        show: Callable[[str], dict[str, str]] = by_bearer,
    ) -> AsyncGenerator[httpx2.Response, None]:
        """Send a request and give the answer, before its content comes. Leaving closes the connection.

        Args:
            url: where to.
            body: what is sent; without it, it is asked for what is there.
            session: the same for all requests of a conversation, for routers before several servers.
            key: what it is shown in place of the host's.
            show: gives the headers for that.

        Raises:
            Refusal: the answer is an error.
            GenerationFailed: it sends on to another host, which is shown neither the key nor the conversation.
            httpx2.TransportError: there is no answer.
        """
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json"} | ({SESSION_HEADER: session} if session else {})
        headers |= show(key or self._address.key)
        request = self._client.build_request(
            "GET" if content is None else "POST", url, content=content, headers=headers
        )
        response = await self._send(request)
        try:
            if response.status_code >= 400 or response.status_code in (202, 204):  # the latter two are no reply either
                raise read_refusal(response.status_code, response.headers, await _read_error(response))
            yield response
        finally:
            await response.aclose()

    async def get(self, url: str, show: Callable[[str], dict[str, str]] = by_bearer) -> Mapping[str, Any]:
        """Return a JSON document, and under `""` where it was; empty if it is none, or there is none.

        Raises:
            Refusal, GenerationFailed, httpx2.TransportError: see `ask`.
        """
        try:
            async with self.ask(url, show=show) as response:
                body = json.loads(await _read_some(response, MAX_LIST_BYTES))
                found = {"data": body} if isinstance(body, list) else body
                return {**found, "": str(response.url)} if isinstance(found, dict) else {}
        except (ValueError, RecursionError):
            return {}
        except Refusal as refusal:
            if refusal.status in (404, 405, 501):
                return {}
            raise

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS):
            response = await self._client.send(request, stream=True)
            onward = response.next_request
            if onward is None:
                return response
            await response.aclose()
            if not is_same_place(request.url, onward.url) or onward.method != request.method:
                other = onward.url.copy_with(userinfo=b"", query=None, fragment=None)  # a key may stand in these
                raise GenerationFailed("endpoint_moved", host=self._address.host, other=str(other))
            request = onward
        raise httpx2.TooManyRedirects("too many redirects", request=request)


async def find_served(server: Server, address: Address, timeout_s: float) -> Served:
    """Return what an endpoint has.

    Raises:
        Refusal, GenerationFailed, httpx2.TransportError: see `Server.ask`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for base in filter(None, (address.base, address.other_base)):
                told = await _list(server, address, base)
                if isinstance(told.get("data"), list):
                    found = address.at(_without(told[""], "/models") or base)
                    return await _complete(server, found, told["data"])
            return Served(address)
    except TimeoutError:
        raise httpx2.ReadTimeout("no list of models") from None


async def _list(server: Server, address: Address, base: str) -> Mapping[str, Any]:
    """Return a list of models; a key that is refused is shown once more in Anthropic's way."""
    url = address.url("/models", base)
    try:
        return await server.get(url)
    except Refusal as refusal:
        if refusal.status != 401 or not address.key:
            raise
        return await server.get(url, by_own_header)


def _is_name(told: object) -> bool:
    return isinstance(told, str) and bool(told.strip())


async def _complete(server: Server, address: Address, listed: list[Any]) -> Served:
    """Return what a list of models says, with what a server for one model tells beside it."""
    entries = [entry for entry in listed if isinstance(entry, dict) and _is_name(entry.get("id"))]
    program = next((str(entry["owned_by"]) for entry in entries if entry.get("owned_by")), "")
    models = [ServedModel(entry["id"], _limit(entry)) for entry in entries]
    if len(models) == 1 and models[0].context_limit is None and not address.is_router:
        models = [await _ask_beside(server, address, models[0].name)]
    return Served(address, tuple(models), program)


async def _ask_beside(server: Server, address: Address, name: str) -> ServedModel:
    """Ask a server that has one model for its properties: llama.cpp's at `/props`, TGI at `/info`."""
    for path in ("/props", "/info"):
        try:
            told = await server.get(address.url(path, address.root))
        except (Refusal, GenerationFailed, httpx2.HTTPError):
            continue
        settings = told.get("default_generation_settings")
        limit = _limit(settings if isinstance(settings, dict) else told)
        if limit or told.get("chat_template"):
            return ServedModel(name, limit, _modes(told.get("chat_template")))
    return ServedModel(name)


def _modes(template: object) -> tuple[Thinking, ...]:
    """Return how a model can be asked to think, from the text of its chat template, where that is known."""
    if not isinstance(template, str) or not template:
        return THINKING[1:]
    switch: tuple[Thinking, ...] = ("off", "on") if "enable_thinking" in template else ()
    return (*switch, *(("low", "medium", "high") if "reasoning_effort" in template else ()))


def _limit(entry: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model's context holds; of several providers, the one that holds most."""
    providers = entry.get("providers")
    places = [entry, *(one for one in (providers if isinstance(providers, list) else []) if isinstance(one, dict))]
    limits = [
        place[name]
        for place in places
        for name in LIMIT_NAMES
        if isinstance(place.get(name), int) and not isinstance(place[name], bool) and place[name] > 0
    ]
    return max(limits, default=None)


def _facts(model: ServedModel | None) -> tuple[Any, ...]:
    return (model.context_limit, model.modes) if model else ()


def is_same_place(asked: httpx2.URL, onward: httpx2.URL) -> bool:
    """Tell whether a redirect stays where the host said, or only goes from http to https there.

    That is from the usual port to the usual port: behind another one may be another's server.
    """
    upgraded = (asked.scheme, onward.scheme) == ("http", "https") and asked.port is None and onward.port is None
    return asked.host == onward.host and (upgraded or (asked.scheme, asked.port) == (onward.scheme, onward.port))


def _without(url: str, ending: str) -> str:
    """Return the base that an answer came from: a redirect may have led there, from http to https."""
    return url.removesuffix(ending) if url.endswith(ending) else ""


async def _read_error(response: httpx2.Response) -> bytes:
    """Return the beginning of an error's words, as far as they come; what it is, its status says."""
    content = bytearray()
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(ERROR_S):
            await _read_into(content, response, MAX_ERROR_BYTES)
    return bytes(content)


async def _read_some(response: httpx2.Response, most: int) -> bytes:
    """Return the beginning of an answer, however it is sent."""
    content = bytearray()
    await _read_into(content, response, most)
    return bytes(content)


async def _read_into(content: bytearray, response: httpx2.Response, most: int) -> None:
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > most:
            break
