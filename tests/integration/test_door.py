"""The API in OpenAI's form on a running page: with clients that nobody changed, and with a model that computes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from hfdemo.door.door import make_door
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from tests.conftest import free_port, run_async, wait_until
from tests.integration.local import Local, loaded
from tests.integration.test_docs import ADDRESS, run
from tests.written import block, in_english, in_korean

KEY = "key-of-the-laptop-1"
MODEL = "tiny"
QUESTION = {"role": "user", "content": "What is the capital of Korea?"}


@pytest.fixture(scope="module")
def local(embedded_model: Path) -> Local:
    """The real small model: what it says is known."""
    return loaded(Settings(model=str(embedded_model), scheduling="batched", api_keys=(("laptop", KEY),)))


@pytest.fixture(scope="module")
def url(local: Local) -> Iterator[str]:
    page, port = local.page(), free_port()
    door = make_door(local.answering)
    options = {"quiet": True, "server_name": "127.0.0.1", "server_port": port}
    launch(page, local.settings, door=door, prevent_thread_lock=True, **options)
    yield f"http://127.0.0.1:{port}/v1"
    page.close()


@pytest.fixture(scope="module")
def openai(url: str):
    module = pytest.importorskip("openai")
    with module.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def model(openai) -> str:
    [model] = openai.models.list()
    return model.id


def test_openai_whole_and_as_a_stream(openai, model):
    asked = {"model": model, "messages": [QUESTION], "temperature": 0, "max_completion_tokens": 20}
    reply = openai.chat.completions.create(**asked)
    assert reply.choices[0].message.content == "The capital of Korea is Seoul."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens > 5 and reply.usage.prompt_tokens > 20
    chunks = list(openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == reply.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == reply.usage.completion_tokens


def test_stop_texts_lengths_and_seeds(openai, model):
    def ask(**fields):
        choice = openai.chat.completions.create(model=model, messages=[QUESTION], **fields).choices[0]
        return choice.message.content, choice.finish_reason

    assert ask(temperature=0, stop=" Korea") == ("The capital of", "stop")
    assert ask(temperature=0, max_tokens=3)[1] == "length"
    sampled = {"temperature": 1.5, "max_tokens": 12}
    assert ask(**sampled, seed=7) == ask(**sampled, seed=7) != ask(**sampled, seed=8)


def test_probabilities_are_those_of_the_model(openai, model):
    asked = {"model": model, "messages": [QUESTION], "temperature": 0, "max_tokens": 8}
    choice = openai.chat.completions.create(**asked, logprobs=True, top_logprobs=4).choices[0]
    tokens = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == choice.message.content
    for token in tokens:
        best = [other.logprob for other in token.top_logprobs]
        assert len(best) == 4 and best == sorted(best, reverse=True)
        assert token.logprob == best[0] <= 0  # greedy
    chunks = list(openai.chat.completions.create(**asked, logprobs=True, stream=True))
    told = [
        token.token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content
    ]
    assert told == [token.token for token in tokens]


def test_a_text_is_gone_on_with(openai, model):
    reply = openai.completions.create(model=model, prompt="The capital of Korea is", temperature=0, max_tokens=3)
    assert reply.choices[0].text.startswith(" Seoul")
    assert reply.usage.prompt_tokens < 10


def test_the_responses_api(openai, model):
    asked = {"model": model, "input": QUESTION["content"], "temperature": 0, "max_output_tokens": 20}
    reply = openai.responses.create(**asked)
    assert reply.output_text == "The capital of Korea is Seoul." and reply.status == "completed"
    assert reply.usage.output_tokens > 5
    with openai.responses.stream(**asked) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(pieces) == final.output_text == reply.output_text
    again = [QUESTION, {"role": "assistant", "content": reply.output_text}, {"role": "user", "content": "Sure?"}]
    cut = openai.responses.create(**asked | {"input": again, "max_output_tokens": 2})
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"


def test_a_schema_holds(openai, model):
    pytest.importorskip("llguidance")
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=12)
        millions: int = Field(ge=0, le=99)

    for temperature in (0, 1.5):
        asked = {"model": model, "messages": [QUESTION], "temperature": temperature, "max_tokens": 200, "seed": 3}
        choice = openai.chat.completions.parse(**asked, response_format=City).choices[0]
        assert choice.finish_reason == "stop" and isinstance(choice.message.parsed, City)


def test_errors_are_openais(openai, model):
    import openai as module

    with pytest.raises(module.BadRequestError) as raised:
        openai.chat.completions.create(model=model, messages=[QUESTION], temperature=9)
    assert raised.value.param == "temperature" and raised.value.status_code == 400
    with pytest.raises(module.NotFoundError, match="gpt-9"):
        openai.chat.completions.create(model="gpt-9", messages=[QUESTION])
    with pytest.raises(module.BadRequestError) as raised:
        openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "a b " * 20_000}])
    assert raised.value.code == "context_length_exceeded"
    with pytest.raises(module.AuthenticationError):
        openai.with_options(api_key="wrong").models.list()


def test_the_next_turn_reads_only_what_is_new(openai, model):
    said = [{"role": "user", "content": "Tell me of the sea, in one sentence."}]
    asked = {"model": model, "temperature": 0, "max_tokens": 20}
    first = openai.chat.completions.create(messages=said, **asked)
    said += [{"role": "assistant", "content": first.choices[0].message.content}, QUESTION]
    later = openai.chat.completions.create(messages=said, **asked)
    assert later.usage.prompt_tokens_details.cached_tokens > first.usage.prompt_tokens - 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_connection_ends_the_reply(local, url, model, stream, monkeypatch):
    body = {"model": model, "messages": [QUESTION], "max_tokens": 8000, "temperature": 0, "stream": stream}
    monkeypatch.setattr(local.host, "model", replace(local.model, end_ids=()))  # it writes on and on
    ended = []
    answer = local.answering.answer
    local.answering.answer = lambda *args, **named: ended.append(answer(*args, **named)) or ended[-1]
    try:
        with (
            httpx.Client(headers={"Authorization": f"Bearer {KEY}"}) as client,
            pytest.raises(httpx.ReadTimeout),
            client.stream("POST", f"{url}/chat/completions", json=body, timeout=1.0) as response,
        ):
            for _ in response.iter_bytes():
                raise httpx.ReadTimeout("leave")
        receipt = ended[0].ended.result(timeout=1.0)
        assert receipt.finish_reason == "stopped"
        wait_until(lambda: not local.engine.in_use(), 1.0)
    finally:
        del local.answering.answer


def test_many_at_once_get_their_own_answers(openai, model):
    def ask(word: str) -> str:
        said = [
            {"role": "user", "content": "Repeat this word: Tokyo"},
            {"role": "assistant", "content": "Tokyo"},
            {"role": "user", "content": f"Repeat this word: {word}"},
        ]
        reply = openai.chat.completions.create(model=model, messages=said, temperature=0, max_tokens=16)
        return reply.choices[0].message.content

    words = ["Paris", "London", "Berlin", "Rome", "Madrid", "Vienna", "Oslo", "Lisbon"]
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(ask, words))
    found = [[other for other in words if other in answer] for answer in told]
    assert all(own in ([word], []) for word, own in zip(words, found, strict=True))
    assert len([own for own in found if own]) >= 6  # so small a model doesn't always do what it is told


def test_huggingface_hubs_own_client(url, model):
    from huggingface_hub import AsyncInferenceClient, InferenceClient

    client = InferenceClient(base_url=url, api_key=KEY)
    reply = client.chat_completion([QUESTION], temperature=0, max_tokens=20)
    assert reply.choices[0].message.content == "The capital of Korea is Seoul."
    chunks = client.chat.completions.create(messages=[QUESTION], model=model, stream=True, temperature=0)
    assert "Seoul" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    async def ask() -> str:
        async with AsyncInferenceClient(base_url=url, api_key=KEY) as client:
            stream = await client.chat_completion([QUESTION], temperature=0, max_tokens=20, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert run_async(ask()) == "The capital of Korea is Seoul."


def test_langchain(url, model):
    module = pytest.importorskip("langchain_openai")
    chat = module.ChatOpenAI(base_url=url, api_key=KEY, model=model, temperature=0, max_tokens=20)
    assert chat.invoke("What is the capital of Korea?").content == "The capital of Korea is Seoul."
    pieces = [piece.content for piece in chat.stream("What is the capital of Korea?")]
    assert "".join(pieces) == "The capital of Korea is Seoul." and len(pieces) > 1


def test_the_llm_tool(url, model, tmp_path):
    pytest.importorskip("llm")
    entry = {"model_id": "here", "model_name": model, "api_base": url, "api_key_name": "here"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([entry]))
    environ = os.environ | {"LLM_USER_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "llm", "-m", "here", "--key", KEY, "-o", "temperature", "0"]
    asked = [*command, "What is the capital of Korea?"]
    ended = subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert ended.stdout.strip() == "The capital of Korea is Seoul.", ended.stderr


def test_transformers_own_chat(url, model, tmp_path):
    pytest.importorskip("rich")
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "chat", model, url]
    environ = os.environ | {"HF_TOKEN": KEY, "TERM": "dumb", "COLUMNS": "200"}
    ended = subprocess.run(
        [*command, "max_new_tokens=20", "do_sample=False"],
        env=environ,
        input=f"{QUESTION['content']}\n!exit\n",
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    assert "The capital of Korea is Seoul." in ended.stdout, ended.stderr[-2000:]


@pytest.mark.parametrize(
    ("page", "key"),
    [(in_english("api"), "the key"), (in_korean("api"), "키")],
    ids=["en", "ko"],
)
def test_the_example_of_the_docs(url, page, key, tmp_path):
    pytest.importorskip("openai")
    code = block(page, "python", "OpenAI").replace(f"{ADDRESS}/v1", url).replace(key, KEY)
    assert run([sys.executable, "-c", code], tmp_path) == ["The capital of Korea is Seoul."]


def test_curl(url, model):
    assert shutil.which("curl")
    body = json.dumps({"model": model, "messages": [QUESTION], "temperature": 0, "stream": True})
    command = ["curl", "-sN", f"{url}/chat/completions", "-H", f"Authorization: Bearer {KEY}", "-d", body]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Seoul" in ended.stdout and ended.stdout.endswith("data: [DONE]\n\n")


NPM = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: process.argv[3], maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of Korea?" }];
const model = (await client.models.list()).data[0].id;
const stream = await client.chat.completions.create({ model, messages, temperature: 0, stream: true });
let text = "";
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
console.log(text);
try { await client.chat.completions.create({ model, messages, temperature: 9 }); }
catch (error) { console.log(error.status, error.param); }
"""


def test_openais_client_for_javascript(url, tmp_path):
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "ask.js").write_text(NPM)
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "openai@6"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if installed.returncode:
        pytest.skip("npm can't install openai here")
    command = ["node", "ask.js", url, KEY]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert ended.stdout.splitlines() == ["The capital of Korea is Seoul.", "400 temperature"], ended.stderr
