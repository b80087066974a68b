"""The API as others call it: gradio_client and plain HTTP against the running chat with the real small model."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hfdemo.chat.options import RECOMMENDED
from tests.conftest import App, quickest


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    opened = Client(app.url, verbose=False)
    yield opened
    opened.close()


def ask(client: Client, message: str, **options: object) -> str:
    settings = {"temperature": 0, "max_new_tokens": 24} | options
    return client.predict(message=message, api_name="/chat", **settings)


def test_there_are_two_endpoints_and_chat_has_named_parameters(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/chat", "/receipt"]
    names = [parameter["parameter_name"] for parameter in endpoints["/chat"]["parameters"]]
    assert names[:5] == ["message", "system_prompt", "temperature", "top_p", "max_new_tokens"]
    assert names[5:] == ["top_k", "repetition_penalty", "seed", "stop_texts", "reply_start", "thinking", "min_p"]
    required = [parameter for parameter in endpoints["/chat"]["parameters"] if not parameter["parameter_has_default"]]
    assert [parameter["parameter_name"] for parameter in required] == ["message"]


def test_an_option_is_by_default_the_models_value_where_it_may_recommend_one(client):
    endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/chat"]
    described = {parameter["parameter_name"]: parameter for parameter in endpoint["parameters"]}
    assert {name for name, one in described.items() if one["parameter_default"] is None} == {"message", *RECOMMENDED}
    about = described["temperature"]["type"]["description"]
    assert about == "numeric value from 0 to 2; null, the default, is the model's recommended value, else 0.7"


def test_reply_streams_and_grows(client):
    question = {"message": "Tell me a story about a fox.", "temperature": 0, "max_new_tokens": 60}
    texts = list(client.submit(**question, api_name="/chat"))
    client.reset_session()
    assert texts[-1] == ask(client, "Tell me a story about a fox.", max_new_tokens=60)
    assert len(set(texts)) > 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_calls_of_one_client_are_one_conversation_and_others_know_nothing_of_it(client, app):
    ask(client, "What is the capital of Korea?")
    assert "Seoul" in ask(client, "Repeat your last answer.")
    assert "Seoul" not in ask(Client(app.url, verbose=False), "Repeat your last answer.")


def test_same_seed_gives_the_same_reply(app):
    def invent(seed: int) -> str:
        return ask(Client(app.url, verbose=False), "Invent an animal.", temperature=1.2, seed=seed)

    assert invent(7) == invent(7)
    assert len({invent(seed) for seed in (1, 2, 3)}) > 1


@pytest.mark.parametrize("temperature", [0, 1, 2, 0.001, 1e-45])
def test_any_temperature_in_range_works(client, temperature):
    assert ask(client, "Hi", temperature=temperature, max_new_tokens=4)


REST = '"", "", "auto"'
"""The last parameters, which plain calls by position need, too."""

BAD = [
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    '"0.5"',
    "[1]",
    "{}",
    "-2",
    "1e999",
    "1" + "0" * 400,
    "5000000000",
]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("position", "name", "low", "high"),
    [
        (2, "temperature", "0", "2"),
        (3, "top_p", "0", "1"),
        (4, "max_new_tokens", "1", "4096"),
        (5, "top_k", "0", "1000"),
        (6, "repetition_penalty", "0.5", "2"),
        (7, "seed", "-1", "4294967295"),
        (11, "min_p", "0", "1"),
    ],
)
def test_bad_number_is_refused_with_its_name_and_range(app, position, name, low, high, value):
    data = ['"Hi"', '""', "0", "1", "4", "0", "1", "-1", '""', '""', '"auto"', "0"]
    data[position] = value
    event, answer = call(app, f'{{"data": [{", ".join(data)}]}}')
    assert event == "error"
    assert name in answer["error"] and f"from {low} to {high}" in answer["error"]
    assert len(answer["error"]) < 200


@pytest.mark.parametrize(("position", "name"), [(4, "max_new_tokens"), (7, "seed")])
def test_null_is_refused_where_no_model_recommends_a_value(app, position, name):
    data = ['"Hi"', '""', "0", "1", "4", "0", "1", "-1", REST]
    data[position] = "null"
    event, answer = call(app, f'{{"data": [{", ".join(data)}]}}')
    assert event == "error" and name in answer["error"] and "it was null" in answer["error"]


def test_null_leaves_a_value_to_the_model_and_a_call_by_position_may_lack_the_newest(app):
    for more in ("", ", null", ", 0.1"):
        event, answer = call(app, f'{{"data": ["Hi", "", null, null, 4, null, null, -1, {REST}{more}]}}')
        assert event == "complete" and answer[0]


@pytest.mark.parametrize("value", ["12.5", "0"])
def test_max_new_tokens_is_a_whole_number_from_one(app, value):
    event, answer = call(app, f'{{"data": ["Hi", "", 0, 1, {value}, 0, 1, -1, {REST}]}}')
    assert event == "error" and "max_new_tokens" in answer["error"]


@pytest.mark.parametrize("message", ["null", "5", '""', '"  \\n"', "[1]", '{"text": "x"}', "true"])
def test_bad_message_is_refused(app, message):
    event, answer = call(app, f'{{"data": [{message}, "", 0, 1, 4, 0, 1, -1, {REST}]}}')
    assert event == "error" and "essage" in answer["error"]


@pytest.mark.parametrize("text", ['"\\ud800 lone"', '"nul \\u0000 esc \\u001b"', '"\\u2028 \\u202e bidi"', '"👩‍👩‍👧"'])
def test_odd_text_is_answered(app, text):
    event, answer = call(app, f'{{"data": [{text}, {text}, 0, 1, 4, 0, 1, -1, {REST}]}}')
    assert event == "complete" and isinstance(answer[0], str)


def test_errors_are_said_in_the_language_of_the_caller(app):
    _, answer = call(
        app, '{"data": ["", "", 0, 1, 4, 0, 1, -1, ' + REST + "]}", headers={"Accept-Language": "ko-KR,ko;q=0.9"}
    )
    assert answer["error"] == "먼저 메시지를 입력하세요."


def test_too_long_a_message_is_refused_with_its_token_count_and_the_limit(client):
    with pytest.raises(AppError, match=r"take 9,0\d\d tokens .* holds 8,192"):
        ask(client, "word " * 9000)


def test_as_much_as_a_message_may_hold_is_refused_at_once_with_its_token_count(client):
    def refusal_s() -> float:
        started = time.monotonic()
        with pytest.raises(AppError, match=r"take ~800,\d\d\d tokens .* holds 8,192"):
            ask(client, "word " * 800_000)
        return time.monotonic() - started

    assert quickest(refusal_s, 3) < 3


def test_more_than_four_megabytes_are_refused_unread(client):
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        ask(client, "word " * 1_000_000)


def test_cancelled_call_ends_the_generation(client, app):
    replies = app.log().count("reply:")
    job = client.submit(message="Write a long story.", temperature=0, max_new_tokens=2000, api_name="/chat")
    while not any(job.outputs()):
        time.sleep(0.05)
    job.cancel()
    app.wait_for_log("reply:", replies + 1, timeout_s=8)
    assert app.log().rstrip().splitlines()[-1].endswith("stopped")


@pytest.mark.parametrize("message", ["Write a long story.", "word " * 6000], ids=["decoding", "reading the prompt"])
def test_caller_who_hangs_up_ends_the_generation(app, message):
    replies = app.log().count("reply:")
    posted = post(app, json.dumps({"data": [message, "", 0, 1, 2000, 0, 1, -1, "", "", "auto"]}))
    with httpx.stream("GET", f"{app.url}/gradio_api/call/chat/{posted}", timeout=30) as stream:
        next(line for line in stream.iter_lines() if "generating" in line)
        time.sleep(0.5)
    app.wait_for_log("reply:", replies + 1, timeout_s=8)
    told = app.log().rstrip().splitlines()[-1]
    assert told.endswith("stopped")
    if message.startswith("word"):
        assert "new_tokens=0" in told


def test_closed_routes_stay_closed(app):
    assert httpx.post(f"{app.url}/gradio_api/upload", files={"files": b"x"}).status_code == 403
    assert httpx.get(f"{app.url}/gradio_api/file=https://example.org/x").status_code == 403
    assert httpx.post(f"{app.url}/gradio_api/run/chat", json={"data": ["x"]}).status_code == 404
    assert httpx.post(f"{app.url}/gradio_api/call/chat", content=b"x" * 34_000_000).status_code == 413
    assert httpx.get(f"{app.url}/monitoring").status_code in (403, 404)


def test_page_has_a_policy_and_no_secret(app):
    page = httpx.get(app.url)
    assert "script-src 'self' 'unsafe-eval' blob: 'sha256-" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def post(app: App, body: str, headers: dict[str, str] | None = None) -> str:
    """Post a call as it is, also what JSON libraries refuse to write, and return its event's id."""
    answer = httpx.post(
        f"{app.url}/gradio_api/call/chat",
        content=body.encode("utf-8", "surrogatepass"),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["event_id"])


def call(app: App, body: str, headers: dict[str, str] | None = None) -> tuple[str, object]:
    """Call `/chat` over plain HTTP and return the last event's name and data."""
    event_id = post(app, body, headers)
    with httpx.Client(timeout=60, headers=headers) as http:
        return read_last_event(http, f"{app.url}/gradio_api/call/chat/{event_id}")


def last_event(http: httpx.Client, parameters: dict[str, object]) -> tuple[str, object]:
    """Call `/chat` by named parameters over plain HTTP and return the last event's name and data."""
    body = json.dumps(parameters)  # escaped, so that half a surrogate pair passes
    answer = http.post("/gradio_api/call/v2/chat", content=body, headers={"Content-Type": "application/json"})
    return read_last_event(http, f"/gradio_api/call/v2/chat/{answer.json()['event_id']}")


def read_last_event(http: httpx.Client, address: str) -> tuple[str, object]:
    event = ""
    with http.stream("GET", address) as stream:
        for line in split_lines(stream):
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event in ("complete", "error"):
                return event, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended without an end")


def split_lines(stream: httpx.Response) -> Iterator[str]:
    """Yield lines that end in a line feed only: `iter_lines` splits at U+2028, too."""
    rest = b""
    for chunk in stream.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"stop_texts": 5}, "stop_texts must be text"),
        ({"stop_texts": "a\n" * 20}, "You can set at most 16 stop sequences"),
        ({"reply_start": None}, "reply_start must be text"),
        ({"thinking": "hard"}, "thinking must be one of auto, off, on, low, medium, high"),
        ({"system_prompt": None}, "system_prompt must be text"),
    ],
)
def test_other_bad_parameters_are_refused_with_their_name(app, parameters, text):
    with httpx.Client(base_url=app.url, timeout=30) as http:
        event, answer = last_event(http, {"message": "Hi"} | parameters)
    assert event == "error" and text in answer["error"]


def test_receipt_tells_of_the_clients_own_last_reply(client, app):
    assert client.predict(api_name="/receipt") is None
    ask(client, "What is the capital of Korea?")
    receipt = client.predict(api_name="/receipt")
    assert (receipt["prompt_tokens"], receipt["new_tokens"], receipt["finish_reason"]) == (37, 8, "end_of_turn")
    assert receipt["context_limit"] == 8192
    assert Client(app.url, verbose=False).predict(api_name="/receipt") is None
