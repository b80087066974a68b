"""Gradio components that hand over what was sent as it is.

Gradio's own ones change values on their way: a Chatbot dedents text, a Textbox makes text of anything, a Slider
lets NaN through and writes its own error. These pass raw values through; `hfdemo.chat` alone validates them.
"""

from typing import Any

import gradio as gr

from hfdemo.chat.messages import replace_surrogates
from hfdemo.chat.options import LIMITS
from hfdemo.page.gradio_private import ChatbotDataMessages


class _AsSent:
    """What the Raw components share."""

    block_name: str

    def get_block_name(self) -> str:
        """Name the frontend part that draws this component."""
        return self.block_name

    def preprocess(self, payload: Any) -> Any:
        """Return the value as it was sent."""
        return payload


class Transcript(gr.Chatbot):
    """A Chatbot for what `drawing.py` makes of the turns. It is never read."""

    def get_block_name(self) -> str:
        """Name the frontend part that draws this component."""
        return "chatbot"

    def postprocess(self, value: list[Any] | None) -> ChatbotDataMessages:
        """Turn messages into what is displayed."""
        data: ChatbotDataMessages = super().postprocess([_displayable(message) for message in value or ()])
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


def _displayable(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message that can be sent as JSON, which has no half surrogate pairs."""
    content = [{**part, "text": replace_surrogates(part["text"])} for part in message["content"]]
    return {**message, "content": content}
