"""An engine that says what it is told to."""

import time
from collections import deque
from collections.abc import Generator
from threading import Event

from hfdemo.messages import ChatRequest, Delta, FinishedReply, Receipt, ShownPrompt, Status

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
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, str) and piece.startswith("<think>"):
                    yield Delta(thought=piece.removeprefix("<think>").removesuffix("</think>"))
                elif isinstance(piece, str):
                    yield Delta(piece, used_tokens=40)
                else:
                    yield from self._wait(piece, stop)
            finished = True
            texts = [piece for piece in pieces if isinstance(piece, str)]
            thought = "".join(text for text in texts if text.startswith("<think>"))
            answer = "".join(text for text in texts if not text.startswith("<think>"))
            self.last = FinishedReply(answer, thought, self.receipt)
            yield Delta(used_tokens=40, receipt=self.receipt)
        finally:
            self.stopped.append(not finished)

    def _wait(self, seconds: float, stop: Event) -> Generator[Delta, None, None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            yield Delta()
            stop.wait(min(0.25, max(0.0, end - time.monotonic())))
