"""The API answers as its OpenAPI document says, whatever is sent: 4xx with a sentence, never 5xx."""

import os
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hfdemo.answering import Answering
from hfdemo.door.door import OPERATIONS, make_door
from hfdemo.engines.protocol import Status
from hfdemo.settings import Settings
from hfdemo.web.guard import Guarded, guard
from tests.fakes import ScriptedEngine
from tests.unit.web import NO_EVENTS, Recorder

KEY = "a-key-of-anna-0123"
HEADERS = {"authorization": f"Bearer {KEY}", "host": "localhost"}
CASES = int(os.environ.get("DOOR_CASES", "40"))
"""Of each kind for each operation; the benchmark of reliability tries more."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class TalkativeEngine(ScriptedEngine):
    """Has an answer to everything."""

    def stream(self, *asked: Any) -> Any:
        self.enqueue("<think>Well.</think>", "Hel", "lo!")
        return super().stream(*asked)


@pytest.fixture(scope="module")
def api():
    engine = TalkativeEngine()
    engine.now = Status("ready", model="org/scripted", context_limit=100)
    guarded = Guarded(Settings(api_keys=(("anna", KEY),)), NO_EVENTS, lambda: None, lambda: True)
    app = guard(Recorder(), replace(guarded, door=make_door(Answering(engine, max_waiting=4))))

    async def requests_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return schemathesis.openapi.from_asgi("/v1/openapi.json", requests_only, headers=HEADERS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), [("POST", path) for path in OPERATIONS] + [("GET", "/v1/models/{model}")])
def test_whatever_is_sent_is_answered_as_the_document_says(api, method, path, mode):
    cases = api[path][method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    @given(case=cases)
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=HEADERS, checks=CHECKS)

    send()


def test_the_document_is_for_those_with_a_key_and_what_it_shows_works(api):
    body = {"messages": [{"role": "user", "content": "Hi"}], "seed": 7.0}
    case = api["/v1/chat/completions"]["POST"].Case(body=body)
    assert case.call(headers=HEADERS).json()["choices"][0]["message"]["content"] == "Hello!"
    assert case.call(headers={"host": "localhost"}).status_code == 401


def test_every_operation_is_in_the_document(api):
    documented = set(api.raw_schema["paths"])
    assert documented == {*OPERATIONS, "/v1/models", "/v1/models/{model}"}
