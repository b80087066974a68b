"""How a chat template can be asked to think: each way is tried, since the names of variables say too little.

Some templates name a variable and do the same with all its values, and some raise on a value.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hfdemo.chat.options import THINKING, Thinking

Show = Callable[[Mapping[str, Any]], str | None]
"""Gives what a template shows with some variables, or None where it refuses them."""

SWITCHES = (
    "enable_thinking",  # Qwen3, SmolLM3, EXAONE 4, GLM, Gemma 4
    "thinking",  # Granite, DeepSeek-V3.1, Kimi
    "reasoning",  # Command
    "thinking_mode",  # MiniMax
    "thinking_option",  # Ling
)
"""The variables that switch thinking off and on."""

SWITCH_VALUES: tuple[tuple[Any, Any], ...] = (
    (False, True),
    ("disabled", "enabled"),
    ("off", "on"),
    ("no_think", "think"),
    ("chat", "thinking"),
    ("close", "open"),
)
"""Their values; words count only where the template itself has one of them."""

NAMED_EFFORTS: dict[Thinking, Any] = {"low": "low", "medium": "medium", "high": "high"}

EFFORTS: dict[str, dict[Thinking, Any]] = {
    "reasoning_effort": NAMED_EFFORTS,  # gpt-oss, Solar, Hunyuan
    "thinking_effort": NAMED_EFFORTS,  # Kimi
    "reasoning_strength": NAMED_EFFORTS,
    "thinking_budget": {"low": 512, "medium": 2048, "high": 8192},  # Seed-OSS, in tokens; its own steps
}
"""The variables that say how hard the model thinks, with their values."""

EFFORTS_OFF: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(EFFORTS, ("none", "no_think", "off", "minimal")),
    "thinking_budget": (0,),
}
"""The values that mean no thinking at all; words count only where the template itself has them."""


def find_modes(source: str, show: Show) -> dict[Thinking, dict[str, Any]]:
    """Return the modes that a template has, with its variables for each: those whose prompts differ.

    Args:
        source: the template.
        show: renders it.
    """
    off, on = _find_switch(source, show)
    effort = _find_effort(source, show, on)
    if effort and not off:
        off = next(({effort: value} for value in _values_off(source, effort) if show({effort: value}) is not None), {})
    wanted: dict[Thinking, dict[str, Any]] = {"off": off} if off else {}
    for mode, value in EFFORTS[effort].items() if effort else ():
        wanted[mode] = {**on, effort: value}
    if off:
        wanted["on"] = on  # last: a name that says how hard says more
    modes: dict[Thinking, dict[str, Any]] = {}
    seen: set[str | None] = {None}
    for mode, variables in wanted.items():
        shown = show(variables)
        if shown not in seen:
            seen.add(shown)
            modes[mode] = variables
    hard = [mode for mode in modes if mode in NAMED_EFFORTS]
    if off and len(hard) == 1 and "on" not in modes:  # as hard as that or not at all
        modes["on"] = modes.pop(hard[0])
    if len(modes) == 1 and show(next(iter(modes.values()))) == show({}):
        return {}
    return {mode: modes[mode] for mode in THINKING if mode in modes}


def _find_switch(source: str, show: Show) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the variables that switch thinking off, and on; both empty if none does."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in (name for name in SWITCHES if name in source):
        for off, on in SWITCH_VALUES:
            words = (off, on) if off else ()
            if words and not any(f"'{word}'" in source or f'"{word}"' in source for word in words):
                continue
            other = show({name: on})
            if show({name: off}) not in (None, show({}) if other is None else other):
                found[name] = off, on
                break
    return {name: values[0] for name, values in found.items()}, {name: values[1] for name, values in found.items()}


def _find_effort(source: str, show: Show, on: Mapping[str, Any]) -> str:
    """Return the variable that says how hard the model thinks; empty if none makes a difference."""
    for name, values in EFFORTS.items():
        if name in source:
            tried = [{**on, name: value} for value in [*values.values(), *_values_off(source, name)]]
            if len({show(variables) for variables in tried} - {None}) > 1:
                return name
    return ""


def _values_off(source: str, name: str) -> list[Any]:
    """Return how an effort may say that there shall be no thinking."""
    return [value for value in EFFORTS_OFF[name] if value == 0 or f"'{value}'" in source or f'"{value}"' in source]
