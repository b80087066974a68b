"""The page as a whole: what stands where, and what happens when it opens."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from hfdemo.answering import Answering
from hfdemo.chat.options import RECOMMENDED
from hfdemo.engines.protocol import ModelCatalog, ModelHost, PromptViewer
from hfdemo.errors import own_command
from hfdemo.page import gradio_private
from hfdemo.page.chat import ChatPage
from hfdemo.page.controls import draw_controls, make_controls, settings_of
from hfdemo.page.events import UNQUEUED
from hfdemo.page.header import draw_buttons, draw_close_button
from hfdemo.page.language import label, translations
from hfdemo.page.model_menu import ModelMenu, offers_models
from hfdemo.page.starters import starter_cards, starter_language, starter_system_prompts
from hfdemo.page.status_bar import StatusBar
from hfdemo.page.theme import make_theme
from hfdemo.settings import Settings, asked_port, is_shared, listens_on
from hfdemo.web.failures import few_a_second, keep_words_out
from hfdemo.web.guard import Guarded, guard
from hfdemo.web.headers import PagePolicy
from hfdemo.web.manifest import Manifest
from hfdemo.web.offline import OfflinePage
from hfdemo.web.presence import Presence
from hfdemo.words import LANGUAGES, Language, as_language, say, texts

ASSETS = Path(__file__).parent / "assets"

USUAL_JOBS, OTHER_JOBS = 40, 16
"""How many events Gradio runs at one time by itself. A reply is one until it has ended, also while it waits, and there
are others beside replies."""

QUEUE_POLL_S = 0.03
"""How often Gradio looks for new events. By itself it does so 1,000 times a second (20 times on Windows), which takes
a twelfth of the speed of a model that computes on the same cores. Source: `sleep_when_free` in gradio/queueing.py."""

SCRIPTS = (
    "language",
    "line",
    "connection",
    "conversation",
    "options",
    "chats",
    "direction",
    "keeping",
    "scrolling",
    "folds",
    "keyboard",
    "copies",
    "header",
    "keys",
    "gradio",
    "printing",
)
"""Of `assets/scripts/`, in the order in which they run in the page, before Gradio."""

SCRIPT_WORDS = (
    "bad_in_address",
    "chat_deleted",
    "chats",
    "close",
    "conversation",
    "copied",
    "copy_message",
    "copy_refused",
    "delete_chat",
    "kept_for_tab",
    "keys",
    "lost",
    "not_kept",
    "not_taken",
    "reset_value",
    "retry",
    "send",
    "settings",
    "show_all",
    "stop",
    "theme_dark",
    "theme_light",
    "theme_system",
    "to_end",
    "undo",
    "unexpected",
    "unknown_in_address",
)
"""What the scripts say by themselves."""

# These are in `assets/scripts/`.
OPEN_PAGE = "() => window.hfdemo.open()"
OPEN_SETTINGS = "() => ({ open: window.hfdemo.opensSettings(), __type__: 'update' })"
FORGET = "() => window.hfdemo.forget()"
RESUME = "() => window.hfdemo.resume()"
CHANGE_LANGUAGE = "(language) => window.hfdemo.changeLanguage(language)"


@gradio_private.without_server_app()
def create_page(
    answering: Answering,
    settings: Settings,
    host: ModelHost | None = None,
    viewer: PromptViewer | None = None,
    catalog: ModelCatalog | None = None,
) -> gradio_private.PageBlocks:
    """Build the page.

    Args:
        answering: answers.
        settings: the host's.
        host: brings models to this machine; without it, there is nothing to load or cancel.
        viewer: shows the exact prompt; without it, there is no button for that.
        catalog: the models that can be chosen; without it, there is no menu.
    """
    page = gradio_private.PageBlocks(title=settings.title, fill_height=True, analytics_enabled=False)
    with page:
        page.answering = answering
        gr.HTML(f"<h1>{escape(settings.title)}</h1>", elem_id="title")
        controls = make_controls(settings.system_prompt)
        page.settings = settings_of(controls)
        chat = ChatPage(answering, controls, viewer)
        # After the chat, as it is read and as the Tab key goes; they stand above and beside it all the same.
        with gr.Row(elem_id="header"):
            status = StatusBar(answering, controls, host, can_cancel=settings.private)
            draw_buttons(chat)
        with gr.Sidebar(label=label("settings"), position="right", open=False, elem_id="settings") as sidebar:
            draw_close_button()
            if host and catalog and offers_models(settings):
                ModelMenu(answering, host, settings, catalog).connect(status, controls.language, sidebar)
            gr.Markdown(f"## {label('settings')}")
            draw_controls(controls)
            gr.Button(label("forget"), size="sm", elem_id="forget").click(None, None, None, js=FORGET)

        def show_starters(language: object) -> Any:
            spoken = starter_language(answering.status(), as_language(language))
            return gr.update(examples=starter_cards(spoken))

        page.load(None, None, sidebar, js=OPEN_SETTINGS)
        opened = page.load(None, None, [controls.language, chat.conversation, *controls.inputs], js=OPEN_PAGE)
        drawn = opened.then(chat.draw, [chat.conversation, controls.language], chat.drawn, **UNQUEUED)
        for end in (drawn.success, drawn.failure):
            end(None, None, None, js=RESUME)
        status.show_after(drawn.then(show_starters, controls.language, chat.chatbot, **UNQUEUED))
        status.in_use.change(show_starters, controls.language, chat.chatbot, **UNQUEUED)
        controls.language.input(None, controls.language, None, js=CHANGE_LANGUAGE)
    page.version = _version(page)
    return page


def _version(page: gr.Blocks) -> str:
    """Return what changes with the page: an open one goes on with a server only if that serves the same."""
    config = page.get_config_file()
    parts = [(part["id"], part["type"]) for part in config["components"]]  # their values may be of chance
    drawn = json.dumps([parts, config["layout"], config["dependencies"], *map(texts, LANGUAGES)], default=str)
    served = (gr.__version__, drawn, *(_asset(f"scripts/{name}.js") for name in SCRIPTS), _asset("page.css"))
    return hashlib.sha256("".join(served).encode()).hexdigest()[:16]


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def _script(page: gradio_private.PageBlocks) -> str:
    """Return what runs in the page before Gradio."""
    words = (*SCRIPT_WORDS, *page.settings)  # a setting is called by its label
    given = {
        "version": page.version,
        "languages": LANGUAGES,
        "words": {lang: {name: texts(lang)[f"page.{name}"] for name in words} for lang in LANGUAGES},
        "settings": page.settings,
        "recommended": RECOMMENDED,
        "starters": starter_system_prompts(),
    }
    told = json.dumps(given).replace("<", "\\u003c")
    return "\n".join([f"window.hfdemo = {{ given: {told} }};", *(_asset(f"scripts/{name}.js") for name in SCRIPTS)])


def launch(
    page: gradio_private.PageBlocks,
    settings: Settings | None = None,
    door: ASGIApp | None = None,
    metrics: Callable[[], bytes] | None = None,
    prevent_thread_lock: bool = False,
    quiet: bool = False,
    language: Language = "en",
    **options: Any,
) -> None:
    """Serve the page until the process ends. Address, port and share link follow Gradio's own variables.

    Args:
        page: what `create_page` returned.
        settings: the host's; say who may reach the page.
        door: serves the API in OpenAI's form.
        metrics: returns the numbers for Prometheus; None doesn't offer them.
        prevent_thread_lock: whether to return as soon as the page is served.
        quiet: whether not to print where the page is.
        language: of what is printed beside Gradio's own line.
        options: more arguments for `Blocks.launch`.
    """
    answering, settings = page.answering, settings or Settings()
    jobs = max(USUAL_JOBS, settings.max_waiting + OTHER_JOBS)
    with gradio_private.without_server_app():
        page.queue(api_open=False, max_size=jobs + OTHER_JOBS, default_concurrency_limit=None)
    gradio_private.set_queue_poll_interval(page, QUEUE_POLL_S)
    gradio_private.let_guard_read_proxies()
    gradio_private.log_failures_in_one_line()
    gradio_private.keep_sessions_lean()
    logging.getLogger("uvicorn.error").addFilter(few_a_second)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # whoever sends an odd form is told so
    keep_words_out()
    if door and settings.platform == "zerogpu":
        door = gradio_private.with_visitors_token(door)
    guarded = Guarded(
        settings,
        gradio_private.event_table(page),
        lambda: page.share_url,
        answering.is_ready,
        door,
        metrics,
        gradio_private.hub_routes() if settings.signs_in_with_hub else None,
    )
    with redirect_stdout(StringIO()):  # where no share link can be made, Gradio says so in English, and at length
        page.launch(
            theme=make_theme(),
            css=_asset("page.css"),
            i18n=translations(),
            favicon_path=str(ASSETS / "icon.svg"),
            pwa=True,
            footer_links=["api"],
            show_error=False,
            enable_monitoring=False,
            run_history=False,
            max_file_size="1b",
            max_threads=jobs,
            state_session_capacity=500,
            ssr_mode=False,
            prevent_thread_lock=True,
            quiet=True,
            **gradio_private.launch_options(listens_on(os.environ)),
            app_kwargs={
                "middleware": [
                    Middleware(PagePolicy, scripts=[_script(page)]),
                    Middleware(Presence, left=answering.leave, back=answering.find),
                    Middleware(OfflinePage),
                    Middleware(Manifest, title=settings.title),
                ],
                **gradio_private.sentence_for_bodies(),
                **gradio_private.outermost(lambda app: guard(app, guarded)),
            },
            **options,
        )
    gradio_private.bound_waiting_for_headers(page)
    if not quiet:
        _print_address(page, language)
    if not prevent_thread_lock:
        page.block_thread()


def _print_address(page: gradio_private.PageBlocks, language: Language) -> None:
    """Print where the page is, in Gradio's own words, which people and programs look for, and how to share it."""
    lines = []
    if not page.is_colab:  # its machine can't be reached from outside
        lines.append(f"Running on local URL:  {page.protocol}://{page.server_name}:{page.server_port}")
        asked = asked_port(os.environ)
        if asked and asked != page.server_port:
            lines.append(say("start.other_port", language, port=asked))
    if page.share_url:
        lines += [f"Running on public URL: {page.share_url}", say("start.link_lasts", language)]
    elif page.is_colab or page.space_id:
        pass
    elif is_shared(os.environ):
        missing = gradio_private.missing_tunnel_program()
        lines.append(say("start.no_link_program", language, **missing) if missing else say("start.no_link", language))
    else:
        lines.append(say("start.how_to_share", language, command=own_command()))
    for line in lines:
        print(f"* {line}", flush=True)  # noqa: T201
