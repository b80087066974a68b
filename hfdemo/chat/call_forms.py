"""The forms in which models write calls of tools between their marks; pure.

Sources: the chat templates of Qwen2.5, Qwen3-Coder and Hermes 2 Pro, of Llama 3.1 and 4, of Mistral's models
(https://docs.mistral.ai/capabilities/function_calling), of Command R7B, DeepSeek R1, V3.1 and V3.2, FunctionGemma and
Gemma 4, GLM 4.6 and 4.7, Granite 3, Kimi K2, LFM2 and LFM2.5, MiniMax M2, Phi-4-mini, Seed-OSS, and of others; and
what vLLM says of Granite, Phi-4-mini and Llama 4 (https://docs.vllm.ai/en/latest/features/tool_calling).
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hfdemo.chat.messages import ToolCall, replace_surrogates

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of each tool's arguments, by its name."""

FUNCTOOLS = "functools["
"""What Phi-4-mini may begin an answer with that is a list of calls."""

_NAMED = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)")
"""The call of a newer model of Mistral's: `[TOOL_CALLS]name[ARGS]{...}`."""

_TAGGED = tuple(
    (re.compile(call, re.DOTALL), re.compile(argument, re.DOTALL))
    for call, argument in (
        (  # Qwen3-Coder
            r"\s*<function=([\w.-]+)>(.*?)</function>\s*",
            r"\s*<parameter=(?P<key>[^>]+)>\n?(?P<value>.*?)\n?</parameter>\s*",
        ),
        (  # MiniMax
            r'\s*<invoke name="([\w.-]+)">(.*?)</invoke>\s*',
            r'\s*<parameter name="(?P<key>[^"]+)">\n?(?P<value>.*?)\n?</parameter>\s*',
        ),
        (  # DeepSeek V3.2, which says itself what is text
            r'\s*<｜DSML｜invoke name="([\w.-]+)">(.*?)</｜DSML｜invoke>\s*',
            r'\s*<｜DSML｜parameter name="(?P<key>[^"]+)" string="(?P<is_text>true|false)">(?P<value>.*?)'
            r"</｜DSML｜parameter>\s*",
        ),
        (  # GLM
            r"\s*([\w.-]+)\s*((?:<arg_key>.*</arg_value>)?)\s*",
            r"\s*<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>\s*",
        ),
    )
)
"""How a call is written whose arguments are text, each with its name, and how an argument is."""

_MARKED = tuple(
    re.compile(form, re.DOTALL | re.VERBOSE)
    for form in (
        r"""\s* <｜tool▁call▁begin｜> function <｜tool▁sep｜> (?P<name>[\w.-]+) \s*
        ```json \s* (?P<arguments>\{.*?\}) \s* ``` \s* <｜tool▁call▁end｜> \s*""",  # DeepSeek R1
        r"""\s* <｜tool▁call▁begin｜> (?P<name>[\w.-]+) <｜tool▁sep｜>
        (?P<arguments>\{.*?\}) \s* <｜tool▁call▁end｜> \s*""",  # DeepSeek V3.1
        r"""\s* <\|tool_call_begin\|> \s* (?P<id>(?:functions\.)?(?P<name>[\w.-]+):\d+) \s*
        <\|tool_call_argument_begin\|> \s* (?P<arguments>\{.*?\}) \s*
        <\|tool_call_end\|> \s*""",  # Kimi, whose template expects its own id again
    )
)
"""How a call is written of which marks tell the name, and the arguments as JSON."""

GEMMA_QUOTES = ('<|"|>', "<escape>")
"""What stands for a quote in calls of Gemma 4 and FunctionGemma: `call:name{key:<|"|>text<|"|>,other:1}`."""

_GEMMA = re.compile(r"\s*call:([\w.-]+)(\{.*\})\s*", re.DOTALL)
_BARE_KEY = re.compile(r'([{,]\s*)([^\s{}\[\],:"]+)(?=\s*:)')

_PYTHONS = re.compile(r"(?<=[:,\[])\s*(True|False|None)(?=\s*(?:[,}\]]|\Z))")
_JSONS = {"true": True, "false": False, "null": None}
"""Words of the other language, as templates write them: JSON within Python, and the other way round."""

_ESCAPE = re.compile(r"""\\(?![\\'"abfnrtvxuUN\n])""")
"""A backslash that stands for itself in a text of Python's."""

_BETWEEN = re.compile(r"[\s,;]*")


def read_calls(written: str, tools: Schemas) -> list[ToolCall]:
    """Return the calls in what a model wrote between marks; none if there is anything else."""
    written = written.lstrip()
    written = written.removeprefix(FUNCTOOLS[:-1]) if written.startswith(FUNCTOOLS) else written
    try:
        return (
            _read_tagged(written, tools)
            or _read_marked(written)
            or _read_gemmas(written)
            or _read_pythonic(written)
            or _read_json(written)
        )
    except ValueError:  # a number that JSON doesn't have
        return []


def write_json(calls: Iterable[ToolCall]) -> str:
    """Return calls as a list of JSON."""
    return _dump([{"name": call.name, "arguments": json.loads(call.arguments)} for call in calls])


def write_pythonic(calls: Iterable[ToolCall]) -> str:
    """Return calls as a list in the form of Python."""
    written = []
    for call in calls:
        arguments = (f"{name}={value!r}" for name, value in json.loads(call.arguments).items())
        written.append(f"{call.name}({', '.join(arguments)})")
    return f"[{', '.join(written)}]"


def _read_tagged(written: str, tools: Schemas) -> list[ToolCall]:
    """Return calls whose arguments are text, of the types that the tools' schemas say."""
    for call, argument in _TAGGED:
        found = _all_of(call, written)
        if found and not any(argument.sub("", one[2]).strip() for one in found):
            return [_typed_call(one[1], argument.finditer(one[2]), tools) for one in found]
    return []


def _typed_call(name: str, arguments: Iterable[re.Match[str]], tools: Schemas) -> ToolCall:
    properties = tools.get(name, {}).get("properties")
    known = properties if isinstance(properties, dict) else {}
    typed = {}
    for one in arguments:
        key, is_text = one["key"].strip(), one.groupdict().get("is_text")
        typed[key] = _typed(one["value"], is_text == "true" if is_text else _is_text(known.get(key)))
    return ToolCall(name, _dump(typed))


def _is_text(schema: object) -> bool:
    return not isinstance(schema, dict) or schema.get("type", "string") == "string"


def _typed(value: str, is_text: bool) -> Any:
    """Return the value of an argument that a model wrote as text."""
    if is_text:
        return value
    try:
        return json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return value


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python takes for JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(constant)


def _read_marked(written: str) -> list[ToolCall]:
    for form in _MARKED:
        if found := _all_of(form, written):
            values = [_read_values(one["arguments"]) for one in found]
            if all(len(each) == 1 for each in values):
                ids = [{"id": one["id"]} if "id" in form.groupindex else {} for one in found]
                return [
                    ToolCall(one["name"], _dump(each[0]), **more)
                    for one, each, more in zip(found, values, ids, strict=True)
                ]
    return []


def _read_gemmas(written: str) -> list[ToolCall]:
    """Return the call in a form that is JSON but for the quotes, and for keys that have none."""
    found = _GEMMA.fullmatch(written)
    if not found:
        return []
    quote = next((quote for quote in GEMMA_QUOTES if quote in found[2]), GEMMA_QUOTES[0])
    parts = found[2].split(quote)
    text = "".join(json.dumps(part) if index % 2 else _quoted(part) for index, part in enumerate(parts))
    values = _read_values(text) if len(parts) % 2 else []
    return [ToolCall(found[1], _dump(values[0]))] if len(values) == 1 and isinstance(values[0], dict) else []


def _quoted(part: str) -> str:
    """Return what stands between texts as JSON."""
    words = {repr(value): word for word, value in _JSONS.items()}
    return _PYTHONS.sub(lambda word: words[word[1]], _BARE_KEY.sub(r'\1"\2"', part))


def _read_pythonic(written: str) -> list[ToolCall]:
    """Return the calls in a list of Python's: `[name(key='text', other=1)]`. Nothing of it is run."""
    if not written.lstrip().startswith("["):
        return []
    try:
        listed = ast.parse(_ESCAPE.sub(r"\\\\", written.strip()), mode="eval").body
        calls = [_read_python(node) for node in listed.elts] if isinstance(listed, ast.List) else []
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return []
    return calls


def _read_python(node: ast.expr) -> ToolCall:
    """Return one call.

    Raises:
        ValueError: it is something else.
    """
    before = ""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):  # names of tools may have a minus
        before, node = f"{ast.unparse(node.left)} - {before}", node.right
    if not isinstance(node, ast.Call) or node.args or not isinstance(node.func, ast.Name | ast.Attribute):
        raise ValueError
    name = f"{before}{ast.unparse(node.func)}".replace(" - ", "-")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError
    return ToolCall(name, _dump({_key(one): ast.literal_eval(_Constants().visit(one.value)) for one in node.keywords}))


def _key(argument: ast.keyword) -> str:
    if argument.arg is None:  # **
        raise ValueError
    return argument.arg


class _Constants(ast.NodeTransformer):
    """Takes the words of JSON for Python's."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the value that a word stands for."""
        return ast.Constant(_JSONS[node.id]) if node.id in _JSONS else node


def _read_json(written: str) -> list[ToolCall]:
    named = _NAMED.match(written)
    values = _read_values(written[named.end() :] if named else written)
    if named:
        return [ToolCall(named[1], _dump(values[0]))] if len(values) == 1 and isinstance(values[0], dict) else []
    calls = [call for value in values if (call := _read_call(value))]
    return calls if len(calls) == len(values) else []


def _read_call(value: object) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    facts = inner if isinstance(inner, dict) else value
    name = facts.get("name") or facts.get("tool_name") or (inner if isinstance(inner, str) else None)
    arguments: Any = next((facts[key] for key in ("arguments", "parameters") if facts.get(key) is not None), {})
    if isinstance(arguments, str):  # JSON within JSON
        arguments = next(iter(_read_values(arguments)), None if arguments.strip() else {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(name, _dump(arguments))


def _all_of(form: re.Pattern[str], written: str) -> list[re.Match[str]]:
    """Return the places of a form in a text; none if anything else stands there."""
    found, place = list[re.Match[str]](), 0
    while one := form.match(written, place):
        found.append(one)
        place = one.end()
    return found if place == len(written) else []


def _read_values(written: str) -> list[Any]:
    """Return the JSON values in a text, those of a list each by itself; none if there is anything else."""
    decoder = json.JSONDecoder(parse_constant=_refuse, strict=False)  # some write line ends in texts as they are
    values, place = list[Any](), _skip(written, 0)
    while place < len(written):
        try:
            value, place = decoder.raw_decode(written, place)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        place = _skip(written, place)
    return values


def _skip(written: str, place: int) -> int:
    between = _BETWEEN.match(written, place)
    return between.end() if between else place


def _dump(arguments: object) -> str:
    """Return arguments as JSON that any program can read.

    Raises:
        ValueError: there is a number in them that JSON doesn't have.
    """
    return replace_surrogates(json.dumps(arguments, ensure_ascii=False, allow_nan=False))
