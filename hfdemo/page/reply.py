"""One reply on its way to the page: its text so far, no more often than the page can draw it."""

import logging
import time
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from threading import Event

import gradio as gr

from hfdemo.chat.messages import ChatRequest, Receipt
from hfdemo.engines.protocol import Engine
from hfdemo.errors import HfdemoError, hide_tokens
from hfdemo.page.bridge import iterate_in_thread
from hfdemo.words import Language, say

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as far as it has come."""

    text: str
    thought: str = ""
    thought_s: float = 0.0
    """How long the model thought, up to now."""
    used_tokens: int = 0
    ahead: int = 0
    """How many replies have to be finished before it is begun."""
    receipt: Receipt | None = None
    """Set when it is whole."""


async def stream_reply(engine: Engine, request: ChatRequest) -> AsyncGenerator[Reply, None]:
    """Yield the reply so far, again and again until it is whole.

    A page with many turns draws an update more slowly, and so does a long reply; updates come no faster than a
    browser draws them. They come at least four times a second, for only then is a closed tab noticed.
    """
    started = last = time.monotonic()
    stop = Event()
    text, thought, thought_s, shown = "", "", 0.0, False
    prompt_tokens = 0
    async with aclosing(iterate_in_thread(engine.stream(request, stop), stop)) as deltas:
        async for delta in deltas:
            now = time.monotonic()
            text, thought = text + delta.text, thought + delta.thought
            came = bool(delta.text or delta.thought)
            prompt_tokens = prompt_tokens or delta.used_tokens
            if thought and not text:
                thought_s = now - started
            waited = now - last >= update_interval_s(len(request.messages), delta.used_tokens - prompt_tokens)
            if delta.receipt or not came or waited or not shown:
                last, shown = now, came
                yield Reply(text, thought, thought_s, delta.used_tokens, delta.ahead, delta.receipt)


def update_interval_s(messages: int, tokens: int) -> float:
    """Return the shortest time between two updates.

    A browser takes about 6 ms for one, 0.45 ms more for each message of the chat and 4.3 ms for each thousand
    tokens of the reply (measured with Chromium 156 and Gradio 6.31); a third of its time is taken.
    """
    return max(1 / 30, 3 * (6 + 0.45 * messages + 4.3 * tokens / 1000) / 1000)


@contextmanager
def said_kindly(language: Language) -> Iterator[None]:
    """Turn errors into what a visitor is shown, in their language.

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
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("an event of the page failed: %s\n%s", type(error).__name__, hide_tokens(where))
        raise page_error(say("error.unexpected", language), language) from None


def page_error(text: str, language: Language) -> gr.Error:
    """Return the error that Gradio shows on the page, or sends to an API caller."""
    return gr.Error(text, duration=20, title=say("page.error", language), print_exception=False)
