"""A receipt says in a person's words why a reply ended and what it took."""

from dataclasses import replace
from typing import get_args

import pytest

from hfdemo.chat.conversation import Turn
from hfdemo.chat.reply import FinishReason, Receipt
from hfdemo.page.receipt import meter_text, receipt_lines, receipt_title
from hfdemo.words import say
from tests import fakes

RECEIPT = replace(
    fakes.RECEIPT,
    prompt_tokens=12345,
    cached_tokens=1200,
    new_tokens=1034,
    first_token_s=1.256,
    tokens_per_s=20.06,
    seed=4294967295,
    model="Qwen/Qwen3-0.6B",
    device="CPU · bfloat16",
    context_limit=40960,
    dropped_messages=2,
)


def title(receipt: Receipt, language: str, text: str = "Hello", thought: str = "") -> str:
    return receipt_title(Turn("a", None, "assistant", text, thought), receipt, language)


@pytest.mark.parametrize(
    ("reason", "english", "korean"),
    [
        ("end_of_turn", "Finished", "완료"),
        ("max_new_tokens", "Reached Max new tokens", "최대 토큰 수 도달"),
        ("stopped", "Stopped", "중지함"),
        ("stop_text", "Stopped at a stop sequence", "중지 문구에서 멈춤"),
        ("time_limit", "Reached the time limit", "제한 시간 초과"),
        ("model_changed", "Ended because another model was chosen", "모델을 바꿔서 중지됨"),
        ("content_filter", "Ended by the server's content filter", "서버의 콘텐츠 필터로 중단됨"),
    ],
)
def test_the_title_says_why_the_reply_ended(reason, english, korean):
    receipt = replace(RECEIPT, finish_reason=reason)
    assert title(receipt, "en") == f"{english} · 1,034 tokens · 20.1/s"
    assert title(receipt, "ko") == f"{korean} · 1,034토큰 · 초당 20.1토큰"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_each_reason_has_words_of_its_own(language):
    titles = {title(replace(RECEIPT, finish_reason=reason), language) for reason in get_args(FinishReason)}
    assert len(titles) == len(get_args(FinishReason)) == 7


def test_a_reply_that_went_on_counts_all_its_parts():
    first = replace(
        fakes.RECEIPT, prompt_tokens=40, cached_tokens=30, new_tokens=11, tokens_per_s=10.0, finish_reason="stopped"
    )
    first = replace(first, first_token_s=0.5, thought_s=1.0)
    rest = replace(first, prompt_tokens=51, cached_tokens=50, new_tokens=21, tokens_per_s=5.0, thought_s=2.0)
    rest = replace(rest, first_token_s=0.1, finish_reason="end_of_turn", model="another", seed=7)
    whole = rest.after(first)
    assert (whole.prompt_tokens, whole.cached_tokens, whole.new_tokens, whole.used_tokens) == (40, 30, 32, 72)
    assert whole.tokens_per_s == 30 / (1 + 4)
    assert (whole.first_token_s, whole.thought_s) == (0.5, 3.0)
    assert (whole.finish_reason, whole.model, whole.seed) == ("end_of_turn", "another", 7)
    assert title(whole, "en") == "Finished · 32 tokens · 6.0/s"
    one = replace(rest, new_tokens=1, tokens_per_s=0.0)
    assert one.after(one).tokens_per_s == 0.0
    assert one.after(first).tokens_per_s == 10.0


def test_a_reply_of_one_token_has_no_speed():
    receipt = replace(RECEIPT, new_tokens=1, tokens_per_s=0.0)
    assert title(receipt, "en") == "Finished · 1 tokens"
    assert title(receipt, "ko") == "완료 · 1토큰"


@pytest.mark.parametrize(
    ("text", "thought", "reason", "key"),
    [
        ("", "Hm", "max_new_tokens", "only_thought"),
        ("Hello", "Hm", "max_new_tokens", "max_new_tokens"),
        ("", "", "max_new_tokens", "max_new_tokens"),
        ("", "Hm", "stopped", "stopped"),
        ("", "Hm", "end_of_turn", "end_of_turn"),
    ],
)
def test_a_reply_that_is_all_thought_says_that_it_had_no_room_to_answer(text, thought, reason, key):
    receipt = replace(RECEIPT, finish_reason=reason)
    for language in ("en", "ko"):
        assert title(receipt, language, text, thought).startswith(f"{say(f'receipt.{key}', language)} · ")


def test_the_box_lists_what_the_reply_took_in_english():
    assert receipt_lines(RECEIPT, "en") == [
        "Prompt tokens: 12,345",
        "of which from the cache: 1,200",
        "New tokens: 1,034",
        "Time to first token: 1.26 s",
        "Tokens per second: 20.1",
        "Messages left out: 2",
        "Seed: 4294967295",
        "Model: Qwen/Qwen3-0.6B",
        "Device: CPU · bfloat16",
    ]


def test_the_box_lists_what_the_reply_took_in_korean():
    assert receipt_lines(RECEIPT, "ko") == [
        "프롬프트 토큰: 12,345",
        "그중 캐시에서 가져온 토큰: 1,200",
        "새 토큰: 1,034",
        "첫 토큰까지 걸린 시간: 1.26 s",
        "초당 토큰: 20.1",
        "제외된 메시지: 2",
        "시드: 4294967295",
        "모델: Qwen/Qwen3-0.6B",
        "장치: CPU · bfloat16",
    ]


@pytest.mark.parametrize(
    ("used", "limit", "english", "korean"),
    [
        (0, 8192, "", ""),
        (0, None, "", ""),
        (1, 8192, "1 of 8,192 tokens", "8,192토큰 중 1토큰"),
        (8192, 8192, "8,192 of 8,192 tokens", "8,192토큰 중 8,192토큰"),
        (1234567, None, "1,234,567 tokens", "1,234,567토큰"),
    ],
)
def test_the_meter_says_how_much_of_the_context_is_used(used, limit, english, korean):
    assert meter_text(used, limit, "en") == english
    assert meter_text(used, limit, "ko") == korean


def test_prompt_and_reply_together_are_used():
    assert RECEIPT.used_tokens == 12345 + 1034
