"""The settings beside the chat: system prompt, sampling options, language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from hfdemo.chat.messages import read_reply_start, read_system_prompt
from hfdemo.chat.options import LIMITS, OPTION_NAMES, RECOMMENDED, THINKING, Options, Thinking, defaults, read_options
from hfdemo.page.components import ProgramNumber, RawNumber, RawRadio, RawSlider, RawTextbox
from hfdemo.page.language import label
from hfdemo.words import LANGUAGES, Language, say

COMMON_NUMBERS = 3
"""How many of the options are in sight; the others are folded away."""

NUMBERS_BEFORE_TEXTS = 6
"""How many of the options the API takes before its texts. Newer ones come last, so that calls by position go on."""

FOLLOW_MODEL = "(recommended, ...values) => window.hfdemo.followModel(recommended, values)"
"""In `assets/scripts/options.js`: there nothing that a visitor changes meanwhile is overwritten."""


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
    recommended: gr.JSON
    """The model's values, as this page was last told of them; nothing of it is drawn."""

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What an event takes, in the order in which `read_page_options` reads it and the API names it."""
        return self._in_order(self.numbers)

    @property
    def recommended_numbers(self) -> list[gr.components.Component]:
        """The numbers for which a model may recommend values, in the order of `RECOMMENDED`."""
        return [self.numbers[OPTION_NAMES.index(name)] for name in RECOMMENDED]

    def make_program_inputs(self) -> list[gr.components.Component]:
        """Make what a program's call takes: the same, but a number that it may leave to the model has no value."""
        named = zip(OPTION_NAMES, self.numbers, strict=True)
        return self._in_order([_program_number(name) if name in RECOMMENDED else number for name, number in named])

    def _in_order(self, numbers: Sequence[gr.components.Component]) -> list[gr.components.Component]:
        texts = (self.stop_texts, self.reply_start, self.thinking)
        return [self.system_prompt, *numbers[:NUMBERS_BEFORE_TEXTS], *texts, *numbers[NUMBERS_BEFORE_TEXTS:]]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a visitor set, checked."""

    system_prompt: str
    options: Options
    reply_start: str


def read_page_options(values: Sequence[object], shown: object = None) -> PageOptions:
    """Check the values of `Controls.inputs`.

    Args:
        values: in the order of the inputs.
        shown: what `Controls.recommended` holds, on a page. Where a visitor left a number as it was, nobody chose it:
            the model that answers may have another one than the page knows. A program sends null for that. None where
            what the page shows is to be asked for as it stands.

    Raises:
        InvalidInput: one of them can't be used; the text says which and why.
    """
    system_prompt, *rest = values
    stop_texts, reply_start, thinking = rest[NUMBERS_BEFORE_TEXTS : NUMBERS_BEFORE_TEXTS + 3]
    numbers = [*rest[:NUMBERS_BEFORE_TEXTS], *rest[NUMBERS_BEFORE_TEXTS + 3 :]]
    untouched = defaults(shown) if isinstance(shown, dict) else {}
    given = dict(zip(OPTION_NAMES, numbers, strict=True))
    left_out = [name for name in RECOMMENDED if given[name] is None or given[name] == untouched.get(name)]
    return PageOptions(
        read_system_prompt(system_prompt),
        read_options(*numbers, stop_texts=stop_texts, thinking=thinking, left_out=left_out),
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
        language=RawRadio(
            [(say("page.language_name", language), language) for language in LANGUAGES],
            label=label("language"),
            value="en",
            render=False,
        ),
        recommended=gr.JSON({}, visible="hidden", render=False),
    )


def settings_of(controls: Controls) -> dict[str, dict[str, Any]]:
    """Return the settings by name, as the page's scripts keep and check them: first value, and limits or choices."""
    first = {control.elem_id.replace("-", "_"): {"value": control.value} for control in controls.inputs}
    for name, limit in LIMITS.items():
        first[name] |= {"low": limit.low, "high": limit.high, "step": limit.spacing}
    first["thinking"]["values"] = list(THINKING)
    return first


def draw_controls(controls: Controls) -> None:
    """Place the settings in the layout block that is open: the common ones, then the others, folded."""
    for control in (controls.system_prompt, *controls.numbers[:COMMON_NUMBERS], controls.thinking):
        control.render()
    with gr.Accordion(label("more"), open=False):
        rare = sorted(controls.numbers[COMMON_NUMBERS:], key=lambda number: isinstance(number, RawNumber))
        for control in (
            *rare,  # sliders first
            controls.reply_start,
            controls.stop_texts,
            controls.language,
        ):
            control.render()
    controls.recommended.render()
    numbers = controls.recommended_numbers
    controls.recommended.change(None, [controls.recommended, *numbers], numbers, js=FOLLOW_MODEL)


def info_text(name: str, recommended: Mapping[str, float], language: Language) -> str:
    """Return what stands below an option: what it does, and the model's value if there is one."""
    text = say(f"page.{name}_info", language)
    if name not in recommended:
        return text
    return f"{text} {say('page.models_value', language, value=f'{recommended[name]:g}')}"


def thinking_choices(modes: tuple[Thinking, ...]) -> list[tuple[str, str]]:
    """Return the choices of the thinking control, with their labels."""
    return [(str(label(f"thinking_{mode}")), mode) for mode in dict.fromkeys(("auto", *modes))]


def _make_number(name: str) -> gr.components.Component:
    limit = LIMITS[name]
    texts = {"label": label(name), "info": label(f"{name}_info"), "elem_id": name.replace("_", "-"), "render": False}
    default = int(limit.default) if limit.whole else limit.default
    if name == "seed":  # a slider can't be set to one of four billion values
        return RawNumber(default, minimum=limit.low, maximum=limit.high, step=1, **texts)
    return RawSlider(limit.low, limit.high, default, step=limit.spacing, **texts)


def _program_number(name: str) -> gr.components.Component:
    return ProgramNumber(None, label=name, visible=False)


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
