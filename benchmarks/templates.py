"""Whether real chat templates give the prompts that transformers gives: `python -m benchmarks.templates`.

Each template is rendered in each of its thinking modes, with and without a system prompt, with earlier turns, and with
each word that it reads in what people type; and with its own control tokens typed, which must stay text.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.real_templates import RealTemplate, make_tokenizer, real_templates
from benchmarks.report import progress, table
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Thinking
from hfdemo.chat.prompt import PromptBuilder
from hfdemo.errors import GenerationFailed, ModelLoadError

QUESTION = [Message("user", "How much is 2 + 2?\nBe exact.")]
CHAT = [*QUESTION, Message("assistant", "서울 4"), Message("user", "Why?")]
SYSTEM = "You count for people."


@dataclass(slots=True)
class Finding:
    """What came of one template."""

    name: str
    modes: str = ""
    prompts: int = 0
    problems: list[str] = field(default_factory=list)
    """Where the prompt isn't that of transformers."""
    refused: str = ""
    """Why the template is refused when it is loaded."""
    notes: str = ""

    def row(self) -> list[str]:
        """Return a row of the table."""
        equal = f"{self.prompts - len(self.problems)} of {self.prompts}"
        said = self.refused or "; ".join(dict.fromkeys(self.problems)) or self.notes
        return [self.name, self.modes or "-", "refused" if self.refused else equal, said.replace("|", "\\|")]


def main() -> int:
    """Show the table, and return 1 if a prompt differs."""
    findings = [check_prompts(template) for template in real_templates()]
    progress(table(["Template", "Thinking modes", "Prompts equal", "Why not"], [found.row() for found in findings]))
    right = sum(not found.problems and not found.refused for found in findings)
    refused = sum(bool(found.refused) for found in findings)
    progress(f"\n{len(findings)} templates: {right} equal in all prompts, {refused} refused when they are loaded")
    return int(right + refused < len(findings))


def check_prompts(template: RealTemplate) -> Finding:
    """Compare the prompts of one template."""
    found = Finding(template.name)
    tokenizer = make_tokenizer(template)
    try:
        prompts = PromptBuilder(tokenizer, None)
    except ModelLoadError as error:
        found.refused = str(error.fields["problem"])
        return found
    found.modes = ", ".join(prompts.thinking_modes)
    found.notes = _notes(prompts)
    modes: tuple[Thinking, ...] = ("auto", *prompts.thinking_modes)
    for what, messages, system in _conversations(prompts):
        for mode in modes:
            found.prompts += 1
            if problem := _compare(prompts, messages, system, mode):
                found.problems.append(f"{what}: {problem}")
    found.prompts += 1
    if typed := _typed_control_tokens(prompts):
        found.problems.append(f"typed control tokens: {typed}")
    return found


def _conversations(prompts: PromptBuilder) -> Iterator[tuple[str, list[Message], str]]:
    yield "question", QUESTION, ""
    yield "system prompt", QUESTION, SYSTEM
    yield "chat", CHAT, SYSTEM
    for word in prompts.template.switches:
        yield f"{word} in the system prompt", CHAT, f"{SYSTEM} {word}"
        yield f"{word} in the middle of the system prompt", CHAT, f"Be brief {word} and kind."
        yield f"{word} in a message", [Message("user", f"{word} Hello there.")], ""


def _compare(prompts: PromptBuilder, messages: list[Message], system: str, mode: Thinking) -> str:
    """Return in which way a prompt differs from transformers' own; empty if it doesn't."""
    try:
        stock: list[int] | None = stock_ids(prompts, messages, system, mode)
    except Exception:  # the template may raise anything
        stock = None
    try:
        ids: list[int] | None = list(prompts.build(messages, system, 8, thinking=mode).ids)
    except GenerationFailed:
        ids = None
    if ids == stock:
        return ""
    if ids is None or stock is None:
        return "refused here alone" if ids is None else "refused by transformers alone"
    place = next((at for at, (left, right) in enumerate(zip(ids, stock, strict=False)) if left != right), None)
    place = min(len(ids), len(stock)) if place is None else place
    ours, theirs = (prompts.text(found[max(0, place - 12) : place + 24]) for found in (ids, stock))
    return f"{ours!r} instead of {theirs!r}"


def stock_ids(prompts: PromptBuilder, messages: list[Message], system: str, mode: Thinking) -> list[int]:
    """Return what transformers itself makes of a conversation without control tokens in its texts."""
    turns: list[dict[str, Any]] = [{"role": message.role, "content": message.content} for message in messages]
    if system and prompts.template.takes_system:
        turns.insert(0, {"role": "system", "content": system})
    elif system:
        turns[0] = turns[0] | {"content": f"{system}\n\n{turns[0]['content']}"}
    variables = {**prompts.template.extra, **prompts.template.variables(mode)}
    return list(
        prompts.tokenizer.apply_chat_template(
            turns, tokenize=True, return_dict=False, add_generation_prompt=True, **variables
        )
    )


def _typed_control_tokens(prompts: PromptBuilder) -> str:
    """Return the control tokens that did not stay text when they were typed."""
    tokens = {token_id: str(token) for token_id, token in prompts.tokenizer.added_tokens_decoder.items()}

    def control(word: str) -> list[int]:
        said = [Message("user", f"a {word} b"), Message("assistant", f"a {word} b"), Message("user", f"{word}")]
        try:
            ids = prompts.build(said, f"a {word} b", 8).ids
        except GenerationFailed:
            ids = prompts.build(said[-1:], "", 8).ids
        return [token_id for token_id in ids if token_id in tokens]

    expected = control("harmless")
    return ", ".join(name for name in tokens.values() if control(name) != expected)


def _notes(prompts: PromptBuilder) -> str:
    extra, switches = ", ".join(prompts.template.extra), ", ".join(prompts.template.switches)
    return "; ".join(filter(None, [extra and f"needs {extra}", switches and f"reads {switches}"]))


if __name__ == "__main__":
    sys.exit(main())
