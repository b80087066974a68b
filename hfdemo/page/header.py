"""The header's buttons; the model's name beside them is the status."""

import gradio as gr

from hfdemo.page.chat import ChatPage
from hfdemo.page.language import label

CHANGE_THEME = "() => window.hfdemo.changeTheme()"
TOGGLE_SETTINGS = "() => window.hfdemo.toggleSettings()"


def draw_buttons(chat: ChatPage) -> None:
    """Draw the header's buttons in the layout block that is open."""
    with gr.Row(elem_id="header-buttons"):
        chat.connect_new_chat(_button("new_chat"))
        _button("theme").click(None, None, None, js=CHANGE_THEME)
        _button("settings", "open-settings").click(None, None, None, js=TOGGLE_SETTINGS)


def _button(name: str, elem_id: str | None = None) -> gr.Button:
    return gr.Button(label(name), size="sm", scale=0, elem_id=elem_id or name.replace("_", "-"))
