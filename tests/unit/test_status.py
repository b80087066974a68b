"""What the page says of the model, in each language, with all that comes from outside escaped."""

import re
from dataclasses import replace
from html import escape, unescape
from typing import get_args

import pytest

from hfdemo.chat.notes import make_note
from hfdemo.engines.protocol import Stage, Status
from hfdemo.errors import ModelLoadError
from hfdemo.models.plan_text import card_lines, size_text
from hfdemo.page.amounts import rate_text, time_left_text
from hfdemo.page.links import with_links
from hfdemo.page.status import card_html, progress_text, status_card_html, status_html
from hfdemo.words import say
from tests.fakes import make_any_plan

NASTY = "<img src=x onerror=alert(1)>\"'&"


DOWNLOAD = Status(
    "downloading",
    model="m",
    file="model.safetensors",
    done_bytes=300_000_000,
    total_bytes=1_500_000_000,
    bytes_per_s=12_000_000,
)


@pytest.mark.parametrize(
    ("status", "english", "korean"),
    [
        (Status("resolving"), "Finding the model …", "모델을 찾는 중입니다 …"),
        (Status("checking", model="m"), "Checking m …", "m 모델을 확인하는 중입니다 …"),
        (Status("downloading", model="m"), "Downloading m …", "m 모델을 내려받는 중입니다 …"),
        (
            Status("downloading", model="m", file="a.json"),
            "Downloading m … · a.json",
            "m 모델을 내려받는 중입니다 … · a.json",
        ),
        (
            DOWNLOAD,
            "Downloading m: 300 MB of 1.50 GB (20 %) · 12 MB/s · about 2 min left · model.safetensors",
            "m 내려받는 중: 1.50 GB 중 300 MB (20 %) · 초당 12 MB · 약 2분 남음 · model.safetensors",
        ),
        (
            replace(DOWNLOAD, bytes_per_s=0.0),
            "Downloading m: 300 MB of 1.50 GB (20 %) · model.safetensors",
            "m 내려받는 중: 1.50 GB 중 300 MB (20 %) · model.safetensors",
        ),
        (
            replace(DOWNLOAD, done_bytes=1_500_000_001, file=""),
            "Downloading m: 1.50 GB of 1.50 GB (100 %)",
            "m 내려받는 중: 1.50 GB 중 1.50 GB (100 %)",
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
        (Status("loading", model="m"), "Loading m …", "m 모델을 불러오는 중입니다 …"),
        (Status("loading", model="m", done_bytes=2, total_bytes=5), "Loading m: 40 %", "m 불러오는 중: 40 %"),
        (Status("ready", model="m", device="CPU · bfloat16"), "m · CPU · bfloat16", "m · CPU · bfloat16"),
        (
            Status("unloaded", model="m"),
            "m was unloaded after being idle; your next message loads it again.",
            "한동안 쓰지 않아 m 모델을 메모리에서 내렸습니다. 메시지를 보내면 다시 불러옵니다.",
        ),
        (
            Status("cancelled", model="m"),
            "Loading m was cancelled. Downloaded files are kept.",
            "m 모델 불러오기를 취소했습니다. 받은 파일은 그대로 남아 있습니다.",
        ),
        (Status("failed", model="m"), "The model did not load.", "모델을 불러오지 못했습니다."),
    ],
)
def test_one_sentence_tells_how_far_loading_is(status, english, korean):
    assert progress_text(status, "en") == english
    assert progress_text(status, "ko") == korean


def test_the_line_is_read_out_when_it_changes():
    html = status_html(Status("ready", model="m", device="CPU"), "en")
    assert html == '<div role="status"><button type="button" class="stage ready">m · CPU</button></div>'


@pytest.mark.parametrize("stage", ["downloading", "loading"])
def test_what_has_a_share_has_a_bar(stage):
    html = status_html(Status(stage, model="m", done_bytes=1, total_bytes=4), "en")
    assert '<progress value="1" max="4"></progress>' in html
    assert "<progress" not in status_html(Status(stage, model="m"), "en")


@pytest.mark.parametrize("stage", sorted({*get_args(Stage)} - {"downloading", "loading"}))
def test_nothing_else_has_a_bar(stage):
    assert "<progress" not in status_html(Status(stage, model="m", done_bytes=1, total_bytes=4), "en")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_failure_says_why(language):
    error = ModelLoadError("no_such_file", model="org/name", page="https://hub/org/name")
    html = status_html(Status("failed", model="org/name", error=error), language)
    problem = re.search(r'<p class="problem">(.*?)</p>', html)[1]
    assert unescape(re.sub("<[^>]*>", "", problem)) == error.text(language)
    address = "https://hub/org/name/tree/main"
    assert f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>' in problem


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_embedded_model_says_why_it_is_there(language):
    reason = ModelLoadError("hub_no_answer", endpoint="https://hub", seconds=4)
    html = status_html(Status("ready", model="m", device="CPU", fallback=reason), language)
    notice = re.search(r'<p class="notice">(.*?)</p>', html)
    said = unescape(re.sub("<[^>]*>", "", notice[1]))
    assert reason.text(language) in said and "HFDEMO_MODEL" in said
    assert '<a href="https://hub" ' in notice[1]


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
def test_what_else_is_known_of_a_model_stands_behind_the_other_notes(language):
    note = make_note("more_tokens", tokens="100", embeddings=NASTY)
    html = status_html(Status("ready", model="m", takes_system_prompt=False, notes=(note,)), language)
    found = re.findall(r'<p class="notice">(.*?)</p>', html)
    assert found == [escape(say("status.no_system_role", language)), escape(note.text(language))]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("stage", get_args(Stage))
def test_all_that_comes_from_outside_is_escaped(stage, language):
    error = ModelLoadError("load_failed", model=NASTY, problem=NASTY)
    status = Status(
        stage, model=NASTY, device=NASTY, file=NASTY, plan=make_any_plan(NASTY), fallback=error, error=error
    )
    assert "<img" not in status_card_html(status, language)
    html = status_html(status, language)
    assert "<img" not in html
    assert html.count(escape(NASTY)) >= 4
    tags = set(re.findall(r"<[^>]*>", html))
    assert tags <= {
        '<div role="status">',
        f'<button type="button" class="stage {stage}">',
        "</button>",
        '<p class="problem">',
        '<p class="notice">',
        "</p>",
        "</div>",
    }


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_card_has_all_there_is_to_say_of_a_plan(language):
    plan = make_any_plan("org/name")
    cells = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', card_html(plan, language))
    assert [(unescape(name), unescape(value)) for name, value in cells] == card_lines(plan, language)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("stage", get_args(Stage))
def test_the_card_is_there_while_a_model_is_on_its_way_and_when_it_failed(stage, language):
    plan = make_any_plan("org/name")
    html = status_card_html(Status(stage, plan=plan), language)
    if stage in ("ready", "unloaded", "cancelled"):
        assert html == ""
    else:
        question = say("page.will_it_fit", language)
        assert html == f"<details><summary>{question}</summary>{card_html(plan, language)}</details>"
    assert status_card_html(Status(stage), language) == ""


def test_the_card_is_open_if_it_is_the_reason_of_a_failure():
    plan = make_any_plan("org/name", parameters=70_000_000_000)
    assert status_card_html(Status("failed", plan=plan), "en").startswith("<details open>")
    assert status_card_html(Status("checking", plan=plan), "en").startswith("<details>")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Open https://hub.co/a/b, sign in.", "https://hub.co/a/b"),
        ("Open http://hub.co/a_b-c.d?x=1&y=2#z.", "http://hub.co/a_b-c.d?x=1&amp;y=2#z"),
        ("See (https://hub.co/a); then", "https://hub.co/a"),
        ("https://hub.co/a를 여세요", "https://hub.co/a"),
        ("토큰은 (https://hub.co/a)에서", "https://hub.co/a"),
        ("'https://hub.co/a'", "https://hub.co/a"),
        ('https://hub.co/a"onmouseover="x', "https://hub.co/a"),
        ("https://hub.co/<b>", "https://hub.co/"),
        ("javascript:alert(1) ftp://a/b data:text/html,x https:/a", None),
    ],
)
def test_addresses_are_links_without_the_sentence_around_them(text, address):
    html = with_links(text)
    assert re.findall('<a href="(.*?)" target="_blank" rel="noopener noreferrer">', html) == (
        [address] if address else []
    )
    assert set(re.findall("<(/?[a-z]+)", html)) <= {"a", "/a"}
    assert unescape(re.sub("<[^>]*>", "", html)) == text


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0.2, "about 5 s left", "약 5초 남음"),
        (41, "about 45 s left", "약 45초 남음"),
        (55, "about 55 s left", "약 55초 남음"),
        (56, "about 1 min left", "약 1분 남음"),
        (100, "about 2 min left", "약 2분 남음"),
        (59 * 60, "about 59 min left", "약 59분 남음"),
        (83 * 60, "about 1 h 25 min left", "약 1시간 25분 남음"),
        (300_000, "about 83 h 20 min left", "약 83시간 20분 남음"),
    ],
)
def test_the_time_left_is_said_as_people_say_it(seconds, english, korean):
    assert time_left_text(seconds, "en") == english
    assert time_left_text(seconds, "ko") == korean


@pytest.mark.parametrize(
    ("rate", "english", "korean"),
    [
        (850_000, "850 kB/s", "초당 850 kB"),
        (1_250_000, "1.2 MB/s", "초당 1.2 MB"),
        (123_000_000, "123 MB/s", "초당 123 MB"),
    ],
)
def test_a_rate_has_two_or_three_digits(rate, english, korean):
    assert rate_text(rate, "en") == english
    assert rate_text(rate, "ko") == korean


def test_sizes_are_in_megabytes_or_gigabytes():
    sizes = [size_text(271_000_000), size_text(1_500_000_000, digits=2), size_text(1_540_000_000)]
    assert sizes == ["271 MB", "1.50 GB", "1.5 GB"]
