"""A story that an engine is asked for, without a page."""

from dataclasses import replace
from threading import Event
from typing import Any

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Receipt
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.local import LocalEngine
from hfdemo.engines.protocol import Engine
from hfdemo.settings import Settings
from tests.conftest import wait_until

STORY = (Message("user", "Write a story about a fox who finds a map."),)


def loaded(settings: Settings, timeout_s: float = 60) -> LocalEngine:
    """Return an engine whose model is there."""
    engine = LocalEngine(settings)
    engine.load()
    wait_until(lambda: engine.status().stage == "ready", timeout_s)
    return engine


def story(tokens: int, chat: str = "", **changes: Any) -> ChatRequest:
    options = Options(temperature=0, max_new_tokens=tokens)
    return replace(ChatRequest(STORY, "", options, chat=chat), **changes)


def run(engine: Engine, request: ChatRequest, stop_after: int | None = None) -> tuple[str, Receipt | None]:
    """Return the reply's text and receipt; stop after so many pieces of text."""
    stop, text, pieces, receipt = Event(), "", 0, None
    for delta in engine.stream(request, stop):
        text += delta.text
        pieces += bool(delta.text)
        receipt = delta.receipt or receipt
        if pieces == stop_after:
            stop.set()
    return text, receipt
