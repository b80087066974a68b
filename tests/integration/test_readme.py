"""What the READMEs say is true: their examples run as they are written, and their facts are the program's."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from playwright.sync_api import Page

from hfdemo import settings
from hfdemo.chat.options import LIMITS
from tests.conftest import ROOT, App
from tests.e2e.conftest import browser_type_launch_args  # noqa: F401  # the same Chromium here

ADDRESS = "http://127.0.0.1:7860"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"

both = pytest.mark.parametrize("readme", [ENGLISH, KOREAN], ids=lambda path: path.name)


def example(readme: Path, language: str, app: App, word: str = "") -> str:
    """Return the one example in a language that holds a word, with the address of the running chat."""
    code = block(readme, language, word)
    assert ADDRESS in code
    return code.replace(ADDRESS, app.url)


def block(readme: Path, language: str, word: str = "") -> str:
    """Return the one fenced block in a language that holds a word, as it is written."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    [code] = [code for code in blocks if word in code]
    return str(code)


def run(command: list[str], folder: Path) -> list[str]:
    """Run an example away from this project and return its lines."""
    environ = os.environ | {"PYTHONIOENCODING": "utf-8"}
    ended = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def assert_streamed(texts: list[str]) -> None:
    assert texts[-1] == "The capital of France is Paris."
    growing = [text for text in dict.fromkeys(texts) if text]
    assert len(growing) > 1
    assert all(texts[-1].startswith(text) for text in growing)


@both
def test_python_example(readme, app, tmp_path):
    lines = run([sys.executable, "-c", example(readme, "python", app, word="gradio_client")], tmp_path)
    assert_streamed([line for line in lines if not line.startswith("Loaded as API")])


@both
def test_javascript_example_on_the_chats_own_page(readme, app, page: Page):
    texts = []
    page.goto(app.url)
    page.on("console", lambda message: texts.append(message.text) if message.type == "log" else None)
    page.evaluate(f"async () => {{ {example(readme, 'js', app)} }}")  # a console allows `await`, so it wraps, too
    assert_streamed(texts)


@both
def test_curl_example(readme, app, tmp_path):
    assert shutil.which("curl"), "this test runs the README's curl example: install curl"
    code = example(readme, "sh", app, word="curl")
    assert len(code.splitlines()) == 2
    lines = run(["sh", "-c", code], tmp_path)
    assert "event: complete" in lines
    assert_streamed([line.removeprefix('data: ["').partition('"')[0] for line in lines if line.startswith("data: [")])


def front_matter() -> dict:
    text = ENGLISH.read_text("utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_front_matter_is_what_a_space_takes():
    facts = front_matter()
    assert facts["sdk"] == "gradio"
    assert 0 < len(facts["title"]) <= 100
    assert 0 < len(facts["short_description"]) <= 60
    assert len(facts["emoji"]) == 1 and ord(facts["emoji"]) > 0x2000
    assert {facts["colorFrom"], facts["colorTo"]} <= COLOURS
    assert facts["license"] == "apache-2.0"
    assert (ROOT / facts["app_file"]).is_file()
    assert all(isinstance(facts[key], list) for key in ("models", "tags"))
    assert isinstance(facts["python_version"], str), "unquoted, 3.10 would be read as 3.1"


def test_gradio_of_the_front_matter_is_the_installed_and_the_required_one():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    [gradio] = [line for line in lines if line.startswith("gradio>")]
    assert front_matter()["sdk_version"] == version("gradio")
    assert version("gradio") in Requirement(gradio).specifier


def test_korean_readme_has_no_front_matter():
    assert KOREAN.read_text("utf-8").startswith("# ")


def table(readme: Path, first_cell: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first heading is `first_cell`, by the name in their first cell."""
    lines = iter(readme.read_text("utf-8").splitlines())
    next(line for line in lines if line.startswith(f"| {first_cell} |"))
    next(lines)
    rows: dict[str, list[str]] = {}
    while (line := next(lines)).startswith("|"):
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name.strip("`")] = cells
    return rows


@pytest.mark.parametrize(("readme", "heading"), [(ENGLISH, "parameter"), (KOREAN, "매개변수")])
def test_api_table_has_the_endpoints_parameters_in_order_with_their_limits(readme, heading, app):
    endpoint = httpx.get(f"{app.url}/gradio_api/info").json()["named_endpoints"]["/chat"]
    rows = table(readme, heading)
    assert list(rows) == [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    for name, limit in LIMITS.items():
        low, high = map(float, re.findall(r"-?[\d.]+", rows[name][0]))
        assert (low, high, float(rows[name][1])) == (limit.low, limit.high, limit.default), name


@pytest.mark.parametrize(("readme", "heading"), [(ENGLISH, "variable"), (KOREAN, "변수")])
def test_every_environment_variable_is_in_the_table(readme, heading):
    ours = set(re.findall(r'"(HFDEMO_\w+)"', inspect.getsource(settings))) - set(settings.OLD_NAMES.values())
    assert ours == {name for name in table(readme, heading) if name.startswith("HFDEMO_")}
    assert ours and set(re.findall(r"HFDEMO_[A-Z_]+", readme.read_text("utf-8"))) == ours


def test_both_readmes_say_the_same():
    english, korean = (readme.read_text("utf-8") for readme in (ENGLISH, KOREAN))
    for pattern in (
        r"python3? -m hfdemo \w+",
        r"py -m hfdemo \w+",
        r"(?:HFDEMO|GRADIO|HF)_[A-Z_]+",
        r"127\.0\.0\.1:\d+",
        r"/gradio_api/[\w/]+",
        r"[\w.-]+/[\w.-]+@?[\w/.-]*(?:\.gguf|B\b|2505)",
    ):
        found = set(re.findall(pattern, english))
        assert found and found == set(re.findall(pattern, korean)), pattern
    assert set(table(ENGLISH, "variable")) == set(table(KOREAN, "변수"))
    assert english.count("\n## ") == korean.count("\n## ")


@both
def test_there_is_one_command_to_start_and_one_to_test(readme):
    lines = readme.read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("python3 -m hfdemo")] == [
        "python3 -m hfdemo start",
        "python3 -m hfdemo test",
    ]


@both
def test_local_links_and_images_exist(readme):
    text = readme.read_text("utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if "://" not in target]
    assert any(target.endswith(".png") for target in local)
    for target in local:
        assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("*.png")), ids=lambda path: path.name)
def test_picture_is_small(picture):
    assert picture.stat().st_size < 150_000


@both
def test_prompt_example(readme, embedded_model):
    code = block(readme, "sh", word="hfdemo prompt").replace(".venv/bin/python", sys.executable)
    environ = os.environ | {"HFDEMO_MODEL": str(embedded_model)}
    answer = subprocess.run(["sh", "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT, env=environ)
    assert answer.returncode == 0, answer.stderr
    shown = json.loads(answer.stdout)
    assert "What is the capital of France?<|im_end|>" in shown["text"]
    assert len(shown["ids"]) == len(shown["special"]) == 37
