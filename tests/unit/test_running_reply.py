"""A running reply knows why it ends; its end interrupts the reading of its prompt; `generate` asks it everything."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import pipeline

from hfdemo.chat.options import Options
from hfdemo.chat.prompt import Prompt
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.reply_format import ReplyFormat, usual_format
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding import running
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import Interrupted, RunningReply, hooked
from hfdemo.decoding.streamer import TokenStreamer
from hfdemo.errors import GenerationFailed
from hfdemo.models.load import ChatPipeline, LoadedModel
from hfdemo.models.tensors import decoder_layers
from tests.unit.families import byte_level
from tests.unit.tiny_models import tiny_model

TOKENIZER: Any = byte_level(["<|begin|>", "<|end|>"])
END = TOKENIZER.convert_tokens_to_ids("<|end|>")


def reply_of(layers: list[nn.Module] | None = None, options: Options | None = None, **more: Any) -> RunningReply:
    """Return a reply that has begun, of a model that computes nothing."""
    network = SimpleNamespace(_supports_default_dynamic_cache=lambda: False)
    prompts = SimpleNamespace(context_limit=None, stop_texts=(), reply_format=ReplyFormat())
    model: Any = LoadedModel(
        "tiny", SimpleNamespace(model=network, tokenizer=TOKENIZER), prompts, (END,), tuple(layers or ()), "CPU"
    )
    request = DecodeRequest(Prompt((1, 2, 3)), options or Options(max_new_tokens=3), **more)
    reply = RunningReply(model, request, StopSignal())
    reply.begin()
    return reply


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False))


class TestTheEnd:
    def test_is_none_while_the_reply_goes_on(self):
        reply = reply_of()
        assert reply.finish_reason() is None
        reply.write(ids_of("q")[0])
        assert reply.finish_reason() is None

    def test_is_the_models_when_it_ends_its_turn_also_with_the_last_token_that_it_may_write(self):
        reply = reply_of(options=Options(max_new_tokens=1))
        reply.write(END)
        assert reply.finish_reason() == "end_of_turn"
        reply.finish("end_of_turn")
        receipt = reply.done.result(0)
        assert (receipt.new_tokens, reply.streamer.token_ids, reply.streamer.text) == (1, [], "")

    def test_is_the_length(self):
        reply = reply_of()
        for token_id in ids_of("q7z"):
            assert reply.finish_reason() is None
            reply.write(token_id)
        assert reply.finish_reason() == "max_new_tokens"

    def test_is_a_stop_text(self):
        reply = reply_of(options=Options(max_new_tokens=99, stop_texts=("7",)))
        for token_id in ids_of("q7"):
            reply.write(token_id)
        assert reply.finish_reason() == "stop_text"

    @pytest.mark.parametrize("reason", ["stopped", "model_changed"])
    def test_is_what_the_stop_signal_says(self, reason):
        reply = reply_of()
        reply.stop.set(reason)
        assert reply.finish_reason() == reason

    def test_is_the_time_limit_from_when_the_reply_began(self, clock: "Clock"):
        reply = reply_of(time_limit_s=10)
        clock.now += 10
        assert reply.finish_reason() is None
        clock.now += 1
        assert reply.finish_reason() == "time_limit"
        assert reply.stop.is_set() and reply.stop.reason == "time_limit"

    def test_does_not_count_the_tokens_of_a_reply_that_goes_on(self):
        ids = tuple(ids_of("q7z"))
        reply = reply_of(reply_ids=ids)
        assert reply.finish_reason() is None
        for token_id in ids_of("q7z"):
            reply.write(token_id)
        assert reply.finish_reason() == "max_new_tokens"
        reply.finish("max_new_tokens")
        assert reply.done.result(0).new_tokens == 3

    def test_is_a_stop_texts_that_was_held_back_as_it_might_have_begun_a_mark(self):
        reply = reply_of(options=Options(max_new_tokens=3, stop_texts=("<",)))
        reply.streamer = TokenStreamer(TOKENIZER, (END,), ("<",), usual_format())
        for token_id in ids_of("a <"):
            reply.write(token_id)
        reply.finish("max_new_tokens")
        assert (reply.streamer.text, reply.done.result(0).finish_reason) == ("a ", "stop_text")


class TestStopSignal:
    def test_keeps_the_first_reason_but_a_persons_wish_outweighs_all(self):
        stop = StopSignal()
        stop.set("time_limit")
        stop.set("model_changed")
        assert stop.reason == "time_limit"
        stop.set()
        assert stop.reason == "stopped"

    def test_is_reverted_for_its_own_reason_only(self):
        stop = StopSignal()
        stop.set("model_changed")
        assert stop.revert("model_changed") and not stop.is_set()
        stop.set()
        assert not stop.revert("model_changed") and stop.is_set()


class TestInterruptible:
    """A forward pass that is left between its layers."""

    def test_ends_a_forward_pass_between_two_layers(self):
        layers: list[nn.Module] = [Layer(), Layer(then=lambda: reply.stop.set()), Layer()]
        reply = reply_of(layers)
        with pytest.raises(Interrupted), reply.interruptible():
            nn.Sequential(*layers)(torch.ones(1))
        assert [layer.passes for layer in layers] == [1, 1, 0]

    def test_lets_a_forward_pass_through_that_nobody_stops(self):
        layers: list[nn.Module] = [Layer(), Layer()]
        with reply_of(layers).interruptible():
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3

    def test_leaves_the_layers_as_they_were(self):
        layers: list[nn.Module] = [Layer(), Layer(then=lambda: reply.stop.set()), Layer()]
        reply = reply_of(layers)
        with pytest.raises(Interrupted), reply.interruptible():
            nn.Sequential(*layers)(torch.ones(1))
        assert nn.Sequential(*layers)(torch.ones(1)).item() == 4

    def test_ends_a_forward_pass_when_its_time_is_over(self, clock: "Clock"):
        layers: list[nn.Module] = [Layer(), Layer(then=lambda: clock.forward(11)), Layer()]
        reply = reply_of(layers, time_limit_s=10)
        with pytest.raises(Interrupted), reply.interruptible():
            nn.Sequential(*layers)(torch.ones(1))
        assert reply.finish_reason() == "time_limit"
        assert [layer.passes for layer in layers] == [1, 1, 0]

    def test_lets_a_forward_pass_through_that_takes_all_its_time(self, clock: "Clock"):
        layers: list[nn.Module] = [Layer(then=lambda: clock.forward(10)), Layer()]
        with reply_of(layers, time_limit_s=10).interruptible():
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3

    def test_is_over_once_the_checks_are_taken_out(self):
        layers: list[nn.Module] = [Layer(), Layer()]
        reply = reply_of(layers)
        with reply.interruptible() as lift:
            lift()
            reply.stop.set()
            assert nn.Sequential(*layers)(torch.ones(1)).item() == 3

    def test_checks_before_each_module_of_a_layer(self):
        checks: list[int] = []
        layer = nn.Sequential(Layer(), Layer())
        with hooked([layer], lambda: checks.append(1)):
            layer(torch.ones(1))
        assert len(checks) == 3


@pytest.fixture(scope="module")
def without_step() -> LoadedModel:
    """A model that only `generate` can run."""
    network = tiny_model("mamba", vocab_size=len(TOKENIZER))
    made: Any = pipeline("text-generation", model=network, tokenizer=TOKENIZER, pipeline_class=ChatPipeline)
    prompts: Any = SimpleNamespace(context_limit=None, stop_texts=(), reply_format=ReplyFormat())
    return LoadedModel("tiny", made, prompts, (END,), tuple(decoder_layers(network)), "CPU")


def detour(model: LoadedModel, options: Options, **more: Any) -> RunningReply:
    reply = RunningReply(model, DecodeRequest(Prompt((1, 2, 3, 4)), options, **more), StopSignal())
    Loop(CallingThread()).add(reply)
    return reply


class TestTheDetour:
    """Replies by `generate`, for models without a step."""

    @pytest.mark.parametrize(
        "options",
        [
            Options(temperature=0, max_new_tokens=12),
            Options(temperature=0, max_new_tokens=12, repetition_penalty=1.8),
            Options(temperature=1.5, top_k=7, top_p=0.8, seed=5, max_new_tokens=12),
            Options(temperature=1.2, top_k=0, top_p=1, seed=6, max_new_tokens=12, repetition_penalty=1.3),
        ],
        ids=["greedy", "penalised", "sampled", "all"],
    )
    def test_takes_the_tokens_of_the_same_sampler_as_the_loop(self, without_step, options):
        """Each option bears on the choice; what is expected is chosen token by token from the model's own logits."""
        found = detour(without_step, options)
        assert found.done.result(0).finish_reason in ("max_new_tokens", "end_of_turn")
        sampler = running.make_sampler(options, found.seed)
        ids = [1, 2, 3, 4]
        for token_id in found.streamer.token_ids:
            with torch.inference_mode():
                logits = without_step.pipeline.model(torch.tensor([ids])).logits[0, -1].float()
            assert sampler(logits, ids) == token_id
            ids.append(token_id)
        assert len(ids) > 6

    def test_ends_when_it_is_stopped(self, without_step):
        class Stopping(RunningReply):
            def write(self, token_id: int) -> None:
                super().write(token_id)
                if len(self.written) == 5:
                    self.stop.set()

        request = DecodeRequest(Prompt((1, 2)), Options(temperature=0, max_new_tokens=4000))
        reply = Stopping(without_step, request, StopSignal())
        Loop(CallingThread()).add(reply)
        receipt = reply.done.result(0)
        assert (receipt.finish_reason, receipt.new_tokens) == ("stopped", 5)

    def test_ends_when_its_time_is_over(self, without_step):
        reply = detour(without_step, Options(temperature=0, max_new_tokens=4000), time_limit_s=0.0)
        assert reply.done.result(0).finish_reason == "time_limit"

    def test_fails_where_generate_returns_before_the_end(self, without_step, monkeypatch):
        monkeypatch.setattr(without_step.pipeline.model, "generate", lambda **_: torch.tensor([[1, 2, 3, 4]]))
        reply = detour(without_step, Options(max_new_tokens=8))
        assert isinstance(reply.done.exception(0), RuntimeError)
        with pytest.raises(RuntimeError, match="before the end"):
            list(reply.streamer.deltas())

    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_says_that_the_logits_are_no_numbers(self, without_step, monkeypatch, wrong):
        forward = without_step.pipeline.model.forward

        def broken(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            output.logits[..., 3] = wrong
            return output

        monkeypatch.setattr(without_step.pipeline.model, "forward", broken)
        reply = detour(without_step, Options(temperature=0, max_new_tokens=8))
        with pytest.raises(GenerationFailed) as failure:
            reply.done.result(0)
        assert failure.value.key == "not_a_number"


class Clock:
    """Stands in for the module `time`; it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(running, "time", clock)
    return clock


class Layer(nn.Module):
    """Adds one, counts its passes and then does what it is told to."""

    def __init__(self, then: Callable[[], object] = lambda: None):
        super().__init__()
        self.passes = 0
        self.then = then

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        self.then()
        return value + 1
