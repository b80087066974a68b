"""Replies that are written together are those written alone; one that ends, stops or fails disturbs no other."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply import Receipt, StopSignal
from hfdemo.chat.reply_format import ReplyFormat
from hfdemo.compute.fast_step import FastStep
from hfdemo.compute.thread import CallingThread, ComputeThread
from hfdemo.decoding import loop as loop_module
from hfdemo.decoding.loop import LONE_PIECE_BESIDE_TOKENS, PIECE_TOKENS, Loop
from hfdemo.decoding.piece_size import PieceSize
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import RunningReply
from hfdemo.errors import GenerationFailed
from hfdemo.models.load import LoadedModel
from tests.conftest import wait_until
from tests.unit.families import byte_level
from tests.unit.tiny_models import tiny_model

GREEDY = Options(temperature=0, max_new_tokens=12)
LONG = replace(GREEDY, max_new_tokens=4000)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    tokenizer: PreTrainedTokenizerFast = byte_level(["<|begin|>", "<|end|>"])
    network = tiny_model("llama", vocab_size=len(tokenizer))
    pipeline: Any = SimpleNamespace(model=network, tokenizer=tokenizer)
    prompts: Any = SimpleNamespace(context_limit=2048, stop_texts=(), reply_format=ReplyFormat())
    with torch.inference_mode():
        step = FastStep(network, "bf16")
    return LoadedModel("tiny", pipeline, prompts, (), step.layers, "CPU", step)


class BrokenReply(RunningReply):
    def choose(self, logits: torch.Tensor) -> int:
        raise ArithmeticError("broken")


class BrokenEnd(RunningReply):
    def finish(self, reason: Any) -> None:
        raise ArithmeticError("broken")


def make(
    model: LoadedModel, length: int, options: Options = GREEDY, kind: type[RunningReply] = RunningReply, **more: Any
) -> RunningReply:
    ids = tuple((number * 31 + length) % 90 for number in range(length))
    return kind(model, DecodeRequest(Prompt(ids, dropped=0), options, **more), StopSignal())


def write(loop: Loop, *replies: RunningReply) -> list[Receipt]:
    for reply in replies:
        loop.add(reply)
    return [reply.done.result(60) for reply in replies]


def alone(model: LoadedModel, length: int, options: Options = GREEDY) -> list[int]:
    reply = make(model, length, options)
    write(Loop(ComputeThread()), reply)
    return reply.streamer.token_ids


def has_begun(reply: RunningReply) -> None:
    wait_until(lambda: len(reply.streamer.token_ids) > 2, 10)


@pytest.mark.parametrize("most", [1, 3, 16])
def test_replies_together_are_those_alone(model, most):
    lengths = (2, 9, 1, 30, PIECE_TOKENS + 5)
    replies = [make(model, length) for length in lengths]
    receipts = write(Loop(ComputeThread(), most), *replies)
    for length, reply, receipt in zip(lengths, replies, receipts, strict=True):
        assert reply.streamer.token_ids == alone(model, length)
        assert receipt.new_tokens == 12 and receipt.finish_reason == "max_new_tokens"
        assert receipt.prompt_tokens == length and receipt.first_token_s > 0


def test_each_reply_has_its_own_seed_and_options(model):
    several = [Options(temperature=1.5, top_k=0, top_p=1, seed=seed, max_new_tokens=5 + seed) for seed in range(4)]
    replies = [make(model, 8, options) for options in several]
    receipts = write(Loop(ComputeThread(), 4), *replies)
    for reply, receipt, options in zip(replies, receipts, several, strict=True):
        ids = reply.streamer.token_ids
        assert ids == alone(model, 8, options) and len(ids) == options.max_new_tokens
        assert receipt.seed == options.seed


def test_one_that_is_stopped_leaves_at_once_and_the_others_go_on(model):
    loop, stopped, other = Loop(ComputeThread(), 8), make(model, 5, LONG), make(model, 9)
    loop.add(stopped)
    loop.add(other)
    has_begun(stopped)
    stopped.stop.set()
    receipt = stopped.done.result(5)
    assert receipt.finish_reason == "stopped" and 0 < receipt.new_tokens < 4000
    assert list(stopped.streamer.deltas())[-1].receipt == receipt
    other.done.result(10)
    assert other.streamer.token_ids == alone(model, 9)


@pytest.mark.parametrize("most", [1, 8])
@pytest.mark.parametrize("kind", [BrokenReply, BrokenEnd])
def test_one_that_fails_ends_alone(model, kind, most):
    loop, bad, good = Loop(ComputeThread(), most), make(model, 5, kind=kind), make(model, 9)
    loop.add(bad)
    loop.add(good)
    assert isinstance(bad.done.exception(10), ArithmeticError)
    with pytest.raises(ArithmeticError):
        list(bad.streamer.deltas())
    good.done.result(10)
    assert good.streamer.token_ids == alone(model, 9)
    wait_until(lambda: not loop.is_busy, 5)


def test_a_step_that_fails_ends_all_and_the_next_reply_is_written(model, monkeypatch):
    loop, replies = Loop(ComputeThread(), 8), [make(model, 5), make(model, 9)]

    def broken(*_: object) -> None:
        raise GenerationFailed("out_of_memory")

    with monkeypatch.context() as patch:
        patch.setattr(FastStep, "__call__", broken)
        for reply in replies:
            loop.add(reply)
        for reply in replies:
            assert isinstance(reply.done.exception(10), GenerationFailed)
    reply = make(model, 9)
    write(loop, reply)
    assert reply.streamer.token_ids == alone(model, 9)


def test_what_is_kept_is_told_before_the_reply_is_done(model):
    kept: list[tuple[RunningReply, Receipt, bool]] = []
    reply = make(model, 5)
    reply.keep = lambda written, receipt: kept.append((written, receipt, written.done.done()))
    (receipt,) = write(Loop(ComputeThread(), 2), reply)
    assert kept == [(reply, receipt, False)]


def test_all_are_finished_when_the_model_is_to_leave(model):
    compute = ComputeThread()
    loop, replies = Loop(compute), [make(model, 5, LONG) for _ in range(3)]
    for reply in replies:
        loop.add(reply)
    has_begun(replies[0])
    loop.end_all("model_changed")
    compute.submit(loop.finish).result(5)
    receipts = [reply.done.result(0) for reply in replies]
    assert [receipt.finish_reason for receipt in receipts] == ["model_changed"] * 3
    assert [receipt.new_tokens > 0 for receipt in receipts] == [True, False, False]


@pytest.mark.parametrize(("most", "ahead"), [(1, [0, 1, 2, 3]), (3, [0, 0, 0, 1])])
def test_each_knows_how_many_have_to_end_before_it_begins(model, most, ahead):
    compute = ComputeThread()
    loop, replies = Loop(compute, most), [make(model, 5, LONG) for _ in range(4)]
    for reply in replies:
        loop.add(reply)
    has_begun(replies[0])
    wait_until(lambda: [loop.ahead(reply) for reply in replies] == ahead, 5)
    loop.end_all("stopped")
    assert [reply.done.result(5).finish_reason for reply in replies] == ["stopped"] * 4
    assert [loop.ahead(reply) for reply in replies] == [0] * 4


def test_another_job_of_the_compute_thread_comes_in_between(model):
    compute = ComputeThread()
    loop, reply = Loop(compute), make(model, 5, LONG)
    loop.add(reply)
    has_begun(reply)
    assert compute.submit(lambda: reply.done.done()).result(5) is False
    reply.stop.set()
    reply.done.result(5)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens of prompts were read at once, one time after the other."""
    lengths: list[int] = []
    read = loop_module.read

    def watched(reply: RunningReply, ids: Any) -> torch.Tensor:
        lengths.append(len(ids))
        return read(reply, ids)

    monkeypatch.setattr(loop_module, "read", watched)
    return lengths


def test_a_prompt_is_read_in_smaller_pieces_where_others_wait_for_their_tokens(model, monkeypatch, pieces):
    monkeypatch.setattr(PieceSize, "took", lambda *_: None)
    length = 2 * PIECE_TOKENS + 3
    for most in (1, 2):
        write(Loop(CallingThread(), most), make(model, length))
    assert pieces == [length, length], "alone, also where others could come"
    assert length < LONE_PIECE_BESIDE_TOKENS
    pieces.clear()
    loop, other = Loop(ComputeThread(), 2), make(model, 5, LONG)
    loop.add(other)
    has_begun(other)
    write(loop, make(model, length))
    other.stop.set()
    assert pieces == [5, PIECE_TOKENS, PIECE_TOKENS, 3]


def test_a_slow_moment_does_not_change_how_a_reply_alone_is_rounded(model, monkeypatch, pieces):
    took = PieceSize.took
    monkeypatch.setattr(PieceSize, "took", lambda self, tokens, seconds: took(self, tokens, seconds + 3))
    loop = Loop(CallingThread(), 8)
    for _ in range(5):
        write(loop, make(model, 100))
    assert pieces == [100] * 5


def test_a_stopped_reply_does_not_wait_until_the_prompt_of_another_is_read(model):
    loop, stopped, reading = Loop(ComputeThread(), 8), make(model, 5, LONG), make(model, 2000)
    ended_while_reading: list[bool] = []

    def stop_it(*_: Any) -> None:
        if reading.unread:
            stopped.stop.set()

    def look(*_: Any) -> None:
        if reading.unread:
            ended_while_reading.append(stopped.done.done())

    loop.add(stopped)
    has_begun(stopped)
    first, *_, last = model.layers
    handles = [first.before.register_forward_pre_hook(stop_it), last.after.down.register_forward_pre_hook(look)]
    loop.add(reading)
    reading.done.result(20)
    for handle in handles:
        handle.remove()
    assert ended_while_reading and all(ended_while_reading)
    assert stopped.done.result().finish_reason == "stopped"
    assert reading.streamer.token_ids == alone(model, 2000)


def test_the_pieces_follow_the_machine(model, monkeypatch):
    pieces: list[int] = []
    seconds = iter([0.8, 2.4, 5.0, 1.6])
    monkeypatch.setattr(loop_module, "read", lambda reply, ids: pieces.append(len(ids)) or torch.zeros(100))
    took = PieceSize.took
    monkeypatch.setattr(PieceSize, "took", lambda self, tokens, _: took(self, tokens, next(seconds)))
    write(Loop(CallingThread(), 2), make(model, 1024 + 2048 + 2048 + 1024, replace(GREEDY, max_new_tokens=1)))
    assert pieces == [1024, 2048, 2048, 1024]


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("limit_s", [0.0, 0.2])
def test_the_time_limit_counts_from_when_the_prompt_is_read_and_ends_a_reply(model, most, limit_s):
    reply = make(model, 9, LONG, time_limit_s=limit_s)
    (receipt,) = write(Loop(ComputeThread(), most), reply)
    assert receipt.finish_reason == "time_limit" and reply.stop.reason == "time_limit"
    assert (receipt.new_tokens > 0) == (limit_s > 0)


def test_what_a_chat_had_is_kept_where_its_next_reply_is_stopped_before_it_begins(model):
    first = make(model, 40)
    write(Loop(CallingThread()), first)
    request = DecodeRequest(Prompt((*first.request.prompt.ids[:30], 5, 6, 7), dropped=0), GREEDY)
    stopped = RunningReply(model, request, StopSignal(), first.cache, 30)
    stopped.stop.set()
    write(Loop(CallingThread()), stopped)
    assert stopped.cached().cache.tokens == 30


def test_the_pieces_of_a_prompt_that_were_read_before_a_stop_are_kept(model, monkeypatch):
    def read_and_stop(reply: RunningReply, piece: list[int]) -> torch.Tensor:
        logits = read(reply, piece)
        stopped.stop.set()
        return logits

    read, stopped = loop_module.read, make(model, 1900)
    monkeypatch.setattr(loop_module, "read", read_and_stop)
    monkeypatch.setattr(loop_module, "LONE_PIECE_TOKENS", 512)
    write(Loop(CallingThread()), stopped)
    monkeypatch.undo()
    kept = stopped.cached().cache
    assert 0 < kept.tokens < 1900
    alone, again = make(model, 1900), make(model, 1900)
    again.cache, again.cached_tokens = kept, kept.tokens
    write(Loop(CallingThread()), alone)
    write(Loop(CallingThread()), again)
    assert again.streamer.token_ids == alone.streamer.token_ids != []
