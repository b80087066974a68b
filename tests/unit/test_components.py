"""Gradio's components hand over what was sent, and display what was drawn."""

import math
import shutil
import subprocess
import sys

import pytest

from hfdemo.page.components import ConversationStore, RawNumber, RawRadio, RawSlider, RawTextbox, Transcript
from hfdemo.page.page import QUEUE_POLL_S, launch
from tests.conftest import ROOT
from tests.fakes import ScriptedEngine, scripted_page

transcript = Transcript()
RAW = [RawTextbox(), RawSlider(0, 1), RawNumber(minimum=0, maximum=1), RawRadio(["a"]), ConversationStore()]


def entry(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def test_what_is_drawn_is_displayed_as_it_is():
    shown = transcript.postprocess([entry("user", "  <div>\n\ta</div>"), entry("assistant", "    b ")])
    assert [message.content[0].text for message in shown.root] == ["  <div>\n\ta</div>", "    b "]


@pytest.mark.parametrize("value", [None, []])
def test_an_empty_chat_is_drawn_empty(value):
    assert transcript.postprocess(value).root == []


def test_a_box_is_drawn_as_a_box():
    metadata = {"id": "progress", "title": "Reading …", "status": "pending"}
    shown = transcript.postprocess([entry("assistant", "") | {"metadata": metadata}]).root[0]
    assert {key: shown.metadata[key] for key in metadata} == metadata


def test_a_text_with_half_a_surrogate_pair_can_be_displayed():
    shown = transcript.postprocess([entry("user", "a\ud800")])
    assert shown.root[0].content[0].text == "a\ufffd"


@pytest.mark.parametrize("component", RAW, ids=lambda component: component.get_block_name())
@pytest.mark.parametrize(
    "value", [None, "", " Hi\n", "\ud800", 5, -5.5, math.inf, True, ["a"], {"text": "a"}], ids=repr
)
def test_a_raw_component_passes_on_what_was_sent(component, value):
    assert component.preprocess(value) is value


@pytest.mark.parametrize("component", RAW, ids=lambda component: component.get_block_name())
def test_a_raw_component_does_not_stop_nan_by_itself(component):
    assert math.isnan(component.preprocess(math.nan))


def test_each_component_is_drawn_by_gradios_own_frontend():
    names = [component.get_block_name() for component in (transcript, *RAW)]
    assert names == ["chatbot", "textbox", "slider", "number", "radio", "json"]


def test_importing_writes_nothing_beside_the_module(tmp_path):
    shutil.copytree(ROOT / "hfdemo", tmp_path / "hfdemo", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    program = "import hfdemo.page.chat as chat; print(chat.__file__)"
    command = [sys.executable, "-B", "-c", program]
    written = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout
    assert str(tmp_path) in written
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_gradio_looks_for_events_as_seldom_as_it_is_told():
    page = scripted_page(ScriptedEngine())
    by_itself = page.queue()._queue.sleep_when_free
    launch(page, prevent_thread_lock=True, quiet=True)
    page.close()
    assert by_itself <= 0.05 and page._queue.sleep_when_free == QUEUE_POLL_S


def test_hidden_progress_is_on_no_component():
    page = scripted_page(ScriptedEngine())
    hidden = [event for event in page.get_config_file()["dependencies"] if event["show_progress"] == "hidden"]
    served = [event for event in hidden if event["backend_fn"] and event["api_visibility"] == "private"]
    assert len(served) > 10
    assert {event["id"]: event["show_progress_on"] for event in served} == {event["id"]: [] for event in served}
