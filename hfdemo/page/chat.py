"""The chat itself: what happens when a visitor sends, stops, retries, continues, undoes, clears or picks a starter."""

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any

import gradio as gr
from gradio.events import Dependency

from hfdemo.chat.messages import CUT_OFF, ChatRequest, read_message
from hfdemo.engines.protocol import Engine
from hfdemo.errors import GenerationFailed, InvalidInput
from hfdemo.page.components import RawTextbox, Transcript
from hfdemo.page.controls import Controls, Wishes, read_wishes
from hfdemo.page.events import QUIETLY, REFUSING
from hfdemo.page.language import label, language_of
from hfdemo.page.receipt import meter_text, receipt_box, used_tokens
from hfdemo.page.reply import Reply, said_kindly, stream_reply
from hfdemo.page.shown_prompt import prompt_html
from hfdemo.page.starters import STARTERS
from hfdemo.page.status import progress_text
from hfdemo.page.transcript import (
    Entry,
    box,
    conversation,
    entry,
    kind_of,
    reply_text,
    split_at_reply,
    take_back,
    with_memory_mark,
    without,
)
from hfdemo.words import Language, as_language, say

MOST_LEFT = 1000
"""So many conversations are known to be left; a reply that is being stopped closes its turn within seconds."""

ChatName = str | int | None
"""The secret name of a conversation; when it was left, how many entries stayed; None before the first message."""

CLOSE_BOX = "() => ({interactive: false, submit_btn: false, stop_btn: true, __type__: 'update'})"
"""Done in the browser, at once: what was typed until the server answers would be lost."""

OPEN_BOX = "() => ({interactive: true, submit_btn: true, stop_btn: false, __type__: 'update'})"

SAVE_CHAT = "(chat, systemPrompt) => window.hfdemo.save(chat, systemPrompt)"
"""Done in the browser too, in `assets/page.js`: no file of a visitor's is made on the server."""

FOCUS_BOX = "() => { if (matchMedia('(hover: hover)').matches) document.querySelector('#message textarea').focus() }"
"""Typing goes on without a click; on a phone the keyboard would jump up, so not there."""


class Chat(gr.ChatInterface):
    """Gradio's chat interface with events of its own.

    The stock events keep the conversation in the server's memory, take it from what was displayed, can't stop an
    edited message, and lose what was typed when the queue is full. Here the page keeps the conversation, a message
    without any reply goes back into the box, and one `Stop` ends whatever runs.

    Args:
        engine: answers.
        controls: the settings, placed by whoever lays out the page.
    """

    def __init__(self, engine: Engine, controls: Controls) -> None:
        self._engine = engine
        self._controls = controls
        self._left: dict[str, int] = {}  # conversations that were left lately, and how many entries stayed
        self.continue_button = gr.Button(
            label("continue"), visible=False, size="sm", scale=0, elem_id="continue", render=False
        )
        self.prompt_button = gr.Button(
            label("show_prompt"), size="sm", scale=0, variant="secondary", elem_id="show-prompt", render=False
        )
        self.save_button = gr.Button(
            label("save"), size="sm", scale=0, variant="secondary", elem_id="save", render=False
        )
        self.meter = gr.HTML(elem_id="meter", render=False)
        self.shown_prompt = gr.HTML(elem_id="shown-prompt", render=False)
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
            additional_inputs=controls.inputs,
            api_name="chat",
            api_description="Answer a message. The calls of one client are one conversation.",
            concurrency_limit=None,  # the engine keeps its own line
            cache_examples=False,
        )

    def _render_footer(self) -> None:
        """Draw what stands under the message box; called by the stock constructor."""
        with gr.Row(elem_id="under-box"):
            self.continue_button.render()
            self.prompt_button.render()
            self.save_button.render()
            self.meter.render()
        self.shown_prompt.render()

    def _setup_events(self) -> None:
        """Connect the events; called by the stock constructor in place of its own wiring."""
        # A secret name for this visitor's conversation, under which the engine keeps the last reply.
        self.chat_name = self._new_name()
        wishes, language = self._controls.inputs, self._controls.language
        turn = [self.textbox, self.chatbot, self.chat_name, self.continue_button]

        box_closed = self.textbox.submit(None, None, self.textbox, js=CLOSE_BOX)
        sent = box_closed.then(
            self._accept, [self.textbox, self.chatbot, self.chat_name, language, *wishes], turn, **REFUSING
        )
        sent.failure(None, None, self.textbox, js=OPEN_BOX).then(None, js=FOCUS_BOX)
        retried = self.chatbot.retry(self._retry, [self.chatbot, self.chat_name], turn, **QUIETLY)
        continued = self.continue_button.click(self._continue, [self.chatbot, self.chat_name], turn, **QUIETLY)
        started = self.chatbot.example_select(
            self._start, [language, self.chat_name], [*turn, self._controls.system_prompt], **QUIETLY
        )
        replies = [self._reply_after(event) for event in (sent, retried, continued, started)]

        left = [self.textbox, self.chatbot, self.chat_name, self.continue_button, self.meter]
        self.textbox.stop(None, cancels=replies, api_visibility="private")
        self.chatbot.clear(self._clear, self.chat_name, left, cancels=replies, **QUIETLY)
        self.chatbot.undo(self._undo, [self.chatbot, self.textbox, self.chat_name], left, cancels=replies, **QUIETLY)
        self.prompt_button.click(
            self._show_prompt,
            [self.shown_prompt, self.textbox, self.chatbot, language, *wishes],
            self.shown_prompt,
            **REFUSING,
        )
        self.save_button.click(None, [self.chatbot, self._controls.system_prompt], None, js=SAVE_CHAT)
        self._setup_api(wishes)

    def _setup_api(self, wishes: list[Any]) -> None:
        api_chat_name = self._new_name()
        self.fake_api_btn.click(
            self.chat,
            [self.textbox, self.chatbot_state, api_chat_name, *wishes],
            [self.api_response, self.chatbot_state, api_chat_name],
            api_name=self.api_name,
            api_description=self.api_description,
            concurrency_limit=None,
            postprocess=False,
        )
        self.fake_api_btn.click(
            self.receipt,
            [api_chat_name],
            [self.api_response],
            api_name="receipt",
            api_description="Return the receipt of this client's last reply.",
            postprocess=False,
        )

    def _reply_after(self, event: Dependency) -> Dependency:
        """Let a reply follow an event that put the user's message at the end of the transcript."""
        language = self._controls.language
        reply = event.success(
            self._reply,
            [self.chatbot, self.chat_name, language, *self._controls.inputs],
            [self.chatbot, self.meter],
            concurrency_limit=None,
            **REFUSING,
        )
        for ended in (reply.then, reply.failure):  # `then` alone is silent after an error (Gradio 6.31)
            ended(
                self._close_turn,
                [self.chatbot, self.chat_name, language],
                [self.textbox, self.chatbot, self.continue_button, self.meter],
                **QUIETLY,
            ).then(None, js=FOCUS_BOX)
        return reply

    def _accept(
        self, message: object, entries: list[Entry], name: ChatName, language: object, *wishes: object
    ) -> tuple[Any, ...]:
        """Take a message out of the box, if it can be answered; if not, it stays there."""
        with said_kindly(as_language(language)):
            text = read_message(message)
            asked = [*without(entries, "progress"), entry("user", text)]
            self._engine.check(_request(asked, read_wishes(wishes)))
        return self._begin(asked, name, value="")

    def _retry(self, entries: list[Entry], name: ChatName) -> tuple[Any, ...]:
        """Take the last reply away, to ask for another."""
        return self._begin(split_at_reply(entries)[0], name)

    def _continue(self, entries: list[Entry], name: ChatName) -> tuple[Any, ...]:
        """Leave the last reply as it is, to be gone on with."""
        asked, reply = split_at_reply(entries)
        return self._begin(asked + without(reply, "receipt"), name)

    def _start(self, event: gr.SelectData, language: object, name: ChatName) -> tuple[Any, ...]:
        """Begin a conversation with a starter, and with the system prompt that suits it."""
        starter = STARTERS[int(event.index)]
        spoken = as_language(language)
        return *self._begin([entry("user", starter.message(spoken))], name), starter.system_prompt(spoken)

    def _begin(self, entries: list[Entry], name: ChatName, **changes: str) -> tuple[Any, ...]:
        """Return box, transcript, the chat's name and the button, as they are while a reply comes."""
        chat_name = name if isinstance(name, str) else secrets.token_urlsafe(16)
        return _answering(**changes), entries, chat_name, gr.update(visible=False)

    async def _reply(
        self, entries: list[Entry], name: str, language: object, *wishes: object
    ) -> AsyncIterator[tuple[list[Entry], Any]]:
        """Answer the last message, or go on with its reply, and show on the way what is waited for."""
        spoken = as_language(language)
        asked, _ = split_at_reply(entries)
        so_far = reply_text(entries)
        with said_kindly(spoken):
            request = _request(asked, read_wishes(wishes), chat=name)
            if so_far:
                request = replace(request, reply_start=so_far, continues=True)
            async with aclosing(stream_reply(self._engine, request)) as replies:
                async for reply in replies:
                    shown = self._shown(reply, spoken)
                    if shown:
                        yield [*asked, *shown], self._meter(reply.used_tokens, spoken)
                    elif reply.receipt and reply.receipt.finish_reason == "end_of_turn":
                        raise GenerationFailed("empty_reply")
                    elif not so_far:
                        yield [*asked, box("progress", self._waiting_for(reply, spoken), pending=True)], gr.skip()

    def _shown(self, reply: Reply, language: Language) -> list[Entry]:
        """Return the entries of a reply as far as it has come."""
        entries: list[Entry] = []
        if reply.thought.strip():
            seconds = f"{reply.thought_s:.1f}"
            thinks = not reply.text and not reply.receipt
            title = say("receipt.thinking" if thinks else "receipt.thought", language, seconds=seconds)
            entries.append(box("thought", title, reply.thought, pending=thinks))
        return [*entries, entry("assistant", reply.text)] if reply.text else entries

    def _meter(self, tokens: int, language: Language) -> str:
        return meter_text(tokens, self._engine.status().context_limit, language)

    def _waiting_for(self, reply: Reply, language: Language) -> str:
        status = self._engine.status()
        if status.stage != "ready":
            return progress_text(status, language)
        return say("status.ahead", language, ahead=reply.ahead) if reply.ahead else say("status.reading", language)

    def _close_turn(self, entries: list[Entry], name: ChatName, language: object) -> tuple[Any, ...]:
        """Give the box back, and put the receipt under the reply, unless the visitor left the turn meanwhile.

        A message that got no reply at all goes back into the box, so that nothing is lost.
        """
        spoken = as_language(language)
        finished = self._engine.last_reply(name) if isinstance(name, str) else None
        kept_entries = name if isinstance(name, int) else self._left.get(name or "")
        if kept_entries is not None:  # cleared or undone meanwhile, but the browser may have drawn late updates
            return gr.skip(), entries[:kept_entries], gr.skip(), gr.skip()
        asked, reply = split_at_reply(without(entries, "progress"))
        if not reply:
            kept, text = take_back(asked)
            return _ready(**({"value": text} if asked else {})), kept, gr.update(visible=False), gr.skip()
        if finished is None or any(kind_of(message) == "receipt" for message in reply):
            return _ready(), asked + reply, gr.update(visible=False), gr.skip()
        receipt = finished.receipt
        answer = [entry("assistant", finished.text)] if finished.text else []  # the last piece may not be shown yet
        reply = [*(message for message in reply if kind_of(message) == "thought"), *answer]
        closed = with_memory_mark(
            [*asked, *reply, receipt_box(finished, spoken)], receipt.dropped_messages, say("receipt.memory", spoken)
        )
        can_continue = receipt.finish_reason in CUT_OFF and bool(finished.text)
        return _ready(), closed, gr.update(visible=can_continue), self._meter(used_tokens(receipt), spoken)

    def _undo(self, entries: list[Entry], draft: object, name: ChatName) -> tuple[Any, ...]:
        """Take the last turn back into the box, before what is being typed there."""
        kept, text = take_back(entries)
        value = "\n\n".join(part for part in (text, draft) if isinstance(part, str) and part)
        return self._leave(name, kept, value=value)

    def _clear(self, name: ChatName) -> tuple[Any, ...]:
        return self._leave(name, [])

    def _leave(self, name: ChatName, entries: list[Entry], **changes: str) -> tuple[Any, ...]:
        """Return what the page shows when a turn is left; a reply that is being stopped won't bring it back."""
        if isinstance(name, str):
            self._engine.forget(name)
            self._left[name] = len(entries)
            if len(self._left) > MOST_LEFT:
                del self._left[next(iter(self._left))]
        return _ready(**changes), entries, len(entries), gr.update(visible=False), ""

    def _show_prompt(
        self, shown: object, draft: object, entries: list[Entry], language: object, *wishes: object
    ) -> str:
        """Draw what the model would read, with the message that is being typed, or else for the last reply.

        What is shown already is put away.
        """
        if shown:
            return ""
        spoken = as_language(language)
        with said_kindly(spoken):
            asked, _ = split_at_reply(entries)
            if isinstance(draft, str) and draft.strip():
                asked = [*entries, entry("user", draft)]
            if not asked:
                raise InvalidInput("empty_message")
            return prompt_html(self._engine.show_prompt(_request(asked, read_wishes(wishes))), spoken)

    def _new_name(self) -> gr.State:
        # A function, for with each page Gradio makes a deep copy of this, and of whatever a method belongs to.
        return gr.State(None, time_to_live=3600, delete_callback=lambda name: self._forget(name))

    def _forget(self, name: ChatName) -> None:
        if isinstance(name, str):
            self._engine.forget(name)

    async def chat(
        self,
        message: object,
        history: list[Entry],
        chat_name: str | None,
        system_prompt: object,
        temperature: object,
        top_p: object,
        max_new_tokens: object,
        top_k: object,
        repetition_penalty: object,
        seed: object,
        stop_texts: object,
        reply_start: object,
        thinking: object,
        request: gr.Request,
    ) -> AsyncIterator[tuple[str, list[Entry], str]]:
        """Answer an API call: the reply's text so far, and what the next call of the same client continues."""
        name = chat_name or secrets.token_urlsafe(16)
        numbers = (temperature, top_p, max_new_tokens, top_k, repetition_penalty, seed)
        with said_kindly(language_of(request)):
            asked = [*history, entry("user", read_message(message))]
            wishes = read_wishes((system_prompt, *numbers, stop_texts, reply_start, thinking))
            async with aclosing(stream_reply(self._engine, _request(asked, wishes, chat=name))) as replies:
                async for reply in replies:
                    yield reply.text, [*asked, entry("assistant", reply.text)], name

    def receipt(self, chat_name: str | None) -> dict[str, Any] | None:
        """Answer an API call: the receipt of the last reply to the same client, or null."""
        finished = self._engine.last_reply(chat_name) if chat_name else None
        return {**asdict(finished.receipt), "thought": finished.thought} if finished else None


def _request(asked: list[Entry], wishes: Wishes, chat: str = "") -> ChatRequest:
    """Return what to ask the engine for the user's last message."""
    return ChatRequest(
        conversation(asked), wishes.system_prompt, wishes.options, chat=chat, reply_start=wishes.reply_start
    )


def _answering(**changes: str) -> Any:
    """Return the box while a reply comes: it can't be typed in, and its button is Stop."""
    return gr.update(submit_btn=False, stop_btn=True, interactive=False, **changes)


def _ready(**changes: str) -> Any:
    """Return the box when a message can be sent."""
    return gr.update(submit_btn=True, stop_btn=False, interactive=True, **changes)
