"""Choosing a model on the page: the host's list and, for a host's own use, any model and a search of the Hub."""

from html import escape
from typing import Any

import gradio as gr

from hfdemo.answering import Answering
from hfdemo.chat.messages import replace_surrogates
from hfdemo.engines.protocol import ModelCatalog, ModelHost
from hfdemo.errors import HfdemoError, InvalidInput
from hfdemo.models.choice import ModelChoice
from hfdemo.models.plan_text import size_text
from hfdemo.page.components import RawDropdown, RawTextbox
from hfdemo.page.errors import shown_errors
from hfdemo.page.events import QUEUED, UNQUEUED
from hfdemo.page.language import label
from hfdemo.page.links import with_links
from hfdemo.page.model_names import shown_names, without_folders
from hfdemo.page.status import CAN_BE_TRIED_AGAIN, card_html, folded_card_html
from hfdemo.page.status_bar import StatusBar
from hfdemo.settings import Settings
from hfdemo.words import Language, as_language, say

CLOSE_SIDEBAR_ON_PHONES = "() => window.innerWidth > 1100 ? {__type__: 'update'} : {open: false, __type__: 'update'}"
"""There the sidebar covers the status, where the progress is shown."""

OPEN_MENU = "() => document.querySelector('#model input').focus()"


def offers_models(settings: Settings) -> bool:
    """Tell whether there is anything to choose. On ZeroGPU models are loaded at the start only."""
    return settings.platform != "zerogpu" and (settings.private or len(settings.models) > 1)


class ModelMenu:
    """The menu; drawn where it is made.

    All visitors share one model. So what is not in the host's list is refused by the server,
    unless nobody but the host reaches the page.

    Args:
        answering: tells which model answers.
        host: loads what is chosen.
        settings: say what may be chosen.
        catalog: knows the models.
    """

    def __init__(self, answering: Answering, host: ModelHost, settings: Settings, catalog: ModelCatalog) -> None:
        self._answering = answering
        self._host = host
        self._settings = settings
        self._catalog = catalog
        self._named = shown_names(settings.models)
        self._shown = {model: name for name, model in self._named.items()}
        any_model = settings.private
        any_model_info = label("any_endpoint_model_info") if settings.is_remote else label("any_model_info")
        gr.Markdown(f"## {label('model')}")
        self._menu = RawDropdown(
            [],
            value=None,
            label=label("choose_model"),
            info=any_model_info if any_model else None,
            allow_custom_value=any_model,
            elem_id="model",
            elem_classes=["any-model"] if any_model else [],
        )
        self._search = RawTextbox(
            label=label("search_endpoint") if settings.is_remote else label("search_hub"),
            info=None if settings.is_remote else label("search_hub_info"),
            submit_btn=True,
            visible=any_model,
            elem_id="search-hub",
        )
        self._found = gr.HTML(elem_id="found")
        self._card = gr.HTML(elem_id="model-card")
        self._use = gr.Button(label("use_model"), visible=False, size="sm", variant="primary", elem_id="use-model")

    def connect(self, status: StatusBar, language: gr.Radio, sidebar: gr.Sidebar) -> None:
        """Connect the events."""
        asking = QUEUED | {"show_progress": "minimal", "show_progress_on": None}  # the Hub may take its time
        status.in_use.change(self._refresh, [language, self._menu, status.in_use], self._menu, **UNQUEUED)
        self._menu.change(self._show_model, [language, self._menu], [self._card, self._use], **asking)
        used = self._use.click(self._use_model, [language, self._menu], self._use, **QUEUED)
        status.show_after(used).success(None, None, sidebar, js=CLOSE_SIDEBAR_ON_PHONES)
        if self._settings.private:
            found = self._search.submit(self._find, [language, self._search], [self._menu, self._found], **asking)
            found.success(None, js=OPEN_MENU)

    def _refresh(self, language: object, picked: object, in_use: object) -> Any:
        """Fill the menu anew, and let it follow the model that is in use."""
        choices = self._host_list(as_language(language))
        current = self._current()
        shown = self._shows(current) if current else None
        follow = (in_use or not picked) and shown in [name for _, name in choices]
        return gr.update(choices=choices, **({"value": shown} if follow else {}))

    def _show_model(self, language: object, picked: object) -> tuple[str, Any]:
        """Show the card of what was picked, or why it can't be used; and the button, if it can."""
        spoken = as_language(language)
        hidden = gr.update(visible=False)
        if not picked:
            return "", hidden
        in_use = self._in_use()
        if in_use and picked == self._shows(in_use):
            plan = self._answering.status().plan
            return folded_card_html(plan, spoken) if plan else "", hidden
        with shown_errors(spoken):
            try:
                plan = self._catalog.plan(self._offered(picked))
            except HfdemoError as error:
                return f'<p class="problem">{with_links(error.text(spoken))}</p>', hidden
        if plan is None:
            return "", gr.update(visible=True)
        return f"<strong>{escape(plan.facts.name)}</strong>{card_html(plan, spoken)}", gr.update(visible=plan.fits)

    def _use_model(self, language: object, picked: object) -> Any:
        """Change to the model that was picked, for everybody."""
        with shown_errors(as_language(language)):
            self._host.choose(self._offered(picked))
        return gr.update(visible=False)

    def _find(self, language: object, words: object) -> tuple[Any, str]:
        """Fill the menu with what the Hub finds, or without any words with the host's list again."""
        spoken = as_language(language)
        asked = replace_surrogates(words).strip() if isinstance(words, str) else ""
        if not asked:
            return gr.update(choices=self._host_list(spoken)), ""
        with shown_errors(spoken):
            found = self._catalog.search(asked)
        choices = [(self._label(choice, spoken), self._shows(choice.name)) for choice in found]
        note = say("page.found", spoken, count=len(found)) if found else say("page.found_nothing", spoken)
        return gr.update(choices=choices), escape(note)

    def _host_list(self, language: Language) -> list[tuple[str, str]]:
        """Return the choices the host offers, and for its own use the model that is there as well."""
        offered = self._catalog.choices()
        choices = [(self._label(choice, language), self._shows(choice.name)) for choice in offered]
        current = self._current()
        if current and self._settings.private and self._shows(current) not in [name for _, name in choices]:
            plan = self._answering.status().plan
            choice = ModelChoice(current, plan.facts.stored_bytes if plan else None, on_disk=None, fits=None)
            choices.insert(0, (self._label(choice, language), current))
        return choices

    def _offered(self, picked: object) -> str:
        """Return a model's name if this page offers it.

        Raises:
            InvalidInput: it doesn't. What the page sends may be anything.
        """
        name = replace_surrogates(picked).strip() if isinstance(picked, str) else ""
        if name and (self._settings.private or name in self._named):
            return self._named.get(name, name)
        if self._settings.private:
            raise InvalidInput("no_model_name")
        raise InvalidInput("model_not_offered", models=", ".join(self._named))

    def _current(self) -> str | None:
        """Return the model that is there or comes, as it was named; None while the demo model stands in."""
        now = self._answering.status()
        return now.named or (None if now.fallback else now.model or None)

    def _shows(self, model: str) -> str:
        """Return by what the menu knows a model: its name in the host's list, or what was typed."""
        return self._shown.get(model, model)

    def _in_use(self) -> str | None:
        return None if self._answering.status().stage in CAN_BE_TRIED_AGAIN else self._current()

    def _label(self, choice: ModelChoice, language: Language) -> str:
        """Return a choice with what helps to choose."""
        said = [
            without_folders(self._shows(choice.name)),
            size_text(choice.stored_bytes) if choice.stored_bytes else "",
        ]
        if choice.name == self._in_use():
            said += [say("page.model_in_use", language), self._answering.status().device]
        elif choice.fits is False:
            said.append(say("page.model_too_big", language))
        else:
            said.append(say("page.model_fits", language) if choice.fits else "")
            if choice.on_disk is not None:
                said.append(say("page.model_on_disk" if choice.on_disk else "page.model_not_downloaded", language))
        return " · ".join(filter(None, said))
