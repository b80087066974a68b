"""The project's README is what a Space takes, and each rule finds what breaks it."""

import pytest
import yaml

from hfdemo.errors import PublishError
from hfdemo.publish.front_matter import CHOICES, FORMS, lint, read, with_sign_in, with_title
from tests.conftest import ROOT

GOOD = {
    "title": "채팅 데모",
    "sdk": "gradio",
    "sdk_version": "6.31.0",
    "app_file": "app.py",
    "python_version": "3.12.12",
}


EMOJIS = [
    "💬",
    "🤖",
    "❤️",
    "👩\u200d💻",
    "🇰🇷",
    "✨",
    "👋🏽",
    "㊗️",
    "1️⃣",
    "©️",
    "🏴\U000e0067\U000e0062\U000e0065\U000e007f",
]


def readme(**changes: object) -> str:
    facts = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return f"---\n{yaml.safe_dump(facts, allow_unicode=True)}---\n\n# Chat\n"


def findings(text: str, zero_gpu: bool = True) -> list[tuple[str, str]]:
    found = lint(text, ["app.py"], zero_gpu)
    assert all(error.text("en") != error.text("ko") for error in found)
    return [(error.key, error.fields.get("name", "")) for error in found]


@pytest.mark.parametrize("zero_gpu", [True, False])
def test_the_project_s_own_readme_is_what_a_space_takes(zero_gpu):
    assert lint((ROOT / "README.md").read_text("utf-8"), ["app.py"], zero_gpu) == []


def test_the_least_that_is_needed_is_enough():
    assert findings(readme()) == []


@pytest.mark.parametrize("key", GOOD)
def test_what_is_needed_is_missed(key):
    assert findings(readme(**{key: None})) == [("front_lacks", key)]
    assert findings(readme(**{key: ""}))[0] == ("front_lacks", key)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("title", "가" * 101, "front_too_long"),
        ("title", 5, "front_form"),
        ("short_description", "x" * 61, "front_too_long"),
        ("short_description", ["x"], "front_form"),
        ("emoji", "chat", "front_form"),
        ("emoji", "💬💬", "front_form"),
        ("emoji", "가", "front_form"),
        ("emoji", ":)", "front_form"),
        ("emoji", "あ", "front_form"),
        ("colorFrom", "orange", "front_choice"),
        ("colorTo", "Blue", "front_choice"),
        ("sdk", "docker", "front_choice"),
        ("sdk_version", "6.31", "front_form"),
        ("sdk_version", 6.31, "front_form"),
        ("sdk_version", ">=6.31.0", "front_form"),
        ("python_version", 3.12, "front_form"),
        ("python_version", "3.10.13", "front_form"),
        ("python_version", "3", "front_form"),
        ("python_version", "3.11.9", "front_zero_python"),
        ("python_version", "3.12", "front_zero_python"),
        ("app_file", "main.py", "front_no_app_file"),
        ("models", "Qwen/Qwen3-0.6B", "front_form"),
        ("models", ["한국어/모델"], "front_form"),
        ("datasets", [5], "front_form"),
        ("tags", "chatbot", "front_form"),
        ("tags", [["chatbot"]], "front_form"),
        ("preload_from_hub", "Qwen/Qwen3-0.6B", "front_form"),
        ("preload_from_hub", ["Qwen/Qwen3-0.6B config.json main"], "front_form"),
        ("preload_from_hub", ["Qwen/Qwen3-0.6B a b c"], "front_form"),
        ("startup_duration_timeout", "an hour", "front_form"),
        ("startup_duration_timeout", 60, "front_form"),
        ("hf_oauth", "yes!", "front_form"),
        ("hf_oauth_scopes", "email", "front_form"),
        ("hf_oauth_expiration_minutes", 43_201, "front_form"),
        ("hf_oauth_expiration_minutes", True, "front_form"),
        ("hf_oauth_authorized_org", 5, "front_form"),
        ("suggested_hardware", "zero-a10g", "front_choice"),
        ("hardware", "zero-a10g", "front_hardware"),
        ("header", "tiny", "front_choice"),
        ("fullWidth", "wide", "front_form"),
        ("pinned", 1, "front_form"),
        ("disable_embedding", "no!", "front_form"),
        ("thumbnail", 5, "front_form"),
        ("license", ["mit"], "front_form"),
        ("custom_headers", {"x-frame-options": "deny"}, "front_form"),
        ("colorfrom", "blue", "front_unknown"),
        ("short-description", "x", "front_unknown"),
    ],
)
def test_each_rule_finds_what_breaks_it(key, value, rule):
    found = findings(readme(**{key: value}))
    assert [name for name, _ in found if name != "front_lacks"] == [rule]
    if rule not in ("front_no_app_file", "front_zero_python", "front_hardware"):
        assert found[0][1] == key


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", "가" * 100),
        ("short_description", "x" * 60),
        *(("emoji", emoji) for emoji in EMOJIS),
        ("models", ["gpt2", "Qwen/Qwen3-0.6B"]),
        ("preload_from_hub", ["Qwen/Qwen3-0.6B", "gpt2 config.json,tokenizer.json", f"gpt2 config.json {'a' * 40}"]),
        ("startup_duration_timeout", "30m"),
        ("hf_oauth", True),
        ("hf_oauth_expiration_minutes", 43_200),
        ("hf_oauth_authorized_org", ["team", "other"]),
        ("custom_headers", {"cross-origin-embedder-policy": "require-corp"}),
        ("pinned", False),
        ("my_own_key", 5),
        ("license", None),
    ],
)
def test_what_is_good_is_taken(key, value):
    assert findings(readme(**{key: value})) == []


def test_python_is_free_where_there_is_no_zerogpu():
    assert findings(readme(python_version="3.11.9"), zero_gpu=False) == []


def test_each_example_is_good():
    for key, (is_good, example) in FORMS.items():
        assert is_good(yaml.safe_load(example)), key
    assert not set(FORMS) & set(CHOICES)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("# Chat\n", "front_missing"),
        ("", "front_missing"),
        ("---\ntitle: a\n# never closed\n", "front_missing"),
        ("---\n- a list\n---\n", "front_missing"),
        ("---\n---\n", "front_missing"),
        ("---\ntitle: [a\n---\n", "front_broken"),
        ("---\ntitle: a\n\ttab: b\n---\n", "front_broken"),
        ("\n---\ntitle: a\n---\n", "front_missing"),
    ],
)
def test_what_can_t_be_read_is_one_finding(text, key):
    assert [name for name, _ in findings(text)] == [key]


@pytest.mark.parametrize("title", ["채팅 데모", 'The "best": chat # 1', "- a", "yes", "3.1", "a\\b\\slash \\1", "{a}"])
def test_a_title_is_read_back_as_it_was(title):
    changed = with_title((ROOT / "README.md").read_text("utf-8"), title)
    assert read(changed) == read((ROOT / "README.md").read_text("utf-8")) | {"title": title}
    assert changed.split("---", 2)[2] == (ROOT / "README.md").read_text("utf-8").split("---", 2)[2]


@pytest.mark.parametrize(
    "lines",
    [
        "title: >-\n  My\n  chat\n",
        "title: |\n\n  My\n\n  chat\n",
        '"title": x\n',
        "'title' : 'a\n  b'\n",
        "title : x\n",
    ],
)
def test_a_title_is_read_back_however_the_one_before_was_written(lines):
    before = readme(title=None).replace("---\n", f"---\n{lines}", 1)
    assert read(before)["title"]
    for line_end in ("\n", "\r\n"):
        changed = with_title(before.replace("\n", line_end), "채팅")
        assert read(changed) == GOOD | {"title": "채팅"}


def test_a_title_comes_where_there_was_none():
    assert read(with_title(readme(title=None), "채팅"))["title"] == "채팅"
    with pytest.raises(PublishError):
        with_title("# Chat\n", "채팅")


@pytest.mark.parametrize(
    ("facts", "scopes", "found"),
    [
        ({}, [], {"hf_oauth": True}),
        ({"hf_oauth": False}, [], {"hf_oauth": True}),
        ({}, ["inference-api"], {"hf_oauth": True, "hf_oauth_scopes": ["inference-api"]}),
        (
            {"hf_oauth": True, "hf_oauth_scopes": ["email"], "pinned": True},
            ["inference-api"],
            {"hf_oauth": True, "hf_oauth_scopes": ["email", "inference-api"], "pinned": True},
        ),
    ],
)
def test_a_sign_in_is_added_and_all_else_stays(facts, scopes, found):
    before = readme(**facts)
    changed = with_sign_in(before, scopes)
    assert read(changed) == read(before) | found
    assert changed.split("---", 2)[2] == before.split("---", 2)[2]
    assert findings(changed) == []
    assert with_sign_in(changed, scopes) == changed, "the second time it's there"
    assert read(with_sign_in(before.replace("\n", "\r\n"), scopes)) == read(changed)


def test_windows_lines_and_a_byte_order_mark_are_read():
    assert findings("\ufeff" + readme().replace("\n", "\r\n")) == []
