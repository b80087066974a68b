"""The model's state in the header, kept up to date while the page is open."""

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from hfdemo.answering import Answering
from hfdemo.chat.options import RECOMMENDED
from hfdemo.engines.protocol import ModelHost, Status
from hfdemo.page.controls import Controls, info_text, thinking_choices
from hfdemo.page.events import UNQUEUED
from hfdemo.page.gradio_private import Dependency
from hfdemo.page.language import label
from hfdemo.page.model_names import without_folders
from hfdemo.page.status import BUSY, CAN_BE_CANCELLED, CAN_BE_TRIED_AGAIN, status_card_html, status_html
from hfdemo.words import Language, as_language

WHILE_BUSY_S = 0.5
OTHERWISE_S = 3.0
"""How often an open page asks. Also when a model is ready: it may be unloaded, and others may choose another."""

IF_SERVER_ANSWERS = "() => window.hfdemo.ping()"
"""In `assets/scripts/connection.js`. An event that finds no server makes Gradio load the page anew later, and the chat
is lost."""


class StatusBar:
    """Status line, card, Cancel and Try again; drawn where it is made.

    Args:
        answering: is asked.
        controls: one of them depends on what the model can do.
        host: brings the model, where it is on this machine.
        can_cancel: whether a visitor may stop the download, which is everybody's.
    """

    def __init__(
        self, answering: Answering, controls: Controls, host: ModelHost | None = None, can_cancel: bool = False
    ) -> None:
        self._answering = answering
        self._can_load = host is not None
        self._can_cancel = can_cancel and host is not None
        self._asked = [controls.language, controls.thinking, controls.recommended]
        # Hidden, not a State: the changes of a State are told only by events that go through the queue.
        self.in_use = gr.HTML(visible="hidden")
        """The model this page was last told of and where it runs, empty after a failure; its `change` tells so."""
        line = gr.HTML(elem_id="status")  # what it was when the program began would only be changed at once
        with gr.Row(elem_id="status-buttons"):
            cancel = gr.Button(label("cancel"), visible=False, size="sm", elem_id="cancel")
            try_again = gr.Button(label("try_again"), visible=False, size="sm", elem_id="try-again")
        # Not in the line: with each step of the progress it would fold itself again.
        card = gr.HTML(elem_id="status-card")
        timer = gr.Timer(WHILE_BUSY_S)

        options = [controls.recommended, *controls.recommended_numbers]
        self._shown = [line, card, cancel, try_again, timer, controls.thinking, self.in_use, *options]
        timer.tick(None, None, None, js=IF_SERVER_ANSWERS).success(
            self._show_changes, [*self._asked, line, card], self._shown, **UNQUEUED
        )
        if host:
            self.show_after(try_again.click(host.load, **UNQUEUED))
        if host and can_cancel:
            self.show_after(cancel.click(host.cancel, **UNQUEUED))

    def show_after(self, event: Dependency) -> Dependency:
        """Show the state anew after an event that went well."""
        return event.success(self._show, self._asked, self._shown, **UNQUEUED)

    def _show_changes(self, language: object, thinking: object, told: object, line: object, card: object) -> Any:
        """Show the state if it isn't what the page shows; an idle page is sent nothing."""
        now = self._show(language, thinking, told)
        return gr.skip() if now[:2] == (line or "", card or "") else now

    def _show(self, language: object, thinking: object, told: object) -> tuple[Any, ...]:
        now = self._answering.status()
        spoken = as_language(language)
        return (
            status_html(now, spoken),
            status_card_html(now, spoken),
            gr.update(visible=self._can_cancel and now.stage in CAN_BE_CANCELLED),
            gr.update(visible=self._can_load and now.stage in CAN_BE_TRIED_AGAIN),
            gr.update(value=WHILE_BUSY_S if now.stage in BUSY else OTHERWISE_S),
            self._show_thinking(now, thinking),
            "" if now.stage in CAN_BE_TRIED_AGAIN else escape(f"{without_folders(now.model)} {now.device}".strip()),
            *self._show_recommended(now.recommended or {}, told, spoken),
        )

    def _show_thinking(self, now: Status, chosen: object) -> Any:
        """Offer the model's modes; as long as they aren't known, what was chosen stays."""
        if now.stage != "ready":
            return gr.update(visible=bool(now.thinking_modes))
        modes = thinking_choices(now.thinking_modes)
        stale = {} if chosen in [mode for _, mode in modes] else {"value": "auto"}  # the model before had it
        return gr.update(visible=bool(now.thinking_modes), choices=modes, **stale)

    def _show_recommended(self, now: Mapping[str, float], told: object, language: Language) -> list[Any]:
        """Tell the page the model's values, and say them below the options; each page then follows by itself."""
        if now == (told or {}):
            return [gr.skip()] * (1 + len(RECOMMENDED))
        return [dict(now), *(gr.update(info=info_text(name, now, language)) for name in RECOMMENDED)]
