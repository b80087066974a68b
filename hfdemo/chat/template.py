"""A model's chat template: what it shows of a conversation, and what it can be asked for.

Pure: no model, no page, no torch. The template is rendered around placeholders, never around what people typed.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from hfdemo.chat.options import Thinking
from hfdemo.errors import GenerationFailed


class ChatTemplate:
    """The chat template of one tokenizer; for a base model, which has none, a plain prompt of hfdemo's own."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.of_base_model = not tokenizer.chat_template
        self.modes = _thinking_modes(tokenizer)
        self.takes_system = self._takes_system()

    def render(
        self,
        roles_and_contents: Sequence[tuple[str, str]],
        *,
        add_generation_prompt: bool,
        thinking: Thinking = "auto",
    ) -> str:
        """Return the text of a conversation, whose contents are placeholders.

        Raises:
            GenerationFailed: the template refuses the conversation.
        """
        messages = [{"role": role, "content": content} for role, content in roles_and_contents]
        return self.render_messages(messages, add_generation_prompt=add_generation_prompt, thinking=thinking)

    def render_messages(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool, thinking: Thinking = "auto"
    ) -> str:
        """Return the text of a conversation, whose messages may have a thought beside their content.

        Raises:
            GenerationFailed: the template refuses the conversation.
        """
        if self.of_base_model:
            return _render_plainly([(message["role"], message["content"]) for message in messages])
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **_thinking_arguments(thinking),
            )
        except Exception as error:  # the template is a program that came with the model: it may raise anything
            raise GenerationFailed("template") from error
        return str(rendered)

    def _takes_system(self) -> bool:
        """Tell whether the template shows a system prompt: some raise on it (Gemma 2), some leave it out."""
        system = make_placeholder()
        try:
            return system in self.render(
                [("system", system), ("user", make_placeholder())], add_generation_prompt=True
            )
        except GenerationFailed:
            return False


def _render_plainly(roles_and_contents: Sequence[tuple[str, str]]) -> str:
    """Render the beginners' tutorial's System/User/Assistant prompt, for models without a chat template."""
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    turns = [f"{names[role]}: {content}\n" for role, content in roles_and_contents]
    return "".join(turns) + "Assistant:"


def _thinking_modes(tokenizer: Any) -> tuple[Thinking, ...]:
    """Return what the chat template can be asked for, by the variables it reads."""
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    efforts: tuple[Thinking, ...] = ("low", "medium", "high") if "reasoning_effort" in template else ()
    switch: tuple[Thinking, ...] = ("off", "on") if "enable_thinking" in template else ()
    return switch + efforts


def _thinking_arguments(thinking: Thinking) -> dict[str, Any]:
    """Return the template's variables for a wish; templates leave alone those they don't know.

    `enable_thinking` is Qwen3's, SmolLM3's and EXAONE 4's; `reasoning_effort` is gpt-oss's.
    """
    arguments: dict[str, Any] = {"enable_thinking": thinking not in ("auto", "off")}
    if thinking in ("low", "medium", "high"):
        arguments["reasoning_effort"] = thinking
    return arguments


PLACEHOLDER = re.compile("(content[0-9a-f]{24}end)")
"""Splits a rendered text at its placeholders."""


def make_placeholder() -> str:
    """Return a word no text holds; letters and digits only, so that no template changes it."""
    return f"content{secrets.token_hex(12)}end"
