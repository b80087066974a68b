"""`python -m hfdemo prompt`: the exact prompt of a conversation, without loading the model's weights."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from hfdemo.chat.messages import Message, read_reply_start, read_system_prompt, read_text
from hfdemo.chat.options import LIMITS, Options, read_options
from hfdemo.chat.prompt import Prompt, PromptBuilder
from hfdemo.chat.reply_reader import THOUGHT_FIELD
from hfdemo.commands.terminal import exit_status, prepare_terminal, warn_of_variables
from hfdemo.errors import HfdemoError, InvalidInput
from hfdemo.settings import from_env
from hfdemo.words import Language, language_of_terminal, say

CONTROL = "\x1b[7m{}\x1b[0m"
"""Marks a control token in the terminal with inverse colours."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What the page's settings would say."""

    max_new_tokens: int = int(LIMITS["max_new_tokens"].default)
    thinking: str = "auto"
    system_prompt: str | None = None
    """Takes the place of the messages' own; None leaves that."""
    reply_start: str | None = None
    """Takes the place of a last message of the assistant's; None leaves that."""


def run(
    source: str,
    model: str | None,
    as_json: bool,
    wanted: PromptOptions = PromptOptions(),
    language: Language | None = None,
) -> int:
    """Print the prompt, and return the exit status: 0, or that of the reason, which is on standard error.

    Args:
        source: a file with a JSON list of `role` and `content`, or `-` for standard input.
        model: as in `HFDEMO_MODEL`; None is its value.
        as_json: print JSON for programs instead of text for people.
        wanted: what else is asked for.
        language: language of the output; None is the terminal's.
    """
    prepare_terminal()
    language = language or language_of_terminal(os.environ)
    warn_of_variables(language)
    try:
        print(_describe(source, model, as_json, wanted, language))  # noqa: T201
    except HfdemoError as error:
        print(error.text(language), file=sys.stderr)  # noqa: T201
        return exit_status(error)
    return 0


def read_messages(text: str) -> tuple[str, list[Message], Message]:
    """Read a JSON list of messages, and return the system prompt, the turns, and what the reply begins with.

    That is the last message if it is the assistant's. A message may have a thought, as `reasoning_content`.

    Raises:
        InvalidInput: the text is not such a list.
    """
    try:
        items: Any = json.loads(text.removeprefix("\ufeff"))  # a byte order mark, which some editors write
    except (ValueError, RecursionError) as error:
        raise InvalidInput("bad_messages", problem=error) from None
    if not isinstance(items, list) or not all(_is_message(item) for item in items):
        raise InvalidInput("bad_messages", problem='not a list of {"role": …, "content": …}')
    said = [
        (item["role"], *(read_text(name, item.get(name) or "") for name in ("content", THOUGHT_FIELD)))
        for item in items
    ]
    system_prompt = "\n\n".join(content for role, content, _ in said if role == "system")
    turns = [Message(role, content, thought) for role, content, thought in said if role != "system"]
    reply = turns.pop() if turns and turns[-1].role == "assistant" else Message("assistant", "")
    return system_prompt, turns, reply


def _is_message(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.get("role") in ("system", "user", "assistant")
        and isinstance(item.get("content"), str)
        and isinstance(item.get(THOUGHT_FIELD, ""), str | None)
    )


def _describe(source: str, model: str | None, as_json: bool, wanted: PromptOptions, language: Language) -> str:
    settings = from_env(os.environ)
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    except OSError:
        raise InvalidInput("no_messages_file", file=source) from None
    except UnicodeDecodeError as error:
        raise InvalidInput("bad_messages", problem=error) from None
    options = _read_options(wanted)
    system_prompt, turns, reply = read_messages(text)
    if wanted.system_prompt is not None:
        system_prompt = read_system_prompt(wanted.system_prompt)
    if wanted.reply_start is not None:
        reply = Message("assistant", read_reply_start(wanted.reply_start))
    from hfdemo.models.load import load_prompts

    prompts = load_prompts(model or settings.model, settings)
    options = prompts.fit(options)
    prompt = prompts.build(
        turns,
        system_prompt,
        options.max_new_tokens,
        reply_start=reply.content,
        thought_start=reply.thought,
        thinking=options.thinking,
    )
    for note in prompts.notes:
        print(note.text(language), file=sys.stderr)  # noqa: T201
    shown = prompts.show(prompt.ids)
    if not as_json:
        return _for_people(prompts, prompt, [special for _, special in shown], language)
    return json.dumps(
        {
            "text": prompts.text(prompt.ids),
            "ids": prompt.ids,
            "special": [special for _, special in shown],
            "dropped": prompt.dropped,
            "limit": prompts.context_limit,
            "stop": prompts.stop_texts,
            "base_model": prompts.base_model,
        },
        ensure_ascii=False,
    )


def _read_options(wanted: PromptOptions) -> Options:
    """Check the options as the page does.

    Raises:
        InvalidInput: one of them can't be used; the text says which and why.
    """
    numbers = {name: limit.default for name, limit in LIMITS.items()} | {"max_new_tokens": wanted.max_new_tokens}
    return read_options(*numbers.values(), thinking=wanted.thinking)


def _for_people(prompts: PromptBuilder, prompt: Prompt, special: Sequence[bool], language: Language) -> str:
    marked = ""
    for is_control, run in groupby(zip(prompt.ids, special, strict=True), key=itemgetter(1)):
        ids = [token_id for token_id, _ in run]  # decoded together, as one character may span several tokens
        marked += CONTROL.format(prompts.text(ids)) if is_control else prompts.text_within(ids)
    counts = {"tokens": len(prompt.ids), "limit": prompts.context_limit or "?", "dropped": prompt.dropped}
    return f"{marked}\n\n{say('prompt.counted', language, **counts)}"
