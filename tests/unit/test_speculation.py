"""A reply written with drafts is the one without, to the bit; they only save time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply import Receipt, StopSignal, Token
from hfdemo.chat.reply_format import ReplyFormat
from hfdemo.chat.token_bytes import TokenBytes
from hfdemo.compute.chat_cache import ROOM_TOKENS, ChatCache
from hfdemo.compute.fast_step import FastStep, make_fast_step
from hfdemo.compute.step import LONGEST_DRAFT
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.prompt_lookup import Speculation
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import RunningReply
from hfdemo.models.load import LoadedModel
from hfdemo.settings import CpuWeights
from tests.unit.families import byte_level
from tests.unit.tiny_models import tiny_model

TOKENIZER: PreTrainedTokenizerFast = byte_level(["<|begin|>", "<|end|>"])
SIZE = (len(TOKENIZER) + 31) // 32 * 32
PROMPT = tuple(number * 31 % 90 for number in range(20)) * 3
GREEDY = Options(temperature=0, seed=1, max_new_tokens=80)
SAMPLED = Options(temperature=0.7, top_k=8, top_p=0.95, seed=5, max_new_tokens=80)


@pytest.fixture(scope="module", autouse=True)
def few_rows() -> Iterator[None]:
    """Use packed weights for all rows of a step, whichever way this CPU is faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfdemo.compute.cpu_weights.few_rows", lambda *_: 32)
        yield


def make_model(weights: CpuWeights) -> LoadedModel:
    """Return a model that likes to write what it wrote before, and never ends its reply."""
    network = tiny_model("llama", torch.bfloat16, vocab_size=SIZE, tie_word_embeddings=False, initializer_range=0.05)
    with torch.no_grad():
        before = torch.arange(90)
        network.lm_head.weight[(before + 31) % 90] += 10 * network.model.embed_tokens.weight[before]
    pipeline: Any = SimpleNamespace(model=network, tokenizer=TOKENIZER)
    prompts: Any = SimpleNamespace(
        context_limit=2048,
        stop_texts=(),
        reply_format=ReplyFormat(),
        tokenizer=TOKENIZER,
        token_bytes=TokenBytes(TOKENIZER),
        text_within=lambda ids: "",
    )
    with torch.inference_mode():
        step = make_fast_step(network, weights)
    assert step is not None and step.tokens_ahead == LONGEST_DRAFT
    return LoadedModel("tiny", pipeline, prompts, (), step.layers, "CPU", step)


@pytest.fixture(scope="module")
def model(few_rows: None) -> LoadedModel:
    return make_model("int8")


@dataclass
class Written:
    reply: RunningReply
    receipt: Receipt
    tokens: list[Token]
    accepted: int
    """How many tokens of drafts were right."""
    rejected: int

    @property
    def ids(self) -> list[int]:
        return self.reply.streamer.token_ids

    @property
    def keys_and_values(self) -> torch.Tensor:
        cache = self.reply.cache
        return cache.buffer[:, :, : cache.tokens]


Write = Callable[..., Written]


@pytest.fixture
def write(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Write:
    return writer(model, monkeypatch)


def writer(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes a reply, with drafts wherever there is one, or without any."""

    def run(
        options: Options, drafts: bool, prompt: tuple[int, ...] = PROMPT, cache: ChatCache | None = None, **more: Any
    ) -> Written:
        kind, counts = more.pop("kind", RunningReply), [0, 0]
        took = Speculation.took

        def counted(self: Speculation, drafted: int, written: int, seconds: float) -> None:
            counts[0] += written - 1
            counts[1] += drafted - (written - 1)
            took(self, drafted, written, seconds)

        reply = kind(model, DecodeRequest(Prompt(prompt), options, **more), StopSignal())
        if cache is not None:
            reply.cache, reply.cached_tokens = cache, cache.tokens
        with monkeypatch.context() as patch:
            patch.setattr(Speculation, "_pays", lambda self, *_: bool(self._alone_s))
            patch.setattr(Speculation, "took", counted)
            patch.setattr(model.step, "tokens_ahead", LONGEST_DRAFT if drafts else 0)
            Loop(CallingThread()).add(reply)
        told = [token for delta in reply.streamer.deltas() for token in delta.tokens]
        return Written(reply, reply.done.result(0), told, *counts)

    return run


def assert_same(one: Written, other: Written) -> None:
    assert one.ids == other.ids
    assert one.tokens == other.tokens
    assert one.reply.streamer.text == other.reply.streamer.text
    assert torch.equal(one.keys_and_values, other.keys_and_values)
    assert untimed(one.receipt) == untimed(other.receipt)


def untimed(receipt: Receipt) -> Receipt:
    return replace(receipt, first_token_s=0, tokens_per_s=0)


@pytest.mark.parametrize(
    "options",
    [
        GREEDY,
        replace(GREEDY, repetition_penalty=1.3),
        SAMPLED,
        replace(SAMPLED, temperature=1.5, seed=6),
        replace(SAMPLED, top_k=0, min_p=0.05, repetition_penalty=1.1),
        replace(SAMPLED, max_new_tokens=ROOM_TOKENS + 40),
        *(replace(GREEDY, max_new_tokens=most) for most in (1, 2, 3, 4, 5, 6, 7)),
    ],
)
def test_the_reply_is_the_one_without_drafts(write, options):
    with_drafts, without = write(options, drafts=True), write(options, drafts=False)
    assert_same(with_drafts, without)
    assert without.accepted == without.rejected == 0


def test_weights_in_4_bit_change_nothing(few_rows, monkeypatch):
    write = writer(make_model("int4"), monkeypatch)
    with_drafts, without = write(SAMPLED, drafts=True), write(SAMPLED, drafts=False)
    assert_same(with_drafts, without)


def test_right_drafts_are_taken_and_wrong_ones_are_not(write):
    several = [write(replace(SAMPLED, seed=seed), drafts=True) for seed in range(3)]
    assert sum(written.accepted for written in several) > 20
    assert sum(written.rejected for written in several) > 20


@pytest.mark.parametrize("options", [GREEDY, SAMPLED])
def test_what_is_told_of_each_token_is_the_same(write, options):
    with_drafts, without = (write(options, drafts, likeliest=3) for drafts in (True, False))
    assert len(without.tokens) == 80 and len(without.tokens[0].others) == 3
    assert_same(with_drafts, without)


@pytest.mark.parametrize("seed", range(2))
def test_a_stop_text_ends_the_reply_within_a_draft(write, seed):
    whole = write(replace(SAMPLED, seed=seed), drafts=True)
    for at in range(3, 60, 7):
        stop_text = TOKENIZER.decode(whole.ids[at : at + 2])
        options = replace(SAMPLED, seed=seed, stop_texts=(stop_text,))
        with_drafts, without = (write(options, drafts) for drafts in (True, False))
        assert_same(with_drafts, without)


def test_the_models_own_end_ends_the_reply_within_a_draft(write, model, monkeypatch):
    whole = write(SAMPLED, drafts=True)
    for end_id in dict.fromkeys(whole.ids):
        ending = writer(replace(model, end_ids=(end_id,)), monkeypatch)
        with_drafts, without = (ending(SAMPLED, drafts) for drafts in (True, False))
        assert with_drafts.receipt.finish_reason == "end_of_turn"
        assert with_drafts.receipt.new_tokens == whole.ids.index(end_id) + 1
        assert_same(with_drafts, without)


def test_a_schema_is_followed_all_the_same(write):
    pytest.importorskip("llguidance")
    schema = '{"type": "array", "items": {"enum": ["abcabcabc", "abcabd"]}, "minItems": 9, "maxItems": 9}'
    for options in (GREEDY, SAMPLED):
        options = replace(options, max_new_tokens=400)
        with_drafts, without = (write(options, drafts, schema=schema) for drafts in (True, False))
        assert_same(with_drafts, without)
        assert with_drafts.accepted > 20 and with_drafts.receipt.finish_reason == "end_of_turn"


@pytest.mark.parametrize("stopped_at", range(20, 25))
def test_one_that_is_stopped_within_a_draft_ends_there(write, stopped_at):
    class Stopped(RunningReply):
        def write(self, token_id: int) -> None:
            super().write(token_id)
            if len(self.written) == stopped_at:
                self.stop.set()

    written = write(GREEDY, drafts=True, kind=Stopped)
    assert written.receipt.finish_reason == "stopped" and written.receipt.new_tokens == stopped_at
    assert written.reply.cache.tokens == len(PROMPT) + stopped_at - 1
    assert_same(written, write(GREEDY, drafts=False, kind=Stopped))


@pytest.mark.parametrize("stopped_at", range(20, 25))
def test_one_that_fails_within_a_draft_is_told_so(model, monkeypatch, stopped_at):
    class Broken(RunningReply):
        def choose(self, logits: torch.Tensor) -> int:
            if len(self.written) == stopped_at:
                raise ArithmeticError("broken")
            return super().choose(logits)

    monkeypatch.setattr(Speculation, "_pays", lambda self, *_: bool(self._alone_s))
    reply = Broken(model, DecodeRequest(Prompt(PROMPT), GREEDY), StopSignal())
    Loop(CallingThread()).add(reply)
    assert isinstance(reply.done.exception(0), ArithmeticError)
    assert len(reply.streamer.token_ids) == stopped_at


@pytest.mark.parametrize("cut_at", [20, 21, 22])
def test_a_reply_that_was_cut_off_goes_on_as_it_would_have(write, cut_at):
    whole = write(GREEDY, drafts=False)
    for drafts in (True, False):
        part = write(replace(GREEDY, max_new_tokens=cut_at), drafts)
        begun = tuple(part.ids)
        rest = write(
            replace(GREEDY, max_new_tokens=80 - cut_at),
            drafts,
            (*PROMPT, *begun),
            part.reply.cache,
            reply_ids=begun,
            continues=True,
        )
        assert rest.ids == whole.ids
        assert rest.receipt.new_tokens == 80 - cut_at and rest.receipt.cached_tokens == len(PROMPT) + cut_at - 1


def test_no_drafts_are_made_while_another_reply_is_written(model, monkeypatch):
    drafted = []
    monkeypatch.setattr(Speculation, "_pays", lambda self, *_: bool(self._alone_s))
    monkeypatch.setattr(RunningReply, "draft", lambda self, most: drafted.append(len(loop._running)) or [])
    loop = Loop(CallingThread(), 2)
    replies = [RunningReply(model, DecodeRequest(Prompt(PROMPT), GREEDY), StopSignal()) for _ in range(2)]
    loop._waiting.append(replies[0])
    loop.add(replies[1])
    assert [reply.done.result(0).new_tokens for reply in replies] == [80, 80]
    assert set(drafted) <= {1}


class TestTheStep:
    """Several tokens of one chat in one step."""

    @pytest.mark.parametrize("family", ["llama", "phi3", "qwen3", "olmo2"])
    def test_reads_what_it_reads_one_by_one(self, family):
        more = {"pad_token_id": 0, "sliding_window": 12} if family == "phi3" else {}
        network = tiny_model(family, **more)
        ids = torch.arange(40) * 37 % 96
        with torch.inference_mode():
            step = FastStep(network, "bf16")
            cache = step.new_cache()
            network(ids[None, :10], cache=cache, use_cache=True)
            found = step(ids[10:40], [cache] * 30)
            expected = network(ids[None]).logits[0, 10:]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert cache.tokens == 40

    def test_goes_nowhere_ahead_where_several_tokens_are_computed_otherwise(self, monkeypatch):
        network = tiny_model("llama", torch.bfloat16, vocab_size=SIZE)
        forward = torch.nn.functional.layer_norm

        def odd(states: torch.Tensor, *arguments: Any) -> torch.Tensor:
            return forward(states, *arguments) * (1.01 if len(states) == 4 else 1)

        step = FastStep(network, "int8")
        cache = step.new_cache()
        with torch.inference_mode():
            step.read(torch.zeros(2, dtype=torch.long), cache)
            assert step.look_ahead(cache) == LONGEST_DRAFT
            monkeypatch.setattr("hfdemo.compute.decoder.F.layer_norm", odd)
            assert step.look_ahead(cache) == 2
