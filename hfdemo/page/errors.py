"""Errors as a visitor is shown them, in the page's language."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from hfdemo.errors import HfdemoError, log_failure
from hfdemo.words import Language, say, texts


@contextmanager
def shown_errors(language: Language, labelled: bool = True) -> Iterator[None]:
    """Turn errors into what a visitor is shown.

    Args:
        language: of the sentence.
        labelled: whether the page shows it, which draws HTML and labels the options; or a program reads it.

    Raises:
        gr.Error: for any error.
    """
    try:
        yield
    except HfdemoError as error:
        text = (
            html.escape(_labelled(error, language).text(language), quote=False) if labelled else error.text(language)
        )
        raise page_error(text, language) from None
    except gr.Error:
        raise
    except Exception as error:
        log_failure("an event of the page", error)
        raise page_error(say("error.unexpected", language), language) from None


def page_error(text: str, language: Language) -> gr.Error:
    """Return the error that Gradio shows on the page, or sends to an API caller."""
    return gr.Error(text, duration=20, title=say("page.error", language), print_exception=False)


def _labelled(error: HfdemoError, language: Language) -> HfdemoError:
    label = texts(language).get(f"page.{error.fields.get('name')}")
    return type(error)(error.key, error.advice, **error.fields | {"name": label}) if label else error
