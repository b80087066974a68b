"""What a program asks for, from the fields that the operations of the API share; pure."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hfdemo.chat.messages import Message, ToolCall, write_json
from hfdemo.chat.options import LIMITS, RECOMMENDED, Options, Thinking, check_stop_texts
from hfdemo.chat.request import ANY_OBJECT, ChatRequest
from hfdemo.door.fields import EFFORTS, FORMATS, PENALTIES, Fields
from hfdemo.door.tools import calls_in, read_result
from hfdemo.engines.protocol import Status
from hfdemo.errors import InvalidInput

NO_LIMIT = -1
"""A number of tokens that LM Studio and llama.cpp take for none."""

UNNAMED = ("", "dummy")
"""What is sent by programs that name no model; the second one by huggingface_hub's client."""

USUAL_LONGEST = int(LIMITS["max_new_tokens"].high)
"""How many tokens a reply may have if nothing is said of that."""

MOST = 2**31 - 1
"""More tokens than that are taken as that; other servers count no further."""

THINKING_FIELDS = ("enable_thinking", "thinking", "reasoning_effort")
"""What of `chat_template_kwargs` says how the model is to think."""

TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
"""The parts of a message that are text."""

_PATH = re.compile(r"[/~.]|[A-Za-z]:[/\\]")
"""What the path of a model on this machine begins with; a model that is being loaded is known by it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One reply that is asked for."""

    request: ChatRequest
    model: str
    """As it is named in the answer until it is known who answers."""
    streams: bool = False
    tells_usage: bool = False
    """Whether a stream ends with what the reply took."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the program wants to find again in the answer."""


def served_name(status: Status) -> str:
    """Return the model that answers, as programs know it: without the folders of this machine."""
    return _without_folders(status.model)


def model_to_answer(fields: Fields, status: Status) -> str:
    """Return the model that is to answer.

    Raises:
        InvalidInput: another one is asked for than there is.
    """
    asked, served = fields.text("model").strip(), served_name(status)
    known = {served.lower(), served.lower().rpartition("/")[2]}
    known |= {name.partition(":")[0] for name in known}  # a provider, or Ollama's `:latest`
    if asked not in UNNAMED and served and _without_folders(asked).lower() not in known:
        raise InvalidInput("unknown_model", name="model", model=asked, served=served)
    return served or asked


def read_sampling(fields: Fields, status: Status, lengths: Sequence[str]) -> Options:
    """Return how the reply is sampled.

    Args:
        fields: of the request.
        status: of the model.
        lengths: how the number of tokens may be called; the first that is there counts.

    Raises:
        InvalidInput: a value can't be used; the text names its field.
    """
    fields.refuse(n=1, best_of=1, logit_bias={}, **dict.fromkeys(PENALTIES, 0))
    fields = _with_transformers_own(fields)
    given: dict[str, Any] = {name: fields.number(name, name) for name in RECOMMENDED if _is_given(fields, name)}
    if fields.raw("top_k") == -1:
        given["top_k"] = 0
    length = next((name for name in lengths if fields.has(name) and fields.raw(name) != NO_LIMIT), "")
    seed = fields.whole("seed", -(2**63), 2**64)
    return Options(
        **given,
        max_new_tokens=_length(fields, length) if length else USUAL_LONGEST,
        seed=-1 if seed is None or seed == -1 else seed % 2**32,
        stop_texts=check_stop_texts(fields.texts("stop"), name="stop"),
        thinking=_thinking(fields, status),
        left_out=tuple(_left_out(fields, given, bool(length))),
    )


def read_schema(form: Fields, within: str = "json_schema") -> tuple[str, bool]:
    """Return the JSON schema that a reply has to follow, empty if it is free, and whether strictly so.

    Args:
        form: `response_format`, or what another operation has in its place.
        within: the field of it that has the schema in it; empty where it has that itself.

    Raises:
        InvalidInput: it can't be read.
    """
    kind = form.choice("type", FORMATS)
    if kind in ("", "text"):
        return "", False
    if kind == "json_object" and not form.has("schema"):  # llama.cpp's server and Together have one beside it
        return ANY_OBJECT, False
    schema = form.object("json_schema") if form.has("json_schema") else form
    if within and not (form.has(within) or form.has("schema")):
        raise InvalidInput("bad_field", name=form.name(within))
    if not isinstance(schema.raw("schema"), dict):
        raise InvalidInput("bad_field", name=schema.name("schema"))
    return json.dumps(schema.raw("schema")), schema.flag("strict")


def read_effort(fields: Fields) -> str:
    """Return how much the model is to think, in a program's own word; empty if it doesn't say.

    Raises:
        InvalidInput: it is none of those there are.
    """
    in_template = fields.object("chat_template_kwargs")
    return fields.choice("reasoning_effort", EFFORTS) or in_template.choice("reasoning_effort", EFFORTS)


def read_template_kwargs(fields: Fields) -> str:
    """Return what a program sets of the chat template beside thinking, as JSON; empty if there is nothing.

    Raises:
        InvalidInput: it is no object.
    """
    fields.object("chat_template_kwargs")  # for its type
    given = fields.raw("chat_template_kwargs") or {}
    others = {name: value for name, value in given.items() if name not in THINKING_FIELDS}
    return write_json(others) if others else ""


def read_content(message: Fields) -> str:
    """Return the text of a message, which may come in parts.

    Raises:
        InvalidInput: it isn't text alone.
    """
    if not isinstance(message.raw("content"), list):
        return message.text("content")
    texts = []
    for part in message.objects("content"):
        kind = part.text("type") or "text"
        if kind not in TEXT_PARTS:
            raise InvalidInput("unsupported_parameter", name=part.name("type"))
        texts.append(part.text("refusal" if kind == "refusal" else "text"))
    return "".join(texts)


def read_messages(messages: Sequence[Fields], field: str, status: Status, system_prompt: str = "") -> ChatRequest:
    """Return the request of a conversation; how it is sampled is put in later.

    Args:
        messages: the conversation.
        field: where it stands in the request.
        status: of the model.
        system_prompt: what stands before it.

    Raises:
        InvalidInput: it can't be read, or it isn't the model's turn.
    """
    system = [system_prompt] if system_prompt else []
    said: list[Message] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        role = message.choice("role", ("system", "developer", "user", "assistant", "tool", "function"))
        if role == "function":
            raise InvalidInput("unsupported_parameter", name=message.name("role"))
        content = read_content(message)
        if role == "user":
            said.append(Message("user", content))
        elif role == "assistant":
            thought = message.text("reasoning_content") or message.text("reasoning")
            asked_for = calls_in(message, as_written=status.runs_elsewhere)
            calls |= {call.id: call for call in asked_for}
            said.append(Message("assistant", content, thought, asked_for))
        elif role == "tool":
            said.append(read_result(message, content, calls))
        elif not role:
            raise message.not_one_of("role", ("user", "assistant"))
        elif said:
            said.append(Message("system", content))
        else:
            system.append(content)
    if messages and not said and system[-1].strip():  # few templates and servers answer that to nobody
        said.append(Message("user", system.pop()))
    if not _asks_something(said, status):
        raise InvalidInput("no_question", name=field)
    return ChatRequest(tuple(said), "\n\n".join(filter(None, system)), Options(), keeps_all=True)


def _asks_something(said: Sequence[Message], status: Status) -> bool:
    """Tell whether there is anything to answer; a server elsewhere may answer a tool's result to nobody's question."""
    if said and said[-1].role == "user":
        return bool(said[-1].content.strip())
    if status.runs_elsewhere and said and said[-1].role == "tool":
        return True
    return any(message.role == "user" and message.content.strip() for message in said)


def go_on(request: ChatRequest, field: str, goes_on: bool) -> ChatRequest:
    """Return the request as it goes on with the last message, if that is the model's.

    Raises:
        InvalidInput: it is the model's, and not to go on; or the other way round.
    """
    last = request.messages[-1]
    if last.role == "assistant" and not goes_on:
        raise InvalidInput("not_the_models_turn", name=field)
    if last.role != "assistant" and goes_on:
        raise InvalidInput("nothing_to_continue", name=field)
    if not goes_on:
        return request
    content, thought = last.content, last.thought
    if content.startswith("<think>") and "</think>" not in content:  # as hfdemo itself asks other servers
        content, thought = "", content.removeprefix("<think>").removeprefix("\n")
    return replace(request, messages=request.messages[:-1], reply_start=content, thought_start=thought, continues=True)


def cache_key(key_name: str, request: ChatRequest) -> str:
    """Return under which name the engine keeps what it read of a conversation: one for each that a key's owner has."""
    said = json.dumps([key_name, request.system_prompt, request.messages[0].content])
    return hashlib.sha256(said.encode()).hexdigest()


def _without_folders(model: str) -> str:
    return re.split(r"[/\\]", model.rstrip("/\\"))[-1] if _PATH.match(model) else model


def _is_given(fields: Fields, name: str) -> bool:
    return fields.has(name) and not (name == "top_k" and fields.raw(name) == -1)


def _left_out(fields: Fields, given: Collection[str], has_length: bool) -> Iterator[str]:
    """Yield the options of which a program says nothing."""
    yield from (name for name in RECOMMENDED if name not in given)
    if not has_length:
        yield "max_new_tokens"
    in_template = fields.object("chat_template_kwargs")
    if not (fields.has("reasoning_effort") or any(map(in_template.has, THINKING_FIELDS))):
        yield "thinking"


def _length(fields: Fields, name: str) -> int:
    """Return how many tokens the reply may have; whether so many fit the model's context is known later."""
    value = fields.raw(name)
    return MOST if isinstance(value, int | float) and value > MOST else fields.whole(name, 1, MOST) or MOST


def _thinking(fields: Fields, status: Status) -> Thinking:
    """Return how the model is to think: by OpenAI's effort, or as servers for open models pass it to the template."""
    variables = fields.object("chat_template_kwargs")
    wants = variables.flag("enable_thinking") or variables.flag("thinking")
    effort = read_effort(fields)
    effort = "high" if effort in ("xhigh", "max") else effort  # no open model has more
    for mode in ("low", "medium", "high"):
        if effort == mode and (mode in status.thinking_modes or status.stage != "ready"):
            return mode
    if effort in ("low", "medium", "high") and "on" not in status.thinking_modes:
        raise InvalidInput("unsupported_parameter", name="reasoning_effort")
    wants = (wants and not effort) or effort in ("low", "medium", "high")
    return "on" if wants and "on" in status.thinking_modes else "auto"


def _with_transformers_own(fields: Fields) -> Fields:
    """Return the fields with what `transformers chat` sends as a generation config of its own."""
    if not isinstance(fields.raw("generation_config"), str):
        return fields
    try:
        config = json.loads(fields.text("generation_config"))
    except ValueError:
        raise InvalidInput("bad_field", name="generation_config") from None
    if not isinstance(config, dict):
        raise InvalidInput("bad_field", name="generation_config")
    own = {name: config[name] for name in RECOMMENDED if name in config}
    if config.get("do_sample") is False:
        own["temperature"] = 0
    return fields.over({**own, "max_tokens": config.get("max_new_tokens")})
