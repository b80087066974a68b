"""What the READMEs say is true, and short: a Space takes the front matter, two commands set all up."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.written import in_english, in_korean, links

ENGLISH, KOREAN = in_english("README"), in_korean("README")
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
MOST_WORDS = 1500

both = pytest.mark.parametrize("readme", [ENGLISH, KOREAN], ids=lambda path: path.name)


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


@both
def test_it_is_read_in_minutes(readme):
    assert len(readme.read_text("utf-8").split()) <= MOST_WORDS


@both
def test_its_badges_are_right(readme):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    badges = re.findall(r"^\[!\[([^\]]+)\]\(([^)]+)\)\]\(([^)]+)\)$", readme.read_text("utf-8"), re.M)
    (licence, licence_picture, _), (python, python_picture, _), (colab, _, leads_to) = badges
    assert project["license"] == "Apache-2.0" and "Apache 2.0" in licence and "Apache--2.0" in licence_picture
    newest = project["requires-python"].removeprefix(">=")
    assert newest in python and f"python-{newest}%2B-" in python_picture
    assert "Colab" in colab and leads_to == "https://colab.research.google.com/"


@both
def test_there_is_one_command_to_start_and_one_to_test(readme):
    lines = readme.read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("python3 -m hfdemo")] == [
        "python3 -m hfdemo start",
        "python3 -m hfdemo test",
    ]


@both
def test_local_links_and_images_exist(readme):
    local = [target for target in links(readme.read_text("utf-8")) if "://" not in target and target[0] != "#"]
    assert any(target.endswith(".png") for target in local)
    for target in local:
        assert (ROOT / target.partition("#")[0]).is_file(), target


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("*.png")), ids=lambda path: path.name)
def test_picture_is_small(picture):
    assert picture.stat().st_size < 150_000
