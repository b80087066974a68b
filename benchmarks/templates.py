"""Whether real chat templates give the prompts that transformers gives: `python -m benchmarks.templates`.

Each template is rendered in each of its thinking modes, with and without a system prompt, with earlier turns, and with
each word that it reads in what people type; and with its own control tokens typed, which must stay text. Then a reply
is written as the template writes one, with a thought and without, and read again; and one begins with given words.
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
from hfdemo.chat.reply import Delta
from hfdemo.chat.reply_format import THOUGHTS
from hfdemo.decoding.detokenizer import Detokenizer
from hfdemo.errors import GenerationFailed, ModelLoadError

QUESTION = [Message("user", "How much is 2 + 2?\nBe exact.")]
CHAT = [*QUESTION, Message("assistant", "서울 4"), Message("user", "Why?")]
SYSTEM = "You count for people."
THOUGHT, ANSWER = "Two and two", "It is four."
_QUESTION = {"role": "user", "content": "How much is it?"}


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
    replies: int = 0
    misread: list[str] = field(default_factory=list)
    """Which replies weren't read as what they were written."""

    def row(self) -> list[str]:
        """Return a row of the table."""
        equal = f"{self.prompts - len(self.problems)} of {self.prompts}"
        read = f"{self.replies - len(self.misread)} of {self.replies}"
        said = self.refused or "; ".join(dict.fromkeys([*self.problems, *self.misread])) or self.notes
        equal, read = ("refused", "-") if self.refused else (equal, read)
        return [self.name, self.modes or "-", equal, read, said.replace("|", "\\|").replace("\n", "\\n")]


def main() -> int:
    """Show the table, and return 1 if a prompt differs."""
    findings = [check(template) for template in real_templates()]
    columns = ["Template", "Thinking modes", "Prompts equal", "Replies read", "Why not"]
    progress(table(columns, [found.row() for found in findings]))
    used = [found for found in findings if not found.refused]
    equal, read = sum(not found.problems for found in used), sum(not found.misread for found in used)
    progress(
        f"\n{len(findings)} templates, {len(findings) - len(used)} refused when they are loaded; of the others, "
        f"{equal} equal in all prompts, {read} read in all replies"
    )
    return int(equal < len(used) or read < len(used))


def check(template: RealTemplate) -> Finding:
    """Compare the prompts of one template, and read the replies that it writes."""
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
    for what, text, thought, answer in _replies(prompts):
        found.replies += 1
        read = read_reply(prompts, text)
        if read != (thought, answer):
            found.misread.append(f"{what}: {text!r} read as {read}")
    for mode in modes:
        found.replies += 1
        if problem := _compare_beginning(prompts, mode):
            found.misread.append(f"begins with words, {mode}: {problem}")
    return found


def _replies(prompts: PromptBuilder) -> Iterator[tuple[str, str, str, str]]:
    """Yield what a reply is, its text as the template writes it behind the prompt, its thought, and its answer."""
    asked = _text_of(prompts, [_QUESTION], True)
    for thought in ("", THOUGHT):
        text = _text_of(prompts, [_QUESTION, _reply(thought)], False)
        if not text.startswith(asked) or ANSWER not in text or (thought and thought not in text):
            continue  # it shows finished turns otherwise than it asks for new ones, or no thought
        if prompts.reply_format.close_thought(asked) and not thought:
            continue  # it has opened one
        yield "with a thought" if thought else "without a thought", text.removeprefix(asked), thought, ANSWER
    for opening, closing in THOUGHTS:
        if opening in prompts.template.source and closing in prompts.template.source:
            yield opening, f"{opening}{THOUGHT}{closing}{ANSWER}", THOUGHT, ANSWER


def _reply(thought: str) -> dict[str, str]:
    reply = {"role": "assistant", "content": ANSWER}
    return reply | ({"reasoning_content": thought} if thought else {})


def _text_of(prompts: PromptBuilder, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
    variables = {**prompts.template.extra, **prompts.template.variables("auto")}
    try:
        return str(
            prompts.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt, **variables
            )
        )
    except Exception:  # the template may raise anything
        return ""


def read_reply(prompts: PromptBuilder, text: str) -> tuple[str, str]:
    """Return thought and answer of a reply whose control tokens are written as text."""
    prompt = prompts.build([Message("user", _QUESTION["content"])], "", 8)
    reply_format = prompts.reply_format
    reader = reply_format.reader(prompt.opening if not text.startswith(tuple(o for o, _ in THOUGHTS)) else "")
    detokenizer = Detokenizer(prompts.tokenizer, symbols=reply_format.symbols)
    told = Delta()
    ends = prompts.end_of_turn_ids() - reply_format.within_turn
    for token_id in prompts.tokenizer.encode(text, add_special_tokens=False):
        if token_id in ends:
            break
        told = told.then(reader.add(detokenizer.add(token_id)))
    told = told.then(reader.add(detokenizer.end())).then(reader.end())
    return told.thought.strip(), told.text.strip()


def _compare_beginning(prompts: PromptBuilder, mode: Thinking) -> str:
    """Return in which way a prompt that ends in the first words of the answer differs from transformers' own."""
    turns = [_QUESTION, {"role": "assistant", "content": ANSWER}]
    variables = {**prompts.template.extra, **prompts.template.variables(mode)}
    try:
        stock = str(
            prompts.tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True, **variables)
        )
    except Exception:  # the template may raise anything
        return ""
    prompt = prompts.build([Message("user", _QUESTION["content"])], "", 8, reply_start=ANSWER, thinking=mode)
    text = prompts.text(prompt.ids)
    if prompts.reply_format.close_thought(stock.removesuffix(ANSWER)):
        return ""  # transformers leaves the answer in a thought that the template has opened
    return "" if text == stock else f"{text[-80:]!r} instead of {stock[-80:]!r}"


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
