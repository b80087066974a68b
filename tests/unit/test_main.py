"""A command whose output nobody reads any more ends like other programs: at once, and without a traceback."""

import os
import subprocess
import sys

import pytest

from hfdemo.__main__ import READER_GONE, main
from tests.conftest import ROOT

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""argparse ignores it itself if its help can't be written at once."""


@pytest.mark.parametrize("arguments", [["--help"], ["prompt", "no-such-file"], ["check", "/no/such/folder"]], ids=str)
def test_a_reader_that_goes_away_ends_a_command(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hfdemo", *arguments]
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=writer, env=BUFFERED, timeout=60, check=False)
    os.close(writer)
    assert ended.returncode == READER_GONE


def test_a_reader_of_the_output_that_goes_away_leaves_no_word_of_it():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hfdemo", "doctor", "/no/such/folder"]
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (READER_GONE, b"")


@pytest.mark.parametrize(
    ("arguments", "named", "value"),
    [
        (["start", "--port", "abc"], "--port", "'abc'"),
        (["start", "--port", "0"], "--port", "'0'"),
        (["start", "--port", "99999"], "--port", "'99999'"),
        (["start", "--port=-5"], "--port", "'-5'"),
        (["start", "--port", "7860.5"], "--port", "'7860.5'"),
        (["start", "--port", ""], "--port", "''"),
        (["check", "MODEL", "--context", "1"], "--context", "'1'"),
        (["check", "MODEL", "--context=-5"], "--context", "'-5'"),
        (["check", "MODEL", "--context", "99999999999999"], "--context", "'99999999999999'"),
        (["publish", "my-chat", "--wait", "soon"], "--wait", "'soon'"),
        (["publish", "my-chat", "--wait", "0"], "--wait", "'0'"),
    ],
)
@pytest.mark.parametrize(("language", "sentence"), [("en", "must be a whole number"), ("ko", "정수여야")])
def test_a_number_that_cant_be_used_is_refused_by_the_name_that_was_typed(
    arguments, named, value, language, sentence, capsys, monkeypatch
):
    monkeypatch.setenv("HFDEMO_LANGUAGE", language)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {named}: N" in said and value in said and sentence in said
    assert "GRADIO" not in said and "HFDEMO" not in said


@pytest.mark.parametrize("command", ["start", "doctor"])
def test_an_empty_name_is_not_the_default_model(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, " "])
    assert ended.value.code == 2
    assert "argument MODEL: " in capsys.readouterr().err
