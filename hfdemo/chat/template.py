"""A model's chat template: what it shows of a conversation, and what it can be asked for.

No model, no page, no torch. The template is rendered around placeholders, never around what people typed. It is
tried once, when the model is loaded: one that can't show a question is refused then, with its own words.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfdemo.chat.messages import replace_surrogates
from hfdemo.chat.notes import Note, make_note
from hfdemo.chat.options import Thinking
from hfdemo.chat.template_trial import find_excess
from hfdemo.chat.thinking_modes import find_modes
from hfdemo.chat.time_limit import within
from hfdemo.errors import GenerationFailed, ModelLoadError

NO_TEMPLATE = "none"
"""The setting that gives any model the prompt of a base model."""

MISSING_LISTS: tuple[dict[str, Any], ...] = ({}, {"tools": []}, {"documents": []}, {"tools": [], "documents": []})
"""What is passed to a template besides the conversation. Some go through a list without asking whether there is one;
others say so of an empty list, too, so it is passed only where it is needed."""

MAX_PROBLEM_CHARS = 200

RENDERED_WITHIN_S = 5.0
"""How long a template may take for one conversation; usual ones take milliseconds."""

_TOOLS_OF_SYSTEM = re.compile(r"""message(?:\[["']tools["']\]|\.tools\b)""")
"""How a template looks for tools in the system message: Phi-4-mini's."""


class ChatTemplate:
    """The chat template of one tokenizer; for a base model, which has none, a plain prompt of hfdemo's own.

    Args:
        tokenizer: the model's tokenizer.
        chosen: as in `HFDEMO_CHAT_TEMPLATE`: one of the tokenizer's named templates, a file, or `NO_TEMPLATE`.

    Raises:
        ModelLoadError: the template can't show a question, or there is none of that name.
    """

    def __init__(self, tokenizer: Any, chosen: str | None = None) -> None:
        self._tokenizer = tokenizer
        self.notes: tuple[Note, ...] = ()
        """What people should know of the choice."""
        self.source = self._choose(chosen)
        """The template itself; empty for a base model."""
        self.of_base_model = not self.source
        self.is_put_aside = self.of_base_model and bool(tokenizer.chat_template)
        """Whether the model has one, and the host wants none."""
        self.extra = self._try(self.source)
        """What it needs besides the conversation."""
        self._variables: dict[Thinking, dict[str, Any]] = {}
        self.takes_system = self._takes_system()
        self._variables = find_modes(self.source, self._show_all) if self.source else {}
        self.modes: tuple[Thinking, ...] = tuple(self._variables)
        """How the template can be asked to think; each gives another prompt."""
        self.switches = _find_switches(self.source)
        """Words that it looks for in what people type, such as `/no_think`."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        thinking: Thinking = "auto",
        tools: Sequence[Any] = (),
    ) -> str:
        """Return the text of a conversation whose contents, and thoughts beside them, are placeholders.

        Raises:
            GenerationFailed: the template refuses the conversation.
        """
        if self.of_base_model:
            return _render_plainly(messages)
        variables = {**self.extra, **self.variables(thinking), **({"tools": list(tools)} if tools else {})}
        if tools and _TOOLS_OF_SYSTEM.search(self.source):
            messages = _with_tools(messages, tools)
        try:
            return self._apply(self.source, messages, variables, add_generation_prompt)
        except Exception as error:  # the template is a program that came with the model: it may raise anything
            raise GenerationFailed("template") from error

    def variables(self, thinking: Thinking) -> Mapping[str, Any]:
        """Return the template's variables for a mode; `auto` is off where it can be off, else the makers' choice."""
        if thinking == "auto":
            return self._variables.get("off", {})
        if thinking in ("low", "medium", "high"):
            return self._variables.get(thinking) or self._variables.get("on", {})
        return self._variables.get(thinking, {})

    def _apply(
        self,
        source: str,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        add_generation_prompt: bool = True,
    ) -> str:
        """Let transformers render a conversation, in its sandbox.

        Raises:
            TimeoutError: the template goes on and on.
            Exception: whatever the template raises.
        """

        def render() -> str:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **variables,
            )
            return replace_surrogates(str(rendered))

        try:
            return within(RENDERED_WITHIN_S, render)
        except TimeoutError:
            raise TimeoutError(f"it does not end within {RENDERED_WITHIN_S:g} s") from None

    def _choose(self, chosen: str | None) -> str:
        """Return the template to use, of those that there are."""
        own = self._tokenizer.chat_template
        named: dict[str, str] = own if isinstance(own, dict) else {"default": own} if own else {}
        if chosen == NO_TEMPLATE:
            self.notes = (make_note("template_none"),) if named else ()
            return ""
        if chosen:
            return named[chosen] if chosen in named else _read_file(chosen, named)
        if not named or "default" in named:
            return named.get("default", "")
        name = min(named, key=self._own_words)
        self.notes = (make_note("template_chosen", name=name, names=", ".join(named)),)
        return named[name]

    def _own_words(self, name: str) -> float:
        """Return how much a named template adds to a plain question: the most general one adds the least."""
        try:
            source = self._tokenizer.chat_template[name]
            return len(self._apply(source, [{"role": "user", "content": make_placeholder()}], self._try(source)))
        except ModelLoadError:
            return float("inf")

    def _try(self, source: str) -> dict[str, Any]:
        """Render a plain question, and return what the template needs for that besides the conversation.

        Raises:
            ModelLoadError: it can't be rendered.
        """
        problem = find_excess(source, self._tokenizer.special_tokens_map, RENDERED_WITHIN_S) if source else ""
        for lists in MISSING_LISTS if source and not problem else ():
            question = make_placeholder()
            extra = {**_older_variables(source, self._tokenizer), **lists}
            try:
                if question in self._apply(source, [{"role": "user", "content": question}], extra):
                    return extra
                problem = problem or "it does not show the message"
            except TimeoutError as error:
                problem = str(error)
                break
            except Exception as error:  # the template may raise anything
                problem = problem or _shorten(error)
        if problem:
            own = self._tokenizer.chat_template
            raise _refusal(
                problem, [name for name, other in own.items() if other != source] if isinstance(own, dict) else []
            )
        return {}

    def _show_all(self, variables: Mapping[str, Any]) -> str | None:
        """Return what a template makes of variables, with and without earlier turns; None if it refuses them."""
        system, question, answer = (
            {"role": role, "content": f"content{digit * 24}end"}  # the same each time
            for role, digit in (("system", "0"), ("user", "1"), ("assistant", "2"))
        )
        try:
            shown = self._apply(self.source, [question], {**self.extra, **variables})
        except TimeoutError as error:
            raise _refusal(str(error)) from None
        except Exception:  # the template may raise anything
            return None
        for conversation in ([question, answer, question], [system, question]):
            try:
                shown += "\0" + self._apply(self.source, conversation, {**self.extra, **variables})
            except Exception:  # it refuses the conversation, whatever the variables are
                shown += "\0"
        return shown

    def _takes_system(self) -> bool:
        """Tell whether the template shows a system prompt: some raise on it (Gemma 2), some leave it out."""
        system = make_placeholder()
        try:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": make_placeholder()}]
            return system in self.render(messages, add_generation_prompt=True)
        except GenerationFailed:
            return False


def _refusal(problem: str, others: Sequence[str] = ()) -> ModelLoadError:
    """Return why a template can't be used.

    Args:
        problem: what is wrong with it.
        others: the names of the model's other templates.
    """
    advice = "other_template" if others else "no_template"
    return ModelLoadError("template_fails", advice, problem=problem, names=", ".join(others))


def _older_variables(source: str, tokenizer: Any) -> dict[str, Any]:
    """Return what transformers passed to templates before its version 5, if a template reads it."""
    name = "additional_special_tokens"
    return {name: list(getattr(tokenizer, "extra_special_tokens", ()))} if name in source else {}


def _read_file(path: str, named: Mapping[str, str]) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ModelLoadError("no_such_template", name=path, names=", ".join([*named, NO_TEMPLATE])) from None


def _shorten(error: Exception) -> str:
    """Return a template's own words: the first line of what it says, with nothing in it that a terminal obeys."""
    text = str(error).strip() or type(error).__name__
    line = "".join(char if char.isprintable() else "\ufffd" for char in text.splitlines()[0])
    return line if len(line) <= MAX_PROBLEM_CHARS else line[:MAX_PROBLEM_CHARS] + "…"


def _with_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return a conversation whose system message has the tools, as JSON.

    Source: https://github.com/microsoft/PhiCookBook, function calling with Phi-4-mini
    """
    functions = json.dumps([tool["function"] for tool in tools], ensure_ascii=False)
    has_system = bool(messages) and messages[0]["role"] == "system"
    first, rest = (messages[0], messages[1:]) if has_system else ({"role": "system", "content": ""}, messages)
    return [{**first, "tools": functions}, *rest]


def _render_plainly(messages: Sequence[Mapping[str, str]]) -> str:
    """Render the beginners' tutorial's System/User/Assistant prompt, for models without a chat template."""
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    turns = [f"{names[message['role']]}: {message['content']}\n" for message in messages]
    return "".join(turns) + "Assistant:"


_COMMAND = re.compile(r"/\w*think\w*")
"""What is a switch wherever a template has it, however it looks for it."""

_SWITCH = re.compile(r"/\w+|[\w/]+(?: [\w/]+)+|\[[\w ]+\]")
"""A command, or a phrase of several words. Tags and single words are none: templates look for the names of their own
fields, too."""


_LOOKING = ("replace", "split", "endswith", "startswith", "find", "index", "count", "==", "!=")


def _find_switches(source: str) -> tuple[str, ...]:
    """Return the words that a template looks for in a text (`'/think' in content`) or takes away from it.

    The longest come first: one may be part of another.
    """
    from jinja2 import Environment

    tokens = [(kind, value) for _, kind, value in Environment().lex(source) if kind != "whitespace"]
    values = ["", "", *(value for _, value in tokens), ""]
    words = {
        value[1:-1]
        for index, (kind, value) in enumerate(tokens, start=2)
        if kind == "string"
        and (_COMMAND.fullmatch(value[1:-1]) or values[index + 1] in ("in", "not") or values[index - 2] in _LOOKING)
    }
    return tuple(sorted(filter(_SWITCH.fullmatch, words), key=lambda word: (-len(word), word)))


PLACEHOLDER = re.compile("(content[0-9a-f]{24}end)")
"""Splits a rendered text at its placeholders."""


def make_placeholder() -> str:
    """Return a word no text holds; letters and digits only, so that no template changes it."""
    return f"content{secrets.token_hex(12)}end"
