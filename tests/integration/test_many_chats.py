"""Several chats are answered at once, also by models that hfdemo has no step of its own for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hfdemo.chat.messages import Message
from hfdemo.chat.reply import Receipt, StopSignal, Token
from hfdemo.decoding.streamer import TokenStreamer
from hfdemo.settings import Settings
from tests.conftest import quickest
from tests.integration.local import loaded, save_tiny_model
from tests.integration.story import story

HEROES = ("fox", "whale", "king", "robot")
CHATS = len(HEROES)
TOKENS = 60


@pytest.fixture
def folder(request: pytest.FixtureRequest, embedded_model: Path, tmp_path: Path) -> Path:
    """A model of the kind that is asked for; those that are made here take the tokenizer of the embedded one."""
    if request.param == "embedded":
        return embedded_model
    gemma2 = {"head_dim": 16, "sliding_window": 24} if request.param == "gemma2" else {}
    return save_tiny_model(tmp_path, request.param, embedded_model, max_position_embeddings=8192, **gemma2)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In which order replies got their first token and their last, as the thread that computes sees it."""
    order: list[str] = []
    add, finish = TokenStreamer.add, TokenStreamer.finish

    def adding(streamer: TokenStreamer, token_id: int, told: Token | None = None) -> None:
        if not streamer.first_token_at:
            order.append("first")
        add(streamer, token_id, told)

    def finishing(streamer: TokenStreamer, receipt: Receipt) -> None:
        order.append("last")
        finish(streamer, receipt)

    monkeypatch.setattr(TokenStreamer, "add", adding)
    monkeypatch.setattr(TokenStreamer, "finish", finishing)
    return order


def answer_all(folder: Path, kind: str, order: list[str]) -> tuple[list[str], list[Receipt]]:
    """Let chats be answered; return their texts and their receipts."""
    engine = loaded(Settings(model=str(folder), scheduling=kind))
    order.clear()
    begin = threading.Barrier(CHATS)

    def chat(number: int) -> tuple[str, Receipt]:
        question = Message("user", f"Write a long story about a {HEROES[number]}.")
        request = story(TOKENS, cache_key=str(number), messages=(question,))
        begin.wait(10)
        text, receipt = "", None
        for delta in engine.stream(request, StopSignal()):
            text += delta.text
            receipt = delta.receipt or receipt
        assert receipt is not None
        return text, receipt

    with ThreadPoolExecutor(CHATS) as threads:
        texts, receipts = zip(*threads.map(chat, range(CHATS)), strict=True)
    return list(texts), list(receipts)


@pytest.mark.parametrize("folder", ["embedded", "gemma2"], indirect=True)
def test_chats_are_answered_at_once(folder, order):
    texts, receipts = answer_all(folder, "batched", order)
    assert order == ["first"] * CHATS + ["last"] * CHATS
    if "SmolLM2" in folder.name:  # random weights say the same to anybody
        assert all(hero in text for hero, text in zip(HEROES, texts, strict=True))
    assert [receipt.new_tokens for receipt in receipts] == [TOKENS] * CHATS
    assert [receipt.finish_reason for receipt in receipts] == ["max_new_tokens"] * CHATS


@pytest.mark.parametrize(("folder", "kind"), [("gemma2", "single"), ("mamba", "batched")], indirect=["folder"])
def test_else_they_are_answered_one_after_the_other(folder, kind, order):
    _, receipts = answer_all(folder, kind, order)
    assert order == ["first", "last"] * CHATS
    assert all(receipt.finish_reason in ("max_new_tokens", "end_of_turn") for receipt in receipts)


@pytest.mark.parametrize("folder", ["llama", "mamba"], indirect=True)
def test_who_stops_while_waiting_for_the_others_leaves_at_once(folder):
    local = loaded(Settings(model=str(folder), scheduling="single"))
    others_stop = StopSignal()
    others = local.stream(story(8000), others_stop)
    next(delta for delta in others if delta.text)

    def leave_s() -> float:
        stop = StopSignal()
        waiting = local.stream(story(TOKENS), stop)
        assert next(waiting).ahead == 1
        stop.set()
        stopped_at = time.monotonic()
        *_, last = waiting
        took_s = time.monotonic() - stopped_at
        assert last.receipt and (last.receipt.finish_reason, last.receipt.new_tokens) == ("stopped", 0)
        return took_s

    assert quickest(leave_s, 1) < 1
    assert next(others).receipt is None
    others_stop.set()
    *_, last = others
    assert last.receipt and last.receipt.finish_reason == "stopped"
