"""What is asked of an endpoint; pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfdemo.chat.messages import Message
from hfdemo.chat.options import LIMITS, RECOMMENDED, Options
from hfdemo.chat.prompt import normalise
from hfdemo.chat.reply_reader import THOUGHT_FIELD
from hfdemo.chat.request import ANY_OBJECT, ChatRequest
from hfdemo.engines.remote.untaken import ALL_TAKEN, LENGTHS, OTHER_NAMES, PREFILL, SYSTEM, Untaken

NO_TOP_K = -1
"""How servers call it; 0 is not taken everywhere."""

MOST_STOP_TEXTS = 4

NEUTRAL = {name: limit.off for name, limit in LIMITS.items() if limit.off is not None} | {"top_k": NO_TOP_K}
"""The values that change nothing. Servers have other defaults, so these are sent, too."""

NUMBER_FIELDS = (*RECOMMENDED, "max_tokens", "seed")
"""What people set that is a number; who sets one hears if it isn't taken."""

LLAMA_CPP = ("llamacpp", "me")
"""How llama.cpp's server and llama-cpp-python's are called by themselves."""

GO_ON = "Continue exactly where you stopped, without repeating anything."
"""What a server is asked that takes no last message of the model; models understand it in every conversation."""

_TOO_LONG = re.compile(
    r"context.{0,20}(?:length|window|size)|max_model_len|n_ctx|too (?:long|many tokens)|model token limit|"
    r"maximum prompt length|input length should be|prompt_tokens\b.{0,20}must be|token limit exceeded|"
    r"tokens? .{0,40}exceed.{0,10}max(?:imum)?\b|more than max tokens|"
    r"\b(?:prompt|inputs?)\b(?:(?!error).){0,40}must (?:be|have) (?:<|less|fewer|shorter|at most|no more)|"
    r"\b(?:prompt|inputs?)\b.{0,40}longer than|"
    r"\b(?:prompt|inputs?)\b.{0,20}exceed.{0,40}(?:token|length|limit of|maximum|max\b)|"
    r"\b(?:prompt|inputs?)\b.{0,10}(?:length|tokens?)\b.{0,20}exceed|reduce the length",
    re.I | re.S,
)

_REPLY_TOO_LONG = re.compile(r"\W*max_(?:completion_)?tokens\W+must be (?:less|<)", re.I)
"""What Groq says of a reply's length alone, with the model's context as the reason."""

_CONTEXT = re.compile(r"(?:context.{0,10}(?:length|window|size)\D{0,20}|must be <= ?)(\d+)", re.I)
_PROMPT = re.compile(
    r"(\d+) (?:tokens )?(?:`?inputs?`? tokens|prompt tokens|(?:in|from) (?:the|your) (?:input|messages|prompt))"
)
"""How servers name the context's length and the prompt's: OpenAI's, vLLM, SGLang and TGI."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn, and all that is known of whom it is asked."""

    request: ChatRequest
    model: str
    seed: int
    context_limit: int | None = None
    server: str = ""
    """Which program the server is, where it tells."""
    most_tokens: int | None = None
    """How many tokens the reply may have, where the server said that what was asked for doesn't fit."""


def make_body(ask: Ask, untaken: Untaken = ALL_TAKEN, dropped: int = 0) -> dict[str, Any]:
    """Return the body of a request.

    Args:
        ask: the turn.
        untaken: what the server doesn't take.
        dropped: how many of the oldest messages are not shown.
    """
    wanted = _parameters(ask, untaken)
    for refused, other in OTHER_NAMES.items():
        if refused in wanted and untaken.holds(refused, wanted[refused]):
            wanted[other] = wanted[refused]
    taken = {name: value for name, value in wanted.items() if not untaken.holds(name, value)}
    if ask.server in LLAMA_CPP:
        taken |= _in_words_of_llama_cpp(taken)
    if ask.request.completes:
        said: dict[str, Any] = {"prompt": ask.request.messages[-1].content}
    else:
        said = {"messages": _messages(ask.request, untaken, dropped)}
    return {"model": ask.model, **said, "stream": True} | taken


def _in_words_of_llama_cpp(taken: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has another name or value there. What they don't know they ignore, with a default of their own."""
    renamed = {"repeat_penalty": taken["repetition_penalty"]} if "repetition_penalty" in taken else {}
    if "response_format" in taken:
        wanted = taken["response_format"].get("json_schema") or {"schema": json.loads(ANY_OBJECT)}
        renamed["response_format"] = {"type": "json_object", "schema": wanted["schema"]}
    return renamed | ({"top_k": 0} if taken.get("top_k") == NO_TOP_K else {})


def is_too_long(said: str) -> bool:
    """Tell whether a server's words say that the conversation doesn't fit the model."""
    return _TOO_LONG.search(said) is not None and not _REPLY_TOO_LONG.match(said)


def tokens_that_fit(said: str, sent: Mapping[str, Any], context_limit: int | None) -> int | None:
    """Return how long a reply may be beside a prompt, when a server says that both together are too long.

    Args:
        said: the server's words; most name the numbers.
        sent: the body that it refused.
        context_limit: the model's, where that is known.

    Returns:
        None if the prompt alone is too long, or a shorter reply was not what it wants.
    """
    wanted = next((sent[name] for name in LENGTHS if name in sent), 0)
    told, prompt = _CONTEXT.search(said), _PROMPT.search(said)
    limit = int(told[1]) if told else context_limit or 0
    lengths = [limit - int(prompt[1])] if prompt else []
    return next((length for length in (*lengths, limit // 2) if 0 < length < wanted), None)


def worth_saying(name: str, body: Mapping[str, Any]) -> bool:
    """Tell whether people should hear that a parameter is left out: somebody set it, and it changes something."""
    if name == "chat_template_kwargs":
        return any(body[name].values())
    return (
        name in (*NUMBER_FIELDS, "reasoning_effort", "continue_final_message", "logprobs", "top_logprobs")
        and name not in OTHER_NAMES
        and body[name] != NEUTRAL.get(name)
    )


def droppable(request: ChatRequest) -> int:
    """Return how many of the oldest messages can be left out: whole exchanges before the last question."""
    return 0 if request.keeps_all else max(0, (len(request.messages) - 1) // 2 * 2)


def _parameters(ask: Ask, untaken: Untaken) -> dict[str, Any]:
    goes_on = _goes_on(ask.request) and not untaken.holds(PREFILL)
    return {
        **_sampling(ask.request.options),
        **_length(ask),
        "seed": ask.seed,
        **_stop_texts(ask.request),
        **_likeliest(ask.request),
        **_form(ask.request),
        "stream_options": {"include_usage": True}
        | ({"continuous_usage_stats": True} if ask.server == "vllm" else {}),  # a stopped reply has a receipt, too
        **({} if ask.request.completes else _thinking(ask.request, untaken)),
        **({"continue_final_message": True, "add_generation_prompt": False} if goes_on else {}),
    }


def _stop_texts(request: ChatRequest) -> dict[str, Any]:
    """Return what ends a plain text, so that the server ends it, too, and counts what it wrote.

    In a chat it would also end thoughts; there, what comes is looked at here alone. OpenAI takes four at most.
    """
    texts = request.options.stop_texts
    return {"stop": list(texts)} if request.completes and 0 < len(texts) <= MOST_STOP_TEXTS else {}


def _likeliest(request: ChatRequest) -> dict[str, Any]:
    """Return how the tokens' probabilities are asked for; the API for plain texts has another form."""
    if request.likeliest is None:
        return {}
    if request.completes:
        return {"logprobs": request.likeliest}
    return {"logprobs": True, "top_logprobs": request.likeliest}


def _form(request: ChatRequest) -> dict[str, Any]:
    """Return which tools the reply may ask for, or which schema it has to follow."""
    tools = json.loads(request.tools) if request.tools else []
    form: dict[str, Any] = {"tools": tools} if tools else {}
    if tools and request.one_call:
        form["parallel_tool_calls"] = False
    if request.must_call:
        is_any = len(request.must_call) == len(tools)  # llama.cpp's server knows no names
        named = {"type": "function", "function": {"name": request.must_call[0]}}
        form["tool_choice"] = "required" if is_any else named
    elif request.schema:
        form["response_format"] = _schema_format(request)
    return form


def _schema_format(request: ChatRequest) -> dict[str, Any]:
    """Return what asks for a schema; more servers know the word for any JSON, and OpenAI's takes few as strict."""
    if request.schema == ANY_OBJECT:
        return {"type": "json_object"}
    strict = {"strict": True} if request.schema_strict else {}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": json.loads(request.schema)} | strict}


def _sampling(options: Options) -> dict[str, float]:
    """Return the sampling options that somebody chose; the server has its own values for the others."""
    chosen: dict[str, float] = {name: getattr(options, name) for name in RECOMMENDED if name not in options.left_out}
    if "top_k" in chosen:
        chosen["top_k"] = chosen["top_k"] or NO_TOP_K
    if options.temperature == 0 or options.top_p == 0:  # most servers take no top_p of 0
        return {name: value for name, value in chosen.items() if not LIMITS[name].narrows} | {"temperature": 0}
    return chosen


def _length(ask: Ask) -> dict[str, int]:
    """Return how long the reply may be: on the page half of the context, for a program all that the prompt leaves."""
    options, limit = ask.request.options, ask.context_limit
    if "max_new_tokens" in options.left_out:
        return {}
    of_program = ask.request.keeps_all or ask.request.completes
    half = None if of_program or not limit else max(1, limit // 2)
    return {"max_tokens": min(filter(None, (options.max_new_tokens, ask.most_tokens, half)))}


def _thinking(request: ChatRequest, untaken: Untaken) -> dict[str, Any]:
    """Return how thinking is asked for; templates call it by two names. An answer goes on without another thought.

    A word that the server doesn't know gives way to the nearest that all know, if there is one.
    """
    mode = request.options.thinking
    others = json.loads(request.chat_template_kwargs) if request.chat_template_kwargs else {}
    if "thinking" in request.options.left_out and not _goes_on(request):
        return {"chat_template_kwargs": others} if others else {}
    thinks = mode not in ("auto", "off") and not request.reply_start
    thinks = thinks or bool(request.thought_start and not request.reply_start)
    known = {"reasoning_effort": mode} if mode in ("low", "medium", "high") else {}
    own_word = request.effort and not untaken.holds("reasoning_effort", request.effort)
    asked = {"reasoning_effort": request.effort} if own_word else known
    return {"chat_template_kwargs": others | {"enable_thinking": thinks, "thinking": thinks} | known} | asked


def _goes_on(request: ChatRequest) -> bool:
    return bool(request.reply_start or request.thought_start)


def _messages(request: ChatRequest, untaken: Untaken, dropped: int) -> list[dict[str, Any]]:
    with_thoughts = any(message.calls for message in request.messages) and not untaken.holds(THOUGHT_FIELD)
    shown = request.messages[dropped:]
    if not request.keeps_all:  # a reply that was stopped in its thought is blank, which many servers refuse
        shown = tuple(normalise(shown))
    messages = [_message(message, with_thoughts) for message in shown]
    if request.system_prompt and untaken.holds(SYSTEM):
        messages[0] = messages[0] | {"content": f"{request.system_prompt}\n\n{messages[0]['content']}"}
    elif request.system_prompt:
        messages.insert(0, {"role": SYSTEM, "content": request.system_prompt})
    if _goes_on(request):
        start = request.reply_start or f"<think>\n{request.thought_start}"
        messages.append({"role": "assistant", "content": start})
        if untaken.holds(PREFILL):
            messages.append({"role": "user", "content": GO_ON})
    return messages


def _message(message: Message, with_thoughts: bool) -> dict[str, Any]:
    """Return a message; where tools are called, DeepSeek and Kimi want to have their thoughts back.

    Source: their refusals, https://github.com/anomalyco/opencode/issues/10996 and
    https://github.com/mastra-ai/mastra/issues/12592.
    """
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if with_thoughts and message.thought:
        said[THOUGHT_FIELD] = message.thought
    if message.calls:
        said["tool_calls"] = [call.as_openai() for call in message.calls]
    if message.answers:
        said["tool_call_id"] = message.answers.id
    return said
