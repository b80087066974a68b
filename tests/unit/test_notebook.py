"""The notebook is one that Colab and a person can read: three short cells, two languages, nothing left of a run."""

import ast
import json
import re

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from hfdemo.colab import Chat
from hfdemo.models.choose import DEFAULT_ON_GPU
from tests.conftest import ROOT

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "hfdemo.ipynb", as_version=4)
CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
TEXTS = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown"]


def fields() -> dict[str, tuple[object, str]]:
    """Return the fields of Colab's forms: value and rest of the line."""
    found = re.findall(r"^([A-Z_]+) = (.*?)  # @param (.*)$", "\n".join(cell.source for cell in CELLS), re.M)
    return {name: (ast.literal_eval(value), form) for name, value, form in found}


def test_it_is_a_valid_notebook_without_outputs():
    nbformat.validate(NOTEBOOK)
    assert [(cell.outputs, cell.execution_count) for cell in CELLS] == [([], None)] * 3


def test_it_asks_colab_for_a_t4():
    assert (NOTEBOOK.metadata.accelerator, NOTEBOOK.metadata.colab.gpuType) == ("GPU", "T4")


def test_its_cells_are_short_python():
    for cell in CELLS:
        assert len(cell.source.splitlines()) <= 8
        ast.parse(TransformerManager().transform_cell(cell.source))


def test_each_text_is_in_both_languages():
    assert len(TEXTS) == 4
    for text in TEXTS:
        korean, english = text.split("**English** ·")
        assert re.search("[\uac00-\ud7a3]", korean.partition("**한국어** ·")[2])
        assert not re.search("[\uac00-\ud7a3]", english)


def test_a_form_has_the_fields_that_a_person_chooses():
    assert list(fields()) == ["ADDRESS", "MODEL", "LANGUAGE", "SHARE", "SYSTEM_PROMPT"]
    assert fields()["SHARE"] == (False, '{type:"boolean"}')
    system_prompt, form = fields()["SYSTEM_PROMPT"]
    assert re.search("[a-z]", str(system_prompt)) and re.search("[\uac00-\ud7a3]", str(system_prompt))
    assert form == '{type:"string"}'
    model, form = fields()["MODEL"]
    choices, _, options = form.partition(" {")
    assert model == DEFAULT_ON_GPU and model in json.loads(choices)
    assert options == "allow-input: true}"
    assert fields()["LANGUAGE"] == ("ko", '["ko", "en"]')


def test_it_holds_no_token():
    assert not re.search(r"hf_[A-Za-z0-9]{8}", (ROOT / "notebooks" / "hfdemo.ipynb").read_text("utf-8"))


@pytest.mark.parametrize("share", ["True", "False", ""])
def test_no_share_link_without_a_password(share):
    """Gradio would turn a link on by itself, and only what this project makes has a password."""
    chat = Chat("org/model", environ={"GRADIO_SHARE": share})
    assert chat._environ["GRADIO_SHARE"] == "False"


def test_a_chat_does_not_show_its_environment():
    assert "hf_secret" not in repr(Chat("org/model", environ={"HF_TOKEN": "hf_secret"}))
