"""The header's buttons; the model's name beside them is the status."""

import gradio as gr

from hfdemo.page.chat import ChatPage
from hfdemo.page.gradio_private import I18nData
from hfdemo.page.language import label

CHANGE_THEME = "() => window.hfdemo.changeTheme()"
TOGGLE_SETTINGS = "() => window.hfdemo.toggleSettings()"


def draw_buttons(chat: ChatPage) -> None:
    """Draw the header's buttons in the layout block that is open."""
    with gr.Row(elem_id="header-buttons"):
        chat.connect_new_chat(_button(label("new_chat"), "new-chat"))
        _button(label("theme"), "theme").click(None, None, None, js=CHANGE_THEME)
        _button(label("settings"), "open-settings").click(None, None, None, js=TOGGLE_SETTINGS)


def draw_close_button() -> None:
    """Draw what closes the settings, which cover all of a phone's screen."""
    _button(label("close"), "close-settings").click(None, None, None, js=TOGGLE_SETTINGS)


def _button(text: I18nData, elem_id: str) -> gr.Button:
    return gr.Button(text, size="sm", scale=0, elem_id=elem_id)
