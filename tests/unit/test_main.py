"""A command whose output nobody reads any more ends like other programs: at once, and without a traceback."""

import os
import subprocess
import sys

import pytest

from hfdemo.__main__ import READER_GONE
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
