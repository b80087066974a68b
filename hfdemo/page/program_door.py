"""The API for programs: `/chat` answers, and `/receipt` tells what the last reply took."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any

import gradio as gr

from hfdemo.answering import Answer, Answering
from hfdemo.chat.conversation import Conversation, Turn, new_id
from hfdemo.chat.messages import read_message
from hfdemo.page.controls import read_page_options
from hfdemo.page.errors import shown_errors
from hfdemo.page.gradio_private import leaving_call
from hfdemo.page.language import language_of
from hfdemo.page.turn import request_of

RECEIPT_WAITS_S = 2.0
"""So long a call waits for the receipt of a reply that is being stopped."""


@dataclass(frozen=True, eq=False, slots=True)
class Client:
    """What the server keeps of one program, from call to call."""

    conversation: Conversation
    cache_key: str
    answer: Answer


class ProgramDoor:
    """The functions behind the API.

    Args:
        answering: answers.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def chat(
        self,
        message: object,
        client: Client | None,
        system_prompt: object,
        temperature: object = None,
        top_p: object = None,
        max_new_tokens: object = None,
        top_k: object = None,
        repetition_penalty: object = None,
        seed: object = None,
        stop_texts: object = None,
        reply_start: object = None,
        thinking: object = None,
        min_p: object = None,
        request: gr.Request = None,  # Gradio gives it
    ) -> AsyncIterator[tuple[str, Client]]:
        """Answer a call: the reply's text so far, and what the next call of the same program continues.

        Gradio takes the default of a parameter from the page's component; None from here, if that has no value.
        """
        numbers = (temperature, top_p, max_new_tokens, top_k, repetition_penalty, seed)
        with shown_errors(language_of(request)):
            before = client.conversation if client else Conversation()
            asked = before.add("user", read_message(message))
            options = read_page_options((system_prompt, *numbers, stop_texts, reply_start, thinking, min_p))
            key = client.cache_key if client else secrets.token_urlsafe(16)
            answer = self._answering.answer(replace(request_of(asked.path, options), cache_key=key))
            reply = Turn(new_id(), asked.head, "assistant", "")
            with leaving_call():
                async with aclosing(answer.deltas()) as deltas:
                    async for delta in deltas:
                        content, thought = delta.added_to(reply.content, reply.thought)
                        reply = replace(reply, content=content, thought=thought)
                        yield reply.content, Client(asked.put(reply), key, answer)

    async def receipt(self, client: Client | None) -> dict[str, Any] | None:
        """Answer a call: the receipt of the last reply to the same program, or null if it failed or there is none."""
        if client is None:
            return None
        ended = asyncio.wrap_future(client.answer.ended)
        try:
            receipt = await asyncio.wait_for(asyncio.shield(ended), RECEIPT_WAITS_S)
        except TimeoutError:
            return None
        return {**asdict(receipt), "thought": client.answer.thought} if receipt else None
