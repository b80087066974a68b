"""Which marks a model puts around its thought and its answer.

They come from what its tokenizer declares, else from what its chat template writes around the two, and always from a
table of what models use.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hfdemo.chat.reply_reader import (
    SYMBOLS,
    THOUGHT_FIELD,
    THOUGHT_FIELDS,
    ChannelReader,
    Channels,
    DeclaredReader,
    MarkReader,
    Marks,
    PlainReader,
    ReplyReader,
)
from hfdemo.chat.template import ChatTemplate, make_placeholder
from hfdemo.chat.tool_calls import MARKS
from hfdemo.errors import GenerationFailed

logger = logging.getLogger(__name__)

FIRST_SYMBOL, MAX_SYMBOLS = 0xD800, 2048

THOUGHTS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # Qwen3, DeepSeek-R1, SmolLM3, GLM-4.5, Granite 3.3 and most others
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral, Ministral 3
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<longcat_think>", "</longcat_think>"),  # LongCat-Flash
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<unused94>thought", "<unused95>"),  # MedGemma
    ("<|think|>", "<|end|><|begin|>assistant"),  # Solar Open
)
"""What opens and closes a thought."""

ROLE_THOUGHT = "assistant/think"
"""The role of a thought that is a message of its own, in the template of HyperCLOVA X SEED Think."""

ROLE_THOUGHTS: tuple[tuple[str, str], ...] = (("/think\n", "<|im_end|>\n<|im_start|>assistant"),)
"""What opens and closes such a thought, behind the role that the prompt has begun."""

ANSWERS: tuple[tuple[str, str], ...] = (
    ("<response>", "</response>"),  # Granite 3.3
    ("<answer>", "</answer>"),  # Hunyuan
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Command A
    ("<|begin_of_solution|>", "<|end_of_solution|>"),  # OpenThinker
    ("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),  # Apriel
    ("Here is my response:", ""),  # Granite 3.2
    ("<|content|>", ""),  # Solar Open
)
"""What opens an answer, and what may close it."""

USUAL_WORDS = ("<answer>", "Here is my response:")
"""What other models write without meaning a mark: it counts only where the template has it."""

UNMISTAKABLE = ("[BEGIN FINAL RESPONSE]",)
"""What nobody writes who doesn't mean the mark."""

GPT_OSS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
"""The control tokens of gpt-oss's channels."""

_LAST_MARK = re.compile(r"(?:<[^<>\s]+>|\[[^\[\]\s]+\])\w*\Z")
"""A tag or a control token at the end of a text, maybe with a word behind it."""


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How the replies of one model are read."""

    marks: Marks = field(default_factory=lambda: Marks(THOUGHTS))
    symbols: Mapping[int, str] = field(default_factory=dict)
    """What stands for each control token that has a meaning, by its id; the others are left out of a reply."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The control token that each symbol stands for."""
    channels: Channels | None = None
    tokenizer: Any = None
    """The tokenizer, if it declares the format."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """What it declares."""
    within_turn: frozenset[int] = frozenset()
    """Control tokens that can stand inside the model's turn."""
    call_marks: Mapping[int, str] = field(default_factory=dict)
    """What marks a call of a tool, of what are control tokens, by id."""
    tells_calls: bool = False
    """Whether calls of tools stay in the answer."""

    @property
    def reads_calls(self) -> bool:
        """Whether calls of tools are text in the answer, as `tool_calls.CallReader` reads them."""
        return self.tokenizer is None

    def with_calls(self) -> "ReplyFormat":
        """Return the same for replies that may ask for tools: what marks a call stays in the answer."""
        return replace(self, symbols={**self.symbols, **self.call_marks}, tells_calls=True)

    def call_in(self, written: str, asked: str) -> str:
        """Return a call of a tool as `with_calls` gives it.

        Args:
            written: the call as the template writes it.
            asked: what the template writes before it; see `opening`.
        """
        if not self.channels:
            return written
        reader = self.with_calls().reader(self.opening(asked))
        return reader.add(self._symbolised(written)).then(reader.end()).text

    def reader(self, opening: str = "") -> ReplyReader:
        """Return what reads one reply.

        Args:
            opening: how the prompt begins the reply; see `opening`.
        """
        if self.tokenizer is not None:
            parser = self.tokenizer.get_response_parser(self.declared, prefix=self._named(opening))
            return DeclaredReader(parser, self.names)
        if self.channels:
            return ChannelReader(self.channels, opening, self.tells_calls)
        return MarkReader(self.marks, opening) if self.marks.thoughts or self.marks.answers else PlainReader()

    def opening(self, asked: str) -> str:
        """Return how a prompt begins the reply: its last mark and what stands behind that.

        Args:
            asked: what the template writes behind the last thing that a person said.
        """
        text = self._symbolised(asked)
        if self.tokenizer is not None:
            return text
        openings = [mark for mark, _ in (*self.marks.thoughts, *self.marks.answers)]
        closings = [mark for _, mark in self.marks.thoughts]  # some prompts just close a thought that never was
        for starts in ([self.channels.start],) if self.channels else (openings, closings):
            if any(start in text for start in starts):
                return text[max(map(text.rfind, starts)) :]
        return ""

    def close_thought(self, asked: str) -> str:
        """Return what closes a thought that a prompt has opened; nothing if it hasn't."""
        text = self._symbolised(asked).rstrip()
        return next((self._named(close) for one, close in self.marks.thoughts if text.endswith(one.rstrip())), "")

    def open_thought(self) -> str:
        """Return what opens a thought."""
        if self.channels:
            return self._named(f"{self.channels.channel}analysis{self.channels.message}")
        return self._named(self.marks.thoughts[0][0]).rstrip() + "\n" if self.marks.thoughts else "<think>\n"

    def open_answer(self) -> str:
        """Return what opens an answer where a prompt ends in the middle of a header."""
        return self._named(f"{self.channels.channel}final{self.channels.message}") if self.channels else ""

    def _symbolised(self, text: str) -> str:
        return _with_symbols(text, {name: symbol for symbol, name in self.names.items()})

    def _named(self, text: str) -> str:
        return SYMBOLS.sub(lambda symbol: self.names[symbol[0]], text)


PLAIN = ReplyFormat(Marks(()))
"""Nothing marks anything: all of a reply is its text."""


def usual_format() -> ReplyFormat:
    """Return how replies are read as text, of a model of which nothing is known."""
    return ReplyFormat(Marks(THOUGHTS, tuple(_usual_answers("")), own=frozenset(UNMISTAKABLE)))


def find_reply_format(
    tokenizer: Any, template: ChatTemplate, control_tokens: Mapping[str, tuple[int, Any]]
) -> ReplyFormat:
    """Return how the replies of a model are read.

    Args:
        tokenizer: the model's.
        template: its chat template.
        control_tokens: its control tokens, with their ids.
    """
    special = {
        name: token_id
        for name, (token_id, token) in control_tokens.items()
        if token.special or token_id in tokenizer.all_special_ids
    }
    written = _Written() if template.of_base_model else _learn(template)
    within = frozenset(special[name] for name in special if name in written.between)
    if declared := _declared(tokenizer):
        symbols, names = _symbols(special, json.dumps(declared, ensure_ascii=False).replace("\\", ""))
        return ReplyFormat(_declared_marks(declared), symbols, names, None, tokenizer, declared, within)
    if all(name in special for name in GPT_OSS):
        symbols, names = _symbols(special, "".join(GPT_OSS))
        start, channel, message, *ends = (symbols[special[name]] for name in GPT_OSS)
        channels = Channels(start, channel, message, "".join(ends))
        return ReplyFormat(Marks(()), symbols, names, channels, within_turn=within | {special["<|end|>"]})
    by_role = ROLE_THOUGHTS if ROLE_THOUGHT in template.source else ()
    thoughts, answers = (*by_role, *written.thoughts, *THOUGHTS), (*written.answers, *_usual_answers(template.source))
    symbols, names = _symbols(special, "\n".join(mark for pair in (*thoughts, *answers) for mark in pair))
    to_symbols = {name: symbol for symbol, name in names.items()}
    marks = Marks(
        tuple(dict.fromkeys(form for pair in thoughts for form in _forms(pair, to_symbols))),
        tuple(dict.fromkeys(form for pair in answers for form in _forms(pair, to_symbols))),
        written.headers,
        frozenset(
            form[0]
            for pair in answers
            if pair in written.answers or pair[0] in template.source or pair[0] in UNMISTAKABLE
            for form in _forms(pair, to_symbols)
        ),
    )
    if "<|think|>" in special and "<|end|>" in special:  # Solar Open: one turn has two messages
        within |= {special["<|end|>"]}
    call_marks = {special[name]: name for name in MARKS if name in special}
    return ReplyFormat(marks, symbols, names, within_turn=within, call_marks=call_marks)


def _usual_answers(source: str) -> list[tuple[str, str]]:
    """Return the marks around an answer that count for a model with this template: words mark nothing elsewhere."""
    return [pair for pair in ANSWERS if pair[0] in source or pair[0] not in USUAL_WORDS]


@dataclass(frozen=True, slots=True)
class _Written:
    """What a chat template writes around thought and answer."""

    thoughts: tuple[tuple[str, str], ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    headers: tuple[str, ...] = ()
    between: str = ""
    """Between the two."""


def _learn(template: ChatTemplate) -> _Written:
    """Return what a template writes around thought and answer."""
    question, thought, answer = make_placeholder(), make_placeholder(), make_placeholder()
    asked, replied = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    thinking = replied | {THOUGHT_FIELD: thought}
    prompt = template.render([asked], add_generation_prompt=True).partition(question)[2]
    for end in ([], [{"role": "user", "content": make_placeholder()}]):  # some refuse a last message of the model
        with suppress(GenerationFailed):
            plain = template.render([asked, replied, *end], add_generation_prompt=False)
            whole = template.render([asked, thinking, *end], add_generation_prompt=False)
            break
    else:
        return _Written()
    before_answer = plain.partition(question)[2].partition(answer)[0]
    header = before_answer.removeprefix(prompt).lstrip() if before_answer.startswith(prompt) else ""
    if any(closing in header for _, closing in THOUGHTS):  # of a thought that is left empty
        header = ""
    before_thought, found, behind = whole.partition(question)[2].partition(thought)
    if not found or answer not in behind:
        return _Written((), *_answers_and_headers(header))
    return _marks_of(before_thought, behind.partition(answer)[0], before_answer, prompt, header)


def _marks_of(before_thought: str, between: str, before_answer: str, prompt: str, header: str) -> _Written:
    """Tell the marks in what a template writes.

    Args:
        before_thought: what it writes between question and thought.
        between: between thought and answer.
        before_answer: between question and answer, where there is no thought.
        prompt: behind the question, where a reply is to come.
        header: what it writes behind that before an answer.
    """
    opening, answer = _last_mark(before_thought), _last_mark(before_answer)
    if opening == answer:
        opening, answer = before_thought.removeprefix(prompt).strip(), header.strip()
    closing = between.strip()
    if answer not in ("", opening, closing) and closing.endswith(answer):
        closing = closing.removesuffix(answer).rstrip()
        header = answer
    is_mark = opening and closing and opening != answer and not before_answer.rstrip().endswith(opening)
    thoughts = ((opening, closing),) if is_mark else ()
    return _Written(thoughts, *_answers_and_headers("" if header.strip() == closing else header), opening + between)


def _answers_and_headers(header: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return what a template writes before an answer, as a mark or, if it is just words, as a header."""
    if any(sign in header for sign in "<["):
        return ((header.strip(), ""),), ()
    return (), ((header,) if header.strip() and header[-1].isspace() else ())


def _last_mark(text: str) -> str:
    found = _LAST_MARK.search(text.rstrip())
    return found[0] if found else ""


def _declared(tokenizer: Any) -> dict[str, Any]:
    """Return a tokenizer's own response template, with all its fields as text; empty if it can't be used.

    What a model writes may be cut off or wrong: nothing of it is parsed further.
    """
    spec = getattr(tokenizer, "response_template", None)
    if not isinstance(spec, dict) or not isinstance(spec.get("fields"), dict):
        return {}
    try:
        fields = {
            name: {
                **{key: value for key, value in its.items() if key != "content_args"},
                "content": "text",
                "optional": True,
            }
            for name, its in spec["fields"].items()
        }
        declared = {**spec, "fields": fields}
        tokenizer.get_response_parser(declared, prefix="")
    except Exception as error:  # it came with the model: anything may be in it
        logger.info("the response template of this model can't be used: %s", error)
        return {}
    return declared


def _declared_marks(declared: Mapping[str, Any]) -> Marks:
    """Return what a response template names as opening and closing a thought."""
    thoughts = [its for name, its in declared["fields"].items() if name in THOUGHT_FIELDS]
    pairs = [[its.get(key, []) for key in ("open", "close")] for its in thoughts]
    literals = [[[value] if isinstance(value, str) else value for value in pair] for pair in pairs]
    return Marks(tuple((openings[0], closings[0]) for openings, closings in literals if openings and closings))


def _symbols(special: Mapping[str, int], used_in: str) -> tuple[dict[int, str], dict[str, str]]:
    """Return a symbol for each control token that is used in a text: by id, and the tokens' names by symbol."""
    used = sorted((name for name in special if name in used_in), key=len, reverse=True)[:MAX_SYMBOLS]
    symbols = {name: chr(FIRST_SYMBOL + index) for index, name in enumerate(used)}
    return {special[name]: symbol for name, symbol in symbols.items()}, {
        symbol: name for name, symbol in symbols.items()
    }


def _forms(marks: tuple[str, str], symbols: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield a pair of marks in its forms: as control tokens, as far as it has them, and all as text.

    Where a mark is a control token, its words alone are no mark beside one: the model talks about it.
    """
    opening, closing = (_with_symbols(mark, symbols) for mark in marks)
    yield opening, closing
    if opening != marks[0]:
        yield marks


def _with_symbols(text: str, symbols: Mapping[str, str]) -> str:
    for name, symbol in symbols.items():
        text = text.replace(name, symbol)
    return text
