"""What is told of a token: how likely it was, what else was likely, and the bytes that it stands for."""

import math
from typing import Any

import pytest
import torch

from hfdemo.chat.prompt import PromptBuilder
from hfdemo.decoding.likely_tokens import describe, token_bytes
from tests.unit.families import byte_level, metaspace, opens_texts_with, unigram

TEXT = "Hello, 한국어 and 🙂\n  é 漢字"
TOKENIZERS: dict[str, Any] = {
    "bytes": byte_level(["<|begin|>", "<|end|>"]),
    "metaspace": metaspace(["<s>", "</s>"], spaces="first"),
}


def prompts_of(kind: str) -> PromptBuilder:
    return PromptBuilder(TOKENIZERS[kind], context_limit=100)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_bytes_of_all_tokens_are_the_text(kind):
    prompts = prompts_of(kind)
    ids = prompts.tokenizer.encode(TEXT, add_special_tokens=False)
    whole = b"".join(token_bytes(prompts, token_id) for token_id in ids).decode()
    assert whole.removeprefix(" ") == TEXT
    assert len(ids) > len(TEXT) / 2


def test_how_likely_a_token_was_is_told_and_what_else_was():
    prompts = prompts_of("bytes")
    logits = torch.full((len(prompts.tokenizer),), -math.inf)
    one, other, third = [*prompts.tokenizer.encode("a", add_special_tokens=False), 5, 6]
    logits[[one, other, third]] = torch.tensor([0.2, 0.7, 0.1]).log() + 5
    told = describe(one, logits, 2, prompts)
    assert (told.text, told.data) == ("a", b"a")
    assert told.logprob == pytest.approx(math.log(0.2), abs=1e-5)
    assert [math.exp(token.logprob) for token in told.others] == pytest.approx([0.7, 0.2], abs=1e-5)
    assert describe(one, logits, 0, prompts).others == ()


def test_a_token_that_only_the_model_has_is_empty():
    prompts = prompts_of("bytes")
    assert describe(len(prompts.tokenizer) + 3, torch.zeros(len(prompts.tokenizer) + 8), 0, prompts).data == b""


def test_a_text_alone_is_read_behind_what_opens_any_text():
    tokenizer = opens_texts_with(byte_level(["<|begin|>", "<|end|>"]), "<|begin|>")
    prompts = PromptBuilder(tokenizer, context_limit=50)
    begin = tokenizer.convert_tokens_to_ids("<|begin|>")
    prompt = prompts.build_text("Once <|end|>")
    assert prompt.ids[0] == begin and tokenizer.convert_tokens_to_ids("<|end|>") not in prompt.ids
    assert prompts.text(prompt.ids[1:]) == "Once <|end|>"


def test_unigram_tokens_too():
    prompts = PromptBuilder(unigram(["<s>", "</s>"]), context_limit=100)
    ids = prompts.tokenizer.encode("Hello", add_special_tokens=False)
    assert b"".join(token_bytes(prompts, token_id) for token_id in ids).decode().strip() == "Hello"
