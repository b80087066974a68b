"""What the pages in docs/ say is true: their examples run as they are written, and their facts are the program's."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from hfdemo import __main__, arguments, settings
from hfdemo.chat.options import LIMITS
from hfdemo.commands.terminal import EXIT_STATUS, OTHER_ERROR
from hfdemo.words import say, texts
from tests.conftest import ROOT, App
from tests.e2e.conftest import browser_type_launch_args  # noqa: F401  # the same Chromium here
from tests.written import NAMES, block, in_english, in_korean, table, tables

ADDRESS = "http://127.0.0.1:7860"


def both(name: str) -> pytest.MarkDecorator:
    """Run a test with a page in each language."""
    return pytest.mark.parametrize("page_of_docs", [in_english(name), in_korean(name)], ids=lambda path: path.name)


def example(page: Path, language: str, app: App, word: str = "") -> str:
    """Return the one example in a language that holds a word, with the address of the running chat."""
    code = block(page, language, word)
    assert ADDRESS in code
    return code.replace(ADDRESS, app.url)


def run(command: list[str], folder: Path) -> list[str]:
    """Run an example away from this project and return its lines."""
    environ = os.environ | {"PYTHONIOENCODING": "utf-8"}
    ended = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def assert_streamed(texts: list[str]) -> None:
    assert texts[-1] == "The capital of Korea is Seoul."
    growing = [text for text in dict.fromkeys(texts) if text]
    assert len(growing) > 1
    assert all(texts[-1].startswith(text) for text in growing)


@both("api")
def test_python_example(page_of_docs, app, tmp_path):
    lines = run([sys.executable, "-c", example(page_of_docs, "python", app, word="gradio_client")], tmp_path)
    assert_streamed([line for line in lines if not line.startswith("Loaded as API")])


@both("api")
def test_javascript_example_on_the_chats_own_page(page_of_docs, app, page: Page):
    texts = []
    page.goto(app.url)
    page.on("console", lambda message: texts.append(message.text) if message.type == "log" else None)
    page.evaluate(f"async () => {{ {example(page_of_docs, 'js', app)} }}")  # a console with `await` wraps, too
    assert_streamed(texts)


@both("api")
def test_curl_example(page_of_docs, app, tmp_path):
    assert shutil.which("curl"), "this test runs the page's curl example: install curl"
    code = example(page_of_docs, "sh", app, word="curl")
    assert len(code.splitlines()) == 2
    lines = run(["sh", "-c", code], tmp_path)
    assert "event: complete" in lines
    assert_streamed([line.removeprefix('data: ["').partition('"')[0] for line in lines if line.startswith("data: [")])


def test_prompt_example(embedded_model):
    code = block(in_english("prompt"), "sh", word="hfdemo prompt")
    assert code == block(in_korean("prompt"), "sh", word="hfdemo prompt")
    code = code.replace(".venv/bin/python", sys.executable)
    environ = os.environ | {"HFDEMO_MODEL": str(embedded_model)}
    answer = subprocess.run(["sh", "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT, env=environ)
    assert answer.returncode == 0, answer.stderr
    shown = json.loads(answer.stdout)
    assert "What is the capital of Korea?<|im_end|>" in shown["text"]
    assert len(shown["ids"]) == len(shown["special"]) == 37


@pytest.mark.parametrize(("page", "heading"), [(in_english("api"), "parameter"), (in_korean("api"), "매개변수")])
def test_api_table_has_the_endpoints_parameters_in_order_with_their_limits(page, heading, app):
    endpoint = httpx.get(f"{app.url}/gradio_api/info").json()["named_endpoints"]["/chat"]
    rows = table(page, heading)
    assert list(rows) == [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    for name, limit in LIMITS.items():
        low, high = map(float, re.findall(r"-?[\d.]+", rows[name][0]))
        assert (low, high, float(rows[name][1])) == (limit.low, limit.high, limit.default), name


def our_variables() -> set[str]:
    """Return the names of all settings."""
    return set(re.findall(r'"(HFDEMO_\w+)"', inspect.getsource(settings))) - set(settings.OLD_NAMES.values())


@pytest.mark.parametrize(("page", "heading"), [(in_english("settings"), "variable"), (in_korean("settings"), "변수")])
def test_every_environment_variable_is_in_the_table(page, heading):
    ours = our_variables()
    assert ours == {name for name in table(page, heading) if name.startswith("HFDEMO_")}
    assert ours and set(re.findall(r"HFDEMO_[A-Z_]+", page.read_text("utf-8"))) == ours


@pytest.mark.parametrize("name", ["README", *NAMES])
def test_no_page_names_a_variable_that_there_is_not(name):
    for page in (in_english(name), in_korean(name)):
        assert set(re.findall(r"HFDEMO_[A-Z_]+", page.read_text("utf-8"))) <= our_variables(), page


SAME = (
    r"python3? -m hfdemo \w+",
    r"py -m hfdemo \w+",
    r"(?:HFDEMO|GRADIO|HF)_[A-Z_]+",
    r"127\.0\.0\.1:\d+",
    r"/gradio_api/[\w/]+",
    r"[\w.-]+/[\w.-]+@?[\w/.-]*(?:\.gguf|B\b|2505)",
    r"https?://[\w./-]*[\w/]",
    r"(?<![\w-])--[a-z][\w-]*",
    r"(?m)^\| `[^|`]*` \|",
)
"""What a page says with the same letters in each language."""


def said(page: Path, pattern: str) -> set[str]:
    return set(re.findall(pattern, page.read_text("utf-8")))


@pytest.mark.parametrize("name", ["README", *NAMES])
def test_both_languages_say_the_same(name):
    english, korean = in_english(name), in_korean(name)
    for pattern in SAME:
        assert said(english, pattern) == said(korean, pattern), pattern
    for start in ("\n## ", "\n### ", "\n|", "\n- ", "\n```"):
        assert english.read_text("utf-8").count(start) == korean.read_text("utf-8").count(start), start


@pytest.mark.parametrize("pattern", SAME)
def test_each_of_these_is_said_somewhere(pattern):
    assert any(said(in_english(name), pattern) for name in ["README", *NAMES])


@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_a_start_that_fails_prints_is_quoted_in_its_language(language):
    page = (ROOT / "docs" / f"troubleshooting.{language}.md").read_text("utf-8")
    no_venv, not_installed = (say(f"start.{key}", language, installer="pip") for key in ("no_venv", "not_installed"))
    assert f'"{no_venv.partition(".")[0]}"' in page
    assert f'"… {not_installed.partition(".")[0].partition(" ")[2]}"' in page, "pip or uv may have said it"


def test_both_setting_tables_have_the_same_names():
    assert set(table(in_english("settings"), "variable")) == set(table(in_korean("settings"), "변수"))


@pytest.mark.parametrize(
    ("page", "heading"), [(in_english("troubleshooting"), "status"), (in_korean("troubleshooting"), "상태")]
)
def test_each_exit_status_is_in_its_table(page, heading):
    of_models, of_publish = ({int(status) for status in rows} for rows in tables(page, heading))
    statuses = set(EXIT_STATUS.values())
    assert of_models == {status for status in statuses if status < 31} | {0, OTHER_ERROR}
    assert of_publish == {status for status in statuses if status >= 31} | {0, OTHER_ERROR, __main__.INTERRUPTED}


@pytest.mark.parametrize(
    ("page", "heading", "language"),
    [(in_english("troubleshooting"), "what you see", "en"), (in_korean("troubleshooting"), "보이는 것", "ko")],
)
def test_what_is_quoted_is_what_the_program_says(page, heading, language):
    sentences = [re.sub(r"\{[^}]*\}", "…", text) for text in texts(language).values()]
    quoted = [quote for row in table(page, heading) for quote in re.findall(r'"([^"]+)"', row)]
    assert len(quoted) >= 25
    for quote in quoted:
        parts = [part.strip() for part in quote.split("…")]
        assert any(all(part in sentence for part in parts) for sentence in sentences), quote


def options_of(add: Callable[[Any], None]) -> set[str]:
    """Return the options that a function of the command line adds to a command."""
    return set(re.findall(r'options\.add_argument\(\s*"(--[\w-]+)"', inspect.getsource(add)))


@pytest.mark.parametrize(
    ("page", "heading"), [(in_english("publishing"), "option"), (in_korean("publishing"), "옵션")]
)
def test_each_option_of_publish_is_in_the_table(page, heading):
    known = options_of(arguments._add_publish) | {"--language"}
    assert len(known) > 5
    assert {name.split()[0] for name in table(page, heading)} - {"NAME"} == known


@pytest.mark.parametrize(("page", "heading"), [(in_english("settings"), "option"), (in_korean("settings"), "옵션")])
def test_each_option_of_start_is_in_the_table(page, heading):
    known = options_of(arguments._add_start) | {"--language", "--version"}
    assert len(known) > 3
    assert {option for name in table(page, heading) for option in re.findall(r"^--[\w-]+", name)} == known
