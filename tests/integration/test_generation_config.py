"""Whatever a model's `generation_config.json` says, its replies come, and are the same on every way to write them."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from hfdemo.chat.notes import make_note
from hfdemo.chat.options import RECOMMENDED, Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.compute.fast_step import FastStep
from hfdemo.compute.shared_step import make_shared_step
from hfdemo.compute.thread import ComputeThread
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.request import make_decode_request
from hfdemo.decoding.running import RunningReply
from hfdemo.models.disk import ModelFiles
from hfdemo.models.generation_config import FILE, HONOURED, NOT_WORTH_A_WORD, read_generation_defaults
from hfdemo.models.load import LoadedModel, load_model, load_prompts
from hfdemo.models.plan import Machine, make_plan, usual_facts
from hfdemo.settings import Settings
from tests.integration.local import loaded
from tests.integration.story import STORY, run, story
from tests.unit.scripted_models import END, save_scripted_model

REPLY = ("one", " two", " three", " four", END)
TEXT = "one two three four"
PATHS = [(step, most) for step in ("fast", "shared", "generate") for most in (1, 3)]
PLAN = make_plan(usual_facts("scripted", 10**6), Machine(ram_free=10**10, disk_free=10**10, cpu_dtype="float32"))
LEFT_OUT = Options(max_new_tokens=20, seed=1, left_out=RECOMMENDED)
"""What a program sends that leaves all to the model."""

COMPUTE = ComputeThread()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scripted_model(tmp_path_factory.mktemp("scripted"), REPLY)


@pytest.fixture
def warnings_of_transformers(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What transformers logs above information; its loggers hand nothing on to others."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def load(folder: Path, content: object) -> LoadedModel:
    """Return the model with such a file, as JSON unless it is bytes."""
    (folder / FILE).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    try:
        return load_model(ModelFiles(folder), "scripted", PLAN)
    finally:
        (folder / FILE).unlink()


def replies(model: LoadedModel, step: str, most: int, options: Options = LEFT_OUT) -> set[tuple[str, str]]:
    """Return what so many chats are answered at once, with the reasons why the replies end."""
    assert isinstance(model.step, FastStep)
    if step == "shared":
        with torch.inference_mode():
            shared = make_shared_step(model.pipeline.model)
        assert shared is not None
        model = replace(model, step=shared)
    elif step == "generate":
        model = replace(model, step=None)
    request = make_decode_request(
        model.prompts, ChatRequest(STORY, "", options), recommended=model.defaults.recommended
    )
    written = [RunningReply(model, request, StopSignal()) for _ in range(most)]
    loop, all_there = Loop(COMPUTE, most), Event()
    COMPUTE.submit(all_there.wait)
    for reply in written:
        loop.add(reply)
    all_there.set()
    reasons = [reply.done.result(20).finish_reason for reply in written]
    return {(reply.streamer.text, reason) for reply, reason in zip(written, reasons, strict=True)}


def one_of_each(folder: Path) -> dict[str, Any]:
    """Return a value for every field of a `generation_config.json`, by which `generate` would do something else."""
    one, two, end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(["one", " two", END])
    return {
        "max_length": 3,
        "max_new_tokens": 1,
        "min_length": 50,
        "min_new_tokens": 9,
        "early_stopping": True,
        "max_time": 0.0001,
        "stop_strings": [" three"],
        "do_sample": False,
        "num_beams": 4,
        "use_mtp": True,
        "use_cache": False,
        "cache_implementation": "static",
        "cache_config": {"backend": "quanto"},
        "max_cache_len": 4,
        "temperature": 0.3,
        "top_k": 1,
        "top_p": 0.5,
        "min_p": 0.5,
        "top_h": 0.1,
        "typical_p": 0.1,
        "epsilon_cutoff": 0.9,
        "eta_cutoff": 0.9,
        "repetition_penalty": 1.5,
        "encoder_repetition_penalty": 9.0,
        "length_penalty": 9.0,
        "no_repeat_ngram_size": 1,
        "bad_words_ids": [[two]],
        "renormalize_logits": True,
        "forced_bos_token_id": two,
        "forced_eos_token_id": one,
        "remove_invalid_values": True,
        "exponential_decay_length_penalty": [1, 9.0],
        "suppress_tokens": [one, end],
        "begin_suppress_tokens": [one],
        "sequence_bias": [[[two], -1000.0]],
        "token_healing": True,
        "guidance_scale": 3.0,
        "watermarking_config": {"greenlist_ratio": 0.1, "bias": 1000.0},
        "num_return_sequences": 3,
        "output_attentions": True,
        "output_hidden_states": True,
        "output_scores": True,
        "output_logits": True,
        "return_dict_in_generate": True,
        "pad_token_id": one,
        "bos_token_id": one,
        "eos_token_id": [two, end],
        "encoder_no_repeat_ngram_size": 1,
        "decoder_start_token_id": two,
        "is_assistant": True,
        "num_assistant_tokens": 3,
        "num_assistant_tokens_schedule": "heuristic",
        "assistant_confidence_threshold": 0.9,
        "prompt_lookup_num_tokens": 3,
        "max_matching_ngram_size": 2,
        "assistant_early_exit": 1,
        "assistant_lookbehind": 1,
        "target_lookbehind": 1,
        "assistant_ensemble_weight": 0.5,
        "speculation_type": "mtp",
        "compile_config": {"mode": "default"},
        "disable_compile": True,
        "continuous_batching_config": {},
        "low_memory": True,
        "penalty_alpha": 0.9,
        "dola_layers": "high",
        "diversity_penalty": 2.0,
        "num_beam_groups": 2,
        "constraints": [[two]],
        "force_words_ids": [[two]],
        "prefill_chunk_size": 2,
        "_from_model_config": True,
        "transformers_version": "99.0.0",
    }


FIELDS = sorted(GenerationConfig().to_dict())


def test_every_field_that_transformers_knows_is_tried(folder):
    """A field that a later version brings has to be tried, too."""
    assert sorted(one_of_each(folder)) == FIELDS
    assert set(HONOURED) | set(NOT_WORTH_A_WORD) < set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_changes_no_reply_unless_it_is_honoured(folder, field, warnings_of_transformers):
    model = load(folder, {field: one_of_each(folder)[field]})
    said = [replies(model, *path) for path in PATHS]
    right = {"eos_token_id": ("one", "end_of_turn"), "stop_strings": ("one two", "stop_text")}
    assert set(right) <= set(HONOURED)
    assert said == [{right.get(field, (TEXT, "end_of_turn"))}] * len(PATHS)
    assert warnings_of_transformers == []
    quiet = (*HONOURED, *NOT_WORTH_A_WORD)
    neutral = (False, {}, [], "")
    assert model.defaults.switched_off == (() if field in quiet or one_of_each(folder)[field] in neutral else (field,))
    assert model.defaults.ignored == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"num_beams"',
        b"\xff\xfe\x00",
        b'{"top_k": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        {"num_beams": 1, "num_return_sequences": 4},
        {"num_beams": 0},
        {"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": -1},
        {"num_beams": "four", "max_length": [], "cache_implementation": 5, "compile_config": 7},
        {"do_sample": False, "temperature": 0.5, "top_k": 3, "typical_p": 0.2},
        {"max_new_tokens": -4, "min_length": 10**9, "early_stopping": "often"},
        {"pad_token_id": "x", "bos_token_id": [], "decoder_start_token_id": {}},
        {"watermarking_config": 5, "cache_config": "x", "sequence_bias": 1, "constraints": "y"},
        {"model_type": "gpt2", "custom_generate": "somebody/else", "unknown": {"a": [1]}},
        dict.fromkeys(FIELDS, "?"),
        {field: [[None]] for field in FIELDS},
        dict.fromkeys(FIELDS, -1),
        dict.fromkeys(FIELDS),
    ],
    ids=lambda content: str(content)[:40],
)
def test_a_file_that_makes_no_sense_stops_no_reply(folder, content, warnings_of_transformers):
    model = load(folder, content)
    options = replace(LEFT_OUT, temperature=0, left_out=())
    assert [replies(model, *path, options) for path in PATHS] == [{(TEXT, "end_of_turn")}] * len(PATHS)
    assert [replies(model, *path) for path in PATHS] == [{(TEXT, "end_of_turn")}] * len(PATHS)
    assert model.defaults.is_broken is isinstance(content, bytes)
    assert warnings_of_transformers == []


def test_settings_of_long_ago_in_config_json_are_off_too(folder, tmp_path, warnings_of_transformers):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    old = {"num_beams": 4, "max_length": 3, "task_specific_params": {"text-generation": {"num_beams": 2}}}
    (tmp_path / "config.json").write_text(json.dumps(config | old))
    model = load(tmp_path, {})
    assert [replies(model, *path) for path in PATHS] == [{(TEXT, "end_of_turn")}] * len(PATHS)
    assert warnings_of_transformers == []


def test_all_ends_of_the_list_end_a_reply_and_those_of_config_json_if_there_is_no_list(folder):
    ids = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
    model = load(folder, {"eos_token_id": [ids(" four"), ids(" three"), True, -1, "x", 2.5]})
    assert {ids(" three"), ids(" four")} <= set(model.end_ids)
    assert model.defaults.ignored == ("eos_token_id",)
    assert [replies(model, *path) for path in PATHS] == [{("one two", "end_of_turn")}] * len(PATHS)
    assert ids(END) in load(folder, {"temperature": 0.5}).end_ids


@pytest.mark.parametrize("content", [" three", [" three"], [" four", " three"]], ids=str)
def test_a_models_stop_texts_end_a_reply_and_are_shown_by_the_prompt_command(folder, content):
    model = load(folder, {"stop_strings": content})
    assert [replies(model, *path) for path in PATHS] == [{("one two", "stop_text")}] * len(PATHS)
    (folder / FILE).write_text(json.dumps({"stop_strings": content}))
    try:
        assert load_prompts(str(folder)).stop_texts == model.prompts.stop_texts
    finally:
        (folder / FILE).unlink()


def test_a_stop_text_that_is_a_control_token_ends_a_reply(folder):
    model = load(folder, {"stop_strings": ["<|user|>"], "eos_token_id": []})
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<|user|>") in model.end_ids


def test_stop_texts_look_at_the_answer_only(tmp_path):
    save_scripted_model(tmp_path, ("<think>", "plan", " END", "</think>", "ok", "END", " no", END))
    model = load(tmp_path, {"stop_strings": ["END"]})
    written = [replies(model, *path) for path in PATHS]
    assert written == [{("ok", "stop_text")}] * len(PATHS)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("scheduling", ["single", "batched"])
def test_the_page_is_told_what_is_off_and_what_the_model_recommends(folder, scheduling, temperature, caplog):
    caplog.set_level(logging.INFO)
    (folder / FILE).write_text(json.dumps({"num_beams": 4, "temperature": 0.6, "top_k": 20, "top_p": "high"}))
    try:
        engine = loaded(Settings(model=str(folder), scheduling=scheduling))
    finally:
        (folder / FILE).unlink()
    status = engine.status()
    assert dict(status.recommended) == {"temperature": 0.6, "top_k": 20}
    assert status.notes == (
        make_note("generation_off", fields="num_beams"),
        make_note("generation_ignored", fields="top_p"),
    )
    text, receipt = run(engine, story(20, options=Options(temperature=temperature, max_new_tokens=20)))
    assert (text, receipt.finish_reason) == (TEXT, "end_of_turn")
    # Logged behind the status, in the thread that has written the reply since.
    assert "Not used from this model's generation_config.json: num_beams." in caplog.text
    assert caplog.text.count("generation_config.json") == 2


def test_what_was_left_out_is_the_models_value_and_what_was_chosen_is_not(folder):
    model = load(folder, {"temperature": 0.6, "top_k": 20, "min_p": 0.25, "repetition_penalty": 1.05})
    chosen = Options(temperature=0.9, top_p=0.9, left_out=("top_p", "top_k", "min_p"))
    request = make_decode_request(
        model.prompts, ChatRequest(STORY, "", chosen), recommended=model.defaults.recommended
    )
    assert request.options == Options(
        temperature=0.9, top_p=0.9, top_k=20, min_p=0.25, repetition_penalty=1, max_new_tokens=256
    )
    assert isinstance(request.options.top_k, int)


@pytest.mark.parametrize(
    ("content", "recommended"),
    [
        ({}, {}),
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20}, {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ({"do_sample": True, "temperature": 1}, {"temperature": 1.0}),
        ({"do_sample": False}, {"temperature": 0.0}),
        ({"do_sample": False, "temperature": None, "top_p": None}, {"temperature": 0.0}),
        ({"do_sample": False, "temperature": 1.0, "top_k": 50}, {"temperature": 1.0, "top_k": 50}),
        ({"top_k": 20.0, "top_p": 1}, {"top_k": 20, "top_p": 1.0}),
    ],
    ids=str,
)
def test_the_recommended_values_are_those_of_the_file(folder, content, recommended):
    defaults = load(folder, content).defaults
    assert (dict(defaults.recommended), defaults.ignored) == (recommended, ())


@pytest.mark.parametrize("name", RECOMMENDED)
@pytest.mark.parametrize(
    "value", ["0.7", [0.7], {}, True, b"NaN", b"Infinity", b"-Infinity", 10**300, -1, 1e9, b"1e999"], ids=str
)
def test_a_recommended_value_that_is_no_number_in_range_is_ignored_and_said(folder, name, value):
    (folder / FILE).write_bytes(
        b'{"' + name.encode() + b'": ' + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"}"
    )
    try:
        defaults = read_generation_defaults(folder)
    finally:
        (folder / FILE).unlink()
    assert (dict(defaults.recommended), defaults.ignored) == ({}, (name,))
    assert defaults.notes == (make_note("generation_ignored", fields=name),)
