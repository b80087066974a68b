"""Nobody learns from the time of an answer what somebody else has asked; the same chat does go on faster.

Source of the method: Gu et al., Auditing Prompt Caching in Language Model APIs (https://arxiv.org/abs/2502.07776).
"""

import random
from dataclasses import dataclass, field
from statistics import median

import pytest

from benchmarks.report import same_source
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Receipt, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.integration.local import Local, loaded, save_tiny_model

PAIRS = 100
ROUNDS = 3
"""One time in a hundred two samples of the same source are as different as that: what is the same is so once in these
rounds, and what differs, differs in all of them."""
SYSTEM_PROMPT = "Speak like a lawyer. " * 40


@pytest.fixture(scope="module")
def local(embedded_model, tmp_path_factory) -> Local:
    folder = save_tiny_model(tmp_path_factory.mktemp("model"), "llama", embedded_model, max_position_embeddings=4096)
    return loaded(Settings(model=str(folder), scheduling="single"))


def answer(local: Local, key: str, *said: str) -> Receipt:
    roles = ("user", "assistant") * len(said)
    messages = tuple(Message(role, text) for role, text in zip(roles, said, strict=False))
    request = ChatRequest(messages, SYSTEM_PROMPT, Options(temperature=0, max_new_tokens=2), cache_key=key)
    (*_, last) = local.stream(request, StopSignal())
    assert last.receipt is not None
    return last.receipt


@dataclass
class Times:
    """How long the first tokens of questions took, s."""

    victims: list[float] = field(default_factory=list)
    """What somebody else has asked before."""
    strangers: list[float] = field(default_factory=list)
    """What nobody has asked before."""
    own: list[float] = field(default_factory=list)
    """What the same chat has asked before."""


def measure(local: Local, number: int) -> Times:
    times = Times()
    secret = "My illness is called Long Name. " * 8
    order = random.Random(number)
    tokens = answer(local, "warm", secret).prompt_tokens
    for pair in range(PAIRS):
        victim = f"victim {number} {pair}"
        answer(local, victim, secret)  # so that it is in the cache, under another's key
        asked = {"victims": secret, "strangers": secret.replace("illness", "garden")}
        for whose in order.sample(sorted(asked), 2):
            receipt = answer(local, f"spy {number} {pair} {whose}", asked[whose])
            assert (receipt.cached_tokens, receipt.prompt_tokens) == (0, tokens)
            getattr(times, whose).append(receipt.first_token_s)
        again = answer(local, victim, secret)
        assert again.cached_tokens >= again.prompt_tokens - 1
        times.own.append(again.first_token_s)
    assert same_source(times.victims, times.own) < 0.01 and median(times.victims) > 2 * median(times.own)
    return times


def test_what_others_asked_changes_no_time_and_the_same_chat_is_faster(local):
    rounds = (measure(local, number) for number in range(ROUNDS))
    assert any(same_source(times.victims, times.strangers) > 0.01 for times in rounds)
