"""The chat itself: what happens when a visitor sends, stops, retries, undoes, clears or picks a starter."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.events import Dependency

from hfdemo.engines.protocol import Engine
from hfdemo.errors import GenerationFailed
from hfdemo.messages import ChatRequest, Message, read_message, read_options, read_system_prompt
from hfdemo.page.components import RawTextbox, Transcript
from hfdemo.page.controls import Controls
from hfdemo.page.language import label, language_of
from hfdemo.page.reply import Reply, said_kindly, stream_reply
from hfdemo.page.starters import STARTERS
from hfdemo.page.status import progress_text
from hfdemo.page.transcript import Entry, conversation, entry, progress_entry, take_back, without_boxes, without_reply
from hfdemo.words import Language, as_language, say

CLOSE_BOX = "() => ({interactive: false, submit_btn: false, stop_btn: true, __type__: 'update'})"
"""Done in the browser, at once: what was typed until the server answers would be lost."""

OPEN_BOX = "() => ({interactive: true, submit_btn: true, stop_btn: false, __type__: 'update'})"

FOCUS_BOX = "() => { if (matchMedia('(hover: hover)').matches) document.querySelector('#message textarea').focus() }"
"""Typing goes on without a click; on a phone the keyboard would jump up, so not there."""


class Chat(gr.ChatInterface):
    """Gradio's chat interface with events of its own.

    The stock events keep the conversation in the server's memory, take it from what was displayed, can't stop an
    edited message, and lose what was typed when the queue is full. Here the page keeps the conversation, a message
    without any reply goes back into the box, and one `Stop` ends whatever runs.

    Args:
        engine: answers.
        controls: the settings, drawn already.
    """

    def __init__(self, engine: Engine, controls: Controls) -> None:
        self._engine = engine
        self._controls = controls
        super().__init__(
            self.chat,
            chatbot=Transcript(
                scale=1,
                show_label=False,
                label=label("conversation"),
                placeholder=f"### {label('greeting')}",
                buttons=["copy"],
                layout="panel",
                elem_id="transcript",
                height=None,
                feedback_options=None,
                latex_delimiters=[
                    {"left": "$$", "right": "$$", "display": True},
                    {"left": r"\[", "right": r"\]", "display": True},
                    {"left": r"\(", "right": r"\)", "display": False},
                ],
            ),
            textbox=RawTextbox(
                label=label("message"),
                placeholder=label("placeholder"),
                show_label=False,
                container=False,
                submit_btn=True,
                stop_btn=True,
                autofocus=True,
                max_lines=12,
                scale=7,
                elem_id="message",
            ),
            additional_inputs=[controls.system_prompt, *controls.options],
            api_name="chat",
            api_description="Answer a message. The calls of one client are one conversation.",
            concurrency_limit=None,  # the engine keeps its own line
            cache_examples=False,
        )

    def _setup_events(self) -> None:
        """Connect the events; called by the stock constructor in place of its own wiring."""
        settings = [self._controls.system_prompt, *self._controls.options]
        language = self._controls.language
        events = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

        box_closed = self.textbox.submit(None, None, self.textbox, js=CLOSE_BOX)
        sent = box_closed.then(
            self._accept, [self.textbox, self.chatbot, language, *settings], [self.textbox, self.chatbot], **events
        )
        sent.failure(None, None, self.textbox, js=OPEN_BOX).then(None, js=FOCUS_BOX)
        retried = self.chatbot.retry(self._retry, [self.chatbot], [self.textbox, self.chatbot], **events)
        started = self.chatbot.example_select(
            self._start, [language], [self.textbox, self.chatbot, self._controls.system_prompt], **events
        )
        replies = [self._reply_after(event, settings) for event in (sent, retried, started)]

        self.textbox.stop(None, cancels=replies, api_visibility="private")
        self.chatbot.clear(self._clear, None, [self.textbox, self.chatbot], cancels=replies, **events)
        self.chatbot.undo(
            self._undo, [self.chatbot, self.textbox], [self.textbox, self.chatbot], cancels=replies, **events
        )
        self.fake_api_btn.click(
            self.chat,
            [self.textbox, self.chatbot_state, *settings],
            [self.api_response, self.chatbot_state],
            api_name=self.api_name,
            api_description=self.api_description,
            concurrency_limit=None,
            postprocess=False,
        )

    def _reply_after(self, event: Dependency, settings: list[Any]) -> Dependency:
        """Let a reply follow an event that put the user's message at the end of the transcript."""
        reply = event.success(
            self._reply,
            [self.chatbot, self._controls.language, *settings],
            [self.chatbot],
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=None,
        )
        for ended in (reply.then, reply.failure):  # `then` alone is silent after an error (Gradio 6.31)
            ended(
                self._close_turn,
                [self.chatbot],
                [self.textbox, self.chatbot],
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            ).then(None, js=FOCUS_BOX)
        return reply

    def _accept(
        self, message: object, entries: list[Entry], language: object, *settings: object
    ) -> tuple[Any, list[Entry]]:
        """Take a message out of the box, if it can be answered; if not, it stays there."""
        with said_kindly(as_language(language)):
            text = read_message(message)
            read_system_prompt(settings[0])
            read_options(*settings[1:])
        return _answering(value=""), [*without_boxes(entries), entry("user", text)]

    def _retry(self, entries: list[Entry]) -> tuple[Any, list[Entry]]:
        """Take the last reply away, to ask for another."""
        return _answering(), without_reply(entries)

    def _start(self, event: gr.SelectData, language: object) -> tuple[Any, list[Entry], str]:
        """Begin a conversation with a starter, and with the system prompt that suits it."""
        starter = STARTERS[int(event.index)]
        spoken = as_language(language)
        return _answering(), [entry("user", starter.message(spoken))], starter.system_prompt(spoken)

    async def _reply(self, entries: list[Entry], language: object, *settings: object) -> AsyncIterator[list[Entry]]:
        """Answer the last message, and show on the way what is waited for."""
        spoken = as_language(language)
        with said_kindly(spoken):
            request = ChatRequest(conversation(entries), read_system_prompt(settings[0]), read_options(*settings[1:]))
            async with aclosing(stream_reply(self._engine, request)) as replies:
                async for reply in replies:
                    if reply.text:
                        yield [*entries, entry("assistant", reply.text)]
                    elif reply.finish_reason == "end_of_turn":
                        raise GenerationFailed("empty_reply")
                    else:
                        yield [*entries, progress_entry(self._waiting_for(reply, spoken))]

    def _waiting_for(self, reply: Reply, language: Language) -> str:
        status = self._engine.status()
        if status.stage != "ready":
            return progress_text(status, language)
        return say("status.ahead", language, ahead=reply.ahead) if reply.ahead else say("status.reading", language)

    def _close_turn(self, entries: list[Entry]) -> tuple[Any, list[Entry]]:
        """Give the box back. A message that got no reply at all goes back into it, so that nothing is lost."""
        entries = without_boxes(entries)
        if entries and entries[-1]["role"] == "user":
            kept, text = take_back(entries)
            return _ready(value=text), kept
        return _ready(), entries

    def _undo(self, entries: list[Entry], draft: object) -> tuple[Any, list[Entry]]:
        """Take the last turn back into the box, before what is being typed there."""
        kept, text = take_back(entries)
        return _ready(value="\n\n".join(part for part in (text, draft) if isinstance(part, str) and part)), kept

    def _clear(self) -> tuple[Any, list[Entry]]:
        return _ready(), []

    async def chat(
        self,
        message: object,
        history: list[Entry],
        system_prompt: object,
        temperature: object,
        top_p: object,
        max_new_tokens: object,
        top_k: object,
        repetition_penalty: object,
        seed: object,
        request: gr.Request,
    ) -> AsyncIterator[tuple[str, list[Entry]]]:
        """Answer an API call: the reply's text so far, and what the next call of the same client continues."""
        with said_kindly(language_of(request)):
            text = read_message(message)
            options = read_options(temperature, top_p, max_new_tokens, top_k, repetition_penalty, seed)
            messages = (*conversation(history), Message("user", text))
            turn = ChatRequest(messages, read_system_prompt(system_prompt), options)
            async with aclosing(stream_reply(self._engine, turn)) as replies:
                async for reply in replies:
                    yield reply.text, [*history, entry("user", text), entry("assistant", reply.text)]


def _answering(**changes: str) -> Any:
    """Return the box while a reply comes: it can't be typed in, and its button is Stop."""
    return gr.update(submit_btn=False, stop_btn=True, interactive=False, **changes)


def _ready(**changes: str) -> Any:
    """Return the box when a message can be sent."""
    return gr.update(submit_btn=True, stop_btn=False, interactive=True, **changes)
