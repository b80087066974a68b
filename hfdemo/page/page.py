"""The page as a whole: what stands where, and what happens when it opens."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hfdemo.answering import Answering
from hfdemo.chat.options import defaults
from hfdemo.engines.protocol import ModelCatalog, ModelHost, PromptViewer
from hfdemo.page import gradio_private
from hfdemo.page.chat import ChatPage
from hfdemo.page.controls import draw_controls, make_controls
from hfdemo.page.events import AT_ONCE
from hfdemo.page.language import label, translations
from hfdemo.page.model_menu import ModelMenu, offers_models
from hfdemo.page.starters import starter_cards
from hfdemo.page.status_bar import StatusBar
from hfdemo.page.theme import make_theme
from hfdemo.settings import Settings
from hfdemo.web.failures import few_a_second
from hfdemo.web.guard import Guarded, guard
from hfdemo.web.headers import PagePolicy
from hfdemo.words import LANGUAGES, as_language, say

ASSETS = Path(__file__).parent / "assets"

QUEUE_POLL_S = 0.03
"""How often Gradio looks for new events. By itself it does so 1,000 times a second (20 times on Windows), which takes
a twelfth of the speed of a model that computes on the same cores. Source: `sleep_when_free` in gradio/queueing.py."""

OPEN_PAGE = "() => window.hfdemo.open()"
CHANGE_LANGUAGE = "(language, conversation) => window.hfdemo.changeLanguage(language, conversation)"
"""Both are in `assets/page.js`."""


def create_page(
    answering: Answering,
    settings: Settings,
    host: ModelHost | None = None,
    viewer: PromptViewer | None = None,
    catalog: ModelCatalog | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        answering: answers.
        settings: the host's.
        host: brings models to this machine; without it, there is nothing to load or cancel.
        viewer: shows the exact prompt; without it, there is no button for that.
        catalog: the models that can be chosen; without it, there is no menu.
    """
    with gradio_private.PageBlocks(title=say("page.title"), fill_height=True, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{say('page.title')}</h1>", elem_id="title")
        controls = make_controls(settings.system_prompt)
        status = StatusBar(answering, controls, host, can_cancel=settings.private)
        chat = ChatPage(answering, controls, viewer)
        # After the chat, as it is read and as the Tab key goes; it stands beside the chat all the same.
        with gr.Sidebar(label=label("settings"), position="right", open=False, elem_id="settings") as sidebar:
            if host and catalog and offers_models(settings):
                ModelMenu(answering, host, settings, catalog).connect(status, controls.language, sidebar)
            gr.Markdown(f"### {label('settings')}")
            draw_controls(controls)

        def show_starters(language: object) -> Any:
            return gr.update(examples=starter_cards(as_language(language)))

        opened = page.load(None, None, [controls.language, sidebar, chat.conversation], js=OPEN_PAGE)
        drawn = opened.then(chat.draw, [chat.conversation, controls.language], chat.chatbot, **AT_ONCE)
        status.show_after(drawn.then(show_starters, controls.language, chat.chatbot, **AT_ONCE))
        controls.language.input(None, [controls.language, chat.conversation], None, js=CHANGE_LANGUAGE)
    return page


def _script() -> str:
    """Return what runs in the page before Gradio."""
    script = (ASSETS / "page.js").read_text("utf-8")
    return script.replace("__LANGUAGES__", json.dumps(LANGUAGES)).replace("__DEFAULTS__", json.dumps(defaults({})))


def launch(
    page: gr.Blocks,
    settings: Settings | None = None,
    is_ready: Callable[[], bool] = lambda: True,
    metrics: Callable[[], bytes] | None = None,
    prevent_thread_lock: bool = False,
    **options: Any,
) -> None:
    """Serve the page until the process ends. Address, port and share link follow Gradio's own variables.

    Args:
        page: what `create_page` returned.
        settings: the host's; say who may reach the page.
        is_ready: tells whether messages can be answered now.
        metrics: returns the numbers for Prometheus; None doesn't offer them.
        prevent_thread_lock: whether to return as soon as the page is served.
        options: more arguments for `Blocks.launch`.
    """
    page.queue(api_open=False, max_size=64, default_concurrency_limit=None)
    gradio_private.set_queue_poll_interval(page, QUEUE_POLL_S)
    gradio_private.let_guard_read_proxies()
    gradio_private.log_failures_in_one_line()
    gradio_private.keep_sessions_lean()
    logging.getLogger("uvicorn.error").addFilter(few_a_second)
    table = gradio_private.event_table(page)
    settings = settings or Settings()
    hub_routes = gradio_private.hub_routes() if settings.allowed_users else None
    guarded = Guarded(settings, table, lambda: page.share_url, is_ready, metrics, hub_routes)
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
        prevent_thread_lock=True,
        **gradio_private.launch_options(),
        app_kwargs={
            "middleware": [Middleware(PagePolicy, scripts=[_script()])],
            **gradio_private.outermost(lambda app: guard(app, guarded)),
        },
        **options,
    )
    gradio_private.bound_waiting_for_headers(page)
    if not prevent_thread_lock:
        page.block_thread()
