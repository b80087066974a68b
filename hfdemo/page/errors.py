"""Errors as a visitor is shown them, in the page's language."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from hfdemo.errors import HfdemoError, log_failure
from hfdemo.words import Language, say


@contextmanager
def shown_errors(language: Language) -> Iterator[None]:
    """Turn errors into what a visitor is shown.

    Raises:
        gr.Error: for any error.
    """
    try:
        yield
    except HfdemoError as error:
        raise page_error(error.text(language), language) from None
    except gr.Error:
        raise
    except Exception as error:
        log_failure("an event of the page", error)
        raise page_error(say("error.unexpected", language), language) from None


def page_error(text: str, language: Language) -> gr.Error:
    """Return the error that Gradio shows on the page, or sends to an API caller."""
    return gr.Error(text, duration=20, title=say("page.error", language), print_exception=False)
