"""Tools by OpenAI's own client: models of each family ask for one, and answer when they have its result."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hfdemo.door.door import make_door
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from tests.conftest import free_port
from tests.integration.local import loaded
from tests.unit.scripted_models import CONTROL, END, TEMPLATE, TOOL_CONTROL, TOOL_TEMPLATES, save_scripted_model

openai = pytest.importorskip("openai")

KEY = "key-of-the-laptop-1"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
QUESTION = {"role": "user", "content": "How is it?"}

ARGUMENTS = '{"city": "서울"}'
REPLIES = {
    "Hermes": ("<tool_call>", '{"name": "get_weather", ', f'"arguments": {ARGUMENTS}', "}", "</tool_call>", END),
    "Llama": ("<|python_tag|>", '{"name": "get_weather", ', f'"parameters": {ARGUMENTS}', "}", END),
    "Mistral": ("[TOOL_CALLS]", '[{"name": "get_weather", ', f'"arguments": {ARGUMENTS}', "}]", END),
    "GLM": (
        "<tool_call>",
        "get_weather\n<arg_key>",
        "city</arg_key>\n<arg_value>",
        "서울</arg_value>\n</tool_call>",
        END,
    ),
    "DeepSeek": (
        *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "get_weather", "<｜tool▁sep｜>"),
        *(ARGUMENTS, "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", END),
    ),
    "DeepSeek V3.1": (
        *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "get_weather", "<｜tool▁sep｜>"),
        *(ARGUMENTS, "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", END),
    ),
    "DeepSeek V3.2": (
        *("<｜DSML｜function_calls>\n", '<｜DSML｜invoke name="get_weather">\n', '<｜DSML｜parameter name="city" '),
        *('string="true">서울</｜DSML｜parameter>\n', "</｜DSML｜invoke>\n", "</｜DSML｜function_calls>", END),
    ),
    "Cohere": (
        *("<|START_ACTION|>", '[\n    {"tool_call_id": "0", "tool_name": "get_weather", '),
        *(f'"parameters": {ARGUMENTS}', "}\n]", "<|END_ACTION|>", END),
    ),
    "Gemma 4": ("<|tool_call>", "call:get_weather{city:", '<|"|>서울<|"|>', "}", "<tool_call|>", END),
    "FunctionGemma": (
        *("<start_function_call>", "call:get_weather{city:", "<escape>서울<escape>", "}"),
        *("<end_function_call>", END),
    ),
    "LFM2": ("<|tool_call_start|>", "[get_weather(city=", "'서울'", ")]", "<|tool_call_end|>", END),
    "LFM2, which leaves calls to others": (
        *("<|tool_call_start|>", "[get_weather(city=", "'서울'", ")]", "<|tool_call_end|>", END),
    ),
    "Granite 3": ("<|tool_call|>", '[{"name": "get_weather", ', f'"arguments": {ARGUMENTS}', "}]", END),
    "Phi-4-mini": (
        *("<|tool_call|>", '[{"name": "get_weather", ', f'"arguments": {ARGUMENTS}', "}]", "<|/tool_call|>", END),
    ),
    "Llama 4": ("<|python_start|>", "[get_weather(city=", '"서울"', ")]", "<|python_end|>", END),
    "Llama 4 for vLLM": ("[get_weather", "(city=", '"서울"', ")]", END),
    "Kimi": (
        *("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.get_weather:0"),
        *("<|tool_call_argument_begin|>", ARGUMENTS, "<|tool_call_end|>", "<|tool_calls_section_end|>", END),
    ),
    "gpt-oss": (
        *("<|channel|>", "commentary to=functions.get_weather ", "<|constrain|>", "json"),
        *("<|message|>", ARGUMENTS, "<|call|>", END),
    ),
}


@contextmanager
def client_of(folder: Path) -> Iterator[tuple[openai.OpenAI, str]]:
    local = loaded(Settings(model=str(folder), api_keys=(("laptop", KEY),)))
    page, port = local.page(), free_port()
    options = {"quiet": True, "server_name": "127.0.0.1", "server_port": port}
    launch(page, local.settings, door=make_door(local.answering), prevent_thread_lock=True, **options)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        yield client, client.models.list().data[0].id
    page.close()


@pytest.mark.parametrize("family", REPLIES)
def test_a_model_asks_for_a_tool_and_reads_its_result(family, tmp_path):
    reply = REPLIES[family]
    save_scripted_model(tmp_path, reply, TOOL_TEMPLATES[family], (*CONTROL, *TOOL_CONTROL[family]))
    with client_of(tmp_path) as (client, model):
        asked = {"model": model, "messages": [QUESTION], "tools": [TOOL], "max_tokens": 30}
        choice = client.chat.completions.create(**asked).choices[0]
        [call] = choice.message.tool_calls
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "서울"})
        with client.chat.completions.stream(**asked) as stream:
            streamed = stream.get_final_completion().choices[0]
        assert streamed.finish_reason == "tool_calls" and not streamed.message.content
        assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
        result = {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "blue"}'}
        later = client.chat.completions.create(**asked | {"messages": [QUESTION, choice.message, result]})
        assert later.usage.prompt_tokens > 50 and later.choices[0].message.tool_calls
        without = client.chat.completions.create(**asked | {"tool_choice": "none"}).choices[0]
        assert without.message.tool_calls is None and without.finish_reason == "stop"


def test_a_model_without_tools_is_refused_in_a_sentence(tmp_path):
    save_scripted_model(tmp_path, ("ok", END), TEMPLATE)
    with client_of(tmp_path) as (client, model):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="no place for tools in its chat template") as refused:
                client.chat.completions.create(model=model, messages=[QUESTION], tools=[TOOL], stream=stream)
            assert (refused.value.param, refused.value.code) == ("tools", "no_tools")
