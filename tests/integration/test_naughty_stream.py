"""Strings that break programs go through the real Gradio server and come back exactly; the stream lives on."""

from collections.abc import Iterator

import httpx
import pytest

from hfdemo.chat.messages import Message, replace_surrogates
from hfdemo.page.gradio_private import set_queue_poll_interval
from hfdemo.page.page import launch
from tests.conftest import free_port
from tests.fakes import ScriptedEngine, scripted_page
from tests.integration.test_api import last_event
from tests.unit.test_naughty_strings import STRINGS


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[ScriptedEngine, str]]:
    engine = ScriptedEngine()
    page = scripted_page(engine)
    port = free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    set_queue_poll_interval(page, 0.002)  # the events are many, and each would wait for 15 ms
    yield engine, f"http://127.0.0.1:{port}"
    page.close()


def test_every_string_is_exact_as_message_and_as_reply(scripted):
    engine, url = scripted
    strings = [string for string in STRINGS if string.strip()]
    assert len(strings) > 490
    wrong = []
    with httpx.Client(base_url=url, timeout=30) as http:
        for string in strings:
            expected = replace_surrogates(string)
            engine.enqueue(*expected)
            event, data = last_event(http, {"message": string, "system_prompt": string})
            request = engine.requests[-1]
            exact = request.messages == (Message("user", expected),) and request.system_prompt == expected
            if event != "complete" or data[0] != expected or not exact:
                wrong.append((string, event, data))
    assert wrong == []
