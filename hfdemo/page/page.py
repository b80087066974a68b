"""The page as a whole: what stands where, and what happens when it opens."""

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hfdemo.engines.protocol import Engine
from hfdemo.page.chat import Chat
from hfdemo.page.controls import draw_controls, make_controls
from hfdemo.page.events import QUIETLY
from hfdemo.page.language import label, translations
from hfdemo.page.model_menu import Catalog, ModelMenu, offers_models
from hfdemo.page.starters import starter_cards
from hfdemo.page.status_bar import StatusBar
from hfdemo.page.theme import make_theme
from hfdemo.settings import Settings
from hfdemo.web.guard import Guard
from hfdemo.words import as_language, say

ASSETS = Path(__file__).parent / "assets"

QUEUE_POLL_S = 0.03
"""How often Gradio looks for new events. By itself it does so 1,000 times a second (20 times on Windows), which takes
a twelfth of the speed of a model that computes on the same cores. Source: `sleep_when_free` in gradio/queueing.py."""

OPEN_PAGE = "() => window.hfdemo.open()"
CHANGE_LANGUAGE = "(language, chat) => window.hfdemo.changeLanguage(language, chat)"
"""Both are in `assets/page.js`."""


def create_page(engine: Engine, settings: Settings, catalog: Catalog | None = None) -> gr.Blocks:
    """Build the page for an engine.

    Args:
        engine: answers.
        settings: the host's.
        catalog: the models that can be chosen; without it, there is no menu.
    """
    with gr.Blocks(title=say("page.title"), fill_height=True, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{say('page.title')}</h1>", elem_id="title")
        controls = make_controls(settings.system_prompt)
        status = StatusBar(engine, controls, can_cancel=settings.private)
        chat = Chat(engine, controls)
        # After the chat, as it is read and as the Tab key goes; it stands beside the chat all the same.
        with gr.Sidebar(label=label("settings"), position="right", open=False, elem_id="settings") as sidebar:
            if catalog and offers_models(settings):
                ModelMenu(engine, settings, catalog).connect(status, controls.language, sidebar)
            gr.Markdown(f"### {label('settings')}")
            draw_controls(controls)

        def show_starters(language: object) -> Any:
            return gr.update(examples=starter_cards(as_language(language)))

        opened = page.load(None, None, [controls.language, sidebar, chat.chatbot], js=OPEN_PAGE)
        status.show_after(opened.then(show_starters, controls.language, chat.chatbot, **QUIETLY))
        controls.language.input(None, [controls.language, chat.chatbot], None, js=CHANGE_LANGUAGE)
    return page


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve the page until the process ends. Address, port and share link follow Gradio's own variables.

    Args:
        page: what `create_page` returned.
        options: more arguments for `Blocks.launch`.
    """
    page.queue(api_open=False, max_size=64, default_concurrency_limit=None)
    page._queue.sleep_when_free = QUEUE_POLL_S
    page.launch(
        theme=make_theme(),
        css=(ASSETS / "page.css").read_text("utf-8"),
        i18n=translations(),
        favicon_path=str(ASSETS / "icon.svg"),
        footer_links=["api"],
        show_error=False,
        enable_monitoring=False,
        run_history=False,
        max_file_size="1b",
        state_session_capacity=500,
        ssr_mode=False,
        _frontend=False,  # else Gradio asks itself for the page, and gives up if a busy machine takes 3 seconds for it
        app_kwargs={"middleware": [Middleware(Guard, scripts=[(ASSETS / "page.js").read_text("utf-8")])]},
        **options,
    )
