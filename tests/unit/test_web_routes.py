"""Every route that the running page serves is listed with who may call it, and nothing else is served."""

from collections.abc import Iterator

import pytest

from hfdemo.page import gradio_private
from hfdemo.page.page import launch
from hfdemo.web.routes import GRADIO_ROUTES, OWN_ROUTES, Routes, callers_of
from tests.conftest import free_port
from tests.fakes import ScriptedEngine, scripted_page
from tests.unit.web import Recorder, request, scope_of


@pytest.fixture(scope="module")
def served() -> Iterator[set[str]]:
    page = scripted_page(ScriptedEngine())
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port())
    yield {path.rstrip("/") or "/" for path in gradio_private.served_paths(page)}
    page.close()


def test_every_route_is_listed_with_who_may_call_it(served):
    """If this fails, Gradio has new routes: decide who needs each, and add it to `hfdemo/web/routes.py`."""
    assert served - set(GRADIO_ROUTES) == set()


def test_every_listed_route_is_there(served):
    assert set(GRADIO_ROUTES) - served == set()


def test_what_hfdemo_adds_is_none_of_gradios():
    assert OWN_ROUTES.keys().isdisjoint(GRADIO_ROUTES)


@pytest.mark.parametrize(
    ("path", "callers"),
    [
        ("/", "signed in"),
        ("", "signed in"),
        ("/healthz", "anyone"),
        ("/login/", "anyone"),
        ("/config/", "signed in"),
        ("/assets/index-1.js", "signed in"),
        ("/assets/a/b.css", "signed in"),
        ("/gradio_api/call/chat", "signed in"),
        ("/gradio_api/call/v2/chat/abc", "signed in"),
        ("/gradio_api/file=/tmp/gradio/icon.svg", "signed in"),
        ("/gradio_api/file=https://example.org/x.png", "nobody"),
        ("/gradio_api/file=HTTP://127.0.0.1/", "nobody"),
        ("/gradio_api/file= http://127.0.0.1/", "nobody"),
        ("/gradio_api/file/https://example.org/x.png", "nobody"),
        ("/gradio_api/proxy=https://example.org", "nobody"),
        ("/gradio_api/upload", "nobody"),
        ("/gradio_api/upload_progress", "nobody"),
        ("/gradio_api/process_recording", "nobody"),
        ("/gradio_api/stream/1/2/3/playlist.m3u8", "nobody"),
        ("/gradio_api/custom_component/a/client/b/c.js", "nobody"),
        ("/pwa_icon/999999", "nobody"),
        ("/monitoring/summary", "nobody"),
        ("/nowhere", None),
        ("/gradio_api", None),
        ("/gradio_api/call/chat/a/b", None),
        ("/gradio_api/mcp", "signed in"),
        ("/gradio_api/mcp/", "signed in"),
        ("/gradio_api/mcp/sse", None),
        ("/gradio_api/mcp/messages/", None),
        ("/v1/models", "with a key"),
        ("/v1/models/org/name", "with a key"),
        ("/v1/chat/completions", "with a key"),
        ("/v1/other", "with a key"),
        ("//config", None),
        ("/config/x", None),
        ("/gradio_api/queue/join\n", None),
        ("/HEALTHZ", None),
        ("/assets/" + "가" * 85, "signed in"),
        ("/assets/" + "가" * 86, None),
        ("/static/" + "a/" * 508, "signed in"),
        ("/static/" + "a/" * 509, None),
        ("/gradio_api/call/" + "x" * 256, None),
    ],
)
def test_who_may_call_a_path(path, callers):
    assert callers_of(path) == callers


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/gradio_api/upload", 403, "This page does not offer this. It accepts no uploads and fetches no files."),
        ("/nowhere", 404, "There is nothing at this address."),
    ],
)
def test_what_is_not_for_anybody_is_refused_unread(path, status, sentence, method):
    app = Recorder()
    answer = request(Routes(app), scope_of(path, method))
    assert (answer[0], app.scopes) == (status, []) and sentence.encode() in answer[2]


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/queue/join", "/gradio_api/file=/tmp/gradio/icon.svg"])
def test_what_the_page_needs_is_let_through(path):
    assert request(Routes(Recorder()), scope_of(path, "POST"), [b"12345"])[0] == 200
