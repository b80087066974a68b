"""An engine and a catalog of models that say what they are told to."""

import time
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from threading import Event
from typing import TypeVar

from hfdemo.chat.messages import ChatRequest, Delta, FinishedReply, ModelChoice, Receipt, ShownPrompt, Status
from hfdemo.errors import HfdemoError, InvalidInput
from hfdemo.models.plan import Machine, Plan, make_plan, usual_facts

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


class ScriptedEngine:
    """Answers with the replies that were enqueued, in pieces; remembers what it was asked.

    What stands between <think> and </think> as a piece of its own is sent as thought.

    It is an engine by having the methods of one, no more.
    """

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.stopped: list[bool] = []
        self.now = Status("ready", model="scripted", device="nowhere")
        self.loads = 0
        self.chosen: list[str] = []
        self.cancels = 0
        self.last: FinishedReply | None = None
        self.receipt = RECEIPT
        self._replies: deque[list[str | Exception | float]] = deque()

    def enqueue(self, *pieces: str | Exception | float) -> None:
        """Add a reply: texts are sent one after the other, numbers are seconds to wait, an error is raised."""
        self._replies.append(list(pieces))

    def load(self) -> None:
        self.loads += 1

    def status(self) -> Status:
        return self.now

    def choose(self, model: str) -> None:
        self.chosen.append(model)
        self.now = Status("resolving", model=model)

    def cancel(self) -> None:
        self.cancels += 1
        self.now = Status("cancelled", model=self.now.model)

    def last_reply(self, chat: str) -> FinishedReply | None:
        return self.last

    def forget(self, chat: str) -> None:
        self.last = None

    def check(self, request: ChatRequest) -> None:
        pass

    def show_prompt(self, request: ChatRequest) -> ShownPrompt:
        tokens = [("<|start|>", True), *((message.content, False) for message in request.messages)]
        return ShownPrompt(tuple(tokens), dropped_messages=0, context_limit=100)

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        self.requests.append(request)
        pieces = self._replies.popleft() if self._replies else ["ok"]
        finished = False
        self.last = None
        if request.reply_start:
            pieces = [request.reply_start, *pieces]
        try:
            if self.now.error:
                raise self.now.error
            before, sent = len(self.chosen), []
            for piece in pieces:
                if len(self.chosen) > before:
                    break
                sent.append(piece)
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, str) and piece.startswith("<think>"):
                    yield Delta(thought=piece.removeprefix("<think>").removesuffix("</think>"))
                elif isinstance(piece, str):
                    yield Delta(piece, used_tokens=40)
                else:
                    yield from self._wait(piece, stop)
            finished = True
            changed = len(self.chosen) > before
            receipt = replace(self.receipt, finish_reason="model_changed") if changed else self.receipt
            texts = [piece for piece in sent if isinstance(piece, str)]
            thought = "".join(text for text in texts if text.startswith("<think>"))
            answer = "".join(text for text in texts if not text.startswith("<think>"))
            self.last = FinishedReply(answer, thought, receipt)
            yield Delta(used_tokens=40, receipt=receipt)
        finally:
            self.stopped.append(not finished)

    def _wait(self, seconds: float, stop: Event) -> Generator[Delta, None, None]:
        end = time.monotonic() + seconds
        before = len(self.chosen)
        while time.monotonic() < end and not stop.is_set() and len(self.chosen) == before:
            yield Delta()
            stop.wait(min(0.25, max(0.0, end - time.monotonic())))


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
