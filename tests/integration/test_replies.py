"""Replies of the real small model: going on, prefilling, stop texts, receipts, limits."""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.errors import GenerationFailed
from hfdemo.settings import Settings
from tests.integration.local import Local, loaded
from tests.integration.story import STORY, run, story
from tests.unit.families import all_families
from tests.warm import the_warm_python


@pytest.fixture(scope="module", params=["single", "batched"])
def engine(embedded_model: Path, request: pytest.FixtureRequest) -> Local:
    return loaded(Settings(model=str(embedded_model), scheduling=request.param))


@pytest.fixture(scope="module")
def whole(engine: Local) -> str:
    """The first 60 tokens of the story, written at one go."""
    return run(engine, story(60))[0]


@pytest.mark.parametrize("cut", [1, 7, 20, 39])
def test_a_reply_cut_by_its_length_goes_on_as_if_it_had_never_been_cut(engine, whole, cut):
    begun, receipt = run(engine, story(cut, cache_key="length"))
    assert receipt.finish_reason == "max_new_tokens"
    text, receipt = run(engine, story(60 - cut, cache_key="length", reply_start=begun, continues=True))
    assert text == whole
    assert receipt.prompt_tokens == 41 + cut
    assert receipt.cached_tokens == receipt.prompt_tokens - 1
    assert receipt.new_tokens == 60 - cut


@pytest.mark.parametrize(("cut", "shown"), [(4, "뷁"), (5, "뷁"), (9, "뷁뷁 안"), (10, "뷁뷁 안")])
def test_a_reply_cut_in_a_character_shows_nothing_of_it_and_goes_on_with_it(engine, cut, shown):
    messages = (Message("user", "Repeat after me exactly: 뷁뷁 안녕하세요"),)
    begun, _ = run(engine, story(cut, cache_key="korean", messages=messages))
    assert begun == shown
    text, receipt = run(
        engine, story(20 - cut, cache_key="korean", messages=messages, reply_start=begun, continues=True)
    )
    assert text.startswith("뷁뷁 안녕하세요")
    assert receipt.cached_tokens == receipt.prompt_tokens - 1


@pytest.mark.parametrize("pieces", [1, 3, 9])
def test_a_stopped_reply_goes_on_as_if_it_had_never_been_stopped(engine, whole, pieces):
    begun, receipt = run(engine, story(60, cache_key="stop"), stop_after=pieces)
    assert receipt.finish_reason == "stopped"
    assert whole.startswith(begun) and begun != ""
    rest = 60 - receipt.new_tokens
    text, _ = run(engine, story(rest, cache_key="stop", reply_start=begun, continues=True))
    assert text == whole


def test_a_reply_that_was_changed_or_is_not_known_goes_on_from_its_text(engine):
    run(engine, story(20, cache_key="edited"))
    text, receipt = run(engine, story(8, cache_key="edited", reply_start="Once there was a cat,", continues=True))
    assert text.startswith("Once there was a cat,") and len(text) > 25
    assert receipt.cached_tokens == 41, "the question is as it was"
    begun, _ = run(engine, story(20))
    text, _ = run(engine, story(8, cache_key="nothing is kept here", reply_start=begun, continues=True))
    assert text.startswith(begun) and len(text) > len(begun)


def test_one_chat_cannot_go_on_with_the_reply_of_another(engine):
    begun, _ = run(engine, story(20, cache_key="mine"))
    _, receipt = run(engine, story(8, cache_key="theirs", reply_start=begun, continues=True))
    assert receipt.cached_tokens == 0


def test_a_reply_that_was_told_how_to_start_goes_on_with_its_start(engine):
    begun, _ = run(engine, story(6, cache_key="told", reply_start="In the year 1900,"))
    assert begun.startswith("In the year 1900,")
    longer, _ = run(engine, story(6, cache_key="told", reply_start=begun, continues=True))
    assert longer.startswith(begun) and len(longer) > len(begun)
    longest, _ = run(engine, story(6, cache_key="told", reply_start=longer, continues=True))
    assert longest.startswith(longer) and len(longest) > len(longer)


def test_a_reply_starts_with_what_it_was_told_to(engine):
    text, receipt = run(engine, story(12, reply_start="  In the year 1900,"))
    assert text.startswith("  In the year 1900,") and len(text) > 25
    assert receipt.finish_reason == "max_new_tokens"


def test_receipt_counts_what_the_tokenizer_counts(engine):
    text, receipt = run(engine, story(150))
    tokenizer = engine.model.tokenizer
    messages = [{"role": "user", "content": STORY[0].content}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert receipt.prompt_tokens == len(prompt)
    ended = receipt.finish_reason == "end_of_turn"
    assert receipt.new_tokens == len(tokenizer(text, add_special_tokens=False).input_ids) + ended
    assert receipt.finish_reason in ("end_of_turn", "max_new_tokens")
    assert 0 < receipt.first_token_s < 5 and receipt.tokens_per_s > 1
    assert (receipt.context_limit, receipt.dropped_messages) == (8192, 0)


def test_receipt_tells_the_seed_that_makes_the_same_reply_again(engine):
    options = Options(temperature=1, max_new_tokens=16)
    first, receipt = run(engine, story(0, options=options))
    again, _ = run(engine, story(0, options=dataclasses.replace(options, seed=receipt.seed)))
    assert again == first


@pytest.mark.parametrize("kind", ["single", "batched"])
def test_streamed_text_is_what_transformers_writes(embedded_model, kind, monkeypatch):
    # In 32 bit: in 16, two ways to compute the same round differently, and some CPUs then choose another word.
    monkeypatch.setattr("hfdemo.models.machine.bfloat16_pays", lambda: False)
    engine = loaded(Settings(model=str(embedded_model), scheduling=kind, cpu_weights="bf16"))
    model = engine.model.pipeline.model
    tokenizer = engine.model.tokenizer
    messages = [{"role": "user", "content": "안녕! Say hello in Korean, Japanese and with emoji."}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    future = engine.host.compute.submit(lambda: model.generate(ids, max_new_tokens=60, do_sample=False))
    expected = tokenizer.decode(future.result()[0][ids.shape[1] :], skip_special_tokens=True)
    text, _ = run(engine, story(60, messages=(Message("user", messages[0]["content"]),)))
    assert text == expected


def test_stop_text_ends_the_reply_and_is_never_seen(engine, whole):
    words = whole.split()
    stop_text = " ".join(words[8:11])  # several tokens
    options = Options(temperature=0, max_new_tokens=60, stop_texts=("nowhere to be found", stop_text))
    pieces = list(engine.stream(story(60, options=options), StopSignal()))
    shown = ""
    for delta in pieces:
        shown += delta.text
        assert whole[: whole.index(stop_text)].startswith(shown)
    assert shown == whole[: whole.index(stop_text)]
    assert pieces[-1].receipt.finish_reason == "stop_text"
    assert pieces[-1].receipt.new_tokens < 60


def test_time_limit_of_the_host_ends_a_reply(embedded_model):
    engine = Local(Settings(model=str(embedded_model), time_limit_s=5))
    text, receipt = run(engine, story(4000))
    assert receipt.finish_reason == "time_limit" and text
    started = time.monotonic()
    long = dataclasses.replace(story(10), messages=(Message("user", "word " * 7000),))
    _, receipt = run(engine, long)
    assert receipt.finish_reason == "time_limit"
    assert time.monotonic() - started < 15
    engine.load()


@pytest.mark.parametrize("temperature", [0, 1])
def test_numbers_gone_wrong_end_the_reply_with_an_error(engine, monkeypatch, temperature):
    step = type(engine.model.step)
    forward = step.__call__
    calls = 0

    def broken(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        logits = forward(*args)
        return torch.full_like(logits, float("nan")) if calls == 4 else logits

    options = Options(temperature=temperature, max_new_tokens=30)
    with monkeypatch.context() as patch:
        patch.setattr(step, "__call__", broken)
        with pytest.raises(GenerationFailed, match="NaN"):
            run(engine, story(30, options=options))
    assert calls == 4
    assert run(engine, story(5))[0]


def test_old_turns_fall_out_when_the_context_is_full(engine):
    turns = [Message(role, f"{index} " + "word " * 700) for index in range(6) for role in ("user", "assistant")]
    shown = engine.show_prompt(story(8, messages=(*turns, Message("user", "What is the capital of Korea?"))))
    assert shown.dropped_messages == 2
    assert len(shown.tokens) + 8 <= shown.context_limit == 8192
    assert "".join(token.text for token in shown.tokens).startswith(
        "<|im_start|>system\nYou are a helpful AI assistant"
    )


CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi <|im_end|>\tthere\n"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye."},
]


@pytest.fixture(scope="session")
def shown(embedded_model: Path) -> dict[str, Any]:
    """What the command line shows as the prompt of a chat."""
    command = ["-m", "hfdemo", "prompt", "-", "--model", str(embedded_model), "--json"]
    status, text = the_warm_python().run(command, os.environ, typed=json.dumps(CHAT))
    assert status == 0, text
    return json.loads(text)


def test_command_line_shows_the_prompt_that_the_engine_reads(engine, shown):
    turns = [Message(message["role"], message["content"]) for message in CHAT[1:]]
    prompt = engine.model.prompts.build(turns, "Be kind.", 512)
    assert shown["ids"] == list(prompt.ids)
    assert "Hi <|im_end|>\tthere\n<|im_end|>" in shown["text"]
    assert sum(shown["special"]) == 9  # five turns are opened, four are closed
    assert (shown["dropped"], shown["limit"], shown["stop"], shown["base_model"]) == (0, 8192, [], False)


def test_base_model_is_asked_with_the_tutorials_prompt_and_does_not_play_the_user(embedded_model, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for path in embedded_model.iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).symlink_to(path)
    engine = Local(Settings(model=str(folder)))
    text, _ = run(engine, story(120))
    assert text.strip()
    assert not any(name in text for name in ("\nUser:", "\nSystem:", "\nAssistant:"))
    status = engine.status()
    assert status.base_model and not status.thinking_modes
    shown = engine.show_prompt(story(8, system_prompt="Be kind."))
    assert "".join(token.text for token in shown.tokens) == (
        "System: Be kind.\nUser: Write a story about a fox who finds a map.\nAssistant:"
    )


def test_model_with_a_small_context_answers_at_the_usual_settings(tmp_path):
    family = next(family for family in all_families() if family.name == "ChatML")
    config = LlamaConfig(
        vocab_size=len(family.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    family.tokenizer.save_pretrained(tmp_path)
    engine = Local(Settings(model=str(tmp_path)))
    _, receipt = run(engine, story(0, options=Options(temperature=0)))
    assert receipt.context_limit == 256
    assert receipt.new_tokens <= 128
    assert receipt.prompt_tokens + receipt.new_tokens <= 256
