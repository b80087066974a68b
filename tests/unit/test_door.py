"""The API in OpenAI's form: what may be asked, what is answered, and to whom."""

import asyncio
import json
import re
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from hfdemo.answering import Answering
from hfdemo.chat.messages import Message, ToolCall
from hfdemo.chat.options import RECOMMENDED, Options
from hfdemo.chat.reply import Delta, Token
from hfdemo.chat.request import ChatRequest
from hfdemo.door.door import OTHER_WORDS, make_door
from hfdemo.door.forms import Told
from hfdemo.engines.protocol import Status
from hfdemo.errors import Busy, GenerationFailed, InvalidInput, NoGpu
from hfdemo.settings import Settings
from hfdemo.web.guard import Guarded, guard
from hfdemo.words import texts
from tests.fakes import ScriptedEngine
from tests.unit.web import NO_EVENTS, Recorder

KEY = "a-key-of-anna-0123"
HELLO = [{"role": "user", "content": "Hello"}]
A_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"


ELSEWHERE = Status("ready", model="org/scripted", context_limit=100, recommended=None)


class Api:
    """The API of a scripted engine, behind the guard."""

    def __init__(self, **settings: Any) -> None:
        self.engine = ScriptedEngine()
        self.engine.now = Status("ready", model="org/scripted", context_limit=100)
        self.page = Recorder()
        self.settings = Settings(**{"api_keys": (("anna", KEY), ("ben", "another-key-456789"))} | settings)

    def send(self, method: str, path: str, body: Any = None, key: str | None = KEY, **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            answering = Answering(self.engine, max_waiting=4)
            guarded = Guarded(self.settings, NO_EVENTS, lambda: None, lambda: True)
            app = guard(self.page, replace(guarded, door=make_door(answering)))
            transport = httpx.ASGITransport(app=app)
            shown = {"authorization": f"Bearer {key}"} if key else {}
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
                return await client.request(method, path, content=content, headers=shown | headers)

        return asyncio.run(send())

    def chat(self, messages: Any = HELLO, **fields: Any) -> httpx.Response:
        return self.send("POST", CHAT, {"model": "org/scripted", "messages": messages, **fields})

    def complete(self, prompt: Any = "Once", **fields: Any) -> httpx.Response:
        return self.send("POST", TEXT, {"prompt": prompt, **fields})


@pytest.fixture
def api() -> Api:
    return Api()


def events(answer: httpx.Response) -> list[Any]:
    """Return the events of a stream; the last one is `[DONE]`, which is left out."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.content.isascii()
    lines = [line for line in answer.text.split("\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def error(answer: httpx.Response) -> tuple[int, str, str | None, str]:
    told = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"} and told["message"]
    return answer.status_code, told["type"], told["param"], told["code"]


def test_a_chat_is_answered(api):
    api.engine.enqueue("Hel", "lo!")
    body = api.chat([{"role": "system", "content": "Be brief."}, *HELLO]).json()
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-") and body["model"] == "scripted"
    message = {"role": "assistant", "content": "Hello!", "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 10,
        "total_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    [request] = api.engine.requests
    assert request.messages == (Message("user", "Hello"),) and request.system_prompt == "Be brief."
    assert request.keeps_all and not request.completes and request.options.max_new_tokens == 4096


def test_a_chat_is_streamed(api):
    api.engine.enqueue("<think>hm</think>", 0.3, "한국어 \u2028", "🙂")
    first, *middle, last, usage = events(api.chat(stream=True, stream_options={"include_usage": True}))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [chunk["choices"][0]["delta"] for chunk in middle]
    assert "".join(delta.get("content", "") for delta in deltas) == "한국어 \u2028🙂"
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"
    assert last["choices"][0]["delta"] == {} and last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] == 40
    assert {chunk["object"] for chunk in (first, *middle, last, usage)} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in (first, *middle, last, usage)}) == 1


def test_what_it_took_is_streamed_only_if_asked_for(api):
    assert all("usage" not in chunk for chunk in events(api.chat(stream=True)))


@pytest.mark.parametrize("path", [CHAT, TEXT, RESPONSES])
def test_what_a_server_elsewhere_doesnt_tell_of_the_prompt_is_no_number(api, path):
    api.engine.receipt = replace(api.engine.receipt, prompt_tokens=0)
    asked = {CHAT: {"messages": HELLO}, TEXT: {"prompt": "Once"}, RESPONSES: {"input": "Hello"}}[path]
    body = api.send("POST", path, asked).json()
    assert (body["usage"], "ok" in json.dumps(body)) == (None, True)
    lines = api.send("POST", path, asked | {"stream": True, "stream_options": {"include_usage": True}}).text
    told = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: {")]
    assert {str((one.get("response") or one).get("usage")) for one in told} == {"None"}
    assert path == RESPONSES or told[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_thought_has_a_field_of_its_own(api):
    api.engine.enqueue("<think>hm</think>", "Hi")
    message = api.chat().json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hi", "hm")


def test_what_turns_out_to_be_a_thought_is_one(api):
    told = Delta("Let me see.", "", 0), Delta("Yes.", answer_was_thought=True)
    api.engine.stream = lambda request, stop: iter([*told, Delta(receipt=api.engine.receipt)])
    message = api.chat().json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "Let me see.")


def test_no_word_of_a_thought_is_lost_that_was_streamed_as_an_answer_at_first():
    told = Told(ChatRequest((Message("user", "Hi"),), "", Options()))
    together = Delta("it a lot.").then(Delta(answer_was_thought=True)).then(Delta("Yes."))
    pieces = [told.add(delta) for delta in (Delta("Hm. "), together, Delta(" Or no."))]
    assert [(piece.text, piece.thought) for piece in pieces] == [("Hm. ", ""), ("Yes.", "it a lot."), (" Or no.", "")]
    assert (told.text, told.thought) == ("Yes. Or no.", "Hm. it a lot.")


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        *[("end_of_turn", "stop"), ("stop_text", "stop"), ("max_new_tokens", "length"), ("time_limit", "length")],
        ("content_filter", "content_filter"),
    ],
)
def test_why_it_ended(api, reason, word):
    api.engine.receipt = replace(api.engine.receipt, finish_reason=reason)
    assert api.chat().json()["choices"][0]["finish_reason"] == word
    assert events(api.chat(stream=True))[-1]["choices"][0]["finish_reason"] == word


def test_options_reach_the_model_and_what_is_left_out_is_the_models_own(api):
    api.chat(
        temperature=0.3,
        top_p=1,
        top_k=-1,
        max_completion_tokens=7,
        max_tokens=9,
        seed=-5,
        stop=["a", "b"],
        n=1,
        presence_penalty=0,
        user="somebody",
        unknown={"x": 1},
        min_p=None,
    )
    [request] = api.engine.requests
    options = request.options
    assert (options.temperature, options.top_p, options.top_k, options.max_new_tokens) == (0.3, 1, 0, 7)
    assert (options.seed, options.stop_texts) == (2**32 - 5, ("a", "b"))
    assert set(options.left_out) == {"repetition_penalty", "min_p", "thinking"}


@pytest.mark.parametrize(
    ("path", "length"),
    [(CHAT, "max_completion_tokens"), (CHAT, "max_tokens"), (TEXT, "max_tokens"), (RESPONSES, "max_output_tokens")],
)
def test_what_a_program_says_nothing_of_is_known(api, path, length):
    asked = {CHAT: {"messages": HELLO}, TEXT: {"prompt": "Once"}, RESPONSES: {"input": "Hello"}}[path]
    assert api.send("POST", path, asked).status_code == 200
    assert set(api.engine.requests[-1].options.left_out) == {*RECOMMENDED, "max_new_tokens", "thinking"}
    every = dict.fromkeys(RECOMMENDED, 1) | {length: 5, "chat_template_kwargs": {"enable_thinking": False}}
    assert api.send("POST", path, asked | every).status_code == 200
    assert api.engine.requests[-1].options.left_out == ()


def test_a_system_message_may_stand_anywhere(api):
    told = [{"role": "developer", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Hi"}]
    assert api.chat([*told, {"role": "system", "content": "In Korean."}, *HELLO]).status_code == 200
    assert api.chat([*told, *HELLO, {"role": "developer", "content": "In Korean."}]).status_code == 200
    first, last = api.engine.requests
    said = (Message("user", "Hello"), Message("assistant", "Hi"))
    assert first.system_prompt == last.system_prompt == "Be brief."
    assert first.messages == (*said, Message("system", "In Korean."), Message("user", "Hello"))
    assert last.messages == (*said, Message("user", "Hello"), Message("system", "In Korean."))


@pytest.mark.parametrize(("asked", "most"), [(100_000, 100_000), (1e5, 100_000), (10**30, 2**31 - 1)])
def test_a_program_may_ask_for_more_tokens_than_a_page_has(api, asked, most):
    for name in ("max_tokens", "max_completion_tokens"):
        assert api.chat(**{name: asked}).status_code == 200
        assert api.engine.requests[-1].options.max_new_tokens == most


@pytest.mark.parametrize(
    ("path", "fields", "param", "code"),
    [
        *[(CHAT, {name: True}, name, "unsupported_parameter") for name in ("n", "best_of")],
        *[(CHAT, {name: False}, name, "unsupported_parameter") for name in ("presence_penalty", "frequency_penalty")],
        (CHAT, {"continue_final_message": True}, "messages", "nothing_to_continue"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format.json_schema", "bad_field"),
        (TEXT, {"response_format": {"type": "json_schema"}}, "response_format.json_schema", "bad_field"),
        (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "bad_field"),
        (RESPONSES, {"reasoning": {"effort": "huge"}}, "reasoning.effort", "not_one_of"),
        (RESPONSES, {"reasoning": {"effort": 5}}, "reasoning.effort", "not_one_of"),
        (TEXT, {"prompt": ["Once", "Twice"]}, "prompt", "one_text"),
        (TEXT, {"prompt": [1, 2]}, "prompt", "one_text"),
        (TEXT, {"prompt": [[1, 2]]}, "prompt", "one_text"),
        *[(TEXT, {"prompt": nothing}, "prompt", "no_question") for nothing in (None, "", [], [""], [[]], [None])],
    ],
)
def test_what_is_wrong_is_named_as_the_program_wrote_it(api, path, fields, param, code):
    asked = {CHAT: {"messages": HELLO}, TEXT: {"prompt": "Once"}, RESPONSES: {"input": "Hello"}}[path]
    assert error(api.send("POST", path, asked | fields)) == (400, "invalid_request_error", param, code)


@pytest.mark.parametrize(("path", "field"), [(RESPONSES, "text.format"), (CHAT, "response_format")])
def test_a_schema_that_cant_be_used_is_named_as_the_program_wrote_it(api, path, field):
    form = {"type": "json_schema", "schema": {"type": "object"}}
    asked = {
        CHAT: {"messages": HELLO, "response_format": form},
        RESPONSES: {"input": "Hello", "text": {"format": form}},
    }
    api.send("POST", path, asked[path])
    assert api.engine.requests[-1].schema_field == field


def test_what_other_servers_take_is_taken(api):
    assert api.chat(max_tokens=-1).status_code == 200
    assert "max_new_tokens" in api.engine.requests[-1].options.left_out
    api.send("POST", TEXT, {"prompt": "Once", "max_completion_tokens": 5})
    assert api.engine.requests[-1].options.max_new_tokens == 5
    schema = {"type": "object", "required": ["city"]}
    api.chat(response_format={"type": "json_object", "schema": schema})
    assert json.loads(api.engine.requests[-1].schema) == schema
    api.engine.now = replace(api.engine.now, model="org/name:cheapest")
    assert api.chat(model="org/name").status_code == 200


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_schema_is_as_strict_as_the_program_wants_it(api, strict):
    form = {"type": "json_schema", "name": "reply", "schema": {"type": "object"}, "strict": strict}
    within = {"type": "json_schema", "json_schema": form}
    api.send("POST", CHAT, {"messages": HELLO, "response_format": within})
    api.send("POST", TEXT, {"prompt": "Once", "response_format": within})
    api.send("POST", RESPONSES, {"input": "Hello", "text": {"format": form}})
    assert [request.schema_strict for request in api.engine.requests[-3:]] == [bool(strict)] * 3


def test_how_much_to_think_reaches_the_engine_as_the_program_says_it(api):
    api.engine.now = replace(api.engine.now, thinking_modes=("off", "on"))
    for effort in ("none", "minimal", "high", "max"):
        api.send("POST", CHAT, {"messages": HELLO, "reasoning_effort": effort})
        api.send("POST", CHAT, {"messages": HELLO, "chat_template_kwargs": {"reasoning_effort": effort}})
        api.send("POST", RESPONSES, {"input": "Hello", "reasoning": {"effort": effort}})
        assert [request.effort for request in api.engine.requests[-3:]] == [effort] * 3


def test_the_events_of_a_response_are_numbered_as_they_come(api):
    lines = api.send("POST", RESPONSES, {"input": "Hello", "stream": True}).text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [one["type"] for one in told][:2] == ["response.created", "response.in_progress"]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))


@pytest.mark.parametrize("reply", ["<think>hm</think>Hi", "Hi<think>hm</think>", "hm</think>Hi", "Hi"])
def test_each_item_of_a_response_is_announced_before_its_events_and_keeps_its_place(reply, api):
    api.engine.enqueue(*(part for part in re.split("(<think>|</think>)", reply) if part))
    lines = api.send("POST", RESPONSES, {"input": "Hello", "stream": True}).text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    places: dict[int, str] = {}
    for event in told:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(places)
            places[event["output_index"]] = event["item"]["id"]
        elif "output_index" in event:
            assert places[event["output_index"]] == event.get("item_id") or event["item"]["id"]
    output = told[-1]["response"]["output"]
    assert [item["id"] for item in output] == list(places.values())


def test_the_thought_of_a_response_has_ended_when_its_answer_begins(api):
    said = Delta(thought="hm"), Delta("Hi"), Delta(receipt=api.engine.receipt)
    api.engine.stream = lambda request, stop: iter(said)
    lines = api.send("POST", RESPONSES, {"input": "Hello", "stream": True}).text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    kinds = [(event["type"].removeprefix("response."), event.get("output_index")) for event in told][2:]
    assert kinds == [
        ("output_item.added", 0),
        ("reasoning_text.delta", 0),
        ("reasoning_text.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        ("completed", None),
    ]
    assert told[5]["item"]["content"][0]["text"] == "hm"


@pytest.mark.parametrize("metadata", [{"topic": "서울", "": ""}, {}])
def test_the_metadata_of_a_response_are_given_back(metadata, api):
    asked = {"input": "Hello", "metadata": metadata}
    assert api.send("POST", RESPONSES, asked).json()["metadata"] == metadata
    lines = api.send("POST", RESPONSES, asked | {"stream": True}).text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [one["response"]["metadata"] for one in told if "response" in one] == [metadata] * 3
    assert api.send("POST", RESPONSES, asked | {"metadata": None}).json()["metadata"] == {}


@pytest.mark.parametrize(
    ("metadata", "param"),
    [("x", "metadata"), ([], "metadata"), ({"n": 5}, "metadata.n"), ({"n": ["x"]}, "metadata.n")],
)
def test_metadata_that_are_no_texts_are_named(metadata, param, api):
    answer = api.send("POST", RESPONSES, {"input": "Hello", "metadata": metadata})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("asked", [5000.5, "5000", True, [5000], -5000, 0])
def test_a_number_of_tokens_that_is_none_is_named(api, asked):
    answer = api.chat(max_tokens=asked)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "max_tokens"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"n": 2}, "n"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"seed": "x"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "a", "parameters": "x"}}]}, "tools[0].function.parameters"),
        (
            {"tools": [{"function": {"name": "a", "parameters": {"$defs": ["x"]}}}]},
            "tools[0].function.parameters.$defs",
        ),
        ({"tools": [{"function": {"name": "a"}}] * 129}, "tools"),
        ({"tool_choice": "required"}, "tools"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice.function.name"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"reasoning_effort": "very"}, "reasoning_effort"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "boss", "content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [*HELLO, {"role": "function", "content": "x"}]}, "messages[1].role"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": 5}]}, "messages[1].tool_calls"),
        (
            {
                "messages": [
                    *HELLO,
                    {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "["}}]},
                ]
            },
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
            "messages[1].tool_calls[0].function.name",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**A_CALL, "extra_content": "x"}]}]},
            "messages[1].tool_calls[0].extra_content",
        ),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}, "messages"),
        ({"messages": HELLO, "continue_final_message": True}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_a_wrong_field_is_named(api, fields, param):
    status, kind, named, _ = error(api.chat(**{"messages": HELLO, **fields}))
    assert (status, kind, named) == (400, "invalid_request_error", param)
    assert api.engine.requests == []


def test_another_model_is_not_there_and_none_is_the_one_that_is(api):
    assert error(api.chat(model="gpt-9")) == (404, "invalid_request_error", "model", "model_not_found")
    for name in ("", None, "dummy", "scripted", "ORG/Scripted"):
        assert api.chat(model=name).status_code == 200


def test_content_may_come_in_parts(api):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    api.chat([{"role": "user", "content": parts}])
    assert api.engine.requests[-1].messages[0].content == "Hello"


def test_earlier_thoughts_go_back_to_the_model(api):
    earlier = {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}
    api.chat([*HELLO, earlier, {"role": "user", "content": "And?"}])
    assert api.engine.requests[-1].messages[1] == Message("assistant", "Hi", "hm")


def test_a_reply_goes_on_and_only_what_is_new_is_told(api):
    api.engine.enqueue(" upon a time")
    said = [*HELLO, {"role": "assistant", "content": "Once", "reasoning_content": "A tale."}]
    answer = api.chat(said, continue_final_message=True, add_generation_prompt=False, stream=True)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(answer)) == " upon a time"
    [request] = api.engine.requests
    assert (request.reply_start, request.thought_start, request.continues) == ("Once", "A tale.", True)
    assert len(request.messages) == 1


def test_a_thought_goes_on_as_hfdemo_itself_asks_for_it(api):
    api.chat([*HELLO, {"role": "assistant", "content": "<think>\nA tale"}], continue_final_message=True)
    assert (api.engine.requests[-1].reply_start, api.engine.requests[-1].thought_start) == ("", "A tale")


@pytest.mark.parametrize(
    ("fields", "modes", "mode"),
    [
        ({}, ("off", "on"), "auto"),
        ({"reasoning_effort": "none"}, ("off", "on"), "auto"),
        ({"reasoning_effort": "high"}, ("off", "on"), "on"),
        ({"reasoning_effort": "high"}, ("low", "medium", "high"), "high"),
        ({"reasoning_effort": "xhigh"}, ("low", "medium", "high"), "high"),
        ({"reasoning_effort": "xhigh"}, ("off", "on"), "on"),
        ({"reasoning_effort": "max"}, ("off", "on"), "on"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, ("off", "on"), "on"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, (), "auto"),
        ({"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}, (), "auto"),
    ],
)
def test_thinking(api, fields, modes, mode):
    api.engine.now = replace(api.engine.now, thinking_modes=modes)
    assert api.chat(**fields).status_code == 200
    assert api.engine.requests[-1].options.thinking == mode


@pytest.mark.parametrize(
    ("given", "chosen", "others"),
    [
        ({}, False, {}),
        (None, False, {}),
        ({"preserve_thinking": True}, False, {"preserve_thinking": True}),
        ({"enable_thinking": None, "clear_thinking": False}, False, {"clear_thinking": False}),
        ({"enable_thinking": False, "clear_thinking": False}, True, {"clear_thinking": False}),
        ({"thinking": False}, True, {}),
        ({"reasoning_effort": "none"}, True, {}),
    ],
)
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_of_what_a_program_sets_of_the_template_only_thinking_chooses_that(api, path, given, chosen, others):
    asked = {CHAT: {"messages": HELLO}, RESPONSES: {"input": "Hello"}}[path]
    assert api.send("POST", path, asked | {"chat_template_kwargs": given}).status_code == 200
    [request] = api.engine.requests
    assert ("thinking" not in request.options.left_out) is chosen
    assert json.loads(request.chat_template_kwargs or "{}") == others


def test_what_transformers_own_chat_sends_counts(api):
    api.chat(generation_config=json.dumps({"max_new_tokens": 5, "do_sample": False, "top_k": None}))
    assert (api.engine.requests[-1].options.max_new_tokens, api.engine.requests[-1].options.temperature) == (5, 0)


TOKEN = Token("Hé", "Hé".encode(), -0.5, (Token("Hé", "Hé".encode(), -0.5), Token("\ufffd", b"\xc3", -2.0)))


def test_probabilities_of_tokens(api):
    api.engine.stream = lambda request, stop: iter([Delta("Hé", tokens=(TOKEN,)), Delta(receipt=api.engine.receipt)])
    [told] = api.chat(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert (told["token"], told["logprob"], told["bytes"]) == ("Hé", -0.5, [72, 195, 169])
    assert [(other["token"], other["bytes"]) for other in told["top_logprobs"]] == [
        ("Hé", [72, 195, 169]),
        ("\ufffd", [195]),
    ]
    chunks = events(api.chat(logprobs=True, stream=True))
    [content] = [chunk["choices"][0]["logprobs"]["content"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert content[0]["token"] == "Hé"
    assert api.chat().json()["choices"][0]["logprobs"] is None


def test_a_token_that_cannot_be_is_very_unlikely(api):
    never = Token("x", b"x", float("-inf"))
    reply = Delta("x", tokens=(replace(never, others=(never,)),))
    api.engine.stream = lambda request, stop: iter([reply, Delta(receipt=api.engine.receipt)])
    [told] = api.chat(logprobs=True, top_logprobs=1).json()["choices"][0]["logprobs"]["content"]
    assert (told["logprob"], told["top_logprobs"][0]["logprob"]) == (-9999, -9999)
    assert "Infinity" not in api.chat(logprobs=True, stream=True).text
    text = api.complete(logprobs=1).json()["choices"][0]["logprobs"]
    assert (text["token_logprobs"], text["top_logprobs"]) == ([-9999], [{"x": -9999}])


def test_how_many_likely_tokens_are_wanted_reaches_the_model(api):
    api.chat(logprobs=True, top_logprobs=3)
    api.chat(logprobs=True)
    api.chat(top_logprobs=3)
    assert [request.likeliest for request in api.engine.requests] == [3, 0, None]


def test_a_schema_reaches_the_model(api):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    api.chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    api.chat(response_format={"type": "json_object"})
    api.chat(response_format={"type": "text"})
    found = [json.loads(request.schema or "null") for request in api.engine.requests]
    assert found == [schema, {"type": "object"}, None]


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("look", "see")]
CALL = '<tool_call>{"name": "look", "arguments": {"city": "서울"}}</tool_call>'


def test_tools_reach_the_model_and_its_call_is_told(api):
    api.engine.enqueue("<think>hm</think>", CALL[:5], CALL[5:])
    choice = api.chat(tools=TOOLS).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert choice["message"]["reasoning_content"] == "hm"
    assert call["type"] == "function" and call["id"]
    assert call["function"]["name"] == "look" and json.loads(call["function"]["arguments"]) == {"city": "서울"}
    assert json.loads(api.engine.requests[0].tools) == TOOLS


def test_calls_are_streamed_each_with_its_place(api):
    api.engine.enqueue("Let me look. ", 0.3, CALL[:9], 0.3, CALL[9:], 0.3, CALL.replace("look", "see"))
    chunks = [chunk["choices"][0] for chunk in events(api.chat(tools=TOOLS, stream=True))]
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == "Let me look. "
    calls = [call for chunk in chunks for call in chunk["delta"].get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "look"), (1, "see")]
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_calls_that_another_server_told_are_told(api):
    calls = (ToolCall("look", '{"city": "서울"}', "c1"), ToolCall("see", "{}", "functions.see:1"))
    for stream, limit in ((False, None), (True, None), (False, False), (True, False)):
        api.engine.enqueue("Let me look.", Delta(calls=calls))
        answer = api.chat(tools=TOOLS, stream=stream, parallel_tool_calls=limit)
        choices = [one["choices"][0] for one in (events(answer) if stream else [answer.json()])]
        told = [call for one in choices for call in (one.get("message") or one["delta"]).get("tool_calls", [])]
        assert [(call["id"], call["function"]["arguments"]) for call in told] == [
            (call.id, call.arguments) for call in calls[: 1 if limit is False else 2]
        ]
        assert choices[-1]["finish_reason"] == "tool_calls"
        assert not stream or [call["index"] for call in told] == [*range(len(told))]


def test_one_call_at_most_if_that_is_asked_for(api):
    for stream in (False, True):
        api.engine.enqueue(CALL + CALL)
        answer = api.chat(tools=TOOLS, parallel_tool_calls=False, stream=stream)
        assert answer.text.count('"arguments"') == 1


def test_a_reply_without_a_call_is_text_and_one_that_is_cut_off_ended_for_its_length(api):
    api.engine.enqueue("Sunny.")
    choice = api.chat(tools=TOOLS).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Sunny.", "stop")
    assert "tool_calls" not in choice["message"]
    api.engine.receipt = replace(api.engine.receipt, finish_reason="max_new_tokens")
    api.engine.enqueue(CALL[:30])
    choice = api.chat(tools=TOOLS).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL[:30], "length")


def test_without_tools_nothing_is_a_call(api):
    for fields in ({}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}):
        api.engine.enqueue(CALL)
        assert api.chat(**fields).json()["choices"][0]["message"]["content"] == CALL
        assert api.engine.requests[-1].tools == ""


def test_a_call_that_has_to_come_is_a_schema(api):
    api.engine.enqueue('{"name": "see", "arguments": {"city": "x"}}')
    answer = api.chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "see"}})
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "see"
    api.chat(tools=TOOLS, tool_choice="required")
    named, required = (json.loads(request.schema) for request in api.engine.requests)
    assert [one["properties"]["name"]["const"] for one in named["anyOf"]] == ["see"]
    assert [one["properties"]["name"]["const"] for one in required["anyOf"]] == ["look", "see"]
    assert required["anyOf"][0]["properties"]["arguments"] == {"$ref": "#/$defs/look"}
    assert required["$defs"]["look"] == PARAMETERS
    assert {request.schema_field for request in api.engine.requests} == {"tool_choice"}
    assert api.chat(tools=TOOLS, tool_choice="required", response_format={"type": "text"}).status_code == 200
    refused = api.chat(tools=TOOLS, tool_choice="required", response_format={"type": "json_object"})
    assert error(refused)[2] == "response_format"


def test_calls_and_results_go_back_to_the_model(api):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "서울"}'}}
    said = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}]
    api.chat([*said, {"role": "tool", "tool_call_id": "c1", "content": "blue"}])
    _, asked, result = api.engine.requests[0].messages
    assert asked == Message("assistant", "", calls=(ToolCall("look", '{"city": "서울"}', "c1"),))
    assert result == Message("tool", "blue", answers=asked.calls[0])


def test_what_else_a_server_told_of_a_call_is_told_and_goes_back_to_it(api):
    extra = {"google": {"thought_signature": "서명"}}
    signed = ToolCall("look", "{}", "c1", json.dumps(extra, ensure_ascii=False))
    for stream in (False, True):
        api.engine.enqueue(Delta(calls=(signed,)))
        answer = api.chat(tools=TOOLS, stream=stream)
        choices = [one["choices"][0] for one in (events(answer) if stream else [answer.json()])]
        told = [call for one in choices for call in (one.get("message") or one["delta"]).get("tool_calls", [])]
        assert [call["extra_content"] for call in told] == [extra]
    assert api.chat([*HELLO, {"role": "assistant", "tool_calls": told}, *HELLO]).status_code == 200
    assert api.engine.requests[-1].messages[1].calls == (signed,)


def test_what_a_model_elsewhere_got_wrong_goes_back_to_it_as_it_was_told(api):
    api.engine.now = ELSEWHERE
    broken = {**A_CALL, "function": {"name": "look", "arguments": '{"city": "서'}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "That is no JSON."}
    assert api.chat([*HELLO, {"role": "assistant", "tool_calls": [broken]}, result]).status_code == 200
    _, asked, told = api.engine.requests[0].messages
    assert asked.calls == (told.answers,) == (ToolCall("look", '{"city": "서', "c1"),)


def test_a_system_message_alone_is_answered_as_the_users(api):
    system = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Write a haiku."}]
    assert api.chat(system[1:]).status_code == 200
    assert api.chat(system).status_code == 200
    asked = {"instructions": "Be brief.", "input": system[1:]}
    assert api.send("POST", RESPONSES, asked).status_code == 200
    told = [(request.system_prompt, request.messages) for request in api.engine.requests]
    haiku = (Message("user", "Write a haiku."),)
    assert told == [("", haiku), ("Be brief.", haiku), ("Be brief.", haiku)]
    for nothing in ([{"role": "system", "content": " "}], []):
        assert error(api.chat(nothing))[2:] == ("messages", "no_question")
        answer = api.send("POST", RESPONSES, {"instructions": "Be brief.", "input": nothing})
        assert error(answer)[2:] == ("input", "no_question")


def test_a_result_without_a_question_is_for_a_server_elsewhere_to_answer(api):
    said = [{"role": "system", "content": "Look."}, {"role": "assistant", "tool_calls": [A_CALL]}]
    said.append({"role": "tool", "tool_call_id": "c1", "content": "blue"})
    assert error(api.chat(said))[2:] == ("messages", "no_question")
    api.engine.now = ELSEWHERE
    assert api.chat(said).status_code == 200
    assert [message.role for message in api.engine.requests[0].messages] == ["assistant", "tool"]
    for nothing in ([], [*HELLO, {"role": "user", "content": " "}], [{"role": "assistant", "content": "Hi"}]):
        assert error(api.chat(nothing))[2:] == ("messages", "no_question")


def test_a_conversation_with_very_many_calls_is_read_and_keeps_nobody_waiting(api):
    said = list(HELLO)
    for number in range(8000):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        said.append({"role": "assistant", "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": f"c{number}", "content": "x"})
    begun = time.process_time()
    assert api.chat(said).status_code == 200
    assert time.process_time() - begun < 4  # each result once looked through all calls before it: 10 s and more
    assert api.engine.requests[0].messages[-1].answers == ToolCall("look", "{}", "c7999")


def test_halves_of_characters_in_tools_and_calls_reach_no_model(api):
    half = {**PARAMETERS, "description": "\ud800"}
    tool = {"type": "function", "function": {"name": "look", "description": "\udc00", "parameters": half}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "\\ud83d"}'}}
    api.chat([*HELLO, {"role": "assistant", "tool_calls": [call]}, *HELLO], tools=[tool])
    [request] = api.engine.requests
    assert json.loads(request.tools)[0]["function"]["parameters"]["description"] == "\ufffd"
    assert json.loads(request.messages[1].calls[0].arguments) == {"city": "\ufffd"}
    request.tools.encode()


def test_a_text_is_gone_on_with(api):
    api.engine.enqueue(" upon a time")
    body = api.complete(max_tokens=5, stop="x").json()
    choice = {"index": 0, "text": " upon a time", "logprobs": None, "finish_reason": "stop"}
    assert body["object"] == "text_completion" and body["choices"] == [choice]
    [request] = api.engine.requests
    assert request.completes and request.messages == (Message("user", "Once"),)
    assert (request.options.max_new_tokens, request.options.stop_texts) == (5, ("x",))


def test_a_text_is_gone_on_with_as_a_stream(api):
    api.engine.enqueue(" upon", " a time")
    *chunks, usage = events(api.complete(["Once"], stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == " upon a time"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop" and usage["usage"]["completion_tokens"] == 10
    assert api.engine.requests[-1].options.max_new_tokens == 16


def test_probabilities_of_a_text(api):
    api.engine.stream = lambda request, stop: iter([Delta("Hé", tokens=(TOKEN,)), Delta(receipt=api.engine.receipt)])
    told = api.complete(logprobs=2).json()["choices"][0]["logprobs"]
    assert (told["tokens"], told["token_logprobs"], told["text_offset"]) == (["Hé"], [-0.5], [0])
    assert told["top_logprobs"] == [{"Hé": -0.5, "\ufffd": -2.0}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 50}, "logprobs"),
    ],
)
def test_a_wrong_field_of_a_text_is_named(api, fields, param):
    assert error(api.complete(**fields))[:3] == (400, "invalid_request_error", param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused(api, body):
    assert error(api.send("POST", CHAT, body)) == (400, "invalid_request_error", None, "not_an_object")


@pytest.mark.parametrize("path", ["/home/anna/models/Tiny", "~/models/Tiny/", "./Tiny", r"C:\models\Tiny"])
def test_no_program_is_told_a_folder_of_this_machine(api, path):
    """A model that is being loaded is known by its path; later by its name."""
    for model in (path, "Tiny"):
        api.engine.now = Status("loading", model=model)
        [listed] = api.send("GET", "/v1/models").json()["data"]
        assert listed["id"] == "Tiny" and api.send("GET", "/v1/models/Tiny").status_code == 200
        assert "anna" not in api.chat(model="another").text
        assert [api.chat(model=name).status_code for name in ("Tiny", path, "tiny")] == [200] * 3


def test_the_list_of_models(api):
    model = {"id": "org/scripted", "object": "model", "created": 0, "owned_by": "hfdemo", "max_model_len": 100}
    assert api.send("GET", "/v1/models").json() == {"object": "list", "data": [model]}
    assert api.send("GET", "/v1/models/org/scripted").json() == model
    assert error(api.send("GET", "/v1/models/other"))[3] == "model_not_found"


@pytest.mark.parametrize("key", [None, "", "wrong", "a-key-of-anna-012", "a-key-of-anna-0123x"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("POST", CHAT), ("POST", TEXT), ("GET", "/v1/x")])
def test_nobody_gets_in_without_a_key(api, key, method, path):
    answer = api.send(method, path, {"messages": HELLO}, key)
    assert error(answer) == (401, "authentication_error", None, "invalid_api_key")
    assert api.engine.requests == [] and api.page.scopes == []


def test_a_password_of_the_page_is_no_key_and_a_key_no_password():
    api = Api(password="secret")
    assert api.chat().status_code == 200
    assert api.send("POST", CHAT, {"messages": HELLO}, "secret").status_code == 401
    assert api.send("GET", "/config").status_code == 401


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/v1/nowhere", "/health", "/load_model"])
def test_without_keys_there_is_no_api(path):
    api = Api(api_keys=())
    for method in ("GET", "POST"):
        assert api.send(method, path, {"messages": HELLO}).status_code == 404
    assert api.engine.requests == [] and api.page.scopes == []


def test_other_addresses_and_methods(api):
    for method in ("GET", "POST"):
        for path in ("/v1/nowhere", "/v1/modelsandmore", f"{CHAT}/more", "/v1/"):
            assert error(api.send(method, path, {}))[::3] == (404, "no_such_route")
    assert error(api.send("GET", CHAT))[::3] == (405, "wrong_method")
    assert error(api.send("DELETE", "/v1/models/org/scripted"))[::3] == (405, "wrong_method")
    assert error(api.send("POST", "/v1/openapi.json"))[::3] == (405, "wrong_method")
    assert api.send("GET", "/v1/openapi.json").json()["info"]["title"] == "hfdemo"


def test_what_transformers_own_chat_asks_first_needs_no_key(api):
    assert api.send("GET", "/health", key=None).json() == {"status": "ok"}
    assert '"status": "ready"' in api.send("POST", "/load_model", {"model": "x"}, key=None).text


def test_foreign_pages_and_hosts_are_refused_in_its_form(api):
    assert error(api.send("POST", CHAT, {}, KEY, origin="https://example.org"))[::3] == (403, "foreign_origin")
    assert error(api.send("POST", CHAT, {}, KEY, host="example.org"))[::3] == (403, "foreign_host")


def test_a_large_conversation_is_taken_and_a_huge_one_is_not():
    api = Api(max_request_mb=1)
    long = [{"role": "user", "content": "x" * 900_000}]
    assert api.chat(long).status_code == 200
    assert error(api.chat([{"role": "user", "content": "x" * 2_000_000}]))[::3] == (413, "too_large")
    assert api.send("POST", "/v1/models", b"x" * 100_000).status_code == 405


@pytest.mark.parametrize(
    ("problem", "status", "code", "retry"),
    [
        (InvalidInput("too_many_tokens", tokens=9, max_new_tokens=1, limit=5), 400, "context_length_exceeded", None),
        (Busy("busy", waiting=5), 503, "busy", "1"),
        (Busy("busy_for", waiting=5, seconds=3), 503, "busy_for", "3"),
        (Busy("too_many_messages", seconds=7), 429, "too_many_messages", "7"),
        (InvalidInput("no_tools", name="tools"), 400, "no_tools", None),
        (InvalidInput("credit_sign_in"), 403, "credit_sign_in", None),
        (GenerationFailed("generation"), 500, "generation", None),
        (GenerationFailed("endpoint_busy_for", host="h", seconds=9), 429, "endpoint_busy_for", "9"),
        (GenerationFailed("endpoint_refused", host="h", said="no tools"), 400, "endpoint_refused", None),
        (GenerationFailed("endpoint_no_credit", host="h"), 502, "endpoint_no_credit", None),
        (GenerationFailed("endpoint_filtered", host="h"), 400, "content_filter", None),
        (GenerationFailed("endpoint_stalled", host="h", seconds=60), 502, "endpoint_stalled", None),
        (NoGpu("gpu_quota", asked=9, left=1, hours=1, minutes=0, seconds=3600), 429, "gpu_quota", "3600"),
        (NoGpu("gpu_runs"), 429, "gpu_runs", None),
        (NoGpu("gpu_stranger"), 429, "gpu_stranger", None),
        (NoGpu("gpu_pending"), 429, "gpu_pending", None),
        (NoGpu("gpu_none_free"), 503, "gpu_none_free", None),
        (InvalidInput("system_within"), 400, "system_within", None),
        (RuntimeError("secret words"), 500, "generation", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_before_the_first_piece_have_a_status(api, problem, status, code, retry, stream, caplog):
    api.engine.enqueue(problem)
    answer = api.chat(stream=stream)
    assert error(answer)[::3] == (status, code)
    assert answer.headers.get("retry-after") == retry
    assert "secret words" not in answer.text + caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_takes_its_time_has_a_status_too(api, stream):
    api.engine.enqueue(0.6, GenerationFailed("endpoint_busy_for", host="h", seconds=9))
    answer = api.chat(stream=stream)
    assert error(answer)[::3] == (429, "endpoint_busy_for") and answer.headers["retry-after"] == "9"


def test_while_nothing_comes_the_connection_is_not_silent(api, monkeypatch):
    monkeypatch.setattr("hfdemo.door.door.SILENT_S", 0.4)
    api.engine.enqueue(1.5, "ok")
    answer = api.chat(stream=True)
    assert answer.text.startswith('data: {"id"') and "\n\n: the reply is coming\n\n" in answer.text
    first, *_, last = events(answer)
    assert (first["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == (
        {"role": "assistant", "content": ""},
        "stop",
    )


def test_an_error_in_the_midst_is_the_last_event(api):
    api.engine.enqueue("Hel", 0.3, GenerationFailed("generation"))
    *_, last = events(api.chat(stream=True))
    assert last["error"]["code"] == "generation"
    api.engine.enqueue("Hel", 0.3, GenerationFailed("generation"))
    assert api.chat().status_code == 500


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("key", OTHER_WORDS)
def test_a_program_is_not_told_what_to_do_on_the_page(api, key, language):
    facts = {"waiting": 5, "seconds": 7, "tokens": 9, "max_new_tokens": 1, "limit": 5, "host": "h", "model": "m"}
    api.engine.enqueue(GenerationFailed(key, said="No.", **facts))
    told = api.send("POST", CHAT, {"messages": HELLO}, KEY, **{"accept-language": language}).json()["error"]["message"]
    of_page = re.compile("message box|click|Max new tokens|new chat|입력창|누르|최대 토큰 수|새 채팅|새 대화")
    assert not of_page.search(told) and of_page.search(texts(language)[f"error.{key}"])


def test_errors_are_told_in_the_callers_language(api):
    answer = api.send("POST", CHAT, {"messages": []}, KEY, **{"accept-language": "ko"})
    assert "메시지" in answer.json()["error"]["message"]
    assert "키" in api.send("GET", "/v1/models", None, None, **{"accept-language": "ko"}).json()["error"]["message"]


def test_conversations_are_kept_apart_by_key_and_beginning(api):
    for key in (KEY, KEY, "another-key-456789"):
        api.send("POST", CHAT, {"messages": HELLO}, key)
    api.chat([*HELLO, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "And?"}])
    api.chat([{"role": "user", "content": "Other"}])
    anna, again, ben, later, other = [request.cache_key for request in api.engine.requests]
    assert anna == again == later and len({anna, ben, other}) == 3 and KEY not in anna
