"""The chat as a Space with ZeroGPU runs it: `python app.py`, the real `spaces` with its forks, a scheduler that lends.

The embedded model stands for any; a worker's GPU is the CPU.
"""

import base64
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from safetensors.torch import load_file, save_file

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.models import machine as machine_module
from hfdemo.settings import Settings
from tests.conftest import App, quickest, start_app, wait_until
from tests.integration.local import Local
from tests.zerogpu import Loan, Refusal, Scheduler, serve
from tests.zerogpu.scheduler import is_alive, kill

CAPITAL = "What is the capital of Korea?"
STORY = "Write a long story about a fox who finds a map."
KEY = "key-of-the-laptop-1"
KOREAN = {"Accept-Language": "ko-KR,ko;q=0.9"}


@contextmanager
def open_space(model: Path | str, folder: Path) -> Iterator[tuple[App, Scheduler]]:
    """Run the chat as a Space with a scheduler of its own."""
    scheduler = Scheduler()
    with serve(scheduler, folder) as environ:
        started = {"HFDEMO_MODEL": str(model), "HFDEMO_API_KEYS": f"laptop:{KEY}"} | environ
        app = start_app(folder, timeout_s=200, **started)  # the model comes first
        try:
            yield app, scheduler
        finally:
            app.process.terminate()
            app.process.wait(20)  # replies may go on for 10 s


@pytest.fixture(scope="module")
def running(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, Scheduler]]:
    with open_space(embedded_model, tmp_path_factory.mktemp("space")) as opened:
        yield opened


@pytest.fixture
def scheduler(running: tuple[App, Scheduler]) -> Scheduler:
    """The scheduler, when nothing is lent and it remembers nothing of the tests before."""
    _, scheduler = running
    wait_until(lambda: not scheduler.lent, 10, "the GPUs are given back")
    scheduler.forget()
    return scheduler


@pytest.fixture
def space(running: tuple[App, Scheduler], scheduler: Scheduler) -> App:
    return running[0]


def visit(space: App, who: str | None = None, **headers: str) -> Client:
    """Open the Space as a visitor for whom Hugging Face's proxy sends a token."""
    token = {"X-IP-Token": token_of(who)} if who else {}
    return Client(space.url, headers=token | headers, verbose=False)


def token_of(who: str) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"user": who}).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


def ask(client: Client, message: str = CAPITAL, **options: Any) -> str:
    return client.predict(message=message, api_name="/chat", **{"temperature": 0, "max_new_tokens": 24} | options)


def begin(client: Client, message: str = STORY, **options: Any) -> Any:
    return client.submit(message=message, api_name="/chat", **{"temperature": 0, "max_new_tokens": 1000} | options)


def wait_for_loan(scheduler: Scheduler, number: int = 0, timeout_s: float = 30) -> Loan:
    """Return a loan as soon as its worker has the GPU."""
    wait_until(lambda: len(scheduler.loans) > number and scheduler.loans[number].began_at > 0, timeout_s, "a loan")
    return scheduler.loans[number]


def workers(space: App) -> list[int]:
    return [child.pid for child in psutil.Process(space.process.pid).children() if is_alive(child.pid)]


def test_the_model_is_there_before_the_page_and_no_gpu_is_taken_before_a_message(space, scheduler):
    assert scheduler.startups == 1
    assert scheduler.loans == [] and workers(space) == []
    assert "RTX PRO 6000" in space.log()
    assert "tensors packing" in space.log()


def test_a_reply_streams_and_its_gpu_is_given_back(space, scheduler):
    texts = list(begin(visit(space, "ann"), CAPITAL, max_new_tokens=24))
    assert texts[-1] == "The capital of Korea is Seoul."
    assert len(set(texts)) > 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    wait_until(lambda: not scheduler.lent, 2, "the GPU is given back")
    (loan,) = scheduler.loans
    assert not loan.failed and loan.token == token_of("ann")


def test_a_program_with_a_key_is_answered_and_its_own_quota_pays(space, scheduler):
    headers = {"Authorization": f"Bearer {KEY}", "X-IP-Token": token_of("ann")}
    asked = {"messages": [{"role": "user", "content": CAPITAL}], "temperature": 0, "max_tokens": 24}
    answer = httpx.post(f"{space.url}/v1/chat/completions", headers=headers, json=asked, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] == "The capital of Korea is Seoul."
    headers["X-IP-Token"] = token_of("ben")
    answer = httpx.post(f"{space.url}/v1/chat/completions", headers=headers, json=asked | {"stream": True}, timeout=60)
    assert "Seoul" in answer.text and answer.text.endswith("data: [DONE]\n\n")
    assert [loan.token for loan in scheduler.loans] == [token_of("ann"), token_of("ben")]


def test_a_program_reads_why_it_gets_no_gpu(space, scheduler):
    scheduler.refusal = QUOTA
    headers = {"Authorization": f"Bearer {KEY}", "X-IP-Token": token_of("ann")}
    asked = {"messages": [{"role": "user", "content": CAPITAL}]}
    for stream in (False, True):
        answer = httpx.post(f"{space.url}/v1/chat/completions", headers=headers, json=asked | {"stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "gpu_quota")
        assert answer.headers["retry-after"] == "3720"
    scheduler.refusal = None


def test_text_is_what_the_local_engine_writes(space, embedded_model, monkeypatch):
    monkeypatch.setattr(machine_module, "bfloat16_pays", lambda: True)  # so it is on every GPU of ZeroGPU
    local = Local(Settings(model=str(embedded_model), cpu_weights="bf16"))
    request = ChatRequest((Message("user", STORY),), "", Options(temperature=0, max_new_tokens=24))
    text = "".join(delta.text for delta in local.stream(request, StopSignal()))
    assert ask(visit(space), STORY) == text


def test_the_same_seed_gives_the_same_reply_also_in_another_worker(space, scheduler):
    def invent(seed: int) -> str:
        return ask(visit(space), "Invent an animal.", temperature=1.2, max_new_tokens=12, seed=seed)

    texts = [invent(7), invent(8), invent(7)]
    kill(scheduler.loans[-1].pid)
    texts.append(invent(7))
    assert scheduler.loans[-1].pid != scheduler.loans[0].pid
    assert texts[0] == texts[2] == texts[3] != texts[1]


def test_receipt_comes_from_the_worker(space):
    client = visit(space)
    ask(client)
    receipt = client.predict(api_name="/receipt")
    assert (receipt["prompt_tokens"], receipt["new_tokens"], receipt["finish_reason"]) == (37, 8, "end_of_turn")
    assert (receipt["context_limit"], receipt["cached_tokens"]) == (8192, 0)
    assert 0 < receipt["first_token_s"] < 20 and receipt["tokens_per_s"] > 1
    assert receipt["device"].startswith("NVIDIA RTX PRO 6000") and receipt["device"].endswith("bfloat16")


def test_calls_of_one_client_are_one_conversation(space):
    client = visit(space)
    ask(client)
    assert "Seoul" in ask(client, "Repeat your last answer.")


def test_a_worker_that_is_there_is_used_again(space, scheduler):
    for _ in range(3):
        ask(visit(space))
    assert len({loan.pid for loan in scheduler.loans}) == 1
    assert workers(space) == [scheduler.loans[0].pid]


def test_a_longer_reply_asks_for_longer_and_none_for_longer_than_is_sensible(space, scheduler):
    for max_new_tokens in (8, 1000):
        ask(visit(space), max_new_tokens=max_new_tokens)
    job = begin(visit(space), max_new_tokens=4096)
    wait_until(lambda: any(job.outputs()), 30)
    job.cancel()
    short, longer, longest = (loan.seconds for loan in scheduler.loans)
    assert short == 15  # 4 to start, 10 to work, as `spaces` asks for them: one and a half times what it is told
    assert short < longer <= longest <= 90


@pytest.mark.parametrize("message", [STORY, "word " * 3000], ids=["writing", "reading the prompt"])
def test_stop_gives_the_gpu_back_within_a_second(space, scheduler, message):
    ask(visit(space))  # the worker is there

    def stop_s() -> float:
        """Return how long it takes until the GPU is given back."""
        client = visit(space)
        before = len(scheduler.loans)
        job = begin(client, message)
        loan = wait_for_loan(scheduler, before)
        wait_until(lambda: any(job.outputs()) or message != STORY, 20)
        time.sleep(0.5)
        assert not loan.ended_at
        stopped = time.monotonic()
        job.cancel()
        wait_until(lambda: loan.ended_at, 10, "the GPU is given back")
        assert not loan.failed and is_alive(loan.pid)
        receipt = client.predict(api_name="/receipt")
        assert receipt["finish_reason"] == "stopped"
        assert (receipt["new_tokens"] > 0) == (message == STORY)
        return loan.ended_at - stopped

    assert quickest(stop_s, 1) < 1
    assert ask(visit(space)) == "The capital of Korea is Seoul."


def test_a_caller_who_hangs_up_gives_the_gpu_back(space, scheduler):
    body = {"data": [STORY, "", 0, 1, 2000, 0, 1, -1, "", "", "auto"]}
    posted = httpx.post(f"{space.url}/gradio_api/call/chat", json=body).json()["event_id"]
    with httpx.stream("GET", f"{space.url}/gradio_api/call/chat/{posted}", timeout=30) as stream:
        loan = wait_for_loan(scheduler)
        next(line for line in stream.iter_lines() if "generating" in line)
    left = time.monotonic()
    wait_until(lambda: loan.ended_at, 5, "the GPU is given back")
    assert loan.ended_at - left < 3 and not loan.failed


def test_the_tokens_of_two_visitors_are_not_mixed(space, scheduler):
    first, second = visit(space, "ann"), visit(space, "ben")
    jobs = [
        begin(client, CAPITAL, max_new_tokens=tokens)
        for _ in range(2)  # one is answered, one waits
        for client, tokens in ((first, 8), (second, 1000))
    ]
    assert {job.result() for job in jobs} == {"The capital of Korea is Seoul."}
    ann = [loan.seconds for loan in scheduler.loans if loan.token == token_of("ann")]
    ben = [loan.seconds for loan in scheduler.loans if loan.token == token_of("ben")]
    assert len(ann) == len(ben) == 2
    assert max(ann) < min(ben)


def test_a_visitor_without_a_token_sends_none(space, scheduler):
    ask(visit(space))
    assert [loan.token for loan in scheduler.loans] == [None]


def test_many_wait_for_the_one_gpu_and_all_are_answered(space, scheduler):
    questions = {f"Say the word {word}." for word in ("apple", "bread", "cloud", "drum", "elephant", "forest")}
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda question: ask(visit(space), question, max_new_tokens=12), questions))
    assert all(texts) and len(scheduler.loans) == 6
    periods = sorted((loan.began_at, loan.ended_at) for loan in scheduler.loans)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(periods))


def test_who_leaves_the_line_never_takes_a_gpu(space, scheduler):
    writing = begin(visit(space, "ann"))
    wait_for_loan(scheduler)
    waiting = begin(visit(space, "ben"))
    wait_until(lambda: len(scheduler.loans) == 2, 10, "somebody in the line")
    wait_until(lambda: waiting.outputs(), 10, "a sign of life while waiting")
    waiting.cancel()
    wait_until(lambda: scheduler.loans[1].left, 20, "nobody in the line")
    writing.cancel()
    wait_until(lambda: not scheduler.lent, 20, "the GPU is given back")
    time.sleep(0.5)
    assert scheduler.loans[1].gpu == -1


def test_a_program_that_hangs_up_in_the_line_never_takes_a_gpu(space, scheduler):
    writing = begin(visit(space, "ann"))
    wait_for_loan(scheduler)
    headers = {"Authorization": f"Bearer {KEY}", "X-IP-Token": token_of("ben")}
    with pytest.raises(httpx.ReadTimeout):
        asked = {"messages": [{"role": "user", "content": STORY}]}
        httpx.post(f"{space.url}/v1/chat/completions", headers=headers, json=asked, timeout=2)
    wait_until(lambda: len(scheduler.loans) == 2 and scheduler.loans[1].left, 20, "nobody in the line")
    writing.cancel()
    wait_until(lambda: not scheduler.lent, 20, "the GPU is given back")
    assert scheduler.loans[1].gpu == -1
    assert "closed by visitor" not in space.log() and "asking ZeroGPU" not in space.log()


def test_a_message_that_does_not_fit_is_refused_without_a_gpu(space, scheduler):
    with pytest.raises(AppError, match="holds 8,192"):
        ask(visit(space), "word " * 9000)
    assert scheduler.loans == []


def test_a_gpu_that_is_taken_back_ends_the_reply_with_a_kind_text(space, scheduler):
    for headers, text in (({}, "took the GPU back"), (KOREAN, "GPU를 회수했습니다")):
        number = len(scheduler.loans)
        job = begin(visit(space, **headers))
        loan = wait_for_loan(scheduler, number)
        wait_until(lambda job=job: any(job.outputs()), 20)
        scheduler.abort(loan)
        with pytest.raises(AppError, match=text):
            job.result()
        wait_until(lambda loan=loan: not is_alive(loan.pid), 5)
    assert ask(visit(space)) == "The capital of Korea is Seoul."
    assert workers(space) == [scheduler.loans[-1].pid]


QUOTA = Refusal(429, {"left": 12, "wait": 3700.0}, {"X-Authenticated": "regular"})

REFUSALS = [
    (QUOTA, "ann", r"needs \d+ s, and you have 12 s\. Try again in 1 h 2 min", r"\d+초 필요|12초 .*1시간 2분"),
    (Refusal(429, {"left": 12, "wait": 3700.0}), "ann", "Sign in", "로그인하면"),
    (Refusal(429, {"left": 0, "wait": 0.0}), "ann", "as many replies", "횟수"),
    (Refusal(429, {"left": 0, "wait": 60.0}), None, "visitors who are not signed in", "로그인하지 않은 방문자"),
    (Refusal(429, {"left": 0, "wait": -1.0}), "ann", r"needs a GPU for \d+ s", r"GPU가 \d+초 필요"),
    (
        Refusal(429, {"left": 0, "wait": 1.0}, {"X-Approve-Result": "pending-overquota-exceeded"}),
        "ann",
        "credits",
        "크레딧",
    ),
    (Refusal(503), "ann", "All GPUs are busy", "모든 GPU"),
    (Refusal(401), "ann", "reload the page", "새로 고친"),
    (Refusal(500), "ann", "could not provide a GPU", "할당하지 못했"),
]


@pytest.mark.parametrize(("refusal", "who", "english", "korean"), REFUSALS)
def test_a_refusal_is_said_in_the_visitors_language(space, scheduler, refusal, who, english, korean):
    scheduler.refusal = refusal
    for headers, text in (({}, english), (KOREAN, korean)):
        with pytest.raises(AppError, match=text):
            ask(visit(space, who, **headers))
    scheduler.refusal = None
    assert ask(visit(space, who)) == "The capital of Korea is Seoul."


@pytest.mark.parametrize("who", [None, "ann"])
def test_who_waits_too_long_in_the_line_is_told_so(space, scheduler, who):
    writing = begin(visit(space))
    wait_for_loan(scheduler)
    scheduler.patience_s = 0.5
    with pytest.raises(AppError, match="All GPUs are busy right now"):
        ask(visit(space, who))
    writing.cancel()


def test_a_visitors_words_and_token_are_not_logged(space, scheduler):
    ask(visit(space, "carol"), "The secret word is xylophone.")
    scheduler.refusal = QUOTA
    with pytest.raises(AppError):
        ask(visit(space, "carol"), "The secret word is xylophone.")
    assert "xylophone" not in space.log() and token_of("carol") not in space.log()
    assert re.search(r"reply: prompt_tokens=3\d .* lent_s=10$", space.log(), re.MULTILINE)


def test_numbers_gone_wrong_in_a_worker_end_the_reply_with_their_own_text(tiny, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny.folder.iterdir():
        if path.suffix != ".safetensors":
            (broken / path.name).symlink_to(path)
    weights = load_file(tiny.folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with open_space(broken, tmp_path) as (space, scheduler):
        for headers, text in (({}, "invalid numbers"), (KOREAN, "올바르지 않은 값")):
            with pytest.raises(AppError, match=text):
                ask(visit(space, **headers))
        assert len({loan.pid for loan in scheduler.loans}) == 1  # the worker is as good as before
        assert not any(loan.failed for loan in scheduler.loans)


def test_a_model_that_does_not_load_is_said_on_the_page_and_to_callers(tmp_path):
    with open_space("./nowhere.gguf", tmp_path) as (space, scheduler):
        assert "There is no folder or GGUF file" in space.log()
        with pytest.raises(AppError, match="There is no folder or GGUF file"):
            ask(visit(space))
        assert scheduler.startups == 1 and scheduler.loans == []


def test_when_the_space_ends_no_worker_is_left(space, scheduler):
    """The last one here: it ends the Space of those above."""
    begin(visit(space), max_new_tokens=4000)
    loan = wait_for_loan(scheduler)
    assert is_alive(loan.pid) and workers(space) == [loan.pid]
    space.process.terminate()
    space.process.wait(20)  # replies may go on for 10 s
    wait_until(lambda: not is_alive(loan.pid), 5, "the worker ends")
