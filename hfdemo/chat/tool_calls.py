"""Tools that a model may ask for: what it is told of them, and how what it asks for is read from its answer; pure.

Models write a call as text, each family in its own form (`call_forms`) between its own marks.
"""

import json
import re

from hfdemo.chat.call_forms import FUNCTOOLS, GEMMA_QUOTES, Schemas, read_calls, write_json, write_pythonic
from hfdemo.chat.messages import ToolCall, parse_object
from hfdemo.chat.reply_reader import hold_back

CLOSINGS = {
    "<tool_call>": "</tool_call>",  # Hermes, Qwen, Granite 4, GLM; `ChannelReader` writes gpt-oss's calls like this
    "<function=": "</tool_call>",  # Qwen3-Coder, which may leave `<tool_call>` out before it
    "<tool_calls>": "</tool_calls>",  # Apriel, MiniMax-M1
    "<TOOLCALL>": "</TOOLCALL>",  # Nemotron Nano 2
    "<|tool_call|>": "<|/tool_call|>",  # Phi-4-mini; Granite 3, which closes nothing
    "<function_call>": "</function_call>",  # Granite 20B, which closes nothing
    "<|function_call|>": "",  # GigaChat 3.1
    "<|python_tag|>": "",  # Llama 3.1, which may also begin its answer with the JSON itself
    "<|python_start|>": "<|python_end|>",  # Llama 4, which mostly begins its answer with the list itself
    "[TOOL_CALLS]": "",  # Mistral
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",  # DeepSeek
    "<｜DSML｜function_calls>": "</｜DSML｜function_calls>",  # DeepSeek V3.2
    "<｜DSML｜tool_calls>": "</｜DSML｜tool_calls>",  # DeepSeek V4
    "<|START_ACTION|>": "<|END_ACTION|>",  # Cohere
    "<|tool_call>": "<tool_call|>",  # Gemma 4
    "<start_function_call>": "<end_function_call>",  # FunctionGemma
    "<|tool_call_start|>": "<|tool_call_end|>",  # LFM2
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",  # Kimi
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
}
"""What opens a call, or several, and what closes it; nothing where the reply ends behind it."""

WITHIN_CALL = ("<function=",)
"""What opens a call and is a part of it."""

WRITTEN = {"<|tool_call|>": write_json, "<|tool_call_start|>": write_pythonic}
"""How calls are written behind the marks of models whose templates leave that to others."""

MARKS = (
    *(*CLOSINGS, *filter(None, CLOSINGS.values()), "[ARGS]", "[CALL_ID]"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    *("｜DSML｜", *GEMMA_QUOTES),
)
"""What is control tokens in some models, and text in others."""


class CallReader:
    """Takes an answer piece by piece, and tells its text from the calls in it.

    Args:
        tools: the JSON schema of each tool's arguments, by its name. What looks like a call of another one is text.
    """

    def __init__(self, tools: Schemas) -> None:
        self._tools = tools
        self._held = ""
        self._begun = False  # whether there was a text or a call
        self._in_text = False  # blanks count only within a text

    def add(self, text: str) -> tuple[str, list[ToolCall]]:
        """Take the next piece; return the text in what is known by now, and the calls."""
        self._held += text
        return self._read(is_whole=False)

    def end(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back."""
        return self._read(is_whole=True)

    def _read(self, is_whole: bool) -> tuple[str, list[ToolCall]]:
        told, found = "", list[ToolCall]()
        while self._held.strip() or (self._in_text and self._held):
            opening, start = self._next_opening()
            if opening is None:
                shown, self._held = (self._held, "") if is_whole else hold_back(self._held, tuple(CLOSINGS))
                told += self._show(shown)
                break
            end = self._end_of_call(opening, start, is_whole)
            if end is None:
                told += self._show(self._held[:start])
                self._held = self._held[start:]
                break
            written = self._held[start:end]
            calls = self._calls(written, opening)
            begins = not self._begun and not self._held[:start].strip()
            is_text = not calls and not (begins and _is_empty(written, opening))
            told += self._show(self._held[: end if is_text else start])
            self._held = self._held[end:]
            if not calls and not is_text:  # Llama 4's template writes its JSON behind such a pair
                continue
            self._begun, self._in_text = True, self._in_text and not calls
            found += calls
        return told, found

    def _next_opening(self) -> tuple[str | None, int]:
        """Return what may open the next call, "" for one that the answer begins with, and where it stands."""
        if not self._begun and self._may_begin_with_call(self._held.lstrip()):
            return "", 0
        places = [(self._held.find(opening), opening) for opening in CLOSINGS if opening in self._held]
        start, opening = min(places, default=(0, None))
        return opening, start

    def _may_begin_with_call(self, answer: str) -> bool:
        """Tell whether an answer may be calls without a mark: JSON, a list of it, or a list in the form of Python."""
        if answer.startswith(("{", FUNCTOOLS)) or FUNCTOOLS.startswith(answer):
            return True
        inner = answer.removeprefix("[").lstrip()
        names = [f"{name}(" for name in self._tools]
        return answer.startswith("[") and (
            inner.startswith(("{", *names)) or any(name.startswith(inner) for name in names)
        )

    def _end_of_call(self, opening: str, start: int, is_whole: bool) -> int | None:
        """Return where a call ends; None if that isn't known yet."""
        closing = CLOSINGS.get(opening)
        begin = start + len(opening)
        for found in re.compile(re.escape(closing)).finditer(self._held, begin) if closing else ():
            if not _is_within_text(self._held[begin : found.start()]):
                return found.end()
        return len(self._held) if is_whole else None

    def _calls(self, written: str, opening: str) -> list[ToolCall]:
        """Return the calls in what a model wrote; none if it is something else."""
        calls: list[ToolCall] = []
        closing = CLOSINGS.get(opening, "")
        mark = "" if opening in WITHIN_CALL else opening
        alone = written.removeprefix(mark).removesuffix(closing)
        parts = [alone] if not mark or parse_object(alone) else written.split(mark)[1:]
        for part in parts:
            inner = part.removesuffix(closing)
            read = read_calls(inner, self._tools)
            if not read or any(call.name not in self._tools for call in read):
                return []
            calls += read
        return calls

    def _show(self, text: str) -> str:
        self._in_text = self._in_text or bool(text.strip())
        self._begun = self._begun or self._in_text
        return text if self._in_text else ""


def _is_within_text(written: str) -> bool:
    """Tell whether what follows some JSON stands in a text of it, such as a mark that an argument quotes."""
    if not written.lstrip().startswith(("{", "[")):
        return False
    try:
        json.JSONDecoder(strict=False).raw_decode(written.lstrip())
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string")
    return False


def _is_empty(written: str, opening: str) -> bool:
    """Tell whether there is nothing between a mark that opens and the one that closes."""
    closing = CLOSINGS.get(opening)
    return bool(closing) and re.fullmatch(rf"{re.escape(opening)}\s*{re.escape(closing or '')}", written) is not None
