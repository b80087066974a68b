"""The settings beside the chat: system prompt, sampling options, language."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from hfdemo.chat.messages import read_reply_start, read_system_prompt
from hfdemo.chat.options import LIMITS, OPTION_NAMES, THINKING, Options, Thinking, read_options
from hfdemo.page.components import RawNumber, RawRadio, RawSlider, RawTextbox
from hfdemo.page.language import label
from hfdemo.words import LANGUAGES, say

COMMON_NUMBERS = 3
"""How many of the options are in sight; the others are folded away."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The settings' components."""

    system_prompt: gr.Textbox
    numbers: tuple[gr.components.Component, ...]
    """In the order of `OPTION_NAMES`."""
    stop_texts: gr.Textbox
    reply_start: gr.Textbox
    thinking: gr.Radio
    language: gr.Radio

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What an event takes, in the order in which `read_page_options` reads it and the API names it."""
        return [self.system_prompt, *self.numbers, self.stop_texts, self.reply_start, self.thinking]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a visitor set, checked."""

    system_prompt: str
    options: Options
    reply_start: str


def read_page_options(values: Sequence[object]) -> PageOptions:
    """Check the values of `Controls.inputs`.

    Raises:
        InvalidInput: one of them can't be used; the text says which and why.
    """
    system_prompt, *numbers, stop_texts, reply_start, thinking = values
    return PageOptions(
        read_system_prompt(system_prompt),
        read_options(*numbers, stop_texts=stop_texts, thinking=thinking),
        read_reply_start(reply_start),
    )


def make_controls(system_prompt: str) -> Controls:
    """Make the settings' components; `draw_controls` places them."""
    return Controls(
        system_prompt=RawTextbox(
            value=system_prompt,
            label=label("system_prompt"),
            info=label("system_prompt_info"),
            lines=3,
            max_lines=12,
            elem_id="system-prompt",
            render=False,
        ),
        numbers=tuple(_make_number(name) for name in OPTION_NAMES),
        stop_texts=_make_text("stop_texts"),
        reply_start=_make_text("reply_start"),
        thinking=RawRadio(
            thinking_choices(THINKING),
            value="auto",
            label=label("thinking"),
            info=label("thinking_info"),
            visible=False,  # until a model is there that can be asked
            elem_id="thinking",
            render=False,
        ),
        language=gr.Radio(
            [(say("page.language_name", language), language) for language in LANGUAGES],
            label=label("language"),
            value="en",
            elem_id="language",
            render=False,
        ),
    )


def draw_controls(controls: Controls) -> None:
    """Place the settings in the layout block that is open: the common ones, then the others, folded."""
    for control in (controls.system_prompt, *controls.numbers[:COMMON_NUMBERS], controls.thinking):
        control.render()
    with gr.Accordion(label("more"), open=False):
        for control in (
            *controls.numbers[COMMON_NUMBERS:],
            controls.reply_start,
            controls.stop_texts,
            controls.language,
        ):
            control.render()


def thinking_choices(modes: tuple[Thinking, ...]) -> list[tuple[str, str]]:
    """Return the choices of the thinking control, with their labels."""
    return [(str(label(f"thinking_{mode}")), mode) for mode in dict.fromkeys(("auto", *modes))]


def _make_number(name: str) -> gr.components.Component:
    limit = LIMITS[name]
    texts = {"label": label(name), "info": label(f"{name}_info"), "elem_id": name.replace("_", "-"), "render": False}
    default = int(limit.default) if limit.whole else limit.default
    if name == "seed":  # a slider can't be set to one of four billion values
        return RawNumber(default, minimum=limit.low, maximum=limit.high, step=1, **texts)
    return RawSlider(limit.low, limit.high, default, step=limit.step, **texts)


def _make_text(name: str) -> gr.Textbox:
    return RawTextbox(
        "",
        label=label(name),
        info=label(f"{name}_info"),
        lines=2,
        max_lines=6,
        elem_id=name.replace("_", "-"),
        render=False,
    )
