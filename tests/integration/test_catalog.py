"""The menu's list asks the Hub little, and tells at once when a model came."""

import json

import pytest

from tests.hub import Model

PROGRAM = """
import json

import pytest
from hfdemo.models import catalog
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.download import fetch_model
from hfdemo.models.machine import look_at_machine
from hfdemo.settings import Settings

settings = Settings(models=("org/tiny", "org/missing"))
models = catalog.Catalog(settings, lambda: look_at_machine("local"))

def choices():
    return [(choice.name, choice.stored_bytes, choice.on_disk, choice.fits) for choice in models.choices()]

def fetch():
    checked = check_model(parse_model("org/tiny"), settings)
    fetch_model(checked.source, missing=checked.missing)
"""


def questions(machine, model: str) -> int:
    return machine.hub.requests.count(f"GET /api/models/{model}")


def test_what_was_found_out_of_the_list_is_kept(machine):
    printed = machine.run(PROGRAM + "print(json.dumps([choices() for _ in range(5)]))")
    first, *others = json.loads(printed[-1])
    (tiny, stored_bytes, on_disk, fits), missing = first
    assert (tiny, on_disk, fits, missing) == ("org/tiny", False, True, ["org/missing", None, False, None])
    assert stored_bytes > 200_000_000
    assert others == [first] * 4
    assert questions(machine, "org/tiny") == 1
    assert questions(machine, "org/missing") == 2  # one is asked again, as the Hub may refuse it once by mistake


def test_a_model_that_came_is_told_at_once_and_then_kept_too(machine, tiny):
    machine.hub.models["org/tiny"] = Model(tiny.folder)
    printed = machine.run(PROGRAM + "choices(); fetch(); print(json.dumps([choices() for _ in range(5)]))")
    assert [[choice[2] for choice in choices] for choices in json.loads(printed[-1])] == [[True, False]] * 5
    machine.hub.requests.clear()
    machine.run(PROGRAM + "[choices() for _ in range(5)]")
    assert questions(machine, "org/tiny") == 1


def test_what_is_kept_is_found_out_anew_after_a_while(machine):
    machine.run(PROGRAM + "catalog.FRESH_S = 0; [choices() for _ in range(3)]")
    assert questions(machine, "org/tiny") == 3


SEARCH = """
import sys, time
from hfdemo.errors import ModelLoadError
import huggingface_hub, hfdemo.models.explain  # a page has loaded them long before anybody searches

begun = time.monotonic()
try:
    print(models.search("tiny"))
except ModelLoadError as error:
    print(error.key, error.fields["problem"])
print(time.monotonic() - begun)
"""


@pytest.mark.parametrize("down", ["503", "hangs up", "silent"])
def test_a_search_answers_within_five_seconds_though_the_hub_is_away(machine, down):
    machine.hub.down = down
    said, seconds = machine.run(PROGRAM + SEARCH)[-2:]
    assert said.startswith("hub_unreachable ")
    assert float(seconds) < 5


PLAN = """
import time
from hfdemo.errors import ModelLoadError
from hfdemo.models import access

access.ANSWERS_WITHIN_S = 2.0
begun = time.monotonic()
try:
    models.plan("org/tiny")
except ModelLoadError as error:
    print(error.key, error.fields["model"])
print(time.monotonic() - begun)
"""


@pytest.mark.parametrize("token", ["", "hf_" + "a" * 34])
def test_a_hub_that_says_nothing_is_not_waited_for_when_a_model_is_picked(machine, token):
    """Its client has no time limit: the menu, `check` and the load of a model waited for ever."""
    machine.hub.down = "silent"
    said, seconds = machine.run(PROGRAM + PLAN, HF_TOKEN=token)[-2:]
    assert said == "hub_unreachable_for org/tiny"
    assert 2 <= float(seconds) < 10
