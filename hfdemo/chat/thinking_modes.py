"""How a chat template can be asked to think: each way is tried, since the names of variables say too little.

Some templates name a variable and do the same with all its values, and some raise on a value.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hfdemo.chat.options import Thinking

Show = Callable[[Mapping[str, Any]], str | None]
"""Gives what a template shows with some variables, or None where it refuses them."""

SWITCHES: dict[str, tuple[Any, Any]] = {
    "enable_thinking": (False, True),  # Qwen3, SmolLM3, EXAONE 4, GLM, Gemma 4
    "thinking": (False, True),  # Granite, DeepSeek-V3.1, Kimi
    "reasoning": (False, True),  # Command
    "thinking_mode": ("disabled", "enabled"),  # MiniMax
    "thinking_option": ("off", "on"),  # Ling
}
"""The variables that switch thinking off and on, with both values."""

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
    wanted: dict[Thinking, dict[str, Any]] = {"off": off, "on": on} if off else {}
    for mode, value in EFFORTS[effort].items() if effort else ():
        wanted[mode] = {**on, effort: value}
    modes: dict[Thinking, dict[str, Any]] = {}
    seen: set[str | None] = {None}
    for mode, variables in wanted.items():
        shown = show(variables)
        if shown not in seen:
            seen.add(shown)
            modes[mode] = variables
    return modes if len(modes) > 1 else {}


def _find_switch(source: str, show: Show) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the variables that switch thinking off, and on; both empty if none does."""
    names = [
        name
        for name, (off, on) in SWITCHES.items()
        if name in source and (shown := show({name: off})) is not None and show({name: on}) not in (None, shown)
    ]
    return {name: SWITCHES[name][0] for name in names}, {name: SWITCHES[name][1] for name in names}


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
