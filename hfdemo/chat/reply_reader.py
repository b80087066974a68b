"""Tell a model's thought from its answer while the reply comes.

A reader takes text in which a control token that has a meaning stands as one lone surrogate, which no decoded text
holds. So a mark is found whether it is a token or text, and what a model merely talks about is never a token.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from hfdemo.chat.reply import Delta

SYMBOLS = re.compile("([\ud800-\udfff])")
"""What stands for a control token."""

THOUGHT_FIELD = "reasoning_content"
"""How a message's thought is named; transformers gives it to a template as `thinking`, too."""

THOUGHT_FIELDS = (THOUGHT_FIELD, "thinking", "reasoning", "thought")
"""How response templates and servers name it."""

QUOTES = {**{sign: sign for sign in "`\"'*_"}, **dict(zip("([{“「『《", ")]}”」』》", strict=True))}
"""What stands before a mark that is only mentioned, and what stands behind it then."""

NEAR_CHARS = 500
"""How far before a mark a quote is looked for that ends there."""

MARKUP = "*#$-|>[\\"
"""What an answer in Markdown may begin with."""

SENTENCE_ENDS = tuple(".!?\u3002\uff01\uff1f")
_LIST_NUMBER = re.compile(r"\s*\d+\.")


class ReplyReader(Protocol):
    """Takes a reply piece by piece, and tells thought and answer apart."""

    def add(self, text: str) -> Delta:
        """Take the next piece of the reply and return what it adds."""
        ...

    def end(self) -> Delta:
        """Return what was held back."""
        ...

    @property
    def answer_may_be_thought(self) -> bool:
        """Whether what comes as answer is likely to become thought, when the answer's mark comes."""
        ...

    @property
    def in_thought(self) -> bool:
        """Whether what comes next is known to be no answer."""
        ...

    def go_on_from(self, text: str, thought: str) -> None:
        """Know the answer and the thought that are there already, without marks; nothing is told of them."""
        ...


class PlainReader:
    """Reads a text in which nothing marks anything; each blank of it counts."""

    answer_may_be_thought = in_thought = False

    def add(self, text: str) -> Delta:
        """Take the next piece and return it."""
        return Delta(text)

    def end(self) -> Delta:
        """Return nothing: nothing is held back."""
        return Delta()

    def go_on_from(self, text: str, thought: str) -> None:
        """Do nothing: what is there already changes nothing."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands around thought and answer."""

    thoughts: tuple[tuple[str, str], ...]
    """What opens a thought, and what closes it."""
    answers: tuple[tuple[str, str], ...] = ()
    """What opens an answer, and what may close it."""
    headers: tuple[str, ...] = ()
    """Words that a reply begins with and that aren't meant for people, such as the recipient's name."""
    own: frozenset[str] = frozenset()
    """Answer openings that are this model's own: alone, they say that all before them is thought."""


class MarkReader:
    """Reads replies with marks around thought and answer.

    Marks that are text are told from what a model says about them: they count where a reply or an answer begins, and
    further on where nobody would mention them: right behind the text, or behind a whole sentence, but not in code.

    Args:
        marks: the model's.
        opening: how the prompt begins the reply, as DeepSeek-R1's template does with `<think>`.
    """

    def __init__(self, marks: Marks, opening: str = "") -> None:
        self._closings: dict[str, tuple[str, ...]] = {}
        for one, other in marks.thoughts:
            self._closings[one] = (*self._closings.get(one, ()), other)
        self._answers = dict(marks.answers)
        self._own, self._headers = marks.own, marks.headers
        every = [*marks.headers, *(mark for pair in (*marks.answers, *marks.thoughts) for mark in pair)]
        self._outside = _watch(frozenset(filter(None, every)))
        self._inside = frozenset(filter(is_control, self._answers))
        self._marks_answers = any(is_control(opening) for opening in marks.own if opening in self._answers)
        self._open: tuple[str, ...] = ()  # what closes the thought that comes
        self._settled = False  # a mark has said what is thought and what is answer
        self._answer_closing = ""
        self._held = ""
        self._thought = self._answer = ""
        self._blank_first = False
        self._apart = False  # whether what comes next is another part of the thought or of the answer
        if opening:
            self.add(opening)
            self._held = self._thought = self._answer = ""
            self._apart = False

    def add(self, text: str) -> Delta:
        """Take the next piece of the reply and return what it adds."""
        self._held += text
        return self._read(is_whole=False)

    def end(self) -> Delta:
        """Return what was held back."""
        told = self._read(is_whole=True)
        held, self._held = self._held, ""
        return told if SYMBOLS.match(held) else told.then(self._tell(held))

    @property
    def answer_may_be_thought(self) -> bool:
        """Whether this model marks each answer, and hasn't done so yet."""
        return self._marks_answers and not self._settled

    @property
    def in_thought(self) -> bool:
        """Whether a mark has begun a thought, and none has ended it yet."""
        return bool(self._open)

    def _read(self, is_whole: bool) -> Delta:
        """Take from the text that is held what can be told."""
        told = Delta()
        while found := self._next_mark(is_whole):
            start, mark, counts = found
            if counts is None:
                break
            before, self._held = self._held[:start], self._held[start + len(mark) :]
            if self._open or (self._answer + before).strip():
                told = told.then(self._tell(before))
            told = told.then(self._pass(mark))
        if found:  # what it is depends on what comes next
            shown, held = self._held[: found[0]], self._held[found[0] :]
        else:
            shown, held = self._watched.hold_back(self._held)
        if not (self._open or self._answer or shown.strip()):
            return told  # the white space before a mark is no answer
        self._held = held
        return told.then(self._tell(shown))

    def go_on_from(self, text: str, thought: str) -> None:
        """Know the answer and the thought that are there already, without marks; nothing is told of them."""
        self._answer, self._thought = text, thought
        self._settled = self._settled or bool(text or thought)
        self._blank_first = self._blank_first and not (text or thought)

    @property
    def _watched(self) -> "_Watched":
        if not self._open:
            return self._outside
        again = () if self._thought.strip() else self._closings  # some open again what the prompt has opened
        return _watch(self._inside | {*self._open, *again})

    def _next_mark(self, is_whole: bool) -> tuple[int, str, bool | None] | None:
        """Return where the first mark stands in the text that is held, the mark, and whether it counts.

        None for the last says that it depends on what comes next.
        """
        for start, mark in self._watched.found_in(self._held):
            after = self._held[start + len(mark) :][:1] or ("\n" if is_whole else "")
            counts = self._counts(mark, self._held[:start], after)
            if counts is not False:
                return start, mark, counts
        return None

    def _counts(self, mark: str, before: str, after: str) -> bool | None:
        """Tell whether a mark is one, or something that the model talks about; None if that isn't known yet.

        Args:
            mark: the mark.
            before: what is held before it.
            after: the character behind it; empty if that has not come.
        """
        if self._open:
            return self._counts_in_thought(mark, self._thought + before, after)
        before = self._answer + before
        first = not before.strip()
        if mark in self._headers:
            return first and not self._settled
        if is_control(mark) and not (self._settled and mark not in (*self._closings, *self._answers)):
            return True
        if mark in self._closings:
            return first or (self._settled and not _shows(before) and _stands_apart(before, after))
        if mark in self._answers:
            return (first and self._settled) or (mark in self._own and _stands_apart(before, after))
        if mark == self._answer_closing:
            return is_control(mark) or not _is_in_code(before)
        if self._settled:
            return first or _parts_messages(mark)
        if mark in self._answers.values():
            return False
        opened = any(one in before for one, others in self._closings.items() if mark in others)
        return first or (not opened and _stands_apart(before, after, MARKUP))

    def _counts_in_thought(self, mark: str, before: str, after: str) -> bool | None:
        if mark in self._closings and mark not in self._open:
            return not before.strip()
        if is_control(mark) or before[-1:] not in QUOTES or _closes_quote(before):
            return True
        return after != QUOTES[before[-1]] if after else None

    def _pass(self, mark: str) -> Delta:
        """Go on behind a mark."""
        opens_again = mark in self._closings and mark not in self._open
        if opens_again if self._open else mark in self._headers:
            self._blank_first = True
            return Delta()
        was_thought = False
        ends_answer = not self._open and mark == self._answer_closing
        if mark in self._closings and not self._open:
            self._open, self._apart = self._closings[mark], bool(self._thought)
        else:
            was_thought = not (self._settled or self._open or ends_answer) and bool(self._answer)
            if was_thought:
                self._thought, self._answer = self._answer, ""
            self._open = ()
            self._apart = bool(self._answer) and (mark in self._answers or _parts_messages(mark))
        self._answer_closing = self._answers.get(mark, "")
        self._settled = True
        self._blank_first = not ends_answer
        return Delta(answer_was_thought=was_thought)

    def _tell(self, text: str) -> Delta:
        text = self._without_blank_first(SYMBOLS.sub("", text))
        if not text:
            return Delta()
        before = self._thought if self._open else self._answer
        if self._apart:
            text = "\n" * (2 - (len(before) - len(before.rstrip("\n")))) + text
        self._blank_first = self._apart = False
        if self._open:
            self._thought += text
            return Delta(thought=text)
        self._answer += text
        return Delta(text)

    def _without_blank_first(self, text: str) -> str:
        """Take away the blank lines behind a mark, which may come in several pieces."""
        return text.lstrip("\n") if self._blank_first else text


@dataclass(frozen=True, slots=True)
class Channels:
    """The control tokens of gpt-oss's format, as symbols.

    `<|start|>assistant<|channel|>analysis<|message|>...<|end|>`: each message of a reply names its channel.
    Source: https://cookbook.openai.com/articles/openai-harmony. The library openai-harmony reads token ids of one
    vocabulary only, which it fetches.
    """

    start: str
    channel: str
    message: str
    ends: str
    """The symbols that end a message."""


_CALLED = re.compile(r"\bto=functions\.([\w.-]+)")
"""To which tool a message of gpt-oss is; the recipient stands before its channel or behind it."""

_CALL_BEGINS, _CALL_ENDS = '<tool_call>{"name": "%s", "arguments": ', "}</tool_call>"


class ChannelReader:
    """Reads replies whose messages name a channel: what isn't meant for the user is thought.

    Args:
        channels: the control tokens.
        opening: how the prompt begins the reply, in most cases with `<|start|>assistant`.
        tells_calls: whether what is written to a tool is answer, as a call in the form of most models.
    """

    def __init__(self, channels: Channels, opening: str = "", tells_calls: bool = False) -> None:
        self._channels = channels
        self._tells_calls = tells_calls
        self._in_call = False
        self._header: str | None = None
        self._in_thought = False
        self._thought = self._answer = ""
        self._apart = self._settled = False
        self.add(opening)
        self._prompt_header = self._header or ""

    def add(self, text: str) -> Delta:
        """Take the next piece of the reply and return what it adds."""
        told = Delta()
        for part in SYMBOLS.split(text):
            told = told.then(self._take(part))
        return told

    def end(self) -> Delta:
        """Return what was held back: a reply without any channel is all answer."""
        header, self._header = self._header or "", None
        text = SYMBOLS.sub("", header.removeprefix(self._prompt_header))
        is_answer = text and not self._settled and self._channels.channel not in header
        return self._tell(text) if is_answer else self._end_call()

    @property
    def answer_may_be_thought(self) -> bool:
        """What comes as answer is one."""
        return False

    @property
    def in_thought(self) -> bool:
        """Whether no channel for the answer is open: a model of this kind thinks, calls a tool, or names a channel."""
        return self._in_thought or self._in_call or self._header is not None

    def go_on_from(self, text: str, thought: str) -> None:
        """Know the answer and the thought that are there already, without marks; nothing is told of them."""
        self._answer, self._thought = text, thought
        self._settled = True

    def _take(self, part: str) -> Delta:
        if part == self._channels.start:
            self._header = ""
            return self._end_call()
        elif part == self._channels.channel:
            self._header = (self._header or "") + part
        elif part == self._channels.message:
            return self._begin(self._header or "")
        elif part and part in self._channels.ends:
            self._in_thought, self._header = False, ""
            return self._end_call()
        elif SYMBOLS.match(part) or not part:
            return Delta()
        elif self._header is not None:
            self._header += part
        else:
            return self._tell(part)
        return Delta()

    def _begin(self, header: str) -> Delta:
        """Begin a message."""
        self._header = None
        channel = header.partition(self._channels.channel)[2]
        called = _CALLED.search(header) if self._tells_calls else None
        self._in_thought = not called and (channel.strip().startswith("analysis") or " to=" in header)
        was_thought = bool(channel and self._answer) and not (self._settled or self._in_thought)
        if was_thought:
            self._thought, self._answer = self._answer, ""
        self._settled = True
        self._apart = bool(self._thought if self._in_thought else self._answer)
        begun = Delta(answer_was_thought=was_thought)
        if not called:
            return begun
        self._in_call = True
        return begun.then(self._tell(_CALL_BEGINS % called[1]))

    def _end_call(self) -> Delta:
        """End the call that comes, if one does."""
        if not self._in_call:
            return Delta()
        self._in_call = False
        return self._tell(_CALL_ENDS)

    def _tell(self, text: str) -> Delta:
        if self._apart:
            text = "\n\n" + text
        self._apart = False
        if self._in_thought:
            self._thought += text
            return Delta(thought=text)
        self._answer += text
        return Delta(text)


class DeclaredReader:
    """Reads replies as the tokenizer declares it, by transformers' own parser.

    Args:
        parser: transformers' `ResponseParser`.
        control_tokens: what each symbol stands for; the parser takes control tokens as text.
    """

    in_thought = False  # it isn't told before the next text

    def __init__(self, parser: Any, control_tokens: Mapping[str, str]) -> None:
        self._parser = parser
        self._control_tokens = control_tokens
        self._blank_first = True

    def add(self, text: str) -> Delta:
        """Take the next piece of the reply and return what it adds."""
        return self._told(self._parser.feed(SYMBOLS.sub(lambda symbol: self._control_tokens[symbol[0]], text)))

    def end(self) -> Delta:
        """Return what was held back."""
        return self._told(self._parser.finalize()[1])

    @property
    def answer_may_be_thought(self) -> bool:
        """What comes as answer is one."""
        return False

    def go_on_from(self, text: str, thought: str) -> None:
        """Know the answer and the thought that are there already, without marks; nothing is told of them."""
        self._parser.feed(text or thought)
        self._blank_first = self._blank_first and not (text or thought)

    def _told(self, events: Sequence[Mapping[str, Any]]) -> Delta:
        told = Delta()
        for event in events:
            if event["type"] == "region_open":
                self._blank_first = True
            elif event["type"] == "region_chunk":
                text = event["text"].lstrip("\n") if self._blank_first else event["text"]
                self._blank_first = self._blank_first and not text
                told = told.then(Delta(text) if event["field"] == "content" else Delta(thought=text))
        return told


def is_control(mark: str) -> bool:
    """Tell whether a control token is part of a mark."""
    return SYMBOLS.search(mark) is not None


def _parts_messages(mark: str) -> bool:
    """Tell whether a mark stands between two messages of one turn: it ends one and begins another."""
    return len(SYMBOLS.findall(mark)) > 1


def hold_back(text: str, markers: Sequence[str]) -> tuple[str, str]:
    """Split text before an end that may be the beginning of a marker."""
    for start in range(max(0, len(text) - max(map(len, markers), default=0) + 1), len(text)):
        end = text[start:]
        if any(marker.startswith(end) and marker != end for marker in markers):
            return text[:start], end
    return text, ""


class _Watched:
    """Some marks, so prepared that most pieces of a reply are known at a glance to have none of them."""

    def __init__(self, marks: frozenset[str]) -> None:
        self._marks = sorted(marks, key=len, reverse=True)
        self._first = re.compile("|".join(map(re.escape, sorted({mark[0] for mark in marks}))))

    def found_in(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield where marks stand, and the marks; of those at one place the longest first."""
        for place in self._first.finditer(text):
            for mark in self._marks:
                if text.startswith(mark, place.start()):
                    yield place.start(), mark

    def hold_back(self, text: str) -> tuple[str, str]:
        """Split text before an end that may be the beginning of a mark."""
        place = self._first.search(text, max(0, len(text) - len(self._marks[0]) + 1))
        if place is None:
            return text, ""
        shown, held = hold_back(text[place.start() :], self._marks)
        return text[: place.start()] + shown, held


_watch = lru_cache(maxsize=256)(_Watched)


def _shows(before: str) -> bool:
    """Tell whether a text goes on with something that it shows: a line that says so, or an indented one."""
    above, _, line = before.rpartition("\n")
    return line.isspace() or (not line and above.rstrip().endswith((":", "\uff1a")))


def _closes_quote(before: str) -> bool:
    """Tell whether a text ends with a sign that closes what the same sign has opened in its line, as in `**4**`."""
    line = before[-NEAR_CHARS:].rpartition("\n")[2]
    if QUOTES[line[-1]] != line[-1]:
        return False
    inside = line.rstrip(line[-1])
    sign, times = re.escape(line[-1]), len(line) - len(inside)
    is_behind_word = bool(inside) and not inside[-1].isspace()
    return is_behind_word and len(re.findall(rf"(?<!{sign}){sign}{{{times}}}(?!{sign})", inside)) % 2 == 1


def _is_in_code(before: str) -> bool:
    """Tell whether what follows a text stands between fences or backticks."""
    line = before.rfind("\n") + 1
    return bool(before.count("```") % 2 or before.count("~~~") % 2 or before.count("`", line) % 2)


def _stands_apart(before: str, after: str, signs: str = "") -> bool | None:
    """Tell whether a mark stands where nobody would mention it; None if that isn't known yet.

    That is on a line of its own, right behind the text, or behind a whole sentence, and not in code. Behind it, the
    text goes on at once.

    Args:
        before: the answer up to the mark.
        after: the character behind it; empty if that has not come.
        signs: with what else the text may go on.
    """
    line = before.rpartition("\n")[2]
    if _is_in_code(before) or line.startswith(("    ", "\t")):
        return False
    said = line.rstrip()
    behind_sentence = said.endswith(SENTENCE_ENDS) and not _LIST_NUMBER.fullmatch(said)
    behind_text = said == line and (line[-1:].isalnum() or behind_sentence)
    if not (said == "" or behind_text or behind_sentence):
        return False
    return (after == "\n" or after.isalnum() or after in signs) if after else None
