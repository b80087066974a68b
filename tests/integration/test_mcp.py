"""The chat as a tool, by Gradio's MCP server: off unless the host says so, and nobody gets another's conversation."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from gradio_client import Client

from hfdemo.page.page import launch
from tests.conftest import free_port, run_async
from tests.fakes import ScriptedEngine, scripted_page


@contextmanager
def served(engine: ScriptedEngine) -> Iterator[str]:
    page, port = scripted_page(engine), free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    yield f"http://127.0.0.1:{port}"
    page.close()


def test_it_is_off():
    with served(ScriptedEngine()) as url:
        assert httpx.post(f"{url}/gradio_api/mcp/", json={}).status_code in (404, 405)


def test_whoever_comes_by_gradios_own_client_has_no_conversation_there():
    engine = ScriptedEngine()
    with served(engine) as url:
        shared = Client(url, verbose=False, headers={"x-gradio-user": "mcp"})  # as Gradio's MCP server calls
        for message in ("My secret", "What was said?"):
            shared.predict(message=message, api_name="/chat")
        assert shared.predict(api_name="/receipt") is None
    assert [len(request.messages) for request in engine.requests] == [1, 1]


def test_the_official_client_calls_the_chat(monkeypatch):
    pytest.importorskip("mcp")
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    engine = ScriptedEngine()
    engine.enqueue("Hel", "lo")

    async def call(url: str) -> None:
        async with (
            streamablehttp_client(f"{url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as at,
        ):
            await at.initialize()
            tools = {tool.name: tool.inputSchema for tool in (await at.list_tools()).tools}
            assert tools["chat"]["required"] == ["message"]
            told = await at.call_tool("chat", {"message": "Hi"})
            assert [content.text for content in told.content] == ["Hello"]
            refused = await at.call_tool("chat", {"message": ""})
            assert refused.isError and "Write a message first" in refused.content[0].text

    with served(engine) as url:
        run_async(call(url))


def test_what_is_sent_to_it_is_not_in_the_log(monkeypatch, caplog, capfd):
    """Each request was told in the log, and odd ones with all their words, over many lines."""
    pytest.importorskip("mcp")
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    caplog.set_level("INFO")
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "CANARY\n", "arguments": {}}}
    odd = json.dumps({"jsonrpc": "2.0", "method": "CANARY", "params": {"name": "CANARY"}})
    accepts = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with served(ScriptedEngine()) as url:
        for content in (json.dumps(asked), odd, '{"jsonrpc": "2.0", "id": NaN, "method": "CANARY"}', "[[CANARY"):
            answer = httpx.post(f"{url}/gradio_api/mcp/", content=content, headers=accepts)
            assert answer.status_code in (200, 202, 400)
    written = "".join(capfd.readouterr())
    assert "CANARY" not in caplog.text + written and "Traceback" not in caplog.text + written
    lines = [record.getMessage() for record in caplog.records if record.name.partition(".")[0] in ("mcp", "root")]
    assert all(line.startswith("a request failed: ") and "\n" not in line for line in lines) and len(lines) < 10
