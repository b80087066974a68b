"""A story that an engine is asked for, without a page."""

from dataclasses import replace
from typing import Any

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Receipt, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.protocol import Engine

STORY = (Message("user", "Write a story about a fox who finds a map."),)


def story(tokens: int, cache_key: str = "", **changes: Any) -> ChatRequest:
    options = Options(temperature=0, max_new_tokens=tokens)
    return replace(ChatRequest(STORY, "", options, cache_key=cache_key), **changes)


def run(engine: Engine, request: ChatRequest, stop_after: int | None = None) -> tuple[str, Receipt | None]:
    """Return the reply's text and receipt; stop after so many pieces of text."""
    stop, text, pieces, receipt = StopSignal(), "", 0, None
    for delta in engine.stream(request, stop):
        text += delta.text
        pieces += bool(delta.text)
        receipt = delta.receipt or receipt
        if pieces == stop_after:
            stop.set()
    return text, receipt
