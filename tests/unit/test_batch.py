"""Replies that are made together are those that are made alone; one that ends, stops or fails disturbs no other."""

from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hfdemo.chat.UNKNOWN import FinishedReply
from hfdemo.decoding.generation import Turn
from transformers import PreTrainedTokenizerFast

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.compute.fast_step import FastStep
from hfdemo.compute.thread import ComputeThread
from hfdemo.decoding.loop import CHUNK_TOKENS, Batch
from hfdemo.decoding.streamer import Stopped, TokenStreamer
from hfdemo.errors import GenerationFailed
from hfdemo.models.load import LoadedModel
from tests.unit.families import byte_level
from tests.unit.tiny_models import tiny_model

GREEDY = Options(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    tokenizer: PreTrainedTokenizerFast = byte_level(["<|begin|>", "<|end|>"])
    network = tiny_model("llama", vocab_size=len(tokenizer))
    pipeline: Any = SimpleNamespace(model=network, tokenizer=tokenizer)
    prompts: Any = SimpleNamespace(context_limit=2048)
    with torch.inference_mode():
        step = FastStep(network, "bf16")
    return LoadedModel("tiny", pipeline, prompts, (), tuple(network.model.layers), "CPU", step)


class BrokenTurn(Turn):
    def take(self, logits: torch.Tensor) -> int:
        raise ArithmeticError("broken")


def turn(
    model: LoadedModel, length: int, options: Options = GREEDY, stop: Event | None = None, kind: type[Turn] = Turn
) -> Turn:
    stop = stop or Event()
    streamer = TokenStreamer(model.tokenizer, stop)
    ids = tuple((number * 31 + length) % 90 for number in range(length))
    return kind(model, Prompt(ids, dropped=0), options, streamer, stop, begun_with=0)


def ids_of(job: Any, made: Turn) -> tuple[FinishedReply, list[int]]:
    return job.result(60), made.streamer.token_ids


def alone(model: LoadedModel, length: int, options: Options = GREEDY) -> list[int]:
    made = turn(model, length, options)
    return ids_of(Batch(ComputeThread(), 1).add(made, lambda _: None), made)[1]


@pytest.mark.parametrize("most", [1, 3, 16])
def test_replies_together_are_those_alone(model, most):
    batch, lengths = Batch(ComputeThread(), most), (2, 9, 1, 30, CHUNK_TOKENS + 5)
    turns = [turn(model, length) for length in lengths]
    jobs = [batch.add(made, lambda _: None) for made in turns]
    for length, made, job in zip(lengths, turns, jobs, strict=True):
        reply, ids = ids_of(job, made)
        assert ids == alone(model, length)
        assert reply.receipt.new_tokens == 12 and reply.receipt.finish_reason == "max_new_tokens"
        assert reply.receipt.prompt_tokens == length and reply.receipt.first_token_s > 0


def test_each_reply_has_its_own_seed_and_options(model):
    several = [Options(temperature=1.5, top_k=0, top_p=1, seed=seed, max_new_tokens=5 + seed) for seed in range(4)]
    batch = Batch(ComputeThread(), 4)
    turns = [turn(model, 8, options) for options in several]
    jobs = [batch.add(made, lambda _: None) for made in turns]
    for made, job, options in zip(turns, jobs, several, strict=True):
        reply, ids = ids_of(job, made)
        assert ids == alone(model, 8, options) and len(ids) == options.max_new_tokens
        assert reply.receipt.seed == options.seed


def test_one_that_is_stopped_leaves_at_once_and_the_others_go_on(model):
    compute, stop = ComputeThread(), Event()
    batch = Batch(compute, 8)
    stopped = turn(model, 5, replace(GREEDY, max_new_tokens=4000), stop)
    other = turn(model, 9)
    first, second = batch.add(stopped, lambda _: None), batch.add(other, lambda _: None)
    next(stopped.streamer.pieces(5))
    stop.set()
    reply = first.result(5)
    assert reply.receipt.finish_reason == "stopped" and 0 < reply.receipt.new_tokens < 4000
    with pytest.raises(Stopped):
        list(stopped.streamer.pieces(5))
    assert ids_of(second, other)[1] == alone(model, 9)


def test_one_that_fails_ends_alone(model):
    batch = Batch(ComputeThread(), 8)
    bad, good = turn(model, 5, kind=BrokenTurn), turn(model, 9)
    jobs = batch.add(bad, lambda _: None), batch.add(good, lambda _: None)
    assert isinstance(jobs[0].exception(10), ArithmeticError)
    with pytest.raises(ArithmeticError):
        list(bad.streamer.pieces(5))
    assert ids_of(jobs[1], good)[1] == alone(model, 9)


def test_a_step_that_fails_ends_all_and_the_next_reply_is_made(model, monkeypatch):
    batch, turns = Batch(ComputeThread(), 8), [turn(model, 5), turn(model, 9)]

    def broken(*_: object) -> None:
        raise GenerationFailed("out_of_memory")

    with monkeypatch.context() as patch:
        patch.setattr(model.step, "_several", broken)
        patch.setattr(model.step, "_one", broken)
        for job in [batch.add(made, lambda _: None) for made in turns]:
            assert isinstance(job.exception(10), GenerationFailed)
    made = turn(model, 9)
    assert ids_of(batch.add(made, lambda _: None), made)[1] == alone(model, 9)


def test_what_is_kept_is_told_before_the_reply_is_done(model):
    kept: list[FinishedReply] = []
    made = turn(model, 5)
    job = Batch(ComputeThread(), 2).add(made, kept.append)
    assert kept == [job.result(10)]


def test_all_are_finished_when_the_model_is_to_leave(model):
    compute = ComputeThread()
    batch = Batch(compute, 1)
    turns = [turn(model, 5, replace(GREEDY, max_new_tokens=4000)) for _ in range(3)]
    jobs = [batch.add(made, lambda _: None) for made in turns]
    next(turns[0].streamer.pieces(5))
    for made in turns:
        made.streamer.end_soon("model_changed")
    compute.submit(batch.finish).result(5)
    assert [job.result(0).receipt.finish_reason for job in jobs] == ["model_changed"] * 3
