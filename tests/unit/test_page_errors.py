"""An error reaches the page, or a program, in a person's words and without any secret."""

import asyncio
import logging

import gradio as gr
import pytest

from hfdemo.errors import Busy, GenerationFailed, InvalidInput, own_command
from hfdemo.page import gradio_private
from hfdemo.page.errors import page_error, shown_errors
from hfdemo.page.page import _print_address
from hfdemo.words import say

SECRET = "".join(["hf", "_", "secretsecret"])


def shown(error: BaseException, language: str = "en") -> gr.Error:
    with pytest.raises(gr.Error) as raised, shown_errors(language):
        raise error
    return raised.value


class Served:
    """A page as Gradio serves it; without a link, also where making one failed."""

    is_colab, space_id, share_url = False, None, None
    protocol, server_name, server_port = "http", "127.0.0.1", 7860


@pytest.mark.parametrize("share", ["", "False"])
def test_who_asked_for_no_link_is_told_how_to_get_one(share, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_SHARE", share)
    _print_address(Served(), "en")
    assert capsys.readouterr().out.splitlines() == [
        "* Running on local URL:  http://127.0.0.1:7860",
        f"* {say('start.how_to_share', 'en', command=own_command())}",
    ]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("asked", [None, "7860", "7850"])
def test_who_asked_for_a_port_that_is_taken_is_told(asked, language, monkeypatch, capsys):
    if asked:
        monkeypatch.setenv("GRADIO_SERVER_PORT", asked)
    _print_address(Served(), language)
    told = f"* {say('start.other_port', language, port=asked)}"
    assert (told in capsys.readouterr().out.splitlines()) is (asked == "7850")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("is_there", [True, False])
def test_who_asked_for_a_link_and_got_none_is_told_why(is_there, language, tmp_path, monkeypatch, capsys):
    program = tmp_path / "frpc"
    if is_there:
        program.touch()
    monkeypatch.setattr(gradio_private.tunneling, "BINARY_PATH", str(program))
    monkeypatch.setattr(gradio_private.tunneling, "BINARY_URL", "https://example.org/frpc")
    monkeypatch.setenv("GRADIO_SHARE", "true")
    _print_address(Served(), language)
    *_, last = capsys.readouterr().out.splitlines()
    facts = {} if is_there else {"address": "https://example.org/frpc", "path": str(program)}
    assert last == f"* {say('start.no_link' if is_there else 'start.no_link_program', language, **facts)}"


def test_nothing_is_said_when_nothing_happens():
    with shown_errors("en"):
        pass


@pytest.mark.parametrize("language", ["en", "ko"])
def test_an_error_for_people_is_said_in_their_language(language):
    error = shown(Busy("busy", waiting=3), language)
    assert error.message == say("error.busy", language, waiting=3)
    assert error.title == say("page.error", language)
    assert error.print_exception is False


@pytest.mark.parametrize("language", ["en", "ko"])
def test_options_are_called_as_the_page_labels_them_but_for_programs_as_the_api_does(language):
    error = InvalidInput("not_whole", name="max_new_tokens", low=1, high=9, value="x")
    assert shown(error, language).message == error.text(language).replace(
        "max_new_tokens", say("page.max_new_tokens", language)
    )
    with pytest.raises(gr.Error) as raised, shown_errors(language, labelled=False):
        raise error
    assert raised.value.message == error.text(language)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, OSError, MemoryError, UnicodeError])
def test_any_other_error_shows_neither_its_text_nor_a_token(kind, language, caplog):
    private = "the visitor said " + "strawberry"
    with caplog.at_level(logging.DEBUG):
        error = shown(kind(f"{private} {SECRET}"), language)
    assert error.message == say("error.unexpected", language)
    for text in (str(error), repr(error), error.message, caplog.text):
        assert "strawberry" not in text and "secretsecret" not in text
    assert kind.__name__ in caplog.text and "test_page_errors.py" in caplog.text


def test_a_line_of_code_in_the_log_has_its_token_masked(caplog):
    with pytest.raises(gr.Error), shown_errors("en"):
        {}["hf_thisTokenStandsInTheCode"]
    assert "hf_***" in caplog.text and "StandsInTheCode" not in caplog.text


def test_what_led_to_the_error_is_not_told_with_it():
    error = shown(ValueError("private"))
    assert error.__cause__ is None and error.__suppress_context__


def test_an_error_made_for_the_page_passes_as_it_is():
    error = page_error("text", "ko")
    assert shown(error) is error
    assert (error.message, error.title, error.duration) == ("text", say("page.error", "ko"), 20)


@pytest.mark.parametrize("error", [GeneratorExit(), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_leaving_is_no_error(error):
    with pytest.raises(type(error)), shown_errors("en"):
        raise error


def test_a_servers_words_are_text_on_the_page_and_as_they_are_for_a_program():
    said = 'no <think> & <img src="x">'
    error = GenerationFailed("endpoint_refused", host="h", said=said)
    with pytest.raises(gr.Error) as drawn, shown_errors("en"):
        raise error
    assert "no &lt;think&gt; &amp; &lt;img src=" in drawn.value.message and "<" not in drawn.value.message
    with pytest.raises(gr.Error) as told, shown_errors("en", labelled=False):
        raise error
    assert said in told.value.message
