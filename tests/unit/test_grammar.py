"""A reply that has to follow a JSON schema can only become one that does."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.reply_format import ReplyFormat
from hfdemo.chat.tool_calls import CallReader
from hfdemo.decoding.grammar import Grammar
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import RunningReply
from hfdemo.decoding.sampling import make_sampler
from hfdemo.door.fields import Fields
from hfdemo.door.tools import read_tools
from hfdemo.errors import InvalidInput
from hfdemo.models.load import LoadedModel
from tests.unit.families import byte_level

pytest.importorskip("llguidance")

TOKENIZER: Any = byte_level(["<|begin|>", "<|end|>"])
END = TOKENIZER.convert_tokens_to_ids("<|end|>")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def write(schema: str, seed: int) -> str:
    """Return what a model writes that prefers any token."""
    grammar = Grammar(TOKENIZER, (END,), schema)
    random, ids = torch.Generator().manual_seed(seed), []
    while not grammar.is_complete and len(ids) < 200:
        logits = torch.randn(len(TOKENIZER) + 7, generator=random)  # some models have more than their tokenizer
        token_id = int(grammar.allowed(logits).argmax())
        assert token_id < len(TOKENIZER)
        if token_id == END:
            break
        grammar.take(token_id)
        ids.append(token_id)
    return TOKENIZER.decode(ids)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_model_prefers_it_writes_what_the_schema_allows(seed):
    found = json.loads(write(json.dumps(SCHEMA), seed))
    assert set(found) == {"name", "age"} and 0 <= found["age"] <= 99 and len(found["name"]) <= 5


@pytest.mark.parametrize("seed", range(5))
def test_a_tool_that_has_to_be_called_is_called(seed):
    age = {"type": "integer", "minimum": 0, "maximum": 99}
    parameters = {"properties": {"age": {"$ref": "#/$defs/Age"}}, "required": ["age"], "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {**parameters, "$defs": {"Age": age}}}}
        for name in ("guess", "look")
    ]
    schema = read_tools(Fields({"tools": tools, "tool_choice": "required"})).schema
    reader = CallReader({"guess": {}, "look": {}})
    assert reader.add(write(schema, seed)) == ("", [])
    [call] = reader.end()[1]
    assert set(found := json.loads(call.arguments)) == {"age"} and 0 <= found["age"] <= 99


@pytest.mark.parametrize("seed", range(6))
def test_what_a_tools_schema_refers_to_is_its_own(seed):
    of_guess = {"properties": {"x": {"$ref": "#/$defs/Item"}}, "$defs": {"Item": {"type": "integer", "maximum": 9}}}
    of_look = {"properties": {"x": {"$ref": "#/definitions/Item"}}, "definitions": {"Item": {"enum": ["no", "yes"]}}}
    named = {"guess": of_guess, "look": of_look}
    exact = {"required": ["x"], "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {**its, **exact}}} for name, its in named.items()
    ]
    schema = read_tools(Fields({"tools": tools, "tool_choice": "required"})).schema
    found = json.loads(write(schema, seed))
    assert (
        isinstance(found["arguments"]["x"], int)
        if found["name"] == "guess"
        else found["arguments"]["x"] in ("no", "yes")
    )


def test_tools_that_are_nested_too_deeply_are_refused():
    deep: dict = {}
    for _ in range(900):
        deep = {"items": deep}
    tools = [{"type": "function", "function": {"name": "look", "parameters": deep}}]
    with pytest.raises(InvalidInput):
        read_tools(Fields({"tools": tools, "tool_choice": "required"}))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},  # nothing follows it
        {"type": "object", "properties": {f"field {number}": {"type": "string"} for number in range(700)}},
    ],
    ids=["endless", "too much"],
)
def test_a_schema_that_turns_out_to_be_none_ends_no_reply_as_if_it_were_whole(schema, capfd):
    with pytest.raises(InvalidInput) as refused:
        write(json.dumps(schema), 1)
    assert refused.value.key == "bad_schema" and refused.value.fields["name"] == "response_format"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("schema", ['{"type": "nothing"}', '{"$ref": "#/nowhere"}'])
def test_a_schema_that_is_none_is_refused(schema):
    with pytest.raises(InvalidInput) as refused:
        Grammar(TOKENIZER, (END,), schema)
    assert refused.value.key == "bad_schema" and refused.value.fields["problem"]


@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_the_schema_is_for_the_answer_and_not_for_a_thought_that_the_prompt_began(opening):
    network: Any = SimpleNamespace()
    prompts: Any = SimpleNamespace(context_limit=2048, stop_texts=(), reply_format=ReplyFormat())
    pipeline: Any = SimpleNamespace(model=network, tokenizer=TOKENIZER)
    model = LoadedModel("tiny", pipeline, prompts, (END,), (), "CPU")
    request = DecodeRequest(
        Prompt((1, 2), dropped=0, opening=opening),
        Options(temperature=0, max_new_tokens=400),
        schema=json.dumps(SCHEMA),
    )
    reply = RunningReply(model, request, StopSignal())
    reply._sampler = make_sampler(request.options, 0)
    thought = TOKENIZER.encode("{hm}</think>", add_special_tokens=False) if opening else []
    random = torch.Generator().manual_seed(0)
    for wanted in (*thought, *[None] * 300):
        logits = torch.randn(len(TOKENIZER), generator=random)
        if wanted is not None:
            logits[wanted] = 100.0
        reply.write(reply.choose(logits))
        if reply.finish_reason():
            break
    reply.streamer.complete()
    assert reply.streamer.thought == ("{hm}" if opening else "")
    assert set(json.loads(reply.streamer.text)) == {"name", "age"}
