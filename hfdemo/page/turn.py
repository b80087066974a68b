"""One turn on the page: from a question to what the page shows while its reply comes, and when it has ended."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from hfdemo.answering import Answer, Answering
from hfdemo.chat.conversation import Conversation, Turn, messages_of, new_id, to_data
from hfdemo.chat.reply import CUT_OFF, Delta, Receipt
from hfdemo.chat.request import ChatRequest
from hfdemo.engines.protocol import Status
from hfdemo.errors import GenerationFailed
from hfdemo.page.controls import PageOptions
from hfdemo.page.drawing import Entry, LiveDrawing, draw, draw_progress
from hfdemo.page.receipt import meter_text
from hfdemo.page.status import progress_text
from hfdemo.web.clients import client_of
from hfdemo.web.sign_in import VISITORS_TOKEN
from hfdemo.words import Language, say

KEPT_S, KEPT_S_PER_TURN = 0.4, 0.01
"""So long after another the partial reply is saved in the browser, in case the server goes away. With it the whole
conversation is sent: the second is for each turn."""

Update = tuple[Any, ...]
"""What an event gives to box, earlier turns, latest turns, conversation, Continue, meter and cache key."""


@dataclass(frozen=True, slots=True)
class PageTurn:
    """A turn that the page asks for, and what it goes back to."""

    before: Conversation
    """What the page goes back to if no reply comes at all."""
    asked: Conversation
    """Up to the message that is answered."""
    draft: str = ""
    """What goes back into the box if no reply comes at all."""
    goes_on: Turn | None = None
    """The reply that is to go on."""

    @property
    def earlier(self) -> Receipt | None:
        """The receipt of what there is of the reply that is to go on; None if it has none."""
        return self.goes_on.receipt if self.goes_on else None


class TurnView:
    """What the page shows of one turn, as the outputs of its event.

    Args:
        turn: what is answered.
        status: tells which model answers, and how much it holds.
        language: of the page.
    """

    def __init__(self, turn: PageTurn, status: Callable[[], Status], language: Language) -> None:
        self.turn = turn
        self.language = language
        self._status = status
        self._question: list[Entry] = []
        self._live = LiveDrawing(language)
        self._new = Turn(new_id(), turn.asked.head, "assistant", "")
        self._text = self._thought = ""
        self._began = time.monotonic()
        self._thought_before_s = turn.earlier.thought_s if turn.earlier else 0.0
        self._thought_s = self._thought_before_s
        self._kept_at = 0.0

    def begun(self, delta: Delta) -> Update:
        """Return the page after the first piece: the message leaves the box."""
        self.add(delta)
        self._kept_at = time.monotonic()
        box = gr.update(submit_btn=False, stop_btn=True)
        before = self.turn.goes_on
        # without its receipt, the reply that goes on is one that comes, also for a page that is loaded again
        data = to_data(self._with_reply(replace(before, receipt=None)) if before else self.turn.asked)
        earlier, self._question = draw(self.turn.asked.path, self.language)
        return box, earlier, self._latest(delta), data, gr.update(visible=False), self._meter(delta.used_tokens)

    def going_on(self, delta: Delta) -> Update:
        """Return the page with the next piece."""
        self.add(delta)
        data = gr.skip()
        interval_s = KEPT_S + KEPT_S_PER_TURN * len(self.turn.asked.turns)
        reply = self._so_far
        if not reply.is_blank and time.monotonic() - self._kept_at > interval_s:
            self._kept_at = time.monotonic()
            data = to_data(self._with_reply(reply))
        return gr.skip(), gr.skip(), self._latest(delta), data, gr.skip(), self._meter(delta.used_tokens)

    def add(self, delta: Delta) -> None:
        """Take a piece of the reply. An engine that goes on with a reply may tell its thought again, or not."""
        self._text, self._thought = delta.added_to(self._text, self._thought)
        if delta.thought and not self._text:
            self._thought_s = self._thought_before_s + time.monotonic() - self._began

    def ended(self, receipt: Receipt) -> Update:
        """Return the page after the last piece.

        Raises:
            GenerationFailed: the model's turn ended without a word.
        """
        reply = self._so_far
        if self.turn.earlier:
            receipt = receipt.after(self.turn.earlier)
        if not self._text and not self._thought:
            if receipt.finish_reason in ("end_of_turn", "max_new_tokens"):  # the latter, of half a character
                raise GenerationFailed("empty_reply")
            return self.at_rest()
        return self._rest(self._with_reply(replace(reply, receipt=receipt)))

    def failed(self) -> Update:
        """Return the page after an error: with what came of the reply, else as it was before."""
        before = self.turn.goes_on or self._new
        # the end of what was there may still be held back
        if len(self._text) > len(before.content) or len(self._thought) > len(before.thought):
            return self._rest(self._with_reply(self._so_far))
        return self.at_rest()

    def at_rest(self) -> Update:
        """Return the page as it was before, with the message in the box."""
        return self._rest(self.turn.before, self.turn.draft)

    @property
    def _so_far(self) -> Turn:
        """The reply as far as it came, in the place of the one that goes on."""
        before = self.turn.goes_on or self._new
        return replace(before, content=self._text, thought=self._thought or before.thought, receipt=None)

    def _with_reply(self, reply: Turn) -> Conversation:
        base = self.turn.before if self.turn.goes_on else self.turn.asked
        return base.put(reply)

    def _latest(self, delta: Delta) -> list[Entry]:
        reply = self._so_far if self._text or self._thought else self.turn.goes_on
        if reply:
            return [*self._question, *self._live.draw(reply, self._thought_s)]
        return [*self._question, *draw_progress(self._waiting_for(delta))]

    def _waiting_for(self, delta: Delta) -> str:
        status = self._status()
        if status.stage != "ready":
            return progress_text(status, self.language)
        return (
            say("status.ahead", self.language, ahead=delta.ahead)
            if delta.ahead
            else say("status.reading", self.language)
        )

    def _meter(self, tokens: int) -> str:
        return meter_text(tokens, self._status().context_limit, self.language)

    def _rest(self, conversation: Conversation, draft: str = "") -> Update:
        """Return the page without a reply that comes; the draft goes back into the box, before what is there.

        The box is unlocked in the browser, when the event has ended.
        """
        path = conversation.path
        receipt = next((turn.receipt for turn in reversed(path) if turn.receipt), None)
        can_continue = gr.update(visible=_can_continue(conversation.reply))
        used = receipt.used_tokens if receipt else 0
        data = to_data(conversation) | ({"draft": draft} if draft else {})
        return gr.skip(), *draw(path, self.language), data, can_continue, self._meter(used)


async def stream_turn(
    answering: Answering,
    view: TurnView,
    options: PageOptions,
    key: str,
    visitor: str,
    address: str = "",
    access_token: str = "",
) -> AsyncGenerator[Update]:
    """Yield what the page shows until the reply has ended, however it does.

    Args:
        answering: answers.
        view: of the turn.
        options: the visitor's.
        key: of what the engine keeps of this conversation; a new one is made for its first message.
        visitor: whose message it is; their Stop ends the reply.
        address: from where they come.
        access_token: the visitor's own, whose credit pays; empty if the host's does.

    Raises:
        HfdemoError: there is no reply, or only a part of it; what the page shows then was yielded before, unless the
            message was refused before the first piece.
    """
    key = key or secrets.token_urlsafe(16)
    turn = view.turn
    request = replace(request_of(turn.asked.path, options), cache_key=key, access_token=access_token)
    if goes_on := turn.goes_on:
        request = replace(request, reply_start=goes_on.content, thought_start=goes_on.thought, continues=True)
    answer = answering.answer(request, visitor, address, turn.asked.head or "", turn.earlier)
    async with aclosing(follow(answer, view)) as updates:
        async for update in updates:
            yield *update, key


async def follow(answer: Answer, view: TurnView) -> AsyncGenerator[Update]:
    """Yield what the page shows until a reply has ended, also one that comes already."""
    begun = False
    try:
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                if not begun:
                    begun = True
                    yield view.begun(delta)
                elif not delta.receipt:
                    yield view.going_on(delta)
                else:
                    view.add(delta)
                if delta.receipt:
                    yield view.ended(delta.receipt)
    except Exception:
        if begun:
            yield view.failed()
        raise


def access_token_of(visitor: gr.Request) -> str:
    """Return the access token of a visitor whose own credit pays; empty if the host's does, or they didn't sign in."""
    return str(visitor.request.scope.get(VISITORS_TOKEN, "")) if visitor.request else ""


def address_of(visitor: gr.Request) -> str:
    """Return from where a visitor comes, as limits count it; empty if that isn't known."""
    return client_of(visitor.client.host) if visitor.client else ""


def request_of(path: Sequence[Turn], options: PageOptions) -> ChatRequest:
    """Return what to ask for the last turn of a path, which is the visitor's."""
    return ChatRequest(
        messages_of(path),
        options.system_prompt,
        options.options,
        reply_start=options.reply_start,
        update_interval_s=update_interval_s(len(path)),
    )


def update_interval_s(turns: int) -> float:
    """Return the shortest time between two updates of a page.

    Nobody reads faster than 20 updates a second come, and each takes time from a model on the same machine. A browser
    takes about 9 ms for one, and 0.1 ms more for each turn that it shows (measured with Chromium 150 and Gradio 6.31);
    at most a third of its time is taken.
    """
    return max(1 / 20, 3 * (9 + 0.1 * turns) / 1000)


def _can_continue(reply: Turn | None) -> bool:
    """Tell whether there is more to say: the reply was cut off, or its end never came."""
    if reply is None or reply.is_blank:
        return False
    return reply.receipt is None or reply.receipt.finish_reason in CUT_OFF
