"""The engine that asks an endpoint: what it sends, what it makes of what comes, and what it tells people."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import httpx2
import pytest

from hfdemo.chat.messages import Message, ToolCall
from hfdemo.chat.options import LIMITS, RECOMMENDED, Options
from hfdemo.chat.reply import Delta, Receipt, StopSignal, Token
from hfdemo.chat.request import ANY_OBJECT, ChatRequest
from hfdemo.engines.remote import server, set_up
from hfdemo.engines.remote.address import find_address
from hfdemo.engines.remote.body import GO_ON
from hfdemo.engines.remote.engine import RemoteEngine
from hfdemo.engines.remote.events import EventReader
from hfdemo.engines.remote.host import Patience, RemoteHost
from hfdemo.engines.remote.server import is_same_place
from hfdemo.errors import GenerationFailed, HfdemoError
from hfdemo.settings import Settings
from tests.conftest import free_port, quickest, wait_until
from tests.endpoint import CUT, DONE, HELLO, Answer, Asked, Endpoint, delta, event, json_answer, serve_endpoint

IMPATIENT = Patience(list_s=5, loading_s=0.5, stalled_s=1, usage_s=0.5, retries=1, pause_s=0.05)


@pytest.fixture(scope="module")
def running() -> Iterator[Endpoint]:
    with serve_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: Endpoint) -> Iterator[Endpoint]:
    running.reset()
    yield running
    while made:
        loop = made.pop().loop
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)  # else what has just been begun never runs
        loop.call_soon_threadsafe(loop.stop)


made: list[RemoteHost] = []


def make(endpoint: Endpoint, patience: Patience = IMPATIENT, path: str = "", **settings: object) -> RemoteEngine:
    return make_at(endpoint.url + path, patience, **settings)


def make_at(url: str, patience: Patience = IMPATIENT, **settings: object) -> RemoteEngine:
    chosen = Settings(endpoint=url, **settings)  # type: ignore[arg-type]
    made.append(RemoteHost(chosen, find_address(chosen, None), patience))
    return RemoteEngine(chosen, made[-1])


def ask(message: str = "Hi", **fields: object) -> ChatRequest:
    options = {name: fields.pop(name) for name in list(fields) if name in Options.__dataclass_fields__}
    request = {"messages": (Message("user", message),), "system_prompt": ""} | fields
    return ChatRequest(**request, options=Options(**options))  # type: ignore[arg-type]


def read(engine: RemoteEngine, request: ChatRequest | None = None) -> tuple[str, str, Receipt]:
    """Return a reply's text, its thought and its receipt."""
    text, thought, receipt, deltas = read_all(engine, request)
    assert receipt is not None
    assert [delta.receipt for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    return text, thought, receipt


def read_all(engine: RemoteEngine, request: ChatRequest | None = None) -> tuple[str, str, Receipt | None, list[Delta]]:
    text = thought = ""
    deltas = []
    for piece in engine.stream(request or ask(), StopSignal()):
        text, thought = piece.added_to(text, thought)
        deltas.append(piece)
    return text, thought, deltas[-1].receipt, deltas


def fail(engine: RemoteEngine, request: ChatRequest | None = None, names_host: bool = True) -> tuple[str, HfdemoError]:
    """Return what came of a reply that failed, and why."""
    text = ""
    with pytest.raises(HfdemoError) as failed:
        for piece in engine.stream(request or ask(), StopSignal()):
            text += piece.text
    for language in ("en", "ko"):
        assert not names_host or "127.0.0.1" in failed.value.text(language)
    return text, failed.value


def test_a_reply_comes_whole_with_the_servers_count(endpoint):
    engine = make(endpoint)
    text, thought, receipt = read(engine)
    assert (text, thought) == ("Hello", "")
    assert (receipt.prompt_tokens, receipt.cached_tokens, receipt.new_tokens) == (12, 5, 2)
    assert receipt.finish_reason == "end_of_turn"
    assert receipt.model == "served"
    assert receipt.device == endpoint.url.removeprefix("http://")
    assert receipt.context_limit == 4096
    assert engine.status().stage == "ready"
    assert engine.status().model == "org/model"


def test_what_is_asked_is_what_the_visitor_set(endpoint):
    said = (Message("user", "Hi"), Message("assistant", "Hello", thought="Hm"), Message("user", "안녕\u2028?"))
    options = {"temperature": 0.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 3}
    read(make(endpoint), ask(messages=said, system_prompt="Be kind.", max_new_tokens=9, **options))
    body = endpoint.chats[0].body
    assert endpoint.chats[0].path == "/v1/chat/completions"
    assert body["model"] == "org/model"
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "안녕\u2028?"},
    ]
    assert {name: body[name] for name in options} == options
    assert body["max_tokens"] == 9
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}


@pytest.mark.parametrize("option", RECOMMENDED)
def test_each_option_is_asked_of_the_server(endpoint, option):
    read(make(endpoint), ask(**{option: LIMITS[option].high}))
    assert endpoint.chats[0].body[option] == LIMITS[option].high


def test_greedy_is_asked_without_what_has_no_effect_then(endpoint):
    read(make(endpoint), ask(temperature=0))
    assert endpoint.chats[0].body["temperature"] == 0
    assert not {"top_p", "top_k", "min_p"} & set(endpoint.chats[0].body)


def test_what_nobody_chose_is_the_servers_own(endpoint):
    engine, everything = make(endpoint), (*RECOMMENDED, "max_new_tokens", "thinking")
    usual = {"model", "messages", "stream", "stream_options", "seed"}
    read(engine, ask(left_out=everything))
    assert set(endpoint.chats[-1].body) == usual
    read(engine, ask(completes=True, left_out=everything))
    assert set(endpoint.chats[-1].body) == usual - {"messages"} | {"prompt"}
    for name, value in {"temperature": 0.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1}.items():
        read(engine, ask(**{name: value}, left_out=[other for other in everything if other != name]))
        assert set(endpoint.chats[-1].body) == usual | {name} and endpoint.chats[-1].body[name] == value


@pytest.mark.parametrize("greedy", ["temperature", "top_p"])
def test_greedy_is_asked_where_nothing_else_was_chosen(endpoint, greedy):
    read(make(endpoint), ask(**{greedy: 0}, left_out=[name for name in RECOMMENDED if name != greedy]))
    assert endpoint.chats[-1].body["temperature"] == 0
    assert {"top_p", "top_k", "min_p", "repetition_penalty"}.isdisjoint(endpoint.chats[-1].body)


def test_a_reply_that_goes_on_thinks_no_more_whoever_chose_that(endpoint):
    read(make(endpoint), ask(reply_start="Once", continues=True, left_out=("thinking",)))
    assert endpoint.chats[-1].body["chat_template_kwargs"]["enable_thinking"] is False


def test_what_a_program_sets_of_the_template_goes_to_the_server_and_chooses_no_thinking(endpoint):
    own = {"clear_thinking": False}
    read(make(endpoint), ask(chat_template_kwargs=json.dumps(own), left_out=("thinking",)))
    assert endpoint.chats[-1].body["chat_template_kwargs"] == own
    read(make(endpoint), ask(chat_template_kwargs=json.dumps(own), thinking="on"))
    assert endpoint.chats[-1].body["chat_template_kwargs"] == {**own, "enable_thinking": True, "thinking": True}


def test_a_page_knows_that_the_server_has_values_of_its_own(endpoint):
    engine = make(endpoint)
    assert engine.status().recommended is None
    read(engine)
    assert engine.status().stage == "ready" and engine.status().recommended is None


def test_top_k_of_0_is_off_everywhere(endpoint):
    read(make(endpoint), ask(top_k=0))
    assert endpoint.chats[0].body["top_k"] == -1


def test_a_new_seed_is_drawn_and_told(endpoint):
    _, _, receipt = read(make(endpoint))
    assert endpoint.chats[0].body["seed"] == receipt.seed
    assert read(make(endpoint))[2].seed != receipt.seed


def test_a_reply_takes_at_most_half_of_the_context(endpoint):
    endpoint.offer({"id": "org/model", "max_model_len": 1000})
    read(make(endpoint), ask(max_new_tokens=4096))
    assert endpoint.chats[0].body["max_tokens"] == 500


def test_a_program_gets_as_long_a_reply_as_it_asks_for(endpoint):
    endpoint.offer({"id": "org/model", "max_model_len": 1000})
    for kind in ("keeps_all", "completes"):
        read(make(endpoint), ask(max_new_tokens=990, **{kind: True}))
        assert endpoint.chats[-1].body["max_tokens"] == 990


DOES_NOT_FIT = {
    "vLLM": "'max_tokens' or 'max_completion_tokens' is too large: 990. This model's maximum context length is "
    "1000 tokens and your request has 300 input tokens (990 > 1000 - 300).",
    "older vLLM": "This model's maximum context length is 1000 tokens. However, you requested 1290 tokens (300 in the "
    "messages, 990 in the completion). Please reduce the length of the messages or completion.",
    "newer vLLM": "You passed 300 input tokens and requested 990 output tokens. However, the model's context length "
    "is only 1000 tokens, resulting in a maximum input length of 10 tokens.",
    "OpenAI": "This model's maximum context length is 1000 tokens, however you requested 1290 tokens (300 in your "
    "prompt; 990 for the completion). Please reduce your prompt; or completion length.",
    "SGLang": "Requested token count exceeds the model's maximum context length of 1000 tokens. You requested a total "
    "of 1290 tokens: 300 tokens from the input messages and 990 tokens for the completion.",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1000. Given: 300 `inputs` tokens "
    "and 990 `max_new_tokens`",
}


@pytest.mark.parametrize("said", DOES_NOT_FIT.values(), ids=DOES_NOT_FIT)
@pytest.mark.parametrize("told", [{"max_model_len": 1000}, {}], ids=["context known", "context unknown"])
def test_a_programs_reply_is_as_long_as_the_prompt_leaves_room(endpoint, said, told):
    endpoint.offer({"id": "org/model", **told})
    endpoint.refuse(400, {"error": {"message": said}})
    assert read(make(endpoint), ask(max_new_tokens=990, keeps_all=True))[0] == "Hello"
    assert [asked.body["max_tokens"] for asked in endpoint.chats] == [990, 700]


def test_a_programs_reply_has_half_of_the_context_where_nobody_says_what_fits(endpoint):
    endpoint.offer({"id": "org/model", "max_model_len": 1000})
    endpoint.refuse(400, {"error": {"message": "the request exceeds the available context size"}})
    read(make(endpoint), ask(max_new_tokens=990, keeps_all=True))
    assert [asked.body["max_tokens"] for asked in endpoint.chats] == [990, 500]


@pytest.mark.parametrize("said", [DOES_NOT_FIT["vLLM"].replace("300", "1200"), "Your prompt is too long"])
def test_a_programs_prompt_that_does_not_fit_is_refused(endpoint, said):
    for _ in range(3):
        endpoint.refuse(400, {"error": {"message": said}})
    assert fail(make(endpoint), ask(max_new_tokens=990, keeps_all=True))[1].key == "endpoint_too_long"
    assert len(endpoint.chats) <= 2


@pytest.mark.parametrize(
    ("mode", "thinks", "effort"), [("off", False, None), ("on", True, None), ("low", True, "low")]
)
def test_thinking_is_asked_for_by_all_its_names(endpoint, mode, thinks, effort):
    read(make(endpoint), ask(thinking=mode))
    body = endpoint.chats[0].body
    assert body["chat_template_kwargs"]["enable_thinking"] is thinks
    assert body.get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("mode", "effort"), [("auto", "none"), ("auto", "minimal"), ("low", "low"), ("high", "xhigh"), ("on", "max")]
)
def test_a_programs_word_for_how_much_to_think_is_asked_for(endpoint, mode, effort):
    read(make(endpoint), ask(thinking=mode, effort=effort))
    assert endpoint.chats[0].body["reasoning_effort"] == effort


@pytest.mark.parametrize(
    ("mode", "effort", "instead"), [("auto", "minimal", None), ("high", "xhigh", "high"), ("on", "max", None)]
)
def test_where_it_isnt_known_the_nearest_is_asked_for(endpoint, mode, effort, instead):
    engine = make(endpoint)
    said = {"error": {"message": f"Invalid value: '{effort}'. Supported values are: 'low', 'medium', and 'high'."}}
    said["error"]["param"] = "reasoning_effort"
    endpoint.refuse(400, said)
    for _ in range(2):
        assert read(engine, ask(thinking=mode, effort=effort))[0] == "Hello"
    assert [asked.body.get("reasoning_effort") for asked in endpoint.chats] == [effort, instead, instead]


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_is_strict_where_that_is_wanted(endpoint, strict):
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}}'
    read(make(endpoint), ask(schema=schema, schema_strict=strict))
    form = endpoint.chats[0].body["response_format"]["json_schema"]
    assert (form["schema"], form.get("strict", False)) == (json.loads(schema), strict)


THOUGHTS = {
    "reasoning_content": [delta(reasoning_content="\nplan"), delta("\n\nAnswer"), delta(finish="stop")],
    "reasoning": [delta(reasoning="pl"), delta(reasoning="an"), delta("Answer", finish="stop")],
    "both names": [delta(reasoning="plan", reasoning_content="plan"), delta("Answer", finish="stop")],
    "content null": [
        event({"choices": [{"delta": {"content": None, "reasoning_content": "plan"}}]}),
        event({"choices": [{"delta": {"content": "Answer", "reasoning_content": None}, "finish_reason": "stop"}]}),
    ],
    "tags": [delta("<thi"), delta("nk>plan</th"), delta("ink>\n\nAns"), delta("wer", finish="stop")],
    "closing tag alone": [delta("plan</think>"), delta("Answer", finish="stop")],
    "another tag": [delta("[THINK]plan[/THINK]Answer", finish="stop")],
    "tags around both": [delta("<think>plan</think><response>Answer</response>", finish="stop")],
    "typed parts": [
        event({"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"text": "plan"}]}]}}]}),
        delta("Answer", finish="stop"),
    ],
}


@pytest.mark.parametrize("steps", THOUGHTS.values(), ids=THOUGHTS)
def test_thought_and_answer_are_told_apart(endpoint, steps):
    endpoint.enqueue(*steps, DONE)
    text, thought, _ = read(make(endpoint))
    assert (text, thought) == ("Answer", "plan")


END = (delta(finish="stop"), DONE)
STREAMS = {
    "choices null": [event({"choices": None}), delta("ok"), event({"choices": None}), *END],
    "choices empty": [event({"choices": []}), delta("ok"), *END],
    "no choices": [event({"id": 1}), delta("ok"), *END],
    "delta null": [event({"choices": [{"delta": None}]}), delta("ok"), *END],
    "no delta": [event({"choices": [{"index": 0}]}), delta("ok"), *END],
    "content empty": [delta(""), delta("ok"), delta(""), *END],
    "content null": [event({"choices": [{"delta": {"content": None}}]}), delta("ok"), *END],
    "comments": [": ping\n\n", delta("ok"), ": OPENROUTER PROCESSING\n", ":\n\n", *END],
    "CRLF": [step.replace("\n", "\r\n") for step in (delta("o"), delta("k"), *END)],
    "CR": [step.replace("\n", "\r") for step in (delta("o"), delta("k"), *END)],
    "CRLF cut between the two": [
        "data: ",
        json.dumps({"choices": [{"delta": {"content": "ok"}}]}),
        "\r",
        "\n\r",
        "\n",
        *END,
    ],
    "one line end only": [step.removesuffix("\n") for step in (delta("o"), delta("k"), *END)],
    "no blank behind the colon": [step.replace("data: ", "data:") for step in (delta("ok"), *END)],
    "no [DONE]": [delta("ok"), delta(finish="stop")],
    "no [DONE], and the connection stays": [delta("ok"), delta(finish="stop"), 30],
    "no [DONE], and the connection breaks": [delta("ok"), delta(finish="stop"), CUT],
    "a blank behind [DONE]": [delta("ok"), delta(finish="stop"), "data: [DONE] \n\n"],
    "no reason, only [DONE]": [delta("ok"), DONE],
    "more behind [DONE]": [delta("ok"), *END, delta("no")],
    "last event without a blank line": [delta("ok"), delta(finish="stop").rstrip("\n")],
    "event and id lines": ["event: message\nid: 7\nretry: 10\n" + delta("ok"), *END],
    "data that is no JSON": [delta("o"), "data: <oops>\n\n", delta("k"), *END],
    "data over two lines": ['data: {"choices": [{"delta":\ndata: {"content": "ok"}}]}\n\n', *END],
    "every byte alone": [bytes([byte]) for byte in (delta("ok") + "".join(END)).encode()],
    "a second choice": [event({"choices": [{"index": 1, "delta": {"content": "no"}}]}), delta("ok"), *END],
    "an error that is null": [event({"error": None, "choices": [{"delta": {"content": "ok"}}]}), *END],
    "text of a completion": [event({"choices": [{"text": "ok", "finish_reason": "stop"}]}), DONE],
    "no stream at all": [json.dumps({"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}, indent=1)],
}


@pytest.mark.parametrize("steps", STREAMS.values(), ids=STREAMS)
def test_odd_streams_are_read(endpoint, steps):
    endpoint.enqueue(*steps)
    text, thought, receipt = read(make(endpoint))
    assert (text, thought) == ("ok", "")
    assert receipt.finish_reason == "end_of_turn"
    assert len(endpoint.chats) == 1


def test_line_ends_of_unicode_are_text(endpoint):
    said = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"
    piece = json.dumps({"choices": [{"delta": {"content": said}}]}, ensure_ascii=False)
    for escaped in ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e"):  # JSON escapes these
        assert escaped not in piece
    endpoint.enqueue(f"data: {piece}\n\n", *END)
    assert read(make(endpoint))[0] == said


def test_characters_that_come_in_parts_are_whole(endpoint):
    halves = '{"choices":[{"delta":{"content":"%s"}}]}'
    cut = delta("한")
    endpoint.enqueue(
        "data: " + halves % "\\ud83d" + "\n\n", "data: " + halves % "\\udc4d" + "\n\n", cut[:50], cut[50:], *END
    )
    assert read(make(endpoint))[0] == "👍한"
    raw = json.dumps({"choices": [{"delta": {"content": "안녕"}}]}, ensure_ascii=False).encode()
    endpoint.enqueue("data: ", *[bytes([byte]) for byte in raw], "\n\n", *END)
    assert read(make(endpoint))[0] == "안녕"
    endpoint.enqueue("data: " + halves % "a\\ud83d" + "\n\n", *END)
    assert read(make(endpoint))[0] == "a\ufffd"


REASONS = {"stop": "end_of_turn", "length": "max_new_tokens", "eos_token": "end_of_turn", "tool_calls": "end_of_turn"}


@pytest.mark.parametrize(("finish", "reason"), REASONS.items())
def test_the_servers_reason_is_told(endpoint, finish, reason):
    endpoint.enqueue(delta("ok"), delta(finish=finish), DONE)
    assert read(make(endpoint))[2].finish_reason == reason


def test_how_likely_tokens_were_is_told_by_both_apis(endpoint):
    def tokens_of(logprobs: object, **fields: object) -> list[Token]:
        choice = {"delta": {"content": "ok"}, "text": "ok", "logprobs": logprobs, "finish_reason": "stop"}
        endpoint.enqueue(event({"choices": [choice]}), DONE)
        return [token for told in read_all(make(endpoint), ask(likeliest=2, **fields))[3] for token in told.tokens]

    others = (Token("o", b"o", -0.5), Token("a", b"a", -3.0))
    expected = [Token("o", b"o", -0.5, others), Token("k", b"k", 0.0)]
    top = [{"token": "o", "logprob": -0.5}, {"token": "a", "logprob": -3.0}]
    said = [{"token": "o", "logprob": -0.5, "top_logprobs": top}, {"token": "k", "logprob": 0}]
    assert tokens_of({"content": said}) == expected
    assert endpoint.chats[-1].body["top_logprobs"] == 2
    lists = {"tokens": ["o", "k"], "token_logprobs": [-0.5, 0], "top_logprobs": [{"o": -0.5, "a": -3.0}, None]}
    assert tokens_of(lists, completes=True) == expected
    assert endpoint.chats[-1].body["logprobs"] == 2
    unsure = {"content": [{"token": "o", "logprob": float("nan")}, {"token": "k", "logprob": float("inf")}]}
    for odd in (unsure, None, {}, [], {"content": None}, {"tokens": ["o"]}, {"tokens": 1, "token_logprobs": {}}):
        assert tokens_of(odd) == []


def test_a_stop_text_ends_the_answer_and_not_the_thought(endpoint):
    endpoint.enqueue(delta("<think>a END b</think>ok E"), delta("ND no"), 30)
    text, thought, receipt = read(make(endpoint), ask(stop_texts=("END",)))
    assert (text, thought, receipt.finish_reason) == ("ok ", "a END b", "stop_text")
    wait_until(lambda: endpoint.chats[0].closed_at is not None, 2)
    assert receipt.new_tokens == 2


@pytest.mark.parametrize("steps", [[30], [delta("Hel"), 30], [": ping\n\n", 30]], ids=["silent", "midst", "comment"])
def test_stop_closes_the_connection_at_once(endpoint, steps):
    engine, says = make(endpoint, Patience()), any("Hel" in str(step) for step in steps)

    def stop_s() -> float:
        endpoint.enqueue(*steps)
        asked, stop = len(endpoint.chats), StopSignal()
        told: list[Delta] = []
        reading = threading.Thread(target=lambda: told.extend(engine.stream(ask(), stop)), daemon=True)
        reading.start()
        wait_until(lambda: any(delta.text for delta in told) if says else len(endpoint.chats) > asked, 5)
        time.sleep(0.3)  # until the comment has come, too
        stop.set()
        stopped_at = time.monotonic()
        reading.join(5)
        wait_until(lambda: endpoint.chats[asked].closed_at is not None, 5)
        assert told[-1].receipt.finish_reason == "stopped"
        return endpoint.chats[asked].closed_at - stopped_at

    assert quickest(stop_s, 0.5) < 0.5


def test_a_reader_who_leaves_closes_the_connection(endpoint):
    endpoint.enqueue(delta("Hel"), 30)
    coming = make(endpoint).stream(ask(), StopSignal())
    next(coming)
    coming.close()
    wait_until(lambda: not endpoint.chats or endpoint.chats[0].closed_at is not None, 2)


def test_while_the_server_is_silent_heartbeats_come(endpoint):
    endpoint.enqueue(1.2, *HELLO)
    _, _, _, deltas = read_all(make(endpoint))
    assert len([piece for piece in deltas if piece == Delta()]) >= 3


def test_pieces_come_no_more_often_than_a_page_can_draw(endpoint):
    endpoint.enqueue(*[delta("a"), 0.01] * 40, *END)
    text, _, _, deltas = read_all(make(endpoint), ask(update_interval_s=0.2))
    assert text == "a" * 40
    assert len(deltas) < 10


PLACES = [
    "",
    "/",
    "/v1",
    "/v1/",
    "/V1",
    "/v1//",
    "//v1/",
    "//v1//chat///completions//",
    "/v1/embeddings",
    "/V1/Chat/Completions",
    "/v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/models",
    "/v1/completions",
]


@pytest.mark.parametrize("path", PLACES)
def test_the_address_may_be_spelt_in_any_way(endpoint, path):
    assert read(make(endpoint, path=path))[0] == "Hello"
    assert [asked.path for asked in endpoint.chats] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    ("path", "listed", "asked"),
    [
        ("/a/b", "/a/b/v1/models", "/a/b/v1/chat/completions"),
        ("/a/b", "/a/b/models", "/a/b/chat/completions"),
        ("/api/v3/", "/api/v3/models", "/api/v3/chat/completions"),
        ("/openai/chat/completions", "/openai/models", "/openai/chat/completions"),
        ("/v1?api-version=2", "/v1/models", "/v1/chat/completions?api-version=2"),
    ],
)
def test_a_path_before_it_stays(endpoint, path, listed, asked):
    endpoint.pages.clear()
    endpoint.offer({"id": "org/model"}, path=listed)
    assert read(make(endpoint, path=path))[0] == "Hello"
    assert [one.path for one in endpoint.chats] == [asked]


def test_a_server_without_a_list_is_asked_all_the_same(endpoint):
    endpoint.pages.clear()
    assert read(make(endpoint, model="mine"))[0] == "Hello"
    assert endpoint.chats[0].body["model"] == "mine"
    read(make(endpoint))
    assert endpoint.chats[1].body["model"] == "default"


CONTEXTS = {
    "vLLM": ({"max_model_len": 4096, "owned_by": "vllm"}, {}),
    "router": ({"providers": [{"context_length": 2048}, {"context_length": 4096}]}, {}),
    "Groq": ({"context_window": 4096}, {}),
    "llama.cpp": (
        {"owned_by": "llamacpp", "meta": {"n_ctx_train": 9}},
        {"/props": {"default_generation_settings": {"n_ctx": 4096}}},
    ),
    "TGI": ({}, {"/info": {"model_id": "org/model", "max_total_tokens": 4096}}),
}


@pytest.mark.parametrize(("listed", "pages"), CONTEXTS.values(), ids=CONTEXTS)
def test_the_context_is_learned_where_the_server_tells(endpoint, listed, pages):
    endpoint.offer({"id": "org/model"} | listed)
    endpoint.pages |= {path: json_answer(page) for path, page in pages.items()}
    engine = make(endpoint)
    read(engine)
    assert engine.status().context_limit == 4096
    assert make(endpoint, context=100).status().context_limit is None


def test_thinking_modes_are_those_of_the_template_where_the_server_shows_it(endpoint):
    endpoint.offer({"id": "org/model"})
    engine = make(endpoint)
    read(engine)
    assert engine.status().thinking_modes == ("off", "on", "low", "medium", "high")
    endpoint.pages["/props"] = json_answer({"chat_template": "{% if enable_thinking %}"})
    engine = make(endpoint)
    read(engine)
    assert engine.status().thinking_modes == ("off", "on")


def test_each_server_is_asked_in_its_own_words(endpoint):
    endpoint.offer({"id": "a", "owned_by": "vllm", "max_model_len": 100})
    read(make(endpoint))
    assert endpoint.chats[0].body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("name", ["llamacpp", "me"])
def test_llama_cpp_is_asked_in_its_own_words(endpoint, name):
    """llama-cpp-python's server has 1.1 for its own name of the penalty, and takes no top_k of -1."""
    endpoint.offer({"id": "a", "owned_by": name})
    read(make(endpoint), ask(repetition_penalty=1.2, top_k=7))
    assert (endpoint.chats[0].body["repeat_penalty"], endpoint.chats[0].body["top_k"]) == (1.2, 7)
    read(make(endpoint), ask(top_k=0))
    assert (endpoint.chats[1].body["repeat_penalty"], endpoint.chats[1].body["top_k"]) == (1, 0)
    read(make(endpoint), ask(left_out=RECOMMENDED))
    assert {"repeat_penalty", "top_k", "response_format"}.isdisjoint(endpoint.chats[2].body)
    read(make(endpoint), ask(schema='{"type": "object"}'))
    form = {"type": "json_object", "schema": {"type": "object"}}  # both take it, and only one the usual form
    assert endpoint.chats[3].body["response_format"] == form


REFUSED = {
    "OpenAI": (400, {"error": {"message": "Unknown parameter: 'top_k'.", "param": "top_k", "code": "unknown"}}),
    "FastAPI": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "no"}]}),
    "words": (400, {"error": "property 'top_k' is unsupported"}),
    "vLLM": (400, {"object": "error", "message": "top_k must be ...", "code": 400}),
    "plain": (400, "Extra inputs: top_k"),
}


@pytest.mark.parametrize(("status", "body"), REFUSED.values(), ids=REFUSED)
def test_what_a_server_refuses_is_left_out_and_said_once(endpoint, status, body):
    engine = make(endpoint)
    endpoint.refuse(status, body)
    assert read(engine)[0] == "Hello"
    assert ["top_k" in asked.body for asked in endpoint.chats] == [True, False]
    assert endpoint.chats[1].body["repetition_penalty"] == 1
    assert read(engine)[0] == "Hello"
    assert len(endpoint.chats) == 3  # remembered
    (note,) = engine.status().notes
    assert "top_k" in note.text("en") and "top_k" in note.text("ko")


def test_several_are_left_out_one_after_the_other(endpoint):
    names = ["chat_template_kwargs", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed", "stream_options"]
    for name in names:
        endpoint.refuse(400, {"error": {"message": "no", "param": name}})
    engine = make(endpoint)
    _, _, receipt = read(engine)
    assert endpoint.chats[-1].body["max_completion_tokens"] == 512
    assert not set(names) & set(endpoint.chats[-1].body)
    assert receipt.seed == -1
    (note,) = engine.status().notes
    assert note.text().endswith(": seed, top_k.")  # the others changed nothing, or had another name


def test_where_nothing_is_named_all_that_isnt_openais_is_left_out(endpoint):
    endpoint.refuse(400, {"error": {"message": "Bad request"}})
    engine = make(endpoint)
    assert read(engine)[0] == "Hello"
    body = endpoint.chats[1].body
    assert not {"top_k", "min_p", "repetition_penalty", "chat_template_kwargs"} & set(body)
    assert body["temperature"] == 0.7
    endpoint.refuse(400, {"error": {"message": "Bad request"}})
    text, error = fail(engine)
    assert (text, error.key) == ("", "endpoint_refused")
    assert "Bad request" in error.text("en")


def test_a_template_without_a_system_role_gets_it_in_the_first_message(endpoint):
    endpoint.refuse(400, {"message": "System role not supported", "object": "error"})
    read(make(endpoint), ask("Hi", system_prompt="Be kind."))
    assert endpoint.chats[1].body["messages"] == [{"role": "user", "content": "Be kind.\n\nHi"}]


TOO_LONG = {
    "vLLM": (400, {"message": "This model's maximum context length is 4096 tokens. max_tokens is too large"}),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available context size"}}),
    "TGI": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
            "error_type": "validation",
        },
    ),
    "413": (413, "<html>Request Entity Too Large</html>"),
}


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG)
def test_older_messages_are_dropped_when_they_no_longer_fit(endpoint, status, body):
    said = tuple(Message("user" if n % 2 == 0 else "assistant", str(n)) for n in range(9))
    endpoint.refuse(status, body)
    endpoint.refuse(status, body)
    _, _, receipt = read(make(endpoint), ask(messages=said))
    sent = [[message["content"] for message in asked.body["messages"]] for asked in endpoint.chats]
    assert sent == [list("012345678"), list("45678"), list("678")]
    assert receipt.dropped_messages == 6
    endpoint.refuse(status, body)
    assert fail(make(endpoint))[1].key == "endpoint_too_long"


@pytest.mark.parametrize(
    "said", ['"gemma3:4b" does not support thinking', "Reasoning is not supported by this model."]
)
def test_a_model_that_does_not_think_answers_without(endpoint, said):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said}})
    for count in (2, 3):  # the second message is asked once
        read(engine, ask(thinking="low", temperature=0.3))
        assert len(endpoint.chats) == count
        body = endpoint.chats[-1].body
        assert "reasoning_effort" not in body and "chat_template_kwargs" not in body
        assert body["temperature"] == 0.3


def test_a_reply_stopped_before_its_answer_is_not_shown_as_a_blank_one(endpoint):
    said = (Message("user", "a"), Message("assistant", "", thought="Hm"), Message("user", "b"))
    later = (*said, Message("assistant", "c"), Message("user", "d"))
    for messages, sent in ((said, ["a\n\nb"]), (later, ["a\n\nb", "c", "d"])):
        read(make(endpoint), ask(messages=messages))
        assert [message["content"] for message in endpoint.chats[-1].body["messages"]] == sent
    read(make(endpoint), ask(messages=said, keeps_all=True))
    assert [message["content"] for message in endpoint.chats[-1].body["messages"]] == ["a", "", "b"]


def test_what_took_a_server_all_its_time_is_not_asked_again(endpoint):
    endpoint.refuse(504, "<html>Gateway Time-out</html>")
    assert fail(make(endpoint))[1].key == "endpoint_too_slow"
    assert len(endpoint.chats) == 1


REFUSALS = {
    "no key": (401, {"error": {"message": "secret words"}}, "endpoint_no_key"),
    "forbidden": (403, {}, "endpoint_no_key"),
    "no credit": (402, {"error": "You have exceeded your monthly included credits"}, "endpoint_no_credit"),
    "no model": (404, {"message": "The model `x` does not exist."}, "endpoint_no_model"),
    "too many": (429, {}, "endpoint_busy"),
    "loading": (503, {"error": {"message": "Loading model", "code": 503}}, "endpoint_loading"),
    "slow": (504, "<html>Gateway Time-out</html>", "endpoint_too_slow"),
    "broken": (500, {"error": {"message": "CUDA error"}}, "endpoint_failed"),
    "broken page": (502, "<html>Bad gateway</html>", "endpoint_failed"),
}


@pytest.mark.parametrize(("status", "body", "key"), REFUSALS.values(), ids=REFUSALS)
def test_people_are_told_why_there_is_no_reply(endpoint, status, body, key):
    for _ in range(12):
        endpoint.refuse(status, body)
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("", key)
    assert "secret" not in error.text("en")


@pytest.mark.parametrize("header", [{"Retry_After": "17"}, {"RateLimit": '"api";r=0;t=17'}])
def test_a_limit_says_when(endpoint, header):
    endpoint.refuse(429, {"error": "slow down"}, **header)
    assert "17" in fail(make(endpoint))[1].text("ko")


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2099 07:28:00 GMT", "9999999999", "soon", "-5", ""])
def test_a_limit_that_says_nothing_sensible_says_nothing(endpoint, header):
    endpoint.refuse(429, {"error": "slow down"}, Retry_After=header)
    assert fail(make(endpoint))[1].key == "endpoint_busy"


@pytest.mark.parametrize(
    "body",
    [{"detail": [{"loc": None}]}, {"detail": [{"loc": "x"}, 5]}, {"error": {"param": ["seed"]}}, {"detail": {}}],
)
def test_a_refusal_in_an_odd_form_is_one(endpoint, body):
    for _ in range(3):
        endpoint.refuse(422, body)
    assert fail(make(endpoint))[1].key == "endpoint_refused"


def test_entries_that_name_no_model_are_none(endpoint):
    endpoint.offer({"id": ""}, {"id": 5}, {"id": "org/model"})
    engine = make(endpoint)
    read(engine)
    assert (engine.status().model, [choice.name for choice in made[-1].choices()]) == ("org/model", ["org/model"])


INSIDE = {
    "as an object": ({"error": {"message": "boom", "code": 500}}, "endpoint_failed"),
    "TGI": ({"error": "boom", "error_type": "generation"}, "endpoint_failed"),
    "TGI, overloaded": ({"error": "boom", "error_type": "overloaded"}, "endpoint_loading"),
    "vLLM": ({"object": "error", "message": "boom", "code": 500}, "endpoint_failed"),
    "OpenRouter": ({"error": {"code": 429, "message": "boom"}, "choices": []}, "endpoint_busy"),
    "too long": ({"error": {"message": "context length exceeded"}}, "endpoint_too_long"),
}


@pytest.mark.parametrize(("body", "key"), INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("streamed", [True, False])
def test_an_error_inside_a_good_answer_is_one(endpoint, body, key, streamed):
    for _ in range(12):
        endpoint.enqueue(event(body) if streamed else json.dumps(body))
    assert fail(make(endpoint))[1].key == key
    endpoint.answers.clear()
    endpoint.enqueue(delta("Hel"), event(body), DONE)
    assert fail(make(endpoint))[0] == "Hel"


BROKEN = {
    "cut": ([delta("Hel"), CUT], "endpoint_cut"),
    "cut in an event": ([delta("Hel"), delta("lo")[:30], CUT], "endpoint_cut"),
    "ended without an end": ([delta("Hel")], "endpoint_cut"),
    "stalled": ([delta("Hel"), 30], "endpoint_stalled"),
    "stalled in an event": ([delta("Hel"), "data: {", 30], "endpoint_stalled"),
    "given up": ([delta("Hel"), delta(finish="abort"), DONE], "endpoint_cut"),
}


@pytest.mark.parametrize(("steps", "key"), BROKEN.values(), ids=BROKEN)
def test_what_came_before_a_reply_broke_is_kept_and_it_isnt_asked_again(endpoint, steps, key):
    endpoint.enqueue(*steps)
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("Hel", key)
    assert len(endpoint.chats) == 1


def test_what_was_held_back_is_kept_too(endpoint):
    endpoint.enqueue(delta("one <thin"), CUT)
    assert fail(make(endpoint))[0] == "one <thin"


@pytest.mark.parametrize("steps", [[CUT], ["", CUT], [delta(role="assistant"), CUT], []])
def test_a_request_that_is_cut_off_before_its_first_token_is_sent_again(endpoint, steps):
    endpoint.enqueue(*steps)
    assert read(make(endpoint))[0] == "Hello"
    assert len(endpoint.chats) == 2


def test_a_server_that_loads_is_waited_for_and_shown(endpoint):
    engine = make(endpoint, Patience(loading_s=5, pause_s=0.4))
    read(engine)
    endpoint.refuse(503, {"error": {"message": "Loading model"}})
    stages = set()
    for _ in engine.stream(ask(), StopSignal()):
        stages.add(engine.status().stage)
    assert stages == {"loading", "ready"}
    assert len(endpoint.chats) == 3


@pytest.mark.parametrize("steps", [(), (": ping\n\n",), (delta(role="assistant"),)], ids=["nothing", "ping", "role"])
def test_an_answer_without_a_reply_is_called_that(endpoint, steps):
    """So does llama-cpp-python's server answer a stream whose conversation is too long for it."""
    for _ in range(2):
        endpoint.enqueue(*steps)
    assert fail(make(endpoint))[1].key == "endpoint_empty"
    assert len(endpoint.chats) == 2  # it may have been an accident


def test_a_server_that_isnt_there(endpoint):
    settings = Settings(endpoint=f"http://127.0.0.1:{free_port()}")
    host = RemoteHost(settings, find_address(settings, None), IMPATIENT)
    host.load()
    assert fail(RemoteEngine(settings, host))[1].key == "endpoint_unreachable"
    wait_until(lambda: host.status.stage == "failed", 5)
    assert host.status.error is not None and host.status.error.key == "endpoint_unreachable"


def test_a_server_that_says_nothing_is_given_up_at_the_time_limit(endpoint):
    endpoint.enqueue(30)
    engine = make(endpoint, time_limit_s=1)
    assert fail(engine)[1].key == "endpoint_silent"
    endpoint.enqueue(*[delta("a"), 0.1] * 100)
    text, _, receipt = read(engine)
    assert receipt.finish_reason == "time_limit"
    assert 3 < len(text) < 20


def test_a_server_that_writes_fast_ends_at_the_time_limit_too(endpoint):
    endpoint.enqueue(*[delta("a"), 0.01] * 500)
    text, _, receipt = read(make(endpoint, time_limit_s=1))
    assert receipt.finish_reason == "time_limit"
    assert 10 < len(text) < 150


def test_any_json_is_asked_for_in_the_words_that_most_servers_know(endpoint):
    read(make(endpoint), ask(schema=ANY_OBJECT))
    assert endpoint.chats[0].body["response_format"] == {"type": "json_object"}


def test_thoughts_go_back_to_a_server_where_tools_are_called(endpoint):
    said = (
        Message("user", "Hi"),
        Message("assistant", "", "I must look.", calls=(CITY,)),
        Message("tool", "sunny", answers=CITY),
        Message("assistant", "Sunny.", "So it is."),
        Message("user", "Thanks"),
    )
    read(make(endpoint), ask(messages=said))
    thoughts = [message.get("reasoning_content") for message in endpoint.chats[0].body["messages"]]
    assert thoughts == [None, "I must look.", None, "So it is.", None]
    read(make(endpoint), ask(messages=(said[0], said[3], said[4])))
    assert all("reasoning_content" not in message for message in endpoint.chats[1].body["messages"])


def test_a_page_for_people_is_no_endpoint(endpoint):
    endpoint.pages.clear()
    for _ in range(3):
        endpoint.answers.append(Answer(["<html></html>"], 200, {"Content-Type": "text/html"}))
    assert fail(make(endpoint))[1].key == "endpoint_no_model"


# Going on


def go_on(**fields: object) -> ChatRequest:
    return ask(continues=True, **fields)


def test_a_reply_goes_on_where_the_server_can(endpoint):
    endpoint.enqueue(delta(" is Paris."), *END)
    text, _, _ = read(make(endpoint), go_on(reply_start="The capital", thinking="on"))
    assert text == "The capital is Paris."
    body = endpoint.chats[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "The capital"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert body["chat_template_kwargs"]["enable_thinking"] is False  # an answer has begun already


def test_a_reply_that_the_server_tells_again_is_there_once(endpoint):
    start = "The capital of France"
    endpoint.enqueue(delta("The capital"), delta(" of France is"), delta(" Paris."), *END)
    assert read(make(endpoint), go_on(reply_start=start))[0] == f"{start} is Paris."
    endpoint.enqueue(delta("The capital"), delta(" letters"), *END)
    assert read(make(endpoint), go_on(reply_start=start))[0] == f"{start}The capital letters"
    endpoint.enqueue(delta("ha"), *END)
    assert read(make(endpoint), go_on(reply_start="ha"))[0] == "haha"


def test_a_thought_goes_on(endpoint):
    endpoint.enqueue(delta(" b</think>"), delta("Answer"), *END)
    text, thought, _ = read(make(endpoint), go_on(thought_start="a"))
    assert (text, thought) == ("Answer", "a b")
    assert endpoint.chats[0].body["messages"][-1]["content"] == "<think>\na"
    endpoint.enqueue(delta(reasoning_content=" b"), delta("Answer"), *END)
    text, thought, _ = read(make(endpoint), go_on(thought_start="a"))
    assert (text, thought) == ("Answer", "a b")


def test_where_the_server_cant_go_on_it_is_asked_with_what_is_there_and_that_is_said(endpoint):
    for name in ("continue_final_message", "add_generation_prompt"):
        endpoint.refuse(400, {"error": {"message": f"Unrecognized request argument supplied: {name}"}})
    engine = make(endpoint)
    assert read(engine, go_on(reply_start="ab"))[0] == "abHello"
    assert endpoint.chats[-1].body["messages"][-1]["role"] == "assistant"
    (note,) = engine.status().notes
    assert "continue_final_message" in note.text()


REFUSED_PREFILLS = {
    "Mistral": "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
    "Anthropic": "This model does not support assistant message prefill. The conversation must end with a user "
    "message.",
    "llama.cpp": "Assistant response prefill is incompatible with enable_thinking.",
    "DeepSeek": "The last message of deepseek-reasoner must be a user message, or an assistant message with prefix "
    "mode",
}


@pytest.mark.parametrize("said", REFUSED_PREFILLS.values(), ids=REFUSED_PREFILLS)
def test_where_a_reply_may_not_be_the_last_message_a_request_to_go_on_stands_behind_it(endpoint, said):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said}})
    for count in (2, 3):  # the second one is asked once
        assert read(engine, go_on(reply_start="ab"))[0] == "abHello"
        assert len(endpoint.chats) == count
        body = endpoint.chats[-1].body
        asked, start, onward = body["messages"]
        assert (asked["content"], start) == ("Hi", {"role": "assistant", "content": "ab"})
        assert onward == {"role": "user", "content": GO_ON}
        assert "continue_final_message" not in body and "add_generation_prompt" not in body
        assert body["chat_template_kwargs"]["enable_thinking"] is False
    read(engine)
    assert endpoint.chats[-1].body["messages"] == [{"role": "user", "content": "Hi"}]


# Keys


def test_a_key_goes_where_the_host_said_and_nowhere_else(endpoint, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    read(make(endpoint))
    assert "Authorization" not in endpoint.chats[0].headers | endpoint.gets[0].headers
    read(make(endpoint, endpoint_key="sk-mine"))
    assert endpoint.chats[1].headers["Authorization"] == "Bearer sk-mine"
    assert endpoint.gets[1].headers["Authorization"] == "Bearer sk-mine"


def test_a_list_of_models_that_takes_no_bearer_token_is_shown_the_key_in_its_own_header(endpoint, monkeypatch):
    """So does Anthropic's server, which takes one for replies."""
    right = {"x-api-key": "sk-mine", "anthropic-version": "2023-06-01"}
    listed = endpoint.pages["/v1/models"]
    moved: list[Answer] = []

    def page_for(asked: Asked) -> Answer:
        shown = {name: asked.headers.get(name) for name in ("Authorization", *right)}
        if shown == {"Authorization": None, **right}:
            return moved[0] if moved else listed
        return json_answer({"error": {"message": "x-api-key header is required"}}, 401)

    monkeypatch.setattr(endpoint, "page_for", page_for)
    assert read(make(endpoint, endpoint_key="sk-mine"))[0] == "Hello"
    assert endpoint.chats[0].headers["Authorization"] == "Bearer sk-mine"
    assert "x-api-key" not in endpoint.chats[0].headers
    for key, refused, asked in (("sk-other", "endpoint_bad_key", 2), ("", "endpoint_no_key", 1)):
        endpoint.gets.clear()
        assert fail(make(endpoint, endpoint_key=key))[1].key == refused
        assert len(endpoint.gets) == asked
    with serve_endpoint() as other:
        moved.append(Answer([""], 307, {"Location": f"{other.url}/v1/models"}))
        assert fail(make(endpoint, endpoint_key="sk-mine"))[1].key == "endpoint_moved"
        assert other.gets == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_leads_neither_key_nor_words_to_another_place(endpoint, status, method):
    with serve_endpoint() as other:
        moved = Answer([""], status, {"Location": f"{other.url}/v1/models"})
        if method == "GET":
            endpoint.pages["/v1/models"] = moved
        else:
            endpoint.answers.append(moved)
        _, error = fail(make(endpoint, endpoint_key="sk-mine"), ask("my words"))
        assert error.key == "endpoint_moved"
        assert other.url in error.text("en")
        assert other.gets == other.chats == []


@pytest.mark.parametrize(
    ("asked", "onward", "same"),
    [
        ("http://host/v1/models", "https://host/v1/models", True),
        ("https://host/v1", "https://host/v1/", True),
        ("http://host:8000/v1", "http://host:8000/v1/", True),
        ("http://host:8000/v1", "https://host/v1", False),
        ("http://host/v1", "https://host:8443/v1", False),
        ("https://host/v1", "http://host/v1", False),
        ("https://host/v1", "https://host.evil.example/v1", False),
        ("https://host/v1", "https://sub.host/v1", False),
    ],
)
def test_a_redirect_goes_on_only_where_the_host_said(asked, onward, same):
    assert is_same_place(httpx2.URL(asked), httpx2.URL(onward)) is same


DEEP = "[" * 100_000


def test_what_is_nested_too_deeply_is_nothing_that_a_server_said(endpoint):
    endpoint.enqueue(f"data: {DEEP}\ndata: {DEEP}\n\n", *HELLO)
    assert read(make(endpoint))[0] == "Hello"
    endpoint.refuse(401, DEEP)
    assert fail(make(endpoint))[1].key == "endpoint_no_key"
    endpoint.pages["/v1/models"] = json_answer(DEEP)
    assert read(make(endpoint))[0] == "Hello"


SAID_IN_WORDS = {
    "rate": ({"message": "Slow down", "code": "rate_limit_exceeded"}, "endpoint_busy"),
    "rate, as a type": ({"message": "Slow down", "type": "rate_limit_error"}, "endpoint_busy"),
    "credit": ({"message": "You exceeded your quota", "code": "insufficient_quota"}, "endpoint_no_credit"),
    "key": ({"message": "Incorrect API key", "code": "invalid_api_key"}, "endpoint_no_key"),
    "context": ({"message": "x", "code": "context_length_exceeded"}, "endpoint_too_long"),
    "context, llama.cpp": ({"code": 400, "message": "x", "type": "exceed_context_size_error"}, "endpoint_too_long"),
    "model": ({"message": "x", "code": "model_not_found"}, "endpoint_no_model"),
}


@pytest.mark.parametrize(("said", "key"), SAID_IN_WORDS.values(), ids=SAID_IN_WORDS)
def test_an_error_in_a_stream_that_names_its_kind_in_words_is_of_that_kind(endpoint, said, key):
    endpoint.enqueue(delta("Hel"), event({"error": said}), DONE)
    assert fail(make(endpoint))[1].key == key


@pytest.mark.parametrize(
    ("status", "code", "key"),
    [
        (429, "insufficient_quota", "endpoint_no_credit"),
        (429, "rate_limit_exceeded", "endpoint_busy"),
        (400, "context_length_exceeded", "endpoint_too_long"),
        (403, "model_not_found", "endpoint_no_key"),
    ],
)
def test_a_status_that_stands_for_two_things_is_told_by_its_code(endpoint, status, code, key):
    endpoint.refuse(status, {"error": {"message": "x", "code": code}})
    assert fail(make(endpoint))[1].key == key


@pytest.mark.parametrize(("platform", "marked"), [("zerogpu", 1), ("space", 0), ("local", 0)])
def test_a_space_with_zerogpu_has_a_function_for_it(endpoint, monkeypatch, platform, marked):
    functions: list[object] = []
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=functions.append))
    made.append(set_up(Settings(endpoint=endpoint.url, platform=platform), lambda: None).host)
    assert len(functions) == marked


def test_a_server_that_was_started_with_another_model_is_asked_for_that(endpoint):
    endpoint.offer({"id": "org/old"})
    engine = make(endpoint)
    assert read(engine)[0] == "Hello"
    endpoint.offer({"id": "org/new"})
    endpoint.refuse(404, {"error": {"message": "The model `org/old` does not exist.", "code": 404}})
    assert read(engine)[0] == "Hello"
    assert [asked.body["model"] for asked in endpoint.chats] == ["org/old", "org/old", "org/new"]


@pytest.mark.parametrize(
    "said",
    [
        "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property "
        "'reasoning_content' is unsupported)]",
        "property 'messages.1.assistant.reasoning_content' is unsupported",
    ],
    ids=["Groq", "Cerebras"],
)
def test_thoughts_that_a_server_doesnt_take_back_are_left_out(endpoint, said):
    call = ToolCall("look_up", "{}", "call_1")
    talk = (Message("user", "Hi"), Message("assistant", "", "Hm.", (call,)), Message("tool", "ok", answers=call))
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said, "type": "invalid_request_error"}})
    for _ in range(2):
        read(engine, replace(ask(), messages=talk))
    assert [asked.body["messages"][1].get("reasoning_content") for asked in endpoint.chats] == ["Hm.", None, None]


LENGTHS_NOT_TAKEN = {
    "DashScope": ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", 8192),
    "DeepSeek": ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
    "Anthropic": ("max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens", 8192),
    "Groq": (
        "`max_tokens` must be less than or equal to `16384`, the maximum value for `max_tokens` is less than the "
        "`context_window` for this model",
        16384,
    ),
}


@pytest.mark.parametrize(("said", "most"), LENGTHS_NOT_TAKEN.values(), ids=LENGTHS_NOT_TAKEN)
def test_a_length_that_is_refused_becomes_the_greatest_there_is_for_this_reply_alone(endpoint, said, most):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said, "param": "max_tokens"}})
    assert read(engine, ask(max_new_tokens=32000, keeps_all=True))[0] == "Hello"
    assert read(engine, ask(max_new_tokens=100, keeps_all=True))[0] == "Hello"
    assert [asked.body.get("max_tokens") for asked in endpoint.chats] == [32000, most, 100]


CONTEXT_TOO_SMALL = {
    "xAI": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Kimi": "Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)",
    "DashScope": "Range of input length should be [1, 30720]",
    "SiliconFlow": "length of prompt_tokens (57535) must be less than max_seq_len (32768)",
    "Ark": "Total tokens of image and text exceed max message tokens",
}


@pytest.mark.parametrize("said", CONTEXT_TOO_SMALL.values(), ids=CONTEXT_TOO_SMALL)
def test_a_conversation_that_is_too_long_is_shortened_whatever_the_server_calls_it(endpoint, said):
    endpoint.refuse(400, {"error": {"message": said}})
    talk = tuple(Message(role, f"{role} {turn}") for turn in range(3) for role in ("user", "assistant"))
    read(make(endpoint), replace(ask(), messages=(*talk, Message("user", "Last"))))
    assert len(endpoint.chats[1].body["messages"]) < len(endpoint.chats[0].body["messages"])


@pytest.mark.parametrize("is_json", [True, False])
def test_what_the_provider_behind_a_router_says_counts(endpoint, is_json):
    raw = {"error": {"message": "Unsupported parameter: 'seed'", "param": "seed"}}
    told = {"raw": json.dumps(raw) if is_json else "Unsupported parameter: 'seed'", "provider_name": "OpenAI"}
    endpoint.refuse(400, {"error": {"message": "Provider returned error", "code": 400, "metadata": told}})
    assert read(make(endpoint))[0] == "Hello"
    first, second = (set(asked.body) for asked in endpoint.chats)
    assert first - second == {"seed"}


def test_a_parameter_that_is_refused_within_the_stream_is_left_out(endpoint):
    said = {"message": "Unsupported parameter: 'seed'", "type": "invalid_request_error", "param": "seed"}
    endpoint.enqueue(event({"error": said}), DONE)
    assert read(make(endpoint))[0] == "Hello"
    assert "seed" not in endpoint.chats[1].body


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "Your input requires moderation and was flagged"),
        (403, "Country, region, or territory not supported"),
        (404, "No endpoints found that support tool use"),
    ],
)
def test_a_refusal_that_is_about_what_is_asked_is_told_in_the_servers_words(endpoint, status, said):
    endpoint.refuse(status, {"error": {"message": said}})
    failed = fail(make(endpoint))[1]
    assert (failed.key, failed.fields["said"]) == ("endpoint_refused", said)


def test_a_message_that_is_part_of_a_word_hides_nothing_of_what_the_server_says(endpoint):
    endpoint.refuse(400, {"error": {"message": "Unsupported parameter: 'top_k'"}})
    read(make(endpoint), ask("to"))
    assert set(endpoint.chats[0].body) - set(endpoint.chats[1].body) == {"top_k"}


def test_what_is_said_in_the_choice_that_broke_off_is_told(endpoint):
    error = {"code": 502, "message": "Upstream died"}
    choice = {"index": 0, "delta": {}, "finish_reason": "error", "error": error}
    endpoint.enqueue(delta("Hel"), event({"choices": [choice]}), DONE)
    text, failed = fail(make(endpoint))
    assert text == "Hel" and "Upstream died" in failed.text("en")


def test_where_no_list_tells_where_the_operations_are_both_places_are_asked(endpoint):
    endpoint.pages.clear()
    endpoint.refuse(404, {"detail": "Not Found"})
    engine = make(endpoint, path="/inference", model="org/model")
    assert read(engine)[0] == read(engine)[0] == "Hello"
    paths = [asked.path.removesuffix("/chat/completions") for asked in endpoint.chats]
    assert paths == ["/inference/v1", "/inference", "/inference"]


def test_where_neither_place_has_the_model_the_first_stays_the_first(endpoint):
    endpoint.pages.clear()
    engine = make(endpoint, path="/inference", model="org/model")
    for _ in range(2):
        endpoint.refuse(404, {"detail": "no such model"})
    assert fail(engine)[1].key == "endpoint_no_model"
    assert read(engine)[0] == "Hello"
    paths = [asked.path.removesuffix("/chat/completions") for asked in endpoint.chats]
    assert paths == ["/inference/v1", "/inference", "/inference/v1"]


FINISHES = {
    **dict.fromkeys(("length", "LENGTH", "MAX_TOKENS", "model_length", "max_output_tokens"), "max_new_tokens"),
    **dict.fromkeys(("STOP", "eos_token", "end_turn", "COMPLETE", "tool_calls"), "end_of_turn"),
    **dict.fromkeys(("content_filter", "SAFETY", "RECITATION"), "content_filter"),
}


@pytest.mark.parametrize(("finish", "reason"), FINISHES.items())
def test_a_reason_may_be_spelt_in_any_way(endpoint, finish, reason):
    endpoint.enqueue(delta("Hello"), delta(finish=finish), DONE)
    assert read(make(endpoint))[2].finish_reason == reason


@pytest.mark.parametrize("begun", [[], [delta(role="assistant")]], ids=["nothing", "role"])
def test_a_filter_that_allows_nothing_is_told_as_that(endpoint, begun):
    endpoint.enqueue(*begun, delta(finish="content_filter"), DONE)
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("", "endpoint_filtered")


@pytest.mark.parametrize("finish", ["error", "abort", "cancelled", "USER_CANCEL", "timeout"])
def test_a_reply_that_the_server_broke_off_is_told_as_that(endpoint, finish):
    endpoint.enqueue(delta("Hello"), delta(finish=finish), DONE)
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("Hello", "endpoint_cut")


def test_a_servers_words_are_told_as_it_wrote_them(endpoint):
    said = 'Model "a\\b" is\n\tgone'
    endpoint.refuse(500, {"error": {"message": said}})
    told = fail(make(endpoint))[1].text("en")
    assert 'failed: Model "a\\b" is gone. Try again' in told
    endpoint.refuse(409, {"error": {"message": "서버가 바쁩니다! " * 40}})
    told = fail(make(endpoint))[1].fields["said"]
    assert told.startswith("서버가 바쁩니다! 서버가") and len(told) == 201 and told.endswith("…")


@pytest.mark.parametrize("answer", ["<!doctype html><title>Sign in</title>", "\n <html></html>"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", ""])
def test_a_page_for_people_is_known_whatever_it_is_called(endpoint, answer, kind):
    endpoint.answers.append(Answer([answer], headers={"Content-Type": kind} if kind else {}))
    assert fail(make(endpoint))[1].key == "endpoint_no_model"


def test_only_the_end_of_a_stream_is_no_reply(endpoint):
    for _ in range(2):
        endpoint.enqueue(event({"error": {}}), DONE)
    assert fail(make(endpoint))[1].key == "endpoint_empty"


@pytest.mark.parametrize("begins", [b"data: ", b"", b": ", b'data: {"choices": [\ndata: '])
def test_what_goes_on_without_an_end_is_given_up_before_it_fills_the_memory(endpoint, monkeypatch, begins):
    monkeypatch.setattr("hfdemo.engines.remote.events.MAX_EVENT_CHARS", 1_000_000)
    endpoint.enqueue(delta("Hello"), begins, *[b"x" * 100_000] * 30, 5.0)
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("Hello", "endpoint_cut")
    endpoint.chats[0].ended.wait(5)
    assert endpoint.chats[0].closed_at is not None


def test_many_events_are_no_endless_one():
    reader = EventReader()
    reader_limit = "x" * 1000
    told = [data for _ in range(40_000) for data in reader.add(f"data: {reader_limit}\n\n: ping\n".encode())]
    assert len(told) == 40_000


def test_an_endless_list_of_models_is_none(endpoint, monkeypatch):
    monkeypatch.setattr("hfdemo.engines.remote.server.MAX_LIST_BYTES", 1_000_000)
    endpoint.pages["/v1/models"] = Answer([*[b" " * 100_000] * 30, 5.0], headers={"Content-Type": "application/json"})
    assert read(make(endpoint))[0] == "Hello"
    assert endpoint.gets[0].closed_at is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_nobody_listens_no_address_is_told_but_the_hosts(host):
    chosen = Settings(endpoint=f"http://{host}:1/v1")
    made.append(RemoteHost(chosen, find_address(chosen, None), IMPATIENT))
    with pytest.raises(GenerationFailed) as failed:
        list(RemoteEngine(chosen, made[-1]).stream(ask(), StopSignal()))
    told = failed.value.text("en")
    assert "Connect call" not in told and "::1" not in told and told.count(host) == 1
    assert "(Connection refused)" in told or "(ConnectError)" in told


def test_what_cant_be_unpacked_is_called_that(endpoint):
    for _ in range(2):
        endpoint.answers.append(
            Answer([b"not gzip"], headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})
        )
    error = fail(make(endpoint))[1]
    assert (error.key, error.fields["problem"]) == ("endpoint_unreachable", "DecodingError")


def test_a_long_line_keeps_nobody_waiting():
    """4 MB in pieces took 7 s of the loop in which all replies come."""
    reader, begun = EventReader(), time.process_time()
    pieces = [b"data: ", *[b"x" * 4096] * 1024, b"\r", b"\n\r\n"]
    assert [len(data) for piece in pieces for data in reader.add(piece)] == [4096 * 1024]
    assert time.process_time() - begun < 1


def test_what_else_stands_in_an_address_is_in_no_message(endpoint):
    with serve_endpoint() as other:
        onward = other.url.replace("//", "//me:secret@") + "/v1/chat/completions?api-key=secret#secret"
        endpoint.answers.append(Answer([""], 308, {"Location": onward}))
        _, error = fail(make(endpoint, path="/v1?api-key=secret"), ask("my words"))
        assert f"{other.url}/v1/chat/completions" in error.text("en") and "secret" not in error.text("en")
        assert endpoint.chats[-1].path.endswith("?api-key=secret")


def test_the_key_is_in_no_message(endpoint):
    for _ in range(3):
        endpoint.refuse(400, {"error": {"message": "Bad key sk-mine"}})
    engine = make(endpoint, endpoint_key="sk-mine")
    assert "sk-mine" not in fail(engine)[1].text("en")
    assert "sk-mine" not in repr(engine._settings) + repr(engine._host.address)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://me:secret@Host:80/v1?key=secret", "host:80"),
        ("https://api.example.com", "api.example.com"),
    ],
)
def test_people_are_told_the_endpoints_host_alone(url, host):
    assert find_address(Settings(endpoint=url), None).host == host


def test_a_provider_is_asked_by_the_hubs_router_with_its_token():
    settings = Settings(model="org/name:groq")
    assert settings.is_remote
    address = find_address(settings, "hf_token")
    assert (address.base, address.key) == ("https://router.huggingface.co/v1", "hf_token")
    assert find_address(Settings(endpoint="https://other.test", model="org/name:groq"), "hf_token").key == ""
    without = RemoteEngine(settings, RemoteHost(settings, find_address(settings, None), IMPATIENT))
    with pytest.raises(HfdemoError) as failed:
        list(without.stream(ask(), StopSignal()))
    assert failed.value.key == "provider_no_token"


# Choosing


def test_the_endpoints_models_can_be_chosen(endpoint):
    endpoint.offer({"id": "a/one", "max_model_len": 10_000}, {"id": "b/two", "max_model_len": 500})
    engine = make(endpoint)
    host = engine._host
    host.load()
    wait_until(lambda: host.status.stage == "ready", 5)
    assert [choice.name for choice in host.choices()] == ["a/one", "b/two"]
    assert [choice.name for choice in host.search("TWO")] == ["b/two"]
    assert host.plan("b/two") is None
    with pytest.raises(GenerationFailed, match="does not have c/three"):
        host.plan("c/three")
    host.choose("b/two")
    assert (host.status.model, host.status.context_limit) == ("b/two", 500)
    read(engine)
    assert endpoint.chats[0].body["model"] == "b/two"


def test_a_host_may_offer_fewer(endpoint):
    endpoint.offer({"id": "a/one"}, {"id": "b/two"})
    engine = make(endpoint, models=("b/two",), model="b/two")
    read(engine)
    assert [choice.name for choice in engine._host.choices()] == ["b/two"]


def test_a_server_that_comes_later_is_found_by_itself(endpoint):
    endpoint.pages["/v1/models"] = json_answer({"error": {"message": "Loading model"}}, 503)
    host = make(endpoint)._host
    host.load()
    wait_until(lambda: host.status.stage == "loading", 5)
    endpoint.offer({"id": "org/model"})
    wait_until(lambda: host.status.stage == "ready", 5)


def test_a_key_that_is_refused_is_tried_again_by_a_person_only(endpoint):
    endpoint.pages["/v1/models"] = json_answer({"error": "no"}, 401)
    host = make(endpoint)._host
    host.load()
    wait_until(lambda: host.status.stage == "failed", 5)
    assert host.status.error is not None and host.status.error.key == "endpoint_no_key"
    endpoint.offer({"id": "org/model"})
    time.sleep(1.2)
    assert host.status.stage == "failed"
    host.load()
    wait_until(lambda: host.status.stage == "ready", 5)
    host.load()
    assert host.status.stage == "ready"


def test_looking_for_the_endpoint_can_be_cancelled(endpoint):
    endpoint.pages["/v1/models"] = Answer([5.0])
    host = make(endpoint)._host
    host.load()
    wait_until(lambda: endpoint.gets, 5)  # else the request may come while the next test counts its own
    host.cancel()
    assert host.status.stage == "cancelled"
    wait_until(lambda: endpoint.gets[0].closed_at is not None, 1)


TOKEN = "hf_oauth_TokenOfAnna"


@pytest.fixture
def paid_by_visitors(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> RemoteEngine:
    """An engine for the Hub's router, which is the endpoint here."""
    monkeypatch.setattr("hfdemo.engines.remote.address.ROUTER", f"{endpoint.url}/v1")
    settings = Settings(model="org/model:cheapest", credit="visitor", private=False)
    made.append(RemoteHost(settings, find_address(settings, "hf_TokenOfTheHost"), IMPATIENT))
    return RemoteEngine(settings, made[-1])


def test_each_visitors_own_token_pays_and_the_hosts_never(paid_by_visitors, endpoint):
    assert read(paid_by_visitors, ask(access_token=TOKEN))[0] == "Hello"
    read(paid_by_visitors, ask(access_token="hf_oauth_TokenOfBen"))
    assert [asked.headers["Authorization"] for asked in endpoint.chats] == [
        f"Bearer {TOKEN}",
        "Bearer hf_oauth_TokenOfBen",
    ]
    assert ["Authorization" in asked.headers for asked in endpoint.gets] == [False]
    assert TOKEN not in str(endpoint.chats[0].body) + repr(ask(access_token=TOKEN))
    [note] = paid_by_visitors.status().notes
    assert "your own Hugging Face credits" in note.text()


def test_visitors_pay_where_the_list_of_models_is_refused_too(paid_by_visitors, endpoint):
    endpoint.pages["/v1/models"] = json_answer({"error": "no token"}, 401)
    assert read(paid_by_visitors, ask(access_token=TOKEN))[0] == "Hello"
    assert endpoint.chats[0].body["model"] == "org/model:cheapest"


def test_who_has_not_signed_in_gets_no_reply(paid_by_visitors, endpoint):
    text, error = fail(paid_by_visitors, names_host=False)
    assert (text, error.key, endpoint.chats) == ("", "credit_sign_in", [])


@pytest.mark.parametrize(
    ("status", "key"),
    [(401, "credit_expired"), (403, "credit_expired"), (402, "credit_used_up"), (418, "endpoint_refused")],
)
def test_what_the_router_says_of_a_visitors_token_is_told_without_it(paid_by_visitors, endpoint, status, key, caplog):
    endpoint.refuse(status, {"error": {"message": f"No: {TOKEN}"}})
    _, error = fail(paid_by_visitors, ask(access_token=TOKEN), names_host=status == 418)
    assert error.key == key
    assert TOKEN not in error.text("en") + error.text("ko") + str(error.fields) + caplog.text


def test_a_visitors_token_goes_to_the_router_alone(paid_by_visitors, endpoint, monkeypatch):
    moved = Answer([""], 307, {"Location": "http://127.0.0.2/v1/chat/completions"})
    endpoint.answers.append(moved)
    assert fail(paid_by_visitors, ask(access_token=TOKEN))[1].key == "endpoint_moved"
    monkeypatch.undo()
    read(make(endpoint), ask(access_token=TOKEN))  # the host's own server
    assert "Authorization" not in endpoint.chats[-1].headers


def test_others_are_told_that_the_host_pays(endpoint, monkeypatch):
    monkeypatch.setattr("hfdemo.engines.remote.address.ROUTER", f"{endpoint.url}/v1")
    for private, notes in ((True, []), (False, ["credit_of_host"])):
        settings = Settings(model="org/model:cheapest", private=private)
        made.append(RemoteHost(settings, find_address(settings, "hf_TokenOfTheHost"), IMPATIENT))
        engine = RemoteEngine(settings, made[-1])
        read(engine)
        assert [note.key for note in engine.status().notes] == notes
        assert endpoint.chats[-1].headers["Authorization"] == "Bearer hf_TokenOfTheHost"


def tool(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def piece(arguments: str = "", **fields: object) -> dict[str, object]:
    """Return a piece of a call as OpenAI's server tells it."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {**fields, "function": {**name, "arguments": arguments}}


def calling(*pieces: dict[str, object], finish: str = "tool_calls") -> list[str]:
    """Return the events of a reply in which a model asks for tools."""
    return [*(delta(tool_calls=[one]) for one in pieces), delta(finish=finish), DONE]


CITY = ToolCall("look", '{"city": "서울"}', "c1")
SEEN = ToolCall("see", "{}", "c2")


def calls_of(engine: RemoteEngine, **fields: object) -> list[ToolCall]:
    told = read_all(engine, ask(tools=json.dumps([tool("look"), tool("see")]), **fields))[3]
    return [call for one in told for call in one.calls]


@pytest.mark.parametrize(
    "pieces",
    [
        [
            piece(index=0, id="c1", type="function", name="look"),
            piece('{"city"', index=0),
            piece(': "서울"}', index=0),
            piece("{}", index=1, id="c2", name="see"),
        ],
        [piece(CITY.arguments, index=0, id="c1", name="look"), piece("{}", index=0, id="c2", name="see")],
        [piece(CITY.arguments, id="c1", name="look"), piece("{}", id="c2", name="see")],
        [piece(id="c1", name="look"), piece('{"city": '), piece('"서울"}'), piece("{}", id="c2", name="see")],
        [piece(text, index=0, id="c1", name="look") for text in ('{"city": ', '"서울"}', "")]
        + [piece(index=1, id="c2", name="see")],
        [{"id": "c1", "function": {"name": "look", "arguments": {"city": "서울"}}}, {"id": "c2", **piece(name="see")}],
    ],
    ids=["numbered", "all of one number", "without numbers", "in pieces without", "all told again", "as objects"],
)
@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_calls_of_tools_are_told_as_calls(endpoint, pieces, finish):
    endpoint.enqueue(*calling(*pieces, finish=finish))
    assert calls_of(make(endpoint)) == [CITY, SEEN]


def test_calls_without_ids_get_some_and_one_that_is_told_whole_at_once_is_read(endpoint):
    endpoint.enqueue(*calling(piece("{}", index=0, name="see"), piece("{}", index=0, name="see")))
    one, other = calls_of(make(endpoint))
    assert (one.name, other.name) == ("see", "see") and len({one.id, other.id, ""}) == 3
    message = {"role": "assistant", "content": None, "tool_calls": [piece("{}", id="c2", name="see")]}
    endpoint.answers.append(json_answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    assert calls_of(make(endpoint)) == [SEEN]


@pytest.mark.parametrize(("said", "told"), [("", 'look({"city": "서울"})\nsee({})'), ("Hi", "Hi")])
def test_calls_that_nobody_asked_for_are_the_reply_where_there_is_no_other(endpoint, said, told):
    calls = [piece(CITY.arguments, index=0, id="c1", name="look"), piece("{}", index=1, id="c2", name="see")]
    endpoint.enqueue(*([delta(said)] if said else []), *calling(*calls))
    text, _, receipt, deltas = read_all(make(endpoint), ask())
    assert (text, receipt and receipt.finish_reason) == (told, "end_of_turn")
    assert not any(one.calls for one in deltas)


@pytest.mark.parametrize("calls", [None, [], {}, "x", [None], ["x"], [{}], [{"function": "look"}], [piece("{}")]])
def test_odd_calls_are_none(endpoint, calls):
    endpoint.enqueue(delta("Hi", tool_calls=calls), delta(finish="stop"), DONE)
    engine = make(endpoint)
    text, _, receipt, deltas = read_all(engine, ask(tools=json.dumps([tool("look")])))
    assert (text, receipt and receipt.finish_reason) == ("Hi", "end_of_turn")
    assert not any(one.calls for one in deltas)


def test_of_calls_that_are_cut_off_only_the_whole_ones_are_told(endpoint):
    endpoint.enqueue(
        *calling(
            piece(CITY.arguments, index=0, id="c1", name="look"),
            piece('{"a', index=1, id="c2", name="see"),
            finish="length",
        )
    )
    assert calls_of(make(endpoint)) == [CITY]


def test_what_else_a_server_tells_of_a_call_goes_back_to_it(endpoint):
    """Gemini 3 refuses calls that come back without the signature of the thought behind them."""
    extra = {"google": {"thought_signature": "a+/=\ud800"}}
    pieces = [piece(index=0, id="c1", name="look", extra_content=extra), piece(CITY.arguments, index=0)]
    endpoint.enqueue(*calling(*pieces, piece("{}", index=1, id="c2", name="see", extra_content="odd")))
    engine = make(endpoint)
    signed = replace(CITY, extra_content='{"google": {"thought_signature": "a+/=\ufffd"}}')
    assert calls_of(engine) == [signed, SEEN]
    said = (Message("user", "Hi"), Message("assistant", "", calls=(signed, SEEN)))
    calls_of(engine, messages=(*said, Message("tool", "blue", answers=signed), Message("tool", "a", answers=SEEN)))
    told = endpoint.chats[-1].body["messages"][1]["tool_calls"]
    assert [call.get("extra_content") for call in told] == [{"google": {"thought_signature": "a+/=\ufffd"}}, None]


def test_a_server_that_tells_a_call_when_it_is_whole_may_be_silent_until_then(endpoint):
    endpoint.enqueue(delta("I look."), 0.4, *calling(piece(CITY.arguments, index=0, id="c1", name="look")))
    assert calls_of(make(endpoint, replace(IMPATIENT, stalled_s=0.1))) == [CITY]


def test_what_the_model_got_wrong_is_told_as_it_is(endpoint):
    endpoint.enqueue(*calling(piece('{"a', index=0, id="c2", name="see")))
    assert calls_of(make(endpoint)) == [ToolCall("see", '{"a', "c2")]


def test_tools_their_calls_and_results_go_to_the_endpoint(endpoint):
    engine = make(endpoint)
    said = (Message("user", "Hi"), Message("assistant", "", calls=(CITY, SEEN)))
    results = (Message("tool", "blue", answers=CITY), Message("tool", "a cat", answers=SEEN))
    calls_of(engine, messages=(*said, *results))
    body = endpoint.chats[-1].body
    assert (body["tools"], body.get("tool_choice"), body.get("response_format")) == (
        [tool("look"), tool("see")],
        None,
        None,
    )
    _, asked, blue, cat = body["messages"]
    assert asked == {"role": "assistant", "content": "", "tool_calls": [call.as_openai() for call in (CITY, SEEN)]}
    assert asked["tool_calls"][0]["function"] == {"name": "look", "arguments": CITY.arguments}
    assert blue == {"role": "tool", "content": "blue", "tool_call_id": "c1"}
    assert cat == {"role": "tool", "content": "a cat", "tool_call_id": "c2"}


@pytest.mark.parametrize(
    ("names", "choice"),
    [(("look", "see"), "required"), (("see",), {"type": "function", "function": {"name": "see"}})],
)
def test_a_call_that_has_to_come_is_asked_for_by_the_protocols_own_word(endpoint, names, choice):
    calls_of(make(endpoint), must_call=names, schema='{"anyOf": []}', schema_field="tool_choice")
    body = endpoint.chats[-1].body
    assert body["tool_choice"] == choice and "response_format" not in body


def test_one_call_at_most_is_asked_for_and_is_nothing_that_must_be_taken(endpoint):
    engine = make(endpoint)
    for one_call in (False, True):
        calls_of(engine, one_call=one_call)
        assert endpoint.chats[-1].body.get("parallel_tool_calls") == (False if one_call else None)
    endpoint.refuse(400, {"error": {"message": "parallel_tool_calls is not supported"}})
    calls_of(engine, one_call=True)
    assert "parallel_tool_calls" not in endpoint.chats[-1].body and engine.status().notes == ()
    read(engine, ask(one_call=True))
    assert "parallel_tool_calls" not in endpoint.chats[-1].body


def test_a_system_message_in_between_goes_to_the_endpoint_as_it_is(endpoint):
    said = (Message("user", "Hi"), Message("system", "Be brief."), Message("user", "Who are you?"))
    read(make(endpoint), ask(messages=said, system_prompt="Be kind."))
    assert [one["role"] for one in endpoint.chats[0].body["messages"]] == ["system", "user", "system", "user"]
    for _ in range(3):  # it may be the first one, or what OpenAI's protocol doesn't have, that isn't taken
        endpoint.refuse(400, {"error": {"message": "System message must be at the beginning."}})
    _, error = fail(make(endpoint), ask(messages=said, system_prompt="Be kind."))
    assert error.key == "endpoint_refused" and "must be at the beginning" in str(error)


def test_tools_are_never_left_out(endpoint):
    for _ in range(2):
        endpoint.refuse(400, {"error": {"message": "model does not support tools", "param": "tools"}})
    _, error = fail(make(endpoint), ask(tools=json.dumps([tool("look")])))
    assert error.key == "endpoint_refused" and "does not support tools" in str(error)
    assert all("tools" in asked.body for asked in endpoint.chats)


def test_a_value_that_is_refused_keeps_no_other_visitor_from_another(endpoint):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": "temperature must be at most 1"}})
    assert read(engine, ask(temperature=2))[0] == "Hello"
    assert "temperature" not in endpoint.chats[-1].body
    (note,) = engine.status().notes
    assert note.text().endswith(": temperature.")
    read(engine, ask(temperature=0.5))
    assert endpoint.chats[-1].body["temperature"] == 0.5
    assert engine.status().notes == ()
    asked = len(endpoint.chats)
    read(engine, ask(temperature=2))
    assert len(endpoint.chats) == asked + 1
    assert "temperature" not in endpoint.chats[-1].body
    endpoint.refuse(400, {"error": {"message": "temperature must be at most 1"}})
    read(engine, ask(temperature=1.5))
    read(engine, ask(temperature=0.5))
    assert "temperature" not in endpoint.chats[-1].body


@pytest.mark.parametrize(
    "said",
    [
        "Unrecognized request argument supplied: temperature",
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "temperature: Extra inputs are not permitted",
        "This model doesn't support temperature",
        "unexpected keyword argument 'temperature'",
    ],
)
def test_what_a_server_doesnt_know_is_not_tried_with_another_value(endpoint, said):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said}})
    read(engine, ask(temperature=2))
    read(engine, ask(temperature=0.5))
    assert len(endpoint.chats) == 3
    assert "temperature" not in endpoint.chats[-1].body


def test_a_parameter_may_be_spelt_as_in_javascript(endpoint):
    endpoint.refuse(400, {"error": "Model grok-4-latest does not support parameter reasoningEffort."})
    endpoint.refuse(400, {"error": "Model grok-4-latest does not support parameter topP."})
    engine = make(endpoint)
    for count in (3, 4):
        read(engine, ask(thinking="low", temperature=0.3))
        body = endpoint.chats[-1].body
        assert (len(endpoint.chats), body["temperature"], "top_k" in body) == (count, 0.3, True)
        assert not {"reasoning_effort", "top_p"} & set(body)


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ("max_tokens is too large: 500. This model supports at most 256 completion tokens.", 256),
        ("max_tokens must be between 1 and 128", 128),
    ],
)
def test_a_reply_that_may_not_be_so_long_is_asked_for_as_long_as_it_may(endpoint, said, most):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said}})
    read(engine, ask(max_new_tokens=500))
    assert endpoint.chats[-1].body["max_tokens"] == most
    read(engine, ask(max_new_tokens=50))
    assert endpoint.chats[-1].body["max_tokens"] == 50


def test_a_reply_is_never_asked_for_without_a_length_that_somebody_chose(endpoint):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": "max_tokens is too large"}})
    endpoint.refuse(400, {"error": {"message": "max_completion_tokens is too large"}})
    _, error = fail(engine, ask(max_new_tokens=500))
    assert error.key == "endpoint_refused"
    assert "max_completion_tokens is too large" in error.text("en")


@pytest.mark.parametrize(
    "said",
    [
        "Invalid top_k. Supported parameters: temperature, top_p, seed, max_tokens.",
        "top_k is wrong. Only these are allowed: temperature, top_p, seed, max_tokens",
        "Invalid top_k in the request 'What are temperature, seed and max_tokens?'",
    ],
)
def test_only_what_is_refused_is_left_out_and_not_what_the_words_name_besides(endpoint, said):
    engine = make(endpoint)
    endpoint.refuse(400, {"error": {"message": said}})
    read(engine, ask("What are temperature, seed and max_tokens?", temperature=0.3, seed=5))
    body = endpoint.chats[-1].body
    assert "top_k" not in body
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.3, 5, 512)


@pytest.mark.parametrize(
    "said",
    [
        "Input validation error: `top_p` must be > 0.0 and < 1.0",
        "Input must be a list of strings",
        "The prompt exceeds the safety threshold",
    ],
)
def test_an_input_that_must_be_otherwise_is_not_called_too_long(endpoint, said):
    for _ in range(3):
        endpoint.refuse(422, {"error": said})
    _, error = fail(make(endpoint), ask(top_p=1.0))
    assert error.key == "endpoint_refused"


@pytest.mark.parametrize("param", ["tools[0].function.description", "metadata.x", "messages[1].tool_calls[0].id"])
def test_a_field_that_is_too_long_in_itself_is_told_in_the_servers_words(endpoint, param):
    said = f"Invalid '{param}': string too long. Expected a string with maximum length 1024."
    for _ in range(2):
        endpoint.refuse(400, {"error": {"message": said, "param": param, "code": "string_above_max_length"}})
    _, error = fail(make(endpoint), ask(tools=json.dumps([tool("look")])))
    assert (error.key, error.fields["said"]) == ("endpoint_refused", said)


@pytest.mark.parametrize("param", ["messages", "messages[0].content", "prompt", "input", "input_tokens", "max_tokens"])
def test_a_field_that_is_too_long_for_the_model_is_told_as_that(endpoint, param):
    said = "The request is too long: at most 4096 tokens."
    endpoint.refuse(400, {"error": {"message": said, "param": param}})
    assert fail(make(endpoint))[1].key == "endpoint_too_long"


def test_a_whole_message_beside_an_empty_delta_is_not_said_twice(endpoint):
    whole = {"index": 0, "delta": {}, "message": {"content": "Hello"}, "finish_reason": "stop"}
    endpoint.enqueue(delta("Hello"), event({"choices": [whole]}), DONE)
    assert read(make(endpoint))[0] == "Hello"


def test_a_reason_that_is_the_word_null_is_none(endpoint):
    going_on = {"index": 0, "delta": {"content": "Hel"}, "finish_reason": "null"}
    endpoint.enqueue(event({"choices": [going_on]}))
    text, error = fail(make(endpoint))
    assert (text, error.key) == ("Hel", "endpoint_cut")


def test_counts_that_there_can_not_be_are_none(endpoint):
    usage = {"prompt_tokens": 10**400, "completion_tokens": 10**400}
    endpoint.enqueue(delta("Hello", finish="stop"), event({"choices": [], "usage": usage}), DONE)
    _, _, receipt = read(make(endpoint))
    assert receipt.new_tokens < 10 and receipt.prompt_tokens < 10


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT"}}],
        {"errors": [{"message": "API key not valid"}]},
        {"errors": ["API key not valid"]},
        {"msg": "API key not valid"},
    ],
)
def test_an_error_in_another_form_is_told_in_the_servers_words(endpoint, body):
    for _ in range(3):
        endpoint.refuse(400, body)
    _, error = fail(make(endpoint))
    assert error.text("en").count("API key not valid") == 1
    assert "{" not in error.text("en")


def test_a_time_to_wait_that_is_in_no_year_is_none(endpoint):
    endpoint.refuse(429, {"error": "slow down"}, Retry_After="Fri, 31 Dec 9999 23:59:59 -2359")
    _, error = fail(make(endpoint))
    assert error.key == "endpoint_busy"


@pytest.mark.parametrize("status", [400, 403, 500])
def test_an_endpoint_that_has_no_list_for_this_key_is_asked_for_the_model_that_is_named(endpoint, status):
    endpoint.pages["/v1/models"] = json_answer({"error": "no list for you"}, status)
    engine = make(endpoint, model="org/named")
    assert read(engine)[0] == "Hello"
    assert endpoint.chats[0].body["model"] == "org/named"


@pytest.mark.parametrize("end", [CUT, 60.0], ids=["cut", "silent"])
def test_the_status_of_an_error_is_told_though_its_words_dont_come(endpoint, end, monkeypatch):
    monkeypatch.setattr(server, "ERROR_S", 0.3)
    for _ in range(3):
        endpoint.answers.append(Answer(['{"err', end], 401, {"Content-Type": "application/json"}))
    _, error = fail(make(endpoint))
    assert error.key == "endpoint_no_key"


def test_what_is_secret_in_an_address_is_not_shown_though_the_server_says_it(endpoint):
    endpoint.offer({"id": "org/model"}, path="/v1/models")
    for _ in range(3):
        endpoint.refuse(400, {"error": {"message": "no s%2Fecret1, s/ecret1, pass word, k-e-y-7 in v1"}})
    url = endpoint.url.replace("http://", "http://me:pass%20word@") + "/v1?sig=s%2Fecret1&version=v1"
    _, error = fail(make_at(url, endpoint_key="k-e-y-7"))
    assert "no ***, ***, ***, *** in v1" in error.text("en")


@pytest.mark.parametrize(
    "choice",
    [
        {"index": "0", "delta": {"content": "Hello"}},
        {"index": 0, "delta": {"content": {"type": "text", "text": "Hello"}}},
        {"index": 0, "delta": {"content": ["Hel", "lo"]}},
    ],
    ids=str,
)
def test_a_piece_in_another_form_is_read(endpoint, choice):
    endpoint.enqueue(event({"choices": [choice]}), delta(finish="stop"), DONE)
    assert read(make(endpoint))[0] == "Hello"


def test_a_line_end_that_is_not_escaped_loses_nothing(endpoint):
    endpoint.enqueue('data: {"choices":[{"index":0,"delta":{"content":"a\tb"}}]}\n\n', delta(finish="stop"), DONE)
    assert read(make(endpoint))[0] == "a\tb"


def test_half_a_surrogate_pair_is_no_character(endpoint):
    endpoint.enqueue(
        'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83d b"}}]}\n\n', delta(finish="stop"), DONE
    )
    assert read(make(endpoint))[0] == "a\ufffd b"


def test_a_model_that_is_loaded_meanwhile_is_waited_for_whatever_the_status(endpoint):
    endpoint.enqueue(json.dumps({"error": "Model org/model is currently loading", "estimated_time": 20.0}))
    assert read(make(endpoint))[0] == "Hello"


def test_the_key_is_shown_where_the_address_has_a_password(endpoint):
    url = endpoint.url.replace("http://", "http://me:password@")
    read(make_at(url, endpoint_key="k-e-y-7"))
    assert {asked.headers["Authorization"] for asked in (*endpoint.gets, *endpoint.chats)} == {"Bearer k-e-y-7"}


@pytest.mark.parametrize(("texts", "sent"), [((), None), (("\n", "END"), ["\n", "END"]), (tuple("abcde"), None)])
def test_the_stop_texts_of_a_plain_text_are_told_to_the_server(endpoint, texts, sent):
    endpoint.enqueue({"choices": [{"text": "a", "index": 0}]}, DONE)
    read(make(endpoint), ask(completes=True, stop_texts=texts))
    assert endpoint.chats[-1].body.get("stop") == sent
    endpoint.enqueue(delta("a"), *END)
    read(make(endpoint), ask(stop_texts=texts))
    assert "stop" not in endpoint.chats[-1].body
