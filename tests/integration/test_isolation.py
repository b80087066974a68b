"""Nobody learns from the time of an answer what somebody else has asked; the same chat does go on faster.

Source of the method: Gu et al., Auditing Prompt Caching in Language Model APIs (https://arxiv.org/abs/2502.07776).
"""

import random
from statistics import median

import pytest

from benchmarks.report import same_source
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Receipt, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.integration.local import Local, loaded, save_tiny_model

PAIRS = 250
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


def test_what_others_asked_changes_no_time_and_the_same_chat_is_faster(local):
    victims, strangers, own = [], [], []
    secret = "My illness is called Long Name. " * 8
    order = random.Random(1)
    tokens = answer(local, "warm", secret).prompt_tokens
    for pair in range(PAIRS):
        answer(local, f"victim {pair}", secret)  # so that it is in the cache, under another's key
        asked = {"victims": secret, "strangers": secret.replace("illness", "garden")}
        for whose in order.sample(sorted(asked), 2):
            receipt = answer(local, f"spy {pair} {whose}", asked[whose])
            assert (receipt.cached_tokens, receipt.prompt_tokens) == (0, tokens)
            (victims if whose == "victims" else strangers).append(receipt.first_token_s)
        again = answer(local, f"victim {pair}", secret)
        assert again.cached_tokens >= again.prompt_tokens - 1
        own.append(again.first_token_s)
    assert same_source(victims, strangers) > 0.01
    assert same_source(victims, own) < 0.01 and median(victims) > 2 * median(own)
