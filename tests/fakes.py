"""An engine, and what can stand beside it, that say what they are told to."""

import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from typing import Any, TypeVar

from hfdemo.answering import Answering
from hfdemo.chat.reply import Delta, Receipt, StopSignal
from hfdemo.chat.request import ChatRequest, ShownPrompt, ShownToken
from hfdemo.engines.protocol import ModelCatalog, Status
from hfdemo.errors import HfdemoError, InvalidInput
from hfdemo.models.choice import ModelChoice
from hfdemo.models.plan import Machine, Plan, make_plan, usual_facts
from hfdemo.page.page import create_page
from hfdemo.settings import Settings

RECEIPT = Receipt(
    prompt_tokens=30,
    cached_tokens=0,
    new_tokens=10,
    first_token_s=0.1,
    tokens_per_s=20.0,
    finish_reason="end_of_turn",
    seed=1,
    model="scripted",
    device="nowhere",
    context_limit=100,
    dropped_messages=0,
)
"""Any receipt; tests replace what they are about."""


Piece = str | Exception | float | Delta


class ScriptedEngine:
    """Answers with the replies that were enqueued, in pieces; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.stopped: list[bool] = []
        self.now = Status("ready", model="scripted", device="nowhere", context_limit=100)
        self.receipt = RECEIPT
        self.stop: StopSignal | None = None
        self._replies: deque[list[Piece]] = deque()

    def enqueue(self, *pieces: Piece) -> None:
        """Add a reply: a text is a piece, a thought between <think> tags; a number is a wait, an error is raised."""
        self._replies.append(list(pieces))

    def status(self) -> Status:
        return self.now

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        self.requests.append(request)
        self.stop = stop
        if self.now.error:
            raise self.now.error
        start = [request.reply_start] if request.reply_start else []
        for piece in [*start, *(self._replies.popleft() if self._replies else ["ok"])]:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, float | int):
                end = time.monotonic() + piece
                while time.monotonic() < end and not stop.is_set():
                    yield Delta()
                    stop.wait(min(0.25, max(0.0, end - time.monotonic())))
            elif isinstance(piece, Delta):
                yield piece
            elif piece.startswith("<think>"):
                yield Delta(thought=piece.removeprefix("<think>").removesuffix("</think>"), used_tokens=40)
            else:
                yield Delta(piece, used_tokens=40)
            if stop.is_set():
                break
        self.stopped.append(stop.is_set())
        receipt = replace(self.receipt, finish_reason=stop.reason) if stop.is_set() else self.receipt
        yield Delta(used_tokens=40, receipt=receipt)


class ScriptedHost:
    """Stands beside a scripted engine; remembers what it was asked for."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.loads = self.cancels = 0
        self.chosen: list[str] = []

    def load(self) -> None:
        self.loads += 1

    def choose(self, model: str) -> None:
        self.chosen.append(model)
        self.engine.now = Status("resolving", model=model, named=model)
        if self.engine.stop:
            self.engine.stop.set("model_changed")

    def cancel(self) -> None:
        self.cancels += 1
        self.engine.now = Status("cancelled", model=self.engine.now.model)


class ScriptedViewer:
    """Shows each message as one token, behind a control token."""

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        tokens = [ShownToken("<|start|>", True), *(ShownToken(message.content, False) for message in request.messages)]
        return ShownPrompt(tuple(tokens), dropped_messages=0, context_limit=100)


def scripted_page(
    engine: ScriptedEngine,
    settings: Settings | None = None,
    catalog: ModelCatalog | None = None,
    host: ScriptedHost | None = None,
) -> Any:
    """Return the page of a scripted engine, with all that can stand beside it."""
    host = host or ScriptedHost(engine)
    return create_page(Answering(engine), settings or Settings(), host, ScriptedViewer(), catalog)


def make_any_plan(name: str, parameters: int = 600_000_000) -> Plan:
    """Return the plan for a model of some size on a machine with 12 GB of memory."""
    facts = replace(usual_facts(name, parameters), download_bytes=2 * parameters)
    return make_plan(facts, Machine(ram_free=12_000_000_000, disk_free=50_000_000_000))


class ScriptedCatalog:
    """Offers and finds the models it was given; a model without a plan can't be used."""

    def __init__(self, *models: ModelChoice) -> None:
        self.models = list(models)
        self.plans: dict[str, Plan | HfdemoError] = {}
        self.found: list[ModelChoice] | HfdemoError = []
        self.planned: list[str] = []
        self.searched: list[str] = []

    def choices(self) -> list[ModelChoice]:
        return self.models

    def plan(self, name: str) -> Plan:
        self.planned.append(name)
        return _or_raise(
            self.plans.get(name, InvalidInput("no_such_model", model=name, page=f"https://hub.test/{name}"))
        )

    def search(self, words: str) -> list[ModelChoice]:
        self.searched.append(words)
        return _or_raise(self.found)


T = TypeVar("T")


def _or_raise(answer: T | HfdemoError) -> T:
    if isinstance(answer, HfdemoError):
        raise answer
    return answer


def displayed_text(html: str) -> str:
    """Return the text of what the page draws."""
    return unescape(re.sub("<[^>]*>", "", html))
