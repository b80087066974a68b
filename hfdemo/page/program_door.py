"""The API for programs: `/chat` answers, and `/receipt` tells what the last reply took."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any

import gradio as gr

from hfdemo.answering import Answer, Answering
from hfdemo.chat.conversation import Conversation, Turn, new_id
from hfdemo.chat.messages import read_message
from hfdemo.chat.reply import Receipt
from hfdemo.page.controls import read_page_options
from hfdemo.page.errors import shown_errors
from hfdemo.page.gradio_private import is_one_call
from hfdemo.page.language import language_of
from hfdemo.page.program_clients import Client, ProgramClients
from hfdemo.page.turn import access_token_of, address_of, request_of

RECEIPT_WAITS_S = 2.0
"""So long a call waits for the receipt of a reply that is being stopped."""


class ProgramDoor:
    """The functions behind the API.

    Args:
        answering: answers.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._clients = ProgramClients()

    def connect(self, add_endpoint: Callable[..., None], inputs: list[gr.components.Component]) -> None:
        """Offer what there is.

        Args:
            add_endpoint: offers a function; see `BareChatInterface.add_endpoint`.
            inputs: the components whose values `chat` takes.
        """
        about = "Answer a message. The calls of one client are one conversation."
        add_endpoint(self.chat, inputs, [], api_name="chat", api_description=about, concurrency_limit=None)
        about = "Return the receipt of this client's last reply."
        add_endpoint(self.receipt, [], [], api_name="receipt", api_description=about)

    async def chat(
        self,
        message: object,
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
    ) -> AsyncIterator[str]:
        """Answer a call with the reply's text so far. The next call of the same program continues from it.

        Gradio takes the default of a parameter from the page's component; None from here, if that has no value.
        """
        numbers = (temperature, top_p, max_new_tokens, top_k, repetition_penalty, seed)
        session, address = str(request.session_hash), address_of(request)
        comes_again = not is_one_call(session, request.headers)
        with shown_errors(language_of(request), labelled=False):
            client = self._clients.find(session) if comes_again else None
            before = client.conversation if client else Conversation()
            asked = before.add("user", read_message(message))
            options = read_page_options((system_prompt, *numbers, stop_texts, reply_start, thinking, min_p))
            key = client.cache_key if client else secrets.token_urlsafe(16)
            token = access_token_of(request)
            turn = replace(request_of(asked.path, options), cache_key=key, access_token=token)
            answer = self._answering.answer(turn, session if comes_again else "", address)
            reply, receipt = Turn(new_id(), asked.head, "assistant", ""), None
            async with aclosing(answer.deltas()) as deltas:
                async for delta in deltas:
                    content, thought = delta.added_to(reply.content, reply.thought)
                    reply, receipt = replace(reply, content=content, thought=thought), delta.receipt
                    if comes_again:
                        coming = None if receipt else answer  # an ended one would take 4 kB
                        # A message to which nothing came is asked once more, and must not stand there twice.
                        said = asked.put(reply) if content or thought else before
                        self._clients.keep(session, address, Client(said, key, coming, receipt))
                    yield reply.content

    async def receipt(self, request: gr.Request) -> dict[str, Any] | None:
        """Answer a call: the receipt of the last reply to the same program, or null if it failed or there is none."""
        with shown_errors(language_of(request), labelled=False):
            client = self._clients.find(str(request.session_hash))
        if client is None:
            return None
        receipt = client.receipt or await _receipt_of(client.answer)
        reply = client.conversation.reply
        return {**asdict(receipt), "thought": reply.thought if reply else ""} if receipt else None


async def _receipt_of(answer: Answer | None) -> Receipt | None:
    """Return the receipt of a reply that is being stopped; None if it fails, or goes on."""
    if answer is None:
        return None
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer.ended)), RECEIPT_WAITS_S)
    except TimeoutError:
        return None
