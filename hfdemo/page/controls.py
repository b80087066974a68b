"""The settings beside the chat: system prompt, sampling options, language."""

from dataclasses import dataclass

import gradio as gr

from hfdemo.messages import LIMITS, OPTION_NAMES
from hfdemo.page.components import RawNumber, RawSlider, RawTextbox
from hfdemo.page.language import label


@dataclass(frozen=True, slots=True)
class Controls:
    """The settings' components."""

    system_prompt: gr.Textbox
    options: tuple[gr.components.Component, ...]
    """In the order of `OPTION_NAMES`."""
    language: gr.Radio


def make_controls(system_prompt: str) -> Controls:
    """Draw the settings in the layout block that is open."""
    text = RawTextbox(
        value=system_prompt,
        label=label("system_prompt"),
        info=label("system_prompt_info"),
        lines=3,
        max_lines=12,
        elem_id="system-prompt",
    )
    common = [_make_control(name) for name in OPTION_NAMES[:3]]
    with gr.Accordion(label("more"), open=False):
        more = [_make_control(name) for name in OPTION_NAMES[3:]]
        language = gr.Radio(
            [("한국어", "ko"), ("English", "en")],
            label=label("language"),
            value="en",
            elem_id="language",
        )
    return Controls(text, (*common, *more), language)


def _make_control(name: str) -> gr.components.Component:
    limit = LIMITS[name]
    texts = {"label": label(name), "info": label(f"{name}_info"), "elem_id": name.replace("_", "-")}
    default = int(limit.default) if limit.whole else limit.default
    if name == "seed":  # a slider can't be set to one of four thousand million values
        return RawNumber(default, minimum=limit.low, maximum=limit.high, step=1, **texts)
    return RawSlider(limit.low, limit.high, default, step=limit.step, **texts)
