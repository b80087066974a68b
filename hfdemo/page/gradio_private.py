"""All that the page uses of Gradio beyond its public interface, each with its reason.

`tests/unit/test_gradio_private.py` fails first if Gradio changes any of it. Seen in Gradio 6.31.
"""

import os
import sys
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from gradio import http_server, networking, oauth, queueing, routes, state_holder, tunneling
from gradio.components.chatbot import ChatbotDataMessages
from gradio.context import LocalContext
from gradio.events import Dependency
from gradio.i18n import I18nData
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.answering import Answering
from hfdemo.page.errors import page_error
from hfdemo.web.events import EventTable, PageEvent
from hfdemo.web.failures import log_error
from hfdemo.web.refusals import refusal
from hfdemo.web.slow_headers import bound_headers
from hfdemo.words import choose_language, say

# What signatures name, and the public modules don't export.
__all__ = ["ChatbotDataMessages", "Dependency", "I18nData"]


class BareChatInterface(gr.ChatInterface):
    """Gradio's chat interface with events of its own.

    The stock events keep the conversation in the server's memory, take it from what was displayed, can't stop an
    edited message, and lose what was typed when the queue is full. There is no public way to leave them out.
    """

    def connect(self) -> None:
        """Connect the events, in place of the stock ones."""
        raise NotImplementedError

    def draw_below_box(self) -> None:
        """Draw what stands under the message box."""
        raise NotImplementedError

    def draw_below_chatbot(self) -> None:
        """Draw what stands under the chatbot, and scrolls with them."""
        raise NotImplementedError

    def add_endpoint(self, function: Any, inputs: list[Any], outputs: list[Any], **options: Any) -> None:
        """Offer a function to programs: the hidden button that the stock interface has for its own endpoint."""
        self.fake_api_btn.click(function, inputs, [self.api_response, *outputs], postprocess=False, **options)

    def _setup_events(self) -> None:
        self.saved_conversations.unrender()  # it would write into each visitor's browser, and never be read
        self.connect()

    def _render_chatbot_area(self, chatbot: gr.Chatbot, *others: Any) -> None:
        with gr.Column(elem_id="transcript"), gr.Column(elem_id="scroller"):
            chatbot.render()
            self.draw_below_chatbot()
        super()._render_chatbot_area(chatbot, *others)

    def _render_footer(self) -> None:
        self.draw_below_box()


class PageBlocks(gr.Blocks):
    """A page whose endpoints still answer programs that call by position and don't know the newest parameters.

    Gradio fills what is left out only where parameters are sent by name.
    """

    answering: Answering
    """Answers; whoever serves the page asks it."""
    settings: dict[str, dict[str, Any]]
    """The visitor's settings by name: their first value, and what else they may be."""
    version: str

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        """Run an event; what a call by position lacks is null.

        Raises:
            gr.Error: a value names a file. Gradio would fetch it from wherever it is, and keep it.
        """
        if _names_file(inputs):
            request = options.get("request")
            language = choose_language(request.headers.get("accept-language") if request else None)
            raise page_error(say("refused.closed", language), language)
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if event.api_visibility == "public" and len(inputs) < len(event.inputs):
            given = iter(inputs)
            inputs = [None if block.skip_api else next(given, None) for block in event.inputs]
        data: dict[str, Any] = await super().process_api(event, inputs, *args, **options)
        return data

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Return what is sent of an event's values; nothing is made of an output that is left as it is.

        Gradio makes its component anew, with the schema of what that holds: for a Chatbot three milliseconds of the
        model's time for each piece of a reply.
        """
        if len(block_fn.outputs) < 2 or not isinstance(predictions, list | tuple):
            whole: list[Any] = await super().postprocess_data(block_fn, predictions, state)
            return whole
        places = [place for place, value in enumerate(predictions) if not _is_skip(value)]
        sent: list[Any] = [gr.skip() for _ in predictions]
        if places:
            some = copy(block_fn)
            some.outputs = [block_fn.outputs[place] for place in places]
            values = [predictions[place] for place in places]
            made = await super().postprocess_data(some, values if len(values) > 1 else values[0], state)
            for place, value in zip(places, made, strict=True):
                sent[place] = value
        return sent


def _is_skip(value: object) -> bool:
    return isinstance(value, dict) and value == gr.skip()


def _names_file(values: object) -> bool:
    """Tell whether there is anything in some values that Gradio takes for a file, wherever it stands.

    Source: `is_file_obj_with_meta` in gradio_client/utils.py.
    """
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "path" in value and "meta" in value:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


@contextmanager
def without_server_app() -> Iterator[None]:
    """Keep Gradio from making the app that serves a page before the page is served: `launch` makes its own anew.

    Gradio makes one for each page and each chat in it when they begin and when they end, and for each queue: five that
    nobody uses, at 50 ms of the CPU.
    """
    make = routes.App.create_app
    routes.App.create_app = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        routes.App.create_app = staticmethod(make)


def set_queue_poll_interval(page: gr.Blocks, seconds: float) -> None:
    """Let Gradio look for new events so often; by itself it does so 1,000 times a second, 20 times on Windows."""
    page._queue.sleep_when_free = seconds


def launch_options(address: str = "") -> dict[str, Any]:
    """Return options of `Blocks.launch` that its documentation doesn't name.

    Without `_frontend=False` Gradio asks itself for the page, and gives up if a busy machine takes 3 seconds for it.
    Whether a port is free it tries at `GRADIO_SERVER_NAME` with a socket that knows no IPv6.

    Args:
        address: what the page listens on, as in that variable; empty is Gradio's own choice.
    """
    if ":" not in address:
        return {"_frontend": False}
    http_server.LOCALHOST_NAME = "127.0.0.1"
    return {"_frontend": False, "server_name": f"[{address.strip('[]')}]"}


def sentence_for_bodies() -> dict[str, Any]:
    """Return arguments for the page's server that let it say a sentence where a request isn't what Gradio takes.

    FastAPI's own answer repeats what was sent, and fails if that has a number that JSON hasn't, such as NaN.
    """

    async def answer(request: Request, _: Exception) -> Response:
        return refusal("bad_event", 422, request.scope)

    return {"exception_handlers": {RequestValidationError: answer}}


def selected_index(event: gr.EventData) -> object:
    """Return the index that an event tells of what was selected; None if it tells none, as no page sends it."""
    try:
        return event.index
    except (AttributeError, TypeError):  # it looks for the name in whatever was sent
        return None


def outermost(guard: Callable[[ASGIApp], ASGIApp]) -> dict[str, Any]:
    """Return arguments for the page's server that put a guard around all of it.

    Middleware that is given to Gradio stands behind Gradio's own, which answers other pages' questions whether they
    may read the answers. What starts with the server is the only code of ours that meets the finished stack.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = guard(app.middleware_stack)
        yield

    return {"lifespan": lifespan}


def bound_waiting_for_headers(page: gr.Blocks) -> None:
    """Let a page that is served close connections whose headers don't come."""
    config = page.server.config
    config.http_protocol_class = bound_headers(config.http_protocol_class)


def let_guard_read_proxies() -> None:
    """Keep uvicorn from believing `X-Forwarded-*` of every sender on this machine: `web/hosts.py` reads these."""
    os.environ.update({"FORWARDED_ALLOW_IPS": ""})


def log_failures_in_one_line() -> None:
    """Let Gradio log one line, where it prints a traceback with an error's text, which may quote a visitor."""

    def print_exc() -> None:
        error = sys.exception()
        if error is not None:
            log_error(error)

    queueing.traceback = routes.traceback = SimpleNamespace(print_exc=print_exc)


def hub_routes() -> FastAPI:
    """Return an app with the routes to sign in with a Hugging Face account, and nothing else.

    Raises:
        ValueError: the Space has no OAuth; the text says what to add to its README.md.
    """
    vars(oauth)["print"] = _print_nothing
    app = FastAPI(openapi_url=None)
    oauth.attach_oauth(app)
    return app


def _print_nothing(*_: object) -> None:
    """Stand in for the `print` of Gradio's sign-in, which would write what any stranger puts into the address."""


class LeanSession(state_holder.SessionState):
    """A session that keeps no copy of the page: Gradio's own takes 100 kB, and all that was last sent or shown in it.

    Only deep links would read that, which this page doesn't have. The values of `gr.State` stay.
    """

    def __init__(self, blocks: Any) -> None:
        _forget_streams_that_ended(blocks._queue)
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))
        self.config_values = _KeepsNothing()
        shared = blocks.default_config
        self.blocks_config.blocks = ChainMap({}, shared.blocks)  # what is drawn anew in this session is its own
        self.blocks_config.fns = shared.fns

    def _update_config(self, key: int) -> None:
        """Keep nothing of a component that was drawn anew."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep nothing of what was sent or shown."""


MOST_UNREAD = 500
"""So many programs may leave the results of their calls unread."""


def _forget_streams_that_ended(queue: Any) -> None:
    """Drop what Gradio keeps of sessions whose events have all been told, or can be told no more.

    These are 4 kB each, of the last 2,000 sessions, and the ids of their events, of all sessions there ever were. The
    next event of a session makes it anew. Source: `push` in gradio/queueing.py.
    """
    messages, pending = queue.pending_messages_per_session, queue.pending_event_ids_session

    def has_ended(session: str) -> bool:
        return not any(event in queue.event_ids_to_events for event in list(pending.get(session, ())))

    for session in [session for session in messages if not pending.get(session) and messages[session].empty()]:
        del messages[session]
    unread = list(filter(has_ended, list(messages)))
    for session in unread[: max(0, len(unread) - MOST_UNREAD)]:  # else Gradio drops the oldest, also of open pages
        del messages[session]
    for session in list(pending):
        if session not in messages and has_ended(session):
            pending.pop(session, None)


class _KeepsNothing(dict[int, Any]):
    def __setitem__(self, key: int, value: Any) -> None:
        pass


def keep_sessions_lean() -> None:
    """Let Gradio make lean sessions from now on."""
    state_holder.SessionState = LeanSession


def event_table(page: gr.Blocks) -> EventTable:
    """Return the page's events in which the server takes part."""
    api = page.get_api_info()["named_endpoints"]
    events = [_event(function, api) for function in page.fns.values() if function.fn is not None]
    return EventTable(
        events,
        lambda event_id: _is_pending(page._queue, event_id),
        lambda session: _is_free(page._queue, session),
    )


def served_paths(page: gr.Blocks) -> Iterator[str]:
    """Yield the path of each route that a page serves, with the gaps in braces."""
    routers = [page.app.router]
    while routers:
        for route in routers.pop().routes:
            if inner := getattr(route, "original_router", None):
                routers.append(inner)
            elif path := getattr(route, "path", None):
                yield path


def _event(function: Any, api: dict[str, Any]) -> PageEvent:
    endpoint = api.get(f"/{function.api_name}") if function.api_visibility == "public" else None
    if endpoint is None:
        return PageEvent(function._id, len(function.inputs), function.queue)
    told = endpoint["parameters"]
    needed = {one["parameter_name"]: not one["parameter_has_default"] for one in told}
    defaults = {one["parameter_name"]: one.get("parameter_default") for one in told}
    return PageEvent(function._id, len(function.inputs), function.queue, function.api_name, needed, defaults)


def _is_pending(queue: Any, event_id: str) -> bool:
    """Tell whether the result of a call can still be read."""
    sessions = queue.pending_event_ids_session
    return event_id in queue.event_ids_to_events or any(event_id in ids for ids in list(sessions.values()))


def _is_free(queue: Any, session: str) -> bool:
    """Tell whether no call of a session waits or runs, and drop the results of those before that nobody read.

    Each call's stream tells whatever there is of its session: of two at a time, each would get some of both, and wait
    for ever for the rest. Source: `queue_data_helper` in gradio/routes.py.
    """
    pending = queue.pending_event_ids_session
    if any(event_id in queue.event_ids_to_events for event_id in pending.get(session, ())):
        return False
    pending.pop(session, None)
    queue.pending_messages_per_session.pop(session, None)
    return True


def with_visitors_token(app: ASGIApp) -> ASGIApp:
    """Return an app in whose requests `spaces` finds whose quota of ZeroGPU pays, as it does in Gradio's events.

    It looks for the header X-IP-Token of the request that Gradio keeps in the context of an event.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        LocalContext.request.set(gr.Request(Request(scope)))
        await app(scope, receive, send)

    return serve


def is_one_call(session: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a session says nothing of who calls.

    Gradio names it like the current call if its caller named none. And all that come by Gradio's MCP server share the
    session of the client that this has of its own, which says so in a header (gradio/mcp.py).
    """
    return bool(session == LocalContext.event_id.get(None)) or headers.get("x-gradio-user") == "mcp"


def open_tunnel(port: int, share_token: str) -> str:
    """Return a public address that leads to a port of this machine, through Gradio's share server.

    Raises:
        Exception: there is none; the last line of its text says why.
    """
    address: str = networking.setup_tunnel("127.0.0.1", port, share_token, None, None)
    return address


def missing_tunnel_program() -> dict[str, str]:
    """Return where the program that holds share links is downloaded from, and to; {} if it is there."""
    path = Path(tunneling.BINARY_PATH)
    return {} if path.exists() else {"address": str(tunneling.BINARY_URL), "path": str(path)}


def is_own_share_server() -> bool:
    """Tell whether share links go through a server of the host's, which may have no certificate."""
    return networking.GRADIO_SHARE_SERVER_ADDRESS is not None


def wait_for_tunnels() -> None:
    """Wait until all tunnels are closed."""
    for tunnel in tunneling.CURRENT_TUNNELS:
        if tunnel.proc:
            tunnel.proc.wait()
