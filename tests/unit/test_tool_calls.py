"""A model's calls of tools are told from its text, whole or piece by piece, in the form of each family."""

import json

import pytest

from hfdemo.chat.tool_calls import CallReader

TOOLS = {
    "get_weather": {"type": "object", "properties": {"city": {"type": "string"}}},
    "look-up.all-now": {"type": "object"},
    "add": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array"}}},
}
CALL = '{"name": "get_weather", "arguments": {"city": "서울"}}'
WEATHER, ADD = ("get_weather", {"city": "서울"}), ("add", {"a": 1, "b": [2]})
ADDING = '{"name": "add", "arguments": {"a": 1, "b": [2]}}'

READ = {
    "Hermes": (f"<tool_call>\n{CALL}\n</tool_call>", "", [WEATHER]),
    "Hermes, two": (f"<tool_call>{CALL}</tool_call>\n<tool_call>{ADDING}</tool_call>", "", [WEATHER, ADD]),
    "Hermes, with words": (f"Let me look.\n<tool_call>\n{CALL}\n</tool_call>", "Let me look.\n", [WEATHER]),
    "Hermes, its marks in an argument": (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "<tool_call>a</tool_call>"}}</tool_call> Ok.',
        " Ok.",
        [("get_weather", {"city": "<tool_call>a</tool_call>"})],
    ),
    "Hermes, never closed": (f"<tool_call>\n{CALL}", "", [WEATHER]),
    "Hermes, a line end in a text": (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "a\n\tb"}}</tool_call>',
        "",
        [("get_weather", {"city": "a\n\tb"})],
    ),
    "Hermes, no arguments": ('<tool_call>{"name": "add", "arguments": null}</tool_call>', "", [("add", {})]),
    "Llama": (CALL.replace("arguments", "parameters"), "", [WEATHER]),
    "Llama, with its tag": (f"<|python_tag|>{CALL.replace('arguments', 'parameters')}", "", [WEATHER]),
    "Llama, two": (f"<|python_tag|>{CALL}; {ADDING}", "", [WEATHER, ADD]),
    "Llama, with a type": ('{"type": "function", "function": "add", "parameters": {"a": 1, "b": [2]}}', "", [ADD]),
    "as in OpenAI's API": (json.dumps({"type": "function", "function": json.loads(CALL)}), "", [WEATHER]),
    "Mistral": (f"[TOOL_CALLS][{CALL}, {ADDING}]", "", [WEATHER, ADD]),
    "Mistral, with a blank": (f"[TOOL_CALLS] [{CALL}]", "", [WEATHER]),
    "newer Mistral": ('[TOOL_CALLS]get_weather[ARGS]{"city": "서울"}', "", [WEATHER]),
    "newer Mistral, two": (
        '[TOOL_CALLS]get_weather[CALL_ID]abc123def[ARGS]{"city": "서울"}[TOOL_CALLS]add{"a": 1, "b": [2]}',
        "",
        [WEATHER, ADD],
    ),
    "Qwen3-Coder": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n서울\n</parameter>\n</function>\n</tool_call>",
        "",
        [WEATHER],
    ),
    "Qwen3-Coder, values that are no text": (
        "Ok.<tool_call><function=add><parameter=a>1</parameter><parameter=b>[2]</parameter></function></tool_call>",
        "Ok.",
        [ADD],
    ),
    "Qwen3-Coder, two in one": (
        "<tool_call><function=get_weather><parameter=city>서울</parameter></function>\n"
        "<function=add><parameter=a>1</parameter><parameter=b>[2]</parameter></function></tool_call>",
        "",
        [WEATHER, ADD],
    ),
    "Qwen3-Coder, never opened": (
        "Ok.\n<function=get_weather>\n<parameter=city>\n서울\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call><function=add><parameter=a>1</parameter><parameter=b>[2]</parameter></function></tool_call>",
        "Ok.\n",
        [WEATHER, ADD],
    ),
    "Qwen3-Coder, neither opened nor closed": (
        "<function=get_weather><parameter=city>서울</parameter></function>\n"
        "<function=add>\n<parameter=a>1</parameter><parameter=b>[2]</parameter></function>\n",
        "",
        [WEATHER, ADD],
    ),
    "GLM": (
        "Ok.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>서울</arg_value>\n</tool_call>\n"
        "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n<arg_value>[2]"
        "</arg_value>\n</tool_call>",
        "Ok.\n",
        [WEATHER, ADD],
    ),
    "newer GLM": (
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>서울</arg_value></tool_call>"
        "<tool_call>add</tool_call>",
        "",
        [WEATHER, ("add", {})],
    ),
    "DeepSeek R1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "서울"}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n"
        '```json\n{\n  "a": 1,\n  "b": [2]\n}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "",
        [WEATHER, ADD],
    ),
    "DeepSeek V3.1": (
        'Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "서울"}<｜tool▁call▁end｜>'
        '<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": [2]}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "Ok.",
        [WEATHER, ADD],
    ),
    "DeepSeek V3.2": (
        'Ok.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">서울</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="b" string="false">[2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>",
        "Ok.\n\n",
        [WEATHER, ADD],
    ),
    "DeepSeek V3.2, whose types count": (
        '<｜DSML｜function_calls><｜DSML｜invoke name="add"><｜DSML｜parameter name="a" string="true">1'
        '</｜DSML｜parameter><｜DSML｜parameter name="c" string="false">{"d": null}</｜DSML｜parameter>'
        "</｜DSML｜invoke></｜DSML｜function_calls>",
        "",
        [("add", {"a": "1", "c": {"d": None}})],
    ),
    "DeepSeek V4": (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">서울'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        "",
        [WEATHER],
    ),
    "Cohere": (
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "서울"}},\n'
        '    {"tool_call_id": "1", "tool_name": "add", "parameters": {"a": 1, "b": [2]}}\n]<|END_ACTION|>',
        "",
        [WEATHER, ADD],
    ),
    "Gemma 4": (
        'Ok.<|tool_call>call:get_weather{city:<|"|>서울<|"|>}<tool_call|><|tool_call>call:add{a:1,b:[2]}<tool_call|>',
        "Ok.",
        [WEATHER, ADD],
    ),
    "Gemma 4, within": (
        '<|tool_call>call:add{a:{<|"|>x y<|"|>:True,n:{k:-1.5e3}},b:[<|"|>a,b:{"c"}]<|"|>,null,None,[]]}<tool_call|>',
        "",
        [("add", {"a": {"x y": True, "n": {"k": -1500.0}}, "b": ['a,b:{"c"}]', None, None, []]})],
    ),
    "Gemma 4, nothing to say": ("<|tool_call>call:add{}<tool_call|>", "", [("add", {})]),
    "FunctionGemma": (
        "<start_function_call>call:get_weather{city:<escape>서울<escape>}<end_function_call>"
        "<start_function_call>call:add{a:1,b:[2]}<end_function_call>",
        "",
        [WEATHER, ADD],
    ),
    "LFM2": (
        "<|tool_call_start|>[get_weather(city='서울'), add(a=1, b=[2])]<|tool_call_end|>Let me look.",
        "Let me look.",
        [WEATHER, ADD],
    ),
    "LFM2, within": (
        """<|tool_call_start|>[add(a=-1, b=["it's", None, true, {"x": false, 'y': null}], c='\\d+\\n')]"""
        "<|tool_call_end|>",
        "",
        [("add", {"a": -1, "b": ["it's", None, True, {"x": False, "y": None}], "c": "\\d+\n"})],
    ),
    "LFM2, as llama.cpp writes it": (
        '<|tool_call_start|>[{"name": "get_weather", "arguments": {"city": "서울"}, "id": "x"}]<|tool_call_end|>',
        "",
        [WEATHER],
    ),
    "Kimi": (
        "Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "서울"}<|tool_call_end|><|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>'
        '{"a": 1, "b": [2]}<|tool_call_end|><|tool_calls_section_end|>',
        "Ok.",
        [WEATHER, ADD],
    ),
    "MiniMax": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">서울</parameter>\n</invoke>\n'
        '<invoke name="add">\n<parameter name="a">1</parameter>\n<parameter name="b">[2]</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
        "",
        [WEATHER, ADD],
    ),
    "Seed": (
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>서울</parameter>\n</function>\n</seed:tool_call>",
        "",
        [WEATHER],
    ),
    "Apriel": (f"<tool_calls>[{CALL}]</tool_calls>", "", [WEATHER]),
    "Granite 3": (f"<|tool_call|>[{CALL}, {ADDING}]", "", [WEATHER, ADD]),
    "Granite 3, with a blank": (f"<|tool_call|> [{CALL}]\n", "", [WEATHER]),
    "Granite 3.1": (f"<tool_call>[{CALL}, {ADDING}]", "", [WEATHER, ADD]),
    "Granite 3, without its mark": (f" [{CALL}, {ADDING}]", "", [WEATHER, ADD]),
    "Granite 20B": (f"<function_call> {CALL}\n<function_call> {ADDING}", "", [WEATHER, ADD]),
    "GigaChat": (f"<|function_call|>{CALL}", "", [WEATHER]),
    "Phi-4-mini": (f"<|tool_call|>[{CALL}, {ADDING}]<|/tool_call|>", "", [WEATHER, ADD]),
    "Phi-4-mini, with a type": (
        f'<|tool_call|>[{{"type": "function", "function": {CALL}}}]<|/tool_call|>',
        "",
        [WEATHER],
    ),
    "Phi-4-mini, by its word": (f"functools[{CALL}, {ADDING}]", "", [WEATHER, ADD]),
    "Phi-4-mini, by its word and on": (f"\nfunctools[\n  {CALL}\n]\n", "", [WEATHER]),
    "Llama 4": ("[get_weather(city='서울'), add(a=1, b=[2])]", "", [WEATHER, ADD]),
    "Llama 4, double quotes": ('[get_weather(city="서울")]', "", [WEATHER]),
    "Llama 4, with lines": (
        '\n[\n  get_weather(\n    city="서울",\n  ),\n  add(a=1, b=[2]),\n]\n',
        "",
        [WEATHER, ADD],
    ),
    "Llama 4, with brackets within": (
        """[add(a=1, b=["x]y", {"k": [")]"]}]), get_weather(city="it's [here]")]""",
        "",
        [("add", {"a": 1, "b": ["x]y", {"k": [")]"]}]}), ("get_weather", {"city": "it's [here]"})],
    ),
    "Llama 4, no arguments": ("[add()]", "", [("add", {})]),
    "Llama 4, a name with a minus": (
        '[look-up.all-now(word="-a - b")]',
        "",
        [("look-up.all-now", {"word": "-a - b"})],
    ),
    "Llama 4, with its marks": (
        "<|python_start|>[get_weather(city='서울'), add(a=1, b=[2])]<|python_end|>",
        "",
        [WEATHER, ADD],
    ),
    "Llama 4, as its template writes it": (
        f"<|python_start|><|python_end|>{CALL.replace('arguments', 'parameters')}",
        "",
        [WEATHER],
    ),
    "Qwen3-Coder, a number that is none": (
        "<tool_call><function=add><parameter=a>NaN</parameter></function></tool_call>",
        "",
        [("add", {"a": "NaN"})],
    ),
    "half a character": (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "\\ud83d"}}</tool_call>',
        "",
        [("get_weather", {"city": "\ufffd"})],
    ),
    "JSON in JSON": ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": [2]}"}</tool_call>', "", [ADD]),
    "no arguments": ('<tool_call>{"name": "add"}</tool_call>', "", [("add", {})]),
}

TEXTS = {
    "plain": "It is sunny. {not a call}",
    "blank": "  \n",
    "JSON": '{"city": "서울"}',
    "JSON that is no object of a tool": '{"name": "Anna", "arguments": {}}',
    "a tool that there is not": '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
    "Qwen3-Coder, broken": "<tool_call><function=add>a=1</function></tool_call>",
    "Qwen3-Coder, words behind": "<function=add>\n</function> is how I would call it.",
    "Qwen3-Coder, a tool that there is not": "<function=rm></function></tool_call>",
    "GLM, broken": "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</tool_call>",
    "GLM, words between": "<tool_call>add <arg_key>a</arg_key> is <arg_value>1</arg_value></tool_call>",
    "DeepSeek, one of two broken": (
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{a: 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "Kimi, a tool that there is not": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.rm:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    ),
    "DeepSeek V3.2, broken": (
        '<｜DSML｜function_calls><｜DSML｜invoke name="add"><｜DSML｜parameter name="a">1</｜DSML｜parameter>'
        "</｜DSML｜invoke></｜DSML｜function_calls>"
    ),
    "Cohere, a tool that there is not": '<|START_ACTION|>[{"tool_name": "rm", "parameters": {}}]<|END_ACTION|>',
    "Gemma, words without quotes": "<|tool_call>call:get_weather{city:Paris}<tool_call|>",
    "Gemma, a quote that stays open": '<|tool_call>call:get_weather{city:<|"|>Paris}<tool_call|>',
    "Gemma, no call": "<|tool_call>call:get_weather<tool_call|>",
    "LFM2, a program": "<|tool_call_start|>[get_weather(city=open('/etc/passwd').read())]<|tool_call_end|>",
    "LFM2, words without quotes": "<|tool_call_start|>[get_weather(city=Paris)]<|tool_call_end|>",
    "LFM2, without names": "<|tool_call_start|>[get_weather('Paris')]<|tool_call_end|>",
    "LFM2, of a dictionary": "<|tool_call_start|>[get_weather(**{'city': 'Paris'})]<|tool_call_end|>",
    "LFM2, one of two broken": "<|tool_call_start|>[add(a=1), add(a=)]<|tool_call_end|>",
    "LFM2, bytes": "<|tool_call_start|>[add(a=b'1', b={1, 2}, c=...)]<|tool_call_end|>",
    "LFM2, deep": "<|tool_call_start|>[add(a=" + "[" * 5000 + "]" * 5000 + ")]<|tool_call_end|>",
    "LFM2, deeper": "<|tool_call_start|>[add(a=" + "-" * 100_000 + "1)]<|tool_call_end|>",
    "LFM2, a number without end": "<|tool_call_start|>[add(a=" + "9" * 10_000 + ")]<|tool_call_end|>",
    "Gemma, deep": "<|tool_call>call:add{a:" + "[" * 50_000 + "]" * 50_000 + "}<tool_call|>",
    "no JSON": "<tool_call>get_weather(서울)</tool_call>",
    "words behind": f"{CALL} is how I would call it.",
    "half a mark": "a < b <tool",
    "cut off": '<tool_call>{"name": "add", "argum',
    "Mistral's mark alone": "[TOOL_CALLS]",
    "a list": "[1] is the first of [2].",
    "a list of JSON": '[{"city": "서울"}, {"city": "부산"}]',
    "a link": "[get_weather](https://example.org/get_weather) is a tool.",
    "a list of names": "[add, get_weather]",
    "a list of calls, and words": "[add(a=1)] is how I would call it.",
    "a list of calls in the middle": "I call [add(a=1)]",
    "Llama 4, a tool that there is not": "[rm(path='/')]",
    "Llama 4, cut off": "[get_weather(city='서",
    "Llama 4, a program": "<|python_start|>print(1)<|python_end|>",
    "Python": "functools.lru_cache keeps what was found.",
    "Python's module": "functools",
    "Phi-4-mini, broken": 'functools[{"name": "add", "arguments": {]',
    "marks with nothing between, in the middle": "It is <tool_call></tool_call>.",
    "a number that is none": '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>',
    "a number that is too big": '<tool_call>{"name": "add", "arguments": {"a": 1e999}}</tool_call>',
    "DeepSeek, a number that is too big": (
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": -1e999}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>"
    ),
    "Llama 4, a number that is too big": "[add(a=1e999)]",
    "arguments that are none": '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
    "deep": "<tool_call>" + "[" * 10_000,
}


def read(pieces: list[str]) -> tuple[str, list[tuple[str, dict]]]:
    reader = CallReader(TOOLS)
    told = [*map(reader.add, pieces), reader.end()]
    calls = [call for _, found in told for call in found]
    assert len({call.id for call in calls}) == len(calls)
    own = [call for call in calls if not call.id.startswith("functions.")]
    assert all(len(call.id) == 9 and call.id.isalnum() for call in own), "as Mistral's templates want them"
    return "".join(text for text, _ in told), [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_is_read(form, size):
    written, text, calls = READ[form]
    pieces = [written[start : start + size] for start in range(0, len(written), size)]
    assert read(pieces) == (text, calls)


@pytest.mark.parametrize("form", READ)
def test_a_call_is_read_wherever_it_is_cut(form):
    written, text, calls = READ[form]
    for place in range(len(written)):
        assert read([written[:place], written[place:]]) == (text, calls), written[:place]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_what_is_no_call_stays_text(kind, size):
    written = TEXTS[kind]
    pieces = [written[start : start + size] for start in range(0, len(written), size)]
    text, calls = read(pieces)
    assert calls == [] and text in (written, written.strip())


def test_kimis_calls_keep_the_ids_that_its_template_knows():
    reader = CallReader(TOOLS)
    _, calls = reader.add(READ["Kimi"][0])
    assert [call.id for call in calls] == ["functions.get_weather:0", "functions.add:1"]


@pytest.mark.parametrize("begun", ["[1", "[get_weather]", "[x", "functional", "fun with", "fu "])
def test_an_answer_that_is_no_call_comes_as_soon_as_that_is_known(begun):
    reader = CallReader(TOOLS)
    assert reader.add(begun) == (begun, [])


def test_text_before_a_call_comes_at_once():
    reader = CallReader(TOOLS)
    assert reader.add("Let me look. <tool") == ("Let me look. ", [])
    assert reader.add("_box> is none.") == ("<tool_box> is none.", [])
