"""Gradio components that hand over what was sent as it is.

Gradio's own ones change values on their way: a Chatbot dedents text, a Textbox makes text of anything, a Slider
lets NaN through and writes its own error. These pass raw values through; `hfdemo.chat` alone validates them.
"""

from functools import lru_cache
from typing import Any

import gradio as gr

from hfdemo.chat.messages import replace_surrogates
from hfdemo.chat.options import LIMITS
from hfdemo.page.gradio_private import ChatbotDataMessages, no_stub_files
from hfdemo.page.markdown import make_inert


class _AsSent:
    """What the Raw components share."""

    block_name: str

    def get_block_name(self) -> str:
        """Name the frontend part that draws this component."""
        return self.block_name

    def preprocess(self, payload: Any) -> Any:
        """Return the value as it was sent."""
        return payload


with no_stub_files():

    class Transcript(gr.Chatbot):
        """A Chatbot whose texts are made harmless by invisible marks (`markdown.make_inert`). It is never read."""

        def get_block_name(self) -> str:
            """Name the frontend part that draws this component."""
            return "chatbot"

        def postprocess(self, value: list[Any] | None) -> ChatbotDataMessages:
            """Turn messages into what is displayed."""
            *finished, last = value or [None]
            shown = [_shown(message, _make_inert_once) for message in finished]
            displayed = shown + ([_shown(last, make_inert)] if last else [])
            data: ChatbotDataMessages = super().postprocess(displayed)
            return data

    class ConversationStore(_AsSent, gr.JSON):
        """Holds the conversation as data in the browser; nothing of it is drawn."""

        block_name = "json"

    class RawTextbox(_AsSent, gr.Textbox):
        """A Textbox that passes on what was sent, text or not."""

        block_name = "textbox"

    class RawSlider(_AsSent, gr.Slider):
        """A Slider that passes on what was sent, number or not."""

        block_name = "slider"

    class RawRadio(_AsSent, gr.Radio):
        """A Radio that passes on what was sent, one of its choices or not."""

        block_name = "radio"

    class RawDropdown(_AsSent, gr.Dropdown):
        """A Dropdown that passes on what was sent, one of its choices or not."""

        block_name = "dropdown"

    class RawNumber(_AsSent, gr.Number):
        """A Number that passes on what was sent, number or not."""

        block_name = "number"

    class ProgramNumber(_AsSent, gr.Number):
        """An option that a program may leave to the model; its label is the option's name. Pages have a slider."""

        block_name = "number"

        def api_info(self) -> dict[str, Any]:
            """Describe it to programs."""
            limit = LIMITS[str(self.label)]
            by_itself = f"null, the default, is the model's recommended value, else {limit.default}"
            return {"type": "number", "description": f"numeric value from {limit.low} to {limit.high}; {by_itself}"}


_make_inert_once = lru_cache(maxsize=1024)(make_inert)  # a finished message is displayed again with each update


def _shown(message: dict[str, Any], display: Any) -> dict[str, Any]:
    """Return a message as text parts to display: Gradio dedents content that is a plain string."""
    content = message["content"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    return {**message, "content": [{"type": "text", "text": display(replace_surrogates(text))} for text in texts]}
