"""What ZeroGPU says is said again in both languages, with its numbers and what to do."""

import gradio as gr
import pytest

from hfdemo.engines.zerogpu.refusal import explain_gpu_refusal
from hfdemo.errors import GenerationFailed, InvalidInput, NoGpu

QUOTA = "You have exceeded your {whose} quota (57s requested vs. 12s left). Try again in {wait}. "


def refused(title: str, message: str) -> gr.Error:
    return gr.Error(message, title=f"ZeroGPU {title}", print_exception=False)


@pytest.mark.parametrize(
    ("title", "message", "key"),
    [
        ("quota exceeded", QUOTA.format(whose="free ZeroGPU", wait="1:00:00"), "gpu_quota"),
        ("quota exceeded", "You have exceeded your ZeroGPU runs limit. ", "gpu_runs"),
        ("quota exceeded", "Space app has reached its GPU limit. Try re-running outside of examples", "gpu_stranger"),
        ("quota exceeded", "No GPU was available after 60s. Try re-running outside of examples", "gpu_none_free"),
        ("illegal duration", "The requested GPU duration (90s) is larger than the maximum allowed", "gpu_too_long"),
        ("pending credits exceeded", "You have too many ZeroGPU credits allocated to running tasks.", "gpu_pending"),
        ("queue timeout", "No GPU was available after 60s. Create a free account to get a higher", "gpu_none_free"),
        ("client error", "No GPU was available", "gpu_none_free"),
        ("client error", "Expired ZeroGPU proxy token", "gpu_expired"),
        ("client error", "Internal Gradio error", "gpu_trouble"),
        ("worker error", "GPU task aborted", "gpu_aborted"),
        ("something new", "Whatever", "gpu_trouble"),
    ],
)
def test_each_error_of_zerogpu_has_a_text_of_ours(title, message, key):
    error = explain_gpu_refusal(refused(title, message))
    assert isinstance(error, NoGpu) and error.key == key
    assert "{" not in error.text("en") + error.text("ko")


@pytest.mark.parametrize(
    ("wait", "english", "korean"),
    [
        ("1:00:00", "in 1 h 0 min", "1시간 0분 뒤"),
        ("0:00:01", "in 0 h 1 min", "0시간 1분 뒤"),
        ("0:12:34.500000", "in 0 h 13 min", "0시간 13분 뒤"),
        ("1 day, 2:03:00", "in 26 h 3 min", "26시간 3분 뒤"),
        ("2 days, 0:00:00", "in 48 h 0 min", "48시간 0분 뒤"),
    ],
)
def test_the_numbers_of_a_quota_are_told(wait, english, korean):
    error = explain_gpu_refusal(refused("quota exceeded", QUOTA.format(whose="ZeroGPU", wait=wait)))
    assert "needs 57 s, and you have 12 s" in error.text("en") and english in error.text("en")
    assert "57초" in error.text("ko") and "12초" in error.text("ko") and korean in error.text("ko")


def test_a_program_is_told_when_to_come_again():
    error = explain_gpu_refusal(refused("quota exceeded", QUOTA.format(whose="ZeroGPU", wait="1 day, 0:00:01")))
    assert error.fields["seconds"] == str(24 * 3600 + 60)


def test_a_quota_below_nothing_is_nothing():
    text = QUOTA.format(whose="free ZeroGPU", wait="1:00:00").replace("12s", "-3s")
    assert "you have 0 s" in explain_gpu_refusal(refused("quota exceeded", text)).text("en")


@pytest.mark.parametrize(
    ("whose", "advice"),
    [
        ("ZeroGPU", "https://huggingface.co/login"),
        ("free ZeroGPU", "https://huggingface.co/subscribe/pro"),
        ("Pro ZeroGPU", "https://huggingface.co/settings/billing"),
    ],
)
def test_a_visitor_is_told_how_to_get_more(whose, advice):
    error = explain_gpu_refusal(refused("quota exceeded", QUOTA.format(whose=whose, wait="1:00:00")))
    assert advice in error.text("en") and advice in error.text("ko")


def test_the_seconds_of_a_duration_that_is_too_long_are_told():
    message = "The requested GPU duration (135s) is larger than the maximum allowed"
    assert "135 s" in explain_gpu_refusal(refused("illegal duration", message)).text("en")


@pytest.mark.parametrize(
    ("kind", "key"), [("OutOfMemoryError", "out_of_memory"), ("RuntimeError", "generation"), ("", "generation")]
)
def test_of_an_error_in_a_worker_only_the_class_is_known(kind, key):
    error = explain_gpu_refusal(refused("worker error", kind))
    assert isinstance(error, GenerationFailed) and error.key == key


@pytest.mark.parametrize("error", [RuntimeError("ZeroGPU API /schedule error: 500"), gr.Error("hf_abcdefghijkl")])
def test_other_errors_are_trouble_and_show_nothing_of_themselves(error, caplog):
    explained = explain_gpu_refusal(error)
    assert explained.key == "gpu_trouble"
    assert "500" not in str(explained) and "hf_a" not in str(explained) + caplog.text


def test_an_access_token_in_what_zerogpu_says_is_not_logged(caplog):
    explain_gpu_refusal(refused("client error", "hf_abcdefghijkl is expired"))
    assert "is expired" in caplog.text and "abcdefghijkl" not in caplog.text


def test_errors_of_ours_stay_as_they_are():
    error = InvalidInput("empty_message")
    assert explain_gpu_refusal(error) is error
