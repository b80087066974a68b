"""The chat: its components, and what happens when a visitor sends, stops, retries, continues, undoes or clears."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr

from hfdemo.answering import Answering
from hfdemo.chat.conversation import Conversation, read_conversation
from hfdemo.chat.messages import read_message
from hfdemo.engines.protocol import PromptViewer
from hfdemo.errors import InvalidInput
from hfdemo.page.components import ConversationStore, RawTextbox, Transcript
from hfdemo.page.controls import Controls, PageOptions, read_page_options
from hfdemo.page.errors import shown_errors
from hfdemo.page.events import QUEUED, UNQUEUED
from hfdemo.page.gradio_private import BareChatInterface, Dependency, I18nData, selected_index
from hfdemo.page.language import label
from hfdemo.page.markdown import FORMULA_MARKS
from hfdemo.page.program_door import ProgramDoor
from hfdemo.page.shown_prompt import prompt_html
from hfdemo.page.starters import starter_at, starter_language, starter_system_prompts
from hfdemo.page.turn import PageTurn, TurnView, access_token_of, address_of, follow, request_of, stream_turn
from hfdemo.words import Language, as_language

# What a click does in the browser, before the server hears of it; see `assets/scripts/`.
SEND = "() => window.hfdemo.send()"
LOCK = "() => window.hfdemo.lock()"
LOCK_AGAIN = "() => window.hfdemo.lockAgain()"
STOP = "(conversation) => window.hfdemo.stopReply(conversation)"
UNLESS_REVERTED = "(conversation) => window.hfdemo.unlessReverted(conversation)"
LOCK_UNLESS_REVERTED = "(conversation) => { window.hfdemo.unlessReverted(conversation); return window.hfdemo.lock(); }"
CLEAR = """async () => {
    if (window.hfdemo.beginApart()) return new Promise(() => undefined);
    await window.hfdemo.stopReply();
    return window.hfdemo.cleared();
}"""
SAVE = "(conversation, systemPrompt) => window.hfdemo.save(conversation, systemPrompt)"
REPLY_ENDED = "(conversation) => window.hfdemo.replyEnded(conversation)"
KEEP = "(conversation) => window.hfdemo.keep(conversation)"
KEEP_SETTINGS = "(...values) => window.hfdemo.keepSettings(values)"


class ChatPage(BareChatInterface):
    """Gradio's chat interface over a conversation that the browser holds as data.

    Each message is one event on the server, which is sent the conversation once. Stop is an event of its own: it sets
    the reply's stop signal, and the reply's own event ends by itself.

    Args:
        answering: answers.
        controls: the settings, placed by whoever lays out the page.
        viewer: shows what the model reads, where that can be shown.
    """

    def __init__(self, answering: Answering, controls: Controls, viewer: PromptViewer | None = None) -> None:
        self._answering = answering
        self._controls = controls
        self._viewer = viewer
        self.conversation = ConversationStore(visible=False, render=False)
        self.cache_key = gr.State("", render=False)
        """A secret name of this visitor's conversation, which the server makes with the first message."""
        self.resume_button = gr.Button(elem_id="resume", visible="hidden", render=False)
        """Asks for a reply that came when the page lost its connection, or was loaded again."""
        self.continue_button = _small_button(label("continue"), "continue", visible=False)
        self.prompt_button = _small_button(label("show_prompt"), "show-prompt", visible=viewer is not None)
        self.save_button = _small_button(label("save"), "save")
        self.meter = gr.HTML(elem_id="meter", render=False)
        self.shown_prompt = gr.HTML(elem_id="shown-prompt", render=False)
        self._program_door = ProgramDoor(answering)
        self.latest = _transcript("latest")
        """The last question and its reply. Among the earlier ones, each piece of it would draw all of them again."""
        super().__init__(
            self._program_door.chat,
            chatbot=_transcript("earlier", placeholder=f"## {label('greeting')}"),
            textbox=_message_box(),
            additional_inputs=controls.inputs,
            concurrency_limit=None,  # answering bounds how many reply at a time
            cache_examples=False,
        )

    def draw_below_chatbot(self) -> None:
        """Draw the last question and its reply under the earlier ones."""
        self.latest.render()

    def draw_below_box(self) -> None:
        """Draw what stands under the message box."""
        with gr.Row(elem_id="under-box"):
            self.continue_button.render()
            self.prompt_button.render()
            self.save_button.render()
            self.meter.render()
        self.shown_prompt.render()
        self.resume_button.render()
        self.conversation.render()
        self.cache_key.render()

    def connect(self) -> None:
        """Connect the events."""
        options, language = [*self._controls.inputs, self._controls.recommended], self._controls.language
        said = [self.conversation, self.cache_key, language, *options]

        locked = self.textbox.submit(None, None, self.textbox, js=SEND)
        self._reply_to(locked.success, self._send, [self.textbox, *said])
        stopped = self.latest.retry(None, self.conversation, None, js=STOP)
        locked = stopped.success(None, self.conversation, self.textbox, js=LOCK_UNLESS_REVERTED)
        self._reply_to(locked.success, self._retry, said)
        locked = self.continue_button.click(None, None, self.textbox, js=LOCK)
        self._reply_to(locked.success, self._continue, said)
        locked = self.resume_button.click(None, None, self.textbox, js=LOCK_AGAIN)
        self._reply_to(locked.success, self._resume, [self.conversation, self.cache_key, language])
        self._reply_to(
            self.chatbot.example_select,
            self._start,
            [self.cache_key, language, *options],
            self._controls.system_prompt,
        )

        self.textbox.stop(self._stop, **UNQUEUED)
        path = self._path
        stopped = self.latest.undo(None, self.conversation, None, js=STOP)
        stopped = stopped.success(None, self.conversation, None, js=UNLESS_REVERTED)
        stopped.success(self._undo, [self.conversation, language], path, **UNQUEUED)
        self.conversation.change(None, self.conversation, None, js=KEEP)
        gr.on(
            [control.change for control in self._controls.inputs], None, self._controls.inputs, None, js=KEEP_SETTINGS
        )
        self.prompt_button.click(
            self._show_prompt,
            [self.shown_prompt, self.textbox, self.conversation, language, *options],
            self.shown_prompt,
            **QUEUED,
        )
        self.save_button.click(None, [self.conversation, self._controls.system_prompt], None, js=SAVE)
        self._program_door.connect(self.add_endpoint, [self.textbox, *self._controls.make_program_inputs()])

    @property
    def _path(self) -> list[Any]:
        """What shows the conversation."""
        return [self.textbox, self.chatbot, self.latest, self.conversation, self.continue_button, self.meter]

    def connect_new_chat(self, button: gr.Button) -> None:
        """Let a button begin a new chat, also while a reply comes."""
        button.click(None, None, [*self._path, self.shown_prompt, *self._controls.inputs], js=CLEAR)

    def _reply_to(self, trigger: Any, function: Any, inputs: list[Any], *more: gr.components.Component) -> None:
        """Let a reply follow an event, and give the box back when it has ended, however it did."""
        outputs = [*self._path, self.cache_key, *more]
        reply: Dependency = trigger(function, inputs, outputs, concurrency_limit=None, **QUEUED)
        for end in (reply.success, reply.failure):
            end(None, self.conversation, self.textbox, js=REPLY_ENDED)

    async def _send(
        self, visitor: gr.Request, message: object, conversation: object, key: str, language: object, *options: object
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Answer a message; it leaves the box when the answer begins to come."""
        spoken = as_language(language)
        with shown_errors(spoken):
            before = read_conversation(conversation)
            text = read_message(message)
            turn = PageTurn(before, before.add("user", text), draft=text)
            async for view in self._stream(visitor, turn, key, spoken, options):
                yield view

    async def _retry(
        self, visitor: gr.Request, conversation: object, key: str, language: object, *options: object
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Ask for another reply beside the last one."""
        spoken = as_language(language)
        with shown_errors(spoken):
            before = read_conversation(conversation)
            asked = before.question
            if asked is None:
                raise InvalidInput("empty_message")
            async for view in self._stream(visitor, PageTurn(before, before.at(asked.id)), key, spoken, options):
                yield view

    async def _continue(
        self, visitor: gr.Request, conversation: object, key: str, language: object, *options: object
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Go on with a reply that was cut off."""
        spoken = as_language(language)
        with shown_errors(spoken):
            before = read_conversation(conversation)
            reply = before.reply
            if reply is None:
                raise InvalidInput("empty_message")
            turn = PageTurn(before, before.at(reply.parent), goes_on=reply)
            async for view in self._stream(visitor, turn, key, spoken, options):
                yield view

    async def _start(
        self, visitor: gr.Request, event: gr.EventData, key: str, language: object, *options: object
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Begin a conversation with a starter, and with the system prompt that suits it if the visitor wrote none."""
        spoken = as_language(language)
        with shown_errors(spoken):
            starter = starter_at(selected_index(event))
            said_in = starter_language(self._answering.status(), spoken)
            text, system_prompt = starter.message(said_in), options[0]
            if system_prompt in (self._controls.system_prompt.value, *starter_system_prompts()):
                system_prompt = starter.system_prompt(said_in)
            turn = PageTurn(Conversation(), Conversation().add("user", text), draft=text)
            shown: Any = system_prompt  # once: the visitor may change it while the reply comes
            async for view in self._stream(visitor, turn, key, spoken, (system_prompt, *options[1:])):
                yield *view, shown
                shown = gr.skip()

    async def _stream(
        self, visitor: gr.Request, turn: PageTurn, key: str, language: Language, options: tuple[object, ...]
    ) -> AsyncIterator[tuple[Any, ...]]:
        view = TurnView(turn, self._answering.status, language)
        checked = self._read_options(options)
        address, token = address_of(visitor), access_token_of(visitor)
        session = str(visitor.session_hash)
        async for update in stream_turn(self._answering, view, checked, key, session, address, token):
            yield update

    def _read_options(self, options: Sequence[object]) -> PageOptions:
        """Check the settings; a thinking mode that the model lacks is none, as soon as that is known."""
        *inputs, recommended = options
        status = self._answering.status()
        thinking = self._controls.inputs.index(self._controls.thinking)
        if status.stage == "ready" and inputs[thinking] not in status.thinking_modes:
            inputs[thinking] = "auto"
        return read_page_options(inputs, None if status.runs_elsewhere else recommended)

    async def _stop(self, visitor: gr.Request) -> None:
        """Let the visitor's reply end with what it has."""
        await self._answering.stop(str(visitor.session_hash))

    async def _resume(
        self, visitor: gr.Request, conversation: object, key: str, language: object
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Go on showing a reply that came when the page lost its connection; without one, show what the page kept."""
        spoken = as_language(language)
        with shown_errors(spoken):
            kept = read_conversation(conversation)
            asked, reply = kept.question, kept.reply
            if asked is None or (reply and reply.receipt):
                return
            answer = self._answering.find(asked.id, str(visitor.session_hash))
            if reply:
                if answer:  # the page has none of a reply that comes
                    reply = replace(reply, receipt=answer.earlier)
                    kept = kept.put(reply)
                turn = PageTurn(kept, kept.at(asked.id), goes_on=reply)
            elif other := kept.last_reply_to(asked):  # it is shown again if the retry came to nothing
                turn = PageTurn(kept.at(other.id), kept.at(asked.id))
            else:
                turn = PageTurn(kept.at(asked.parent), kept.at(asked.id), draft=asked.content)
            view = TurnView(turn, self._answering.status, spoken)
            if answer is None:
                yield *view.at_rest(), key
                return
            async with aclosing(follow(answer, view)) as updates:
                async for update in updates:
                    yield *update, key or answer.cache_key  # this may be another session

    def _undo(self, conversation: object, language: object) -> tuple[Any, ...]:
        """Take the last message back into the box, before what is being typed there."""
        spoken = as_language(language)
        with shown_errors(spoken):
            before = read_conversation(conversation)
            question = before.question
            if question is None:
                return tuple(gr.skip() for _ in self._path)
            earlier = PageTurn(before.at(question.parent), before, draft=question.content)
            return TurnView(earlier, self._answering.status, spoken).at_rest()

    def draw(self, conversation: object, language: object) -> tuple[Any, ...]:
        """Return earlier and latest turns, Continue and meter of what the browser kept; see `drawn`."""
        spoken = as_language(language)
        with shown_errors(spoken):
            kept = read_conversation(conversation)
            view = TurnView(PageTurn(kept, kept), self._answering.status, spoken)
            _, earlier, latest, _, can_continue, meter = view.at_rest()
            if kept.reply and not kept.reply.receipt:  # it may still come: that is found out next
                can_continue = gr.skip()
            return earlier, latest, can_continue, meter

    @property
    def drawn(self) -> list[gr.components.Component]:
        """What `draw` returns the values of."""
        return [self.chatbot, self.latest, self.continue_button, self.meter]

    def _show_prompt(
        self, shown: object, draft: object, conversation: object, language: object, *options: object
    ) -> str:
        """Draw what the model would read, with the message that is being typed, or else for the last reply.

        If a prompt is already shown, it is hidden.
        """
        if shown or self._viewer is None:
            return ""
        spoken = as_language(language)
        with shown_errors(spoken):
            asked = read_conversation(conversation)
            if isinstance(draft, str) and draft.strip():
                asked = asked.add("user", read_message(draft))
            elif asked.question:
                asked = asked.at(asked.question.id)
            else:
                raise InvalidInput("empty_message")
            return prompt_html(self._viewer.show_prompt(request_of(asked.path, self._read_options(options))), spoken)


def _small_button(text: I18nData, elem_id: str, visible: bool = True) -> gr.Button:
    return gr.Button(text, visible=visible, size="sm", scale=0, elem_id=elem_id, render=False)


def _transcript(elem_id: str, placeholder: str | None = None) -> Transcript:
    return Transcript(
        show_label=False,
        label=label("conversation"),
        placeholder=placeholder,
        buttons=["copy"],
        layout="bubble",
        elem_id=elem_id,
        height=None,
        render=False,
        autoscroll=False,  # it would pull a reader back who has scrolled up; see `assets/scripts/scrolling.js`
        feedback_options=None,
        latex_delimiters=[
            {"left": before, "right": after, "display": bool(kind)} for kind, (before, after) in FORMULA_MARKS.items()
        ],
    )


def _message_box() -> RawTextbox:
    return RawTextbox(
        label=label("message"),
        placeholder=label("placeholder"),
        show_label=False,
        container=False,
        submit_btn=True,
        stop_btn=True,
        max_lines=12,
        scale=7,
        elem_id="message",
    )
