"""From a conversation to the token ids a model reads, for any chat template.

Pure: no model, no page, no torch. The tokenizer is any of transformers' tokenizers.

What people typed stays text. The template is rendered around placeholders; only the template's own words
may become control tokens, and the contents are encoded by a copy of the tokenizer that knows no control token.
See https://github.com/huggingface/transformers/issues/29279 for what happens otherwise.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal

from hfdemo.chat.encoder import ControlTokens, EncodeText, find_control_tokens, make_text_encoder
from hfdemo.chat.messages import Message, ToolCall
from hfdemo.chat.notes import Note, make_note
from hfdemo.chat.options import Options, Thinking
from hfdemo.chat.reply_format import find_reply_format
from hfdemo.chat.reply_reader import THOUGHT_FIELD
from hfdemo.chat.request import ShownToken
from hfdemo.chat.template import PLACEHOLDER, ChatTemplate, make_placeholder
from hfdemo.chat.token_bytes import TokenBytes, unfinished
from hfdemo.chat.tool_calls import CLOSINGS, MARKS, WRITTEN, CallReader
from hfdemo.errors import GenerationFailed, InvalidInput, ModelLoadError

CHEAP_TO_ENCODE_CHARS = 100_000
"""Encoding a million characters takes most of a second."""

BASE_MODEL_STOP_TEXTS = ("\nSystem:", "\nUser:", "\nAssistant:")
"""A base model goes on to write the user's next message, too; there its reply ends."""

WritesCalls = Literal["as data", "as text", "as content"]
"""As what a template takes calls of tools: with the arguments as data, as JSON, or as the content of a message."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads."""

    ids: tuple[int, ...]
    dropped: int = 0
    """How many of the oldest messages fell out, because the context has no room for them."""
    opening: str = ""
    """How it begins the reply, for `ReplyFormat.reader`: some templates open a thought for the model."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """A rendered template, with placeholders for what people and models said."""

    text: str
    contents: dict[str, str]
    """What the placeholders stand for."""
    opening: str
    """What stands behind the last thing that a person said."""


class PromptBuilder:
    """Turns conversations into prompts for one model.

    Args:
        tokenizer: the model's tokenizer, of any kind transformers has.
        context_limit: how many tokens the model can read and write together; None if it has no limit.
        embeddings: how many tokens the model has numbers for; None if that isn't known. Some tokenizers have more.
        template: the chat template to use; by default the tokenizer's own.
        stop_texts: the model's own, which end its replies.

    Raises:
        ModelLoadError: no message can be read with this template, or with this size.
    """

    def __init__(
        self,
        tokenizer: Any,
        context_limit: int | None,
        *,
        embeddings: int | None = None,
        template: ChatTemplate | None = None,
        stop_texts: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.context_limit = context_limit
        self.template = template or ChatTemplate(tokenizer)
        self.base_model = self.template.of_base_model
        self.makers_stop_texts = tuple(stop_texts)
        self.stop_texts = (*(BASE_MODEL_STOP_TEXTS if self.base_model else ()), *stop_texts)
        self.thinking_modes = self.template.modes
        control_tokens = find_control_tokens(tokenizer)
        self._unreadable = _tokens_beyond(tokenizer, embeddings)
        self._encode_text = make_text_encoder(tokenizer, {*control_tokens, *self._unreadable.values()})
        self._letter_ids = self._encode_text("a", True)
        self._control_tokens = ControlTokens(control_tokens)
        self._longest_token_chars = max(map(len, tokenizer.get_vocab()), default=1)
        self.reply_format = find_reply_format(tokenizer, self.template, control_tokens)
        self._opening_ids = _tokens_before_text(tokenizer) if self.base_model else []
        self._switches = self._find_switches()
        self.notes = (*self.template.notes, *self._try_size(embeddings))

    def fit(self, options: Options) -> Options:
        """Return the options as this model can have them: at most half of its context is for the reply.

        Else a model with a small context would refuse every message, at the page's usual `max_new_tokens`.

        Raises:
            InvalidInput: the template can't be asked to think like this.
        """
        if options.thinking not in ("auto", *self.thinking_modes):
            modes = ", ".join(("auto", *self.thinking_modes))
            raise InvalidInput("thinking_not_offered", value=options.thinking, modes=modes)
        if self.context_limit is None or options.max_new_tokens <= self.context_limit // 2:
            return options
        return replace(options, max_new_tokens=max(1, self.context_limit // 2))

    def build(
        self,
        messages: Sequence[Message],
        system_prompt: str,
        max_new_tokens: int,
        *,
        reply_start: str = "",
        thought_start: str = "",
        reply_ids: Sequence[int] = (),
        thinking: Thinking = "auto",
        keeps_all: bool = False,
        tools: str = "",
    ) -> Prompt:
        """Build the prompt of a turn, leaving room for `max_new_tokens`.

        The oldest turns fall out when the context is full; the system prompt and the last message never do.

        Args:
            messages: the conversation; its last message is the user's.
            system_prompt: may be empty.
            max_new_tokens: how many tokens the reply may have.
            reply_start: text that the model's answer begins with.
            thought_start: the thought before that; alone, the model goes on with it.
            reply_ids: the same two as tokens, where they are known, as of a reply that was cut off.
            thinking: whether a thinking model shall think first.
            keeps_all: whether no turn may fall out, but for a first one by the model that the template refuses.
            tools: that the model may ask for, as JSON; empty if there are none.

        Raises:
            InvalidInput: there is no message, what may not fall out doesn't fit, or the template has no place for
                tools or for a system message in between.
            GenerationFailed: the chat template refuses this conversation.
        """
        turns = normalise(messages, begins_with_reply=keeps_all)
        if not turns:
            raise InvalidInput("empty_message")
        stay = turns if keeps_all else turns[-1:]
        begins_with = ("", "") if reply_ids else (reply_start, thought_start)
        texts = [system_prompt, tools, *(turn.content for turn in stay), reply_start, thought_start]
        self._refuse_far_too_long(texts, max_new_tokens)
        encode_text = cache(self._encode_text)  # the same turns are encoded again after the oldest fell out
        opening = ""

        @cache
        def ids_from(start: int) -> tuple[int, ...]:
            nonlocal opening
            laid_out = self._lay_out(turns[start:], system_prompt, thinking, *begins_with, tools)
            opening = self.reply_format.opening(laid_out.opening)
            return (*self._encode_around(laid_out.text, laid_out.contents, encode_text), *reply_ids)

        if turns[0].role == "assistant":
            try:
                ids_from(0)
            except GenerationFailed:  # this template wants a question first
                turns = turns[1:]
                ids_from.cache_clear()

        def fits(start: int) -> bool:
            texts = (text for turn in turns[start:] for text in (turn.content, turn.thought))
            if self._are_far_too_long([system_prompt, *texts, reply_start, thought_start]):
                return False
            return self.context_limit is None or len(ids_from(start)) + max_new_tokens <= self.context_limit

        starts = range(0, len(turns), 2)  # a question falls out together with its answer
        start = 0 if keeps_all or fits(0) else starts[bisect_left(starts[:-1], True, key=fits)]
        if not fits(start):
            raise self._too_long(f"{len(ids_from(start)):,}", max_new_tokens)
        return Prompt(ids_from(start), dropped=start, opening=opening)

    def build_text(self, text: str) -> Prompt:
        """Build a prompt that is a text alone, leaving room for a token; chat models can go on with it, too.

        Raises:
            InvalidInput: there is no text, or it doesn't fit.
        """
        self._refuse_far_too_long([text], 1)
        ids = (*_tokens_before_text(self.tokenizer), *self._encode_text(text, True))
        if not text or not ids:
            raise InvalidInput("empty_message")
        self._refuse_unreadable(ids)
        if self.context_limit is not None and len(ids) >= self.context_limit:
            raise self._too_long(f"{len(ids):,}", 1)
        return Prompt(ids)

    def show(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """Return each token as text, and whether it is a control token."""
        control = set(self._control_tokens.ids) | set(self.tokenizer.all_special_ids)
        shown = {
            token_id: self.text([token_id]) if token_id in control else self.text_within([token_id])
            for token_id in set(ids)
        }
        return [(shown[token_id], token_id in control) for token_id in ids]

    def show_whole(self, ids: Sequence[int]) -> list[ShownToken]:
        """Return each token as text; those that only together make a character, together."""
        data = {token_id: self.token_bytes.of(token_id) for token_id in set(ids)}
        shown: list[ShownToken] = []
        held: list[int] = []  # the tokens of an unfinished character

        def together() -> ShownToken:
            return ShownToken(self.text_within(held), False, len(held))

        for token_id, (text, control) in zip(ids, self.show(ids), strict=True):
            part = None if control else data[token_id]
            if held and part is None:
                shown.append(together())
                held = []
            if part is not None and unfinished([*(data[each] or b"" for each in held), part]):
                held.append(token_id)
            elif held:
                held.append(token_id)
                shown.append(together())
                held = []
            else:
                shown.append(ShownToken(text, control))
        return [*shown, *([together()] if held else [])]

    @cached_property
    def token_bytes(self) -> TokenBytes:
        """Which bytes the tokenizer's tokens stand for."""
        return TokenBytes(self.tokenizer)

    def end_of_turn_ids(self) -> set[int]:
        """Return the control tokens with which the chat template closes the model's turn."""
        if self.base_model:
            return set()
        question, answer = make_placeholder(), make_placeholder()
        try:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            text = self.template.render(messages, add_generation_prompt=False)
        except GenerationFailed:
            return set()
        closing = self._control_tokens.split(text.partition(answer)[2].lstrip())
        return {closing[0]} if closing and isinstance(closing[0], int) else set()

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of a prompt, control tokens included."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def text_within(self, ids: Sequence[int]) -> str:
        """Return the text of tokens between others; some tokenizers drop a space at the start of a text."""
        before = self.text(self._letter_ids)
        text = self.text([*self._letter_ids, *ids])
        return text.removeprefix(before) if text.startswith(before) else self.text(ids)

    def _refuse_far_too_long(self, texts: Sequence[str], max_new_tokens: int) -> None:
        """Refuse texts that can't fit whatever their tokens are, before time is spent on encoding them."""
        if self._are_far_too_long(texts):
            sample = max(texts, key=len)[:20_000]
            estimate = sum(map(len, texts)) * len(self._encode_text(sample, True)) // len(sample)
            raise self._too_long(f"~{estimate:,}", max_new_tokens)

    def _are_far_too_long(self, texts: Sequence[str]) -> bool:
        return self.context_limit is not None and sum(map(len, texts)) > max(
            CHEAP_TO_ENCODE_CHARS, self.context_limit * self._longest_token_chars
        )

    def _too_long(self, tokens: str, max_new_tokens: int) -> InvalidInput:
        return InvalidInput(
            "too_many_tokens", tokens=tokens, max_new_tokens=f"{max_new_tokens:,}", limit=f"{self.context_limit:,}"
        )

    def _lay_out(
        self,
        turns: Sequence[Message],
        system_prompt: str,
        thinking: Thinking,
        reply_start: str,
        thought_start: str,
        tools: str,
    ) -> _Layout:
        """Render the template around placeholders.

        Raises:
            InvalidInput: there are tools or a system message in between, which the template doesn't show.
            GenerationFailed: the template refuses the conversation, or doesn't show its last message.
        """
        if self.base_model and (tools or any(turn.role == "tool" or turn.calls for turn in turns)):
            raise InvalidInput("no_tools", name="tools")
        contents: dict[str, str] = {}
        if self.base_model:
            turns = [_without_blank_first(turn) for turn in turns]

        def hold(content: str) -> str:
            placeholder = make_placeholder()
            contents[placeholder] = content
            return placeholder

        def laid_out(turn: Message) -> dict[str, Any]:
            if turn.role == "user":
                return {"role": turn.role, "content": self._veil(turn.content, hold)}
            if turn.role == "tool":
                return dict(self._as_data(_result(turn), hold))
            message: dict[str, Any] = {"role": turn.role, "content": hold(turn.content) if turn.content else ""}
            message |= {THOUGHT_FIELD: hold(turn.thought)} if turn.thought else {}
            if turn.calls and self._writes_calls == "as content":
                return message | {"content": message["content"] + self._as_content(turn.calls, hold)}
            calls = _calls(turn.calls, self._writes_calls == "as text") if turn.calls else []
            return message | ({"tool_calls": self._as_data(calls, hold)} if calls else {})

        system = system_prompt if system_prompt.strip() else ""
        if system and not self.template.takes_system:  # it goes before the first thing that a person says
            asked_at = next((at for at, turn in enumerate(turns) if turn.role == "user"), 0)
            asked_first = replace(turns[asked_at], content=f"{system}\n\n{turns[asked_at].content}")
            turns = [*turns[:asked_at], asked_first, *turns[asked_at + 1 :]]
        messages = [laid_out(turn) for turn in turns]
        if turns[-1].role == "tool" or not PLACEHOLDER.search(messages[-1]["content"]):  # or nothing but switches
            messages[-1]["content"] += hold("")
        asked = PLACEHOLDER.findall(messages[-1]["content"])[-1]
        if system and self.template.takes_system:
            messages.insert(0, {"role": "system", "content": self._veil(system, hold)})
        given = self._as_data(json.loads(tools), hold) if tools else []
        text = self._render(messages, thinking, given, [turn.role for turn in turns])
        if asked not in text:  # it shows no plain text, only the parts of multimodal messages
            raise GenerationFailed("template")
        if given and not self._shows_tools(text, messages, thinking):
            raise InvalidInput("no_tools", name="tools")
        if reply_start or thought_start:
            reply = laid_out(Message("assistant", reply_start, thought_start))
            begun = self._begun_by_template([*messages, reply], asked, thinking, given)
            text = begun or self._begun(text, asked, reply)
            if self.base_model and not (reply_start or thought_start)[0].isspace():
                text = _with_space_before(text, PLACEHOLDER.findall(text)[-1])
        return _Layout(text, contents, text.rpartition(asked)[2])

    def _render(
        self, messages: Sequence[dict[str, Any]], thinking: Thinking, tools: Sequence[Any], roles: Sequence[str]
    ) -> str:
        """Render a conversation before the model's turn.

        Raises:
            InvalidInput: a system message stands in between, which the template refuses, or leaves out.
            GenerationFailed: the template refuses the conversation.
        """
        first = len(messages) - len(roles)
        within = [first + index for index, role in enumerate(roles) if role == "system"]

        def render(role: str = "system") -> str | None:
            said = [one | {"role": role} if index in within else one for index, one in enumerate(messages)]
            with suppress(GenerationFailed):
                return self.template.render(said, add_generation_prompt=True, thinking=thinking, tools=tools)
            return None

        if not within:
            return self.template.render(messages, add_generation_prompt=True, thinking=thinking, tools=tools)
        text = render()
        shown = text is not None and all(messages[index]["content"] in text for index in within)
        # A template that knows only two roles may show it as what one of these said.
        if text is None or not shown or text in (render("user"), render("assistant")):
            raise InvalidInput("system_within")
        return text

    def _as_data(self, value: Any, hold: Callable[[str], str]) -> Any:
        """Return what a template sees of tools and their calls: all of it but control tokens, which stay text.

        It writes such data as JSON, in a form of its own, so that a placeholder can't stand for a whole text.
        """
        if isinstance(value, str):
            return self._control_tokens.hide_in(value, hold)
        if isinstance(value, list):
            return [self._as_data(one, hold) for one in value]
        if isinstance(value, dict):
            return {self._as_data(name, hold): self._as_data(one, hold) for name, one in value.items()}
        return value

    def _shows_tools(self, text: str, messages: Sequence[Mapping[str, Any]], thinking: Thinking) -> bool:
        """Tell whether a prompt with tools is another than without, and calls in the reply can be read."""
        if not self.reply_format.reads_calls or self._writes_calls is None:
            return False
        return text != self.template.render(messages, add_generation_prompt=True, thinking=thinking)

    @cached_property
    def _writes_calls(self) -> WritesCalls | None:
        """As what the template takes calls, so that what it writes is read as that; None if as nothing.

        Most take data, those of DeepSeek V3 to V3.1 JSON. Those of Granite 3, Phi-4-mini and LFM2 show tools, but no
        calls: there a call is the content of the message, as the model writes it.
        """
        call = ToolCall("look_up", '{"word": "tree"}')
        forms: dict[WritesCalls, dict[str, Any]] = {
            "as data": {"content": "", "tool_calls": _calls([call], as_text=False)},
            "as text": {"content": "", "tool_calls": _calls([call], as_text=True)},
        }
        if self._call_mark and call.name not in self._written(call, forms["as data"])[0]:
            forms["as content"] = {"content": self._as_content([call], str)}
        return next((form for form, said in forms.items() if self._reads_call(call, said)), None)

    @property
    def _call_mark(self) -> str:
        """The control token before calls whose form is known; empty if the model has none."""
        return next((mark for mark in WRITTEN if self._control_tokens.ids_in(mark)), "")

    def _as_content(self, calls: Sequence[ToolCall], hold: Callable[[str], str]) -> str:
        """Return calls as the model writes them, where the template doesn't."""
        mark = self._call_mark
        closing = CLOSINGS[mark] if self._control_tokens.ids_in(CLOSINGS[mark]) else ""
        return mark + hold(WRITTEN[mark](calls)) + closing

    def _reads_call(self, call: ToolCall, said: Mapping[str, Any]) -> bool:
        """Tell whether a call of a tool, as the template writes it, is read as that call."""
        written, prompt = self._written(call, said)
        reader = CallReader({call.name: {}})
        answer = self.reply_format.call_in(self._control_tokens.without_last(written, MARKS), prompt)
        read = [*reader.add(answer)[1], *reader.end()[1]]
        return [(one.name, one.arguments) for one in read] == [(call.name, call.arguments)]

    def _written(self, call: ToolCall, said: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the template writes of the model's turn, and what stands before it; nothing if it refuses."""
        asked = {"role": "user", "content": make_placeholder()}
        reply = {"role": "assistant", **said}
        result = {"role": "tool", "content": make_placeholder(), "tool_call_id": call.id, "name": call.name}
        parameters = {"type": "object", "properties": {"word": {"type": "string", "description": "The word"}}}
        function = {"name": call.name, "description": "Looks up a word", "parameters": parameters}
        tools = [{"type": "function", "function": function}]
        for more in ([], [result]):  # some refuse a last message of the model
            with suppress(GenerationFailed):
                prompt = self.template.render([asked], add_generation_prompt=True, tools=tools)
                whole = self.template.render([asked, reply, *more], add_generation_prompt=False, tools=tools)
                return whole.removeprefix(prompt) if whole.startswith(prompt) else whole, prompt
        return "", ""

    def _veil(self, content: str, hold: Callable[[str], str]) -> str:
        """Return what the template may see of a text: words that switch something, with the blanks beside them.

        All else is a placeholder, which `hold` gives.
        """
        parts = re.split(self._switches, content) if self._switches else [content]
        if len(parts) == 1:
            return hold(content)
        shown = ""
        for index, part in enumerate(parts):
            body = "" if index % 2 else part.strip()  # every second part is a switch
            before, _, after = part.partition(body) if body else (part, "", "")
            shown += before + (hold(body) if body else "") + after
        return shown

    def _find_switches(self) -> str:
        """Return a pattern for the template's switches that can't become control tokens where the template puts them.

        Empty if there is none.
        """
        place = make_placeholder()
        system, user = ({"role": role, "content": place} for role in ("system", "user"))
        text = self.template.render([user], add_generation_prompt=True)
        if self.template.takes_system:
            text += self.template.render([system, user], add_generation_prompt=True)
        safe = [
            word
            for word in self.template.switches
            if self._control_tokens.ids_in(text.replace(place, word)) == self._control_tokens.ids_in(text)
        ]
        # </think> holds /think, but is no switch.
        return rf"(?<![\w<])({'|'.join(map(re.escape, safe))})(?![a-zA-Z0-9_>])" if safe else ""

    def _begun_by_template(
        self, messages: Sequence[Mapping[str, Any]], asked: str, thinking: Thinking, tools: Sequence[Any]
    ) -> str:
        """Return a prompt that ends in the last message, as the template writes it; empty if it doesn't.

        It is what transformers' `continue_final_message` gives.
        """
        if self.base_model:
            return ""
        reply = messages[-1]
        begun = str(reply["content"] or reply[THOUGHT_FIELD])
        try:
            text = self.template.render(messages, add_generation_prompt=False, thinking=thinking, tools=tools)
        except GenerationFailed:
            return ""
        before, found, _ = text.rpartition(begun)
        _, shown, opening = before.rpartition(asked)
        if not found or not shown:
            return ""
        closing = self.reply_format.close_thought(opening)
        return before + (f"{closing}\n\n" if closing and reply["content"] else "") + begun

    def _begun(self, text: str, asked: str, reply: Mapping[str, str]) -> str:
        """Return a prompt that ends in a reply, for a template that shows none: a thought that it opened is closed."""
        thought, closing = reply.get(THOUGHT_FIELD, ""), self.reply_format.close_thought(text.rpartition(asked)[2])
        if not reply["content"]:
            return text + ("" if closing else self.reply_format.open_thought()) + thought
        if closing:
            text += (f"{thought}\n" if thought else "") + f"{closing}\n\n"
        return text + self.reply_format.open_answer() + reply["content"]

    def _encode_around(self, text: str, contents: dict[str, str], encode_text: EncodeText) -> list[int]:
        """Encode rendered text: control tokens by id, and each run of text between two of them in one go."""
        ids: list[int] = []
        run = ""
        for part in PLACEHOLDER.split(text):
            for piece in [contents[part]] if part in contents else self._control_tokens.split(part):
                if isinstance(piece, str):
                    run += piece
                else:
                    ids += [*encode_text(run, not ids), piece]
                    run = ""
        ids = self._opening_ids + ids + encode_text(run, not ids)
        self._refuse_unreadable(ids)
        return ids

    def _refuse_unreadable(self, ids: Sequence[int]) -> None:
        if self._unreadable and (beyond := self._unreadable.keys() & set(ids)):
            raise InvalidInput("unreadable_token", token=self._unreadable[min(beyond)])

    def _try_size(self, embeddings: int | None) -> tuple[Note, ...]:
        """Say that the tokenizer has more tokens than the model, if so.

        Raises:
            ModelLoadError: the prompt of any message has one of them.
        """
        if not self._unreadable:
            return ()
        tokens, size = f"{max(self._unreadable) + 1:,}", f"{embeddings:,}"
        try:
            self.build([Message("user", "a")], "", 0)
        except InvalidInput as error:
            if error.key == "unreadable_token":
                token = error.fields["token"]
                raise ModelLoadError("template_token_beyond", token=token, tokens=tokens, embeddings=size) from None
        return (make_note("more_tokens", tokens=tokens, embeddings=size),)


def _tokens_beyond(tokenizer: Any, embeddings: int | None) -> dict[int, str]:
    """Return the tokens, by id, that the tokenizer has and the model hasn't."""
    if embeddings is None:
        return {}
    return {token_id: token for token, token_id in tokenizer.get_vocab().items() if token_id >= embeddings}


def normalise(messages: Sequence[Message], begins_with_reply: bool = False) -> list[Message]:
    """Return the turns a template can take: none empty, roles alternating, the user's first and last.

    Neighbours of one role are joined by a blank line. Calls of tools and their results stay as they are.

    Args:
        messages: the conversation.
        begins_with_reply: whether the first turn may be the model's, as a greeting is.
    """
    turns: list[Message] = []
    for message in messages:
        if message.role == "tool" or message.calls:
            turns.append(message)
        elif not message.content.strip() or (not (turns or begins_with_reply) and message.role == "assistant"):
            continue
        elif turns and turns[-1].role == message.role and not turns[-1].calls:
            thought = "\n\n".join(filter(None, (turns[-1].thought, message.thought)))
            turns[-1] = replace(message, content=f"{turns[-1].content}\n\n{message.content}", thought=thought)
        else:
            turns.append(message)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return turns


def _without_blank_first(turn: Message) -> Message:
    """Return a turn of a base model without the blank that it wrote behind its name; it is written there anyway."""
    return replace(turn, content=turn.content.removeprefix(" ")) if turn.role == "assistant" else turn


def _tokens_before_text(tokenizer: Any) -> list[int]:
    """Return the tokens that this tokenizer puts before any text; chat templates bring their own.

    Only its post-processor knows them: `bos_token` may be another, or none.
    """
    text, whole = (tokenizer("a", add_special_tokens=added).input_ids for added in (False, True))
    starts = range(len(whole) - len(text) + 1)
    start = next((start for start in starts if whole[start : start + len(text)] == text), 0)
    return list(whole[:start])


def _with_space_before(text: str, word: str) -> str:
    before, _, behind = text.rpartition(word)
    return f"{before} {word}{behind}"


def _calls(calls: Sequence[ToolCall], as_text: bool) -> list[dict[str, Any]]:
    """Return calls of tools, as templates expect them: their arguments as JSON, or as what that says.

    Source: https://huggingface.co/docs/transformers/chat_extras
    """
    return [
        {
            "type": "function",
            "id": call.id,
            "function": {"name": call.name, "arguments": call.arguments if as_text else json.loads(call.arguments)},
        }
        for call in calls
    ]


def _result(turn: Message) -> dict[str, Any]:
    """Return what a tool said, as templates expect it."""
    call = {"tool_call_id": turn.answers.id, "name": turn.answers.name} if turn.answers else {}
    return {"role": turn.role, "content": turn.content, **call}
