"""The command line: what is said of it, and that it ends like other programs when nobody reads its output any more."""

import os
import re
import subprocess
import sys

import pytest

from hfdemo import __version__
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


def test_a_name_that_is_no_utf_8_is_written_as_it_can_be():
    program = (
        "from contextlib import suppress\nfrom hfdemo.__main__ import main\n"
        "with suppress(SystemExit): main([])\nprint(chr(0xdcb8))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, rb"\udcb8"), ended.stderr


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
    assert f"{named}: N" in said and value in said and sentence in said
    assert "GRADIO" not in said and "HFDEMO" not in said


@pytest.mark.parametrize(
    "arguments", [["--version"], ["start", "--version"], ["start", "model", "--version"]], ids=str
)
def test_the_version_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code, capsys.readouterr().out) == (0, f"hfdemo {__version__}\n")


@pytest.mark.parametrize("command", ["start", "doctor"])
def test_an_empty_name_is_not_the_default_model(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, " "])
    assert ended.value.code == 2
    assert "MODEL: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "korean", "english"),
    [
        ([], "빠진 인수: COMMAND", "missing: COMMAND"),
        (["check"], "빠진 인수: MODEL", "missing: MODEL"),
        (["start", "a", "b c"], "알 수 없는 인수: b c", "not understood: b c"),
        (["start", "--colour"], "알 수 없는 인수: --colour", "not understood: --colour"),
        (["start", "--host"], "--host 뒤에 값이 필요합니다", "--host needs a value"),
        (["prompt", "-", "--max-new-tokens", "ten"], "--max-new-tokens에는 'ten' 대신", "number, not 'ten'"),
        (
            ["start", "--share=yes"],
            "--share에는 'yes' 같은 값을 붙일 수 없습니다",
            "--share takes no value, such as 'yes'",
        ),
        (
            ["check", "m", "--quantize", "3, 4"],
            "--quantize에는 '3, 4'를 쓸 수 없습니다",
            "--quantize can't be '3, 4', only ",
        ),
        (["dance"], "COMMAND에는 'dance'를 쓸 수 없습니다. 쓸 수 있는 값: ", "COMMAND can't be 'dance', only "),
        (["check", "m", "--c", "--j"], "--context 뒤에 값이 필요합니다", "--context needs a value"),
        (["publish", "n", "--h", "x"], "--h라고만 하면 --help, --hardware 중", "--h may mean "),
    ],
    ids=str,
)
def test_what_cant_be_used_is_said_in_the_terminals_language(arguments, korean, english, capsys, monkeypatch):
    for language, sentence in (("ko_KR.UTF-8", korean), ("C", english)):
        monkeypatch.setenv("HFDEMO_LANGUAGE", "")
        monkeypatch.setenv("LC_ALL", language)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        usage, *_, said = capsys.readouterr().err.splitlines()
        assert sentence in said
        assert usage.startswith("사용법: " if language != "C" else "usage: ")
        assert language == "C" or not re.search("argument|choice|require|expected|error", said)


@pytest.mark.parametrize("named", [["--language", "ko"], ["--language=KO"], ["--lang", "ko"]])
@pytest.mark.parametrize("arguments", [["start", "--port", "x"], ["check"], ["publish", "a/b", "--wait", "0"]])
def test_the_language_that_is_asked_for_is_also_that_of_what_is_wrong_with_the_rest(
    arguments, named, capsys, monkeypatch
):
    monkeypatch.setenv("HFDEMO_LANGUAGE", "en")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *named])
    assert ended.value.code == 2
    usage, *_, said = capsys.readouterr().err.splitlines()
    assert usage.startswith("사용법: ")
    assert f"hfdemo {arguments[0]}: 오류: " in said and "--language" not in said


def test_a_language_without_words_leaves_the_terminals(capsys, monkeypatch):
    monkeypatch.setenv("HFDEMO_LANGUAGE", "ko")
    for arguments in (["check", "m", "--language", "fr"], ["check", "m", "--language"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "오류: --language" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "start", "prompt", "check", "doctor", "publish"])
def test_help_is_in_the_terminals_language_whatever_it_can_encode(command):
    asked = [sys.executable, "-m", "hfdemo", *filter(None, [command]), "--help"]
    shown = []
    for language in ("ko_KR.UTF-8", "C"):
        environ = os.environ | {"LC_ALL": language, "HFDEMO_LANGUAGE": "", "PYTHONIOENCODING": "ascii"}
        shown.append(subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, env=environ, check=True).stdout.decode())
    korean, english = shown
    assert korean.startswith("사용법: ") and english.startswith("usage: ")
    assert not re.search("[\uac00-\ud7a3]", english)
    assert not re.search("as in|show|the |options:|arguments:", korean)
