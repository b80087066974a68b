"""What the page says of the model, in each language, with all that comes from outside escaped."""

import re
from html import escape

import pytest

from hfdemo.errors import ModelLoadError
from hfdemo.messages import Status
from hfdemo.page.status import progress_text, status_html
from hfdemo.words import say

NASTY = "<img src=x onerror=alert(1)>\"'&"


@pytest.mark.parametrize(
    ("status", "english", "korean"),
    [
        (Status("resolving"), "Finding the model …", "모델을 찾는 중입니다 …"),
        (Status("downloading", model="m"), "Downloading m …", "m 모델을 내려받는 중입니다 …"),
        (
            Status("downloading", model="m", done_bytes=25_000_000, total_bytes=100_000_000),
            "Downloading m: 25 MB of 100 MB (25 %)",
            "m 내려받는 중: 100 MB 중 25 MB (25 %)",
        ),
        (
            Status("downloading", model="m", done_bytes=999_999_999, total_bytes=4_200_000_000),
            "Downloading m: 1000 MB of 4.20 GB (23 %)",
            "m 내려받는 중: 4.20 GB 중 1000 MB (23 %)",
        ),
        (
            Status("downloading", model="m", done_bytes=0, total_bytes=1),
            "Downloading m: 0 MB of 0 MB (0 %)",
            "m 내려받는 중: 0 MB 중 0 MB (0 %)",
        ),
        (Status("loading", model="m", total_bytes=5), "Loading m …", "m 모델을 불러오는 중입니다 …"),
        (Status("ready", model="m", device="CPU · bfloat16"), "m · CPU · bfloat16", "m · CPU · bfloat16"),
        (Status("failed", model="m"), "The model did not load.", "모델을 불러오지 못했습니다."),
    ],
)
def test_one_sentence_tells_how_far_loading_is(status, english, korean):
    assert progress_text(status, "en") == english
    assert progress_text(status, "ko") == korean


def test_the_line_is_read_out_when_it_changes():
    html = status_html(Status("ready", model="m", device="CPU"), "en")
    assert html == '<div role="status"><span class="stage ready">m · CPU</span></div>'


def test_a_download_has_a_bar():
    html = status_html(Status("downloading", model="m", done_bytes=1, total_bytes=4), "en")
    assert '<progress value="1" max="4"></progress>' in html


@pytest.mark.parametrize("stage", ["resolving", "converting", "loading", "ready", "failed"])
def test_nothing_else_has_a_bar(stage):
    assert "<progress" not in status_html(Status(stage, model="m", done_bytes=1, total_bytes=4), "en")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_failure_says_why(language):
    error = ModelLoadError("no_such_file", model="org/name", page="https://hub/org/name")
    html = status_html(Status("failed", model="org/name", error=error), language)
    assert f'<p class="problem">{escape(error.text(language))}</p>' in html


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_embedded_model_says_why_it_is_there(language):
    reason = ModelLoadError("hub_no_answer", endpoint="https://hub", seconds=4)
    html = status_html(Status("ready", model="m", device="CPU", fallback=reason), language)
    notice = re.search(r'<p class="notice">(.*?)</p>', html)
    assert reason.text(language) in notice[1] and "HFDEMO_MODEL" in notice[1]


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({}, None),
        ({"base_model": True}, "status.base_model"),
        ({"base_model": True, "instruct_sibling": NASTY}, "status.base_model_with_sibling"),
        ({"base_model": True, "takes_system_prompt": False}, "status.base_model"),
        ({"takes_system_prompt": False}, "status.no_system_role"),
    ],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_ready_model_has_a_note_if_there_is_something_to_know(facts, note, language):
    html = status_html(Status("ready", model="m", device="CPU", **facts), language)
    notes = re.findall(r'<p class="notice">(.*?)</p>', html)
    assert notes == ([escape(say(note, language, sibling=NASTY))] if note else [])
    assert "notice" not in status_html(Status("loading", model="m", **facts), language)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("stage", ["resolving", "downloading", "converting", "loading", "ready", "failed"])
def test_all_that_comes_from_outside_is_escaped(stage, language):
    error = ModelLoadError("load_failed", model=NASTY, problem=NASTY)
    html = status_html(Status(stage, model=NASTY, device=NASTY, fallback=error, error=error), language)
    assert "<img" not in html
    assert html.count(escape(NASTY)) >= 4
    tags = set(re.findall(r"<[^>]*>", html))
    assert tags <= {
        '<div role="status">',
        f'<span class="stage {stage}">',
        "</span>",
        '<p class="problem">',
        '<p class="notice">',
        "</p>",
        "</div>",
    }
