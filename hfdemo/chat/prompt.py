"""From a conversation to the token ids a model reads, for any chat template.

Pure: no model, no page, no torch. The tokenizer is any of transformers' tokenizers.

What people typed stays text. The template is rendered around placeholders; only the template's own words
may become control tokens, and the contents are encoded by a copy of the tokenizer that knows no control token.
See https://github.com/huggingface/transformers/issues/29279 for what happens otherwise.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hfdemo.chat.encoder import ControlTokens, EncodeText, find_control_tokens, make_text_encoder
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Thinking
from hfdemo.chat.reply_format import find_reply_format
from hfdemo.chat.reply_reader import THOUGHT_FIELD
from hfdemo.chat.template import PLACEHOLDER, ChatTemplate, make_placeholder
from hfdemo.errors import GenerationFailed, InvalidInput

CHEAP_TO_ENCODE_CHARS = 100_000
"""Encoding a million characters takes most of a second."""

BASE_MODEL_STOP_TEXTS = ("\nSystem:", "\nUser:", "\nAssistant:")
"""A base model goes on to write the user's next message, too; there its reply ends."""


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
    """

    def __init__(self, tokenizer: Any, context_limit: int | None) -> None:
        self.tokenizer = tokenizer
        self.context_limit = context_limit
        self.template = ChatTemplate(tokenizer)
        self.base_model = self.template.of_base_model
        self.stop_texts = BASE_MODEL_STOP_TEXTS if self.base_model else ()
        self.thinking_modes = self.template.modes
        control_tokens = find_control_tokens(tokenizer)
        self._encode_text = make_text_encoder(tokenizer, control_tokens)
        self._letter_ids = self._encode_text("a", True)
        self._control_tokens = ControlTokens(control_tokens)
        self._longest_token_chars = max(map(len, tokenizer.get_vocab()), default=1)
        self.reply_format = find_reply_format(tokenizer, self.template, control_tokens)
        self._opening_ids = _opening_ids(tokenizer) if self.base_model else []

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

        Raises:
            InvalidInput: there is no message, or the system prompt and the last message alone don't fit.
            GenerationFailed: the chat template refuses any conversation.
        """
        turns = normalise(messages)
        if not turns:
            raise InvalidInput("empty_message")
        begins_with = ("", "") if reply_ids else (reply_start, thought_start)
        self._refuse_far_too_long([system_prompt, turns[-1].content, reply_start, thought_start], max_new_tokens)
        encode_text = cache(self._encode_text)  # the same turns are encoded again after the oldest fell out
        opening = ""

        @cache
        def ids_from(start: int) -> tuple[int, ...]:
            nonlocal opening
            laid_out = self._lay_out(turns[start:], system_prompt, thinking, *begins_with)
            opening = self.reply_format.opening(laid_out.opening)
            return (*self._encode_around(laid_out.text, laid_out.contents, encode_text), *reply_ids)

        def fits(start: int) -> bool:
            texts = (text for turn in turns[start:] for text in (turn.content, turn.thought))
            if self._are_far_too_long([system_prompt, *texts, reply_start, thought_start]):
                return False
            return self.context_limit is None or len(ids_from(start)) + max_new_tokens <= self.context_limit

        starts = range(0, len(turns), 2)  # a question falls out together with its answer
        start = 0 if fits(0) else starts[bisect_left(starts[:-1], True, key=fits)]
        if not fits(start):
            raise self._too_long(f"{len(ids_from(start)):,}", max_new_tokens)
        return Prompt(ids_from(start), dropped=start, opening=opening)

    def show(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """Return each token as text, and whether it is a control token."""
        control = set(self._control_tokens.ids) | set(self.tokenizer.all_special_ids)
        shown = {
            token_id: self.text([token_id]) if token_id in control else self.text_within([token_id])
            for token_id in set(ids)
        }
        return [(shown[token_id], token_id in control) for token_id in ids]

    def end_of_turn_ids(self) -> set[int]:
        """Return the control tokens with which the chat template closes the model's turn."""
        if self.base_model:
            return set()
        question, answer = make_placeholder(), make_placeholder()
        try:
            text = self.template.render([("user", question), ("assistant", answer)], add_generation_prompt=False)
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
        self, turns: Sequence[Message], system_prompt: str, thinking: Thinking, reply_start: str, thought_start: str
    ) -> "_Layout":
        """Render the template around placeholders.

        Raises:
            GenerationFailed: the template refuses the conversation, or doesn't show its last message.
        """
        contents: dict[str, str] = {}

        def hold(content: str) -> str:
            placeholder = make_placeholder()
            contents[placeholder] = content
            return placeholder

        def laid_out(turn: Message) -> dict[str, str]:
            message = {"role": turn.role, "content": hold(turn.content) if turn.content else ""}
            return message | ({THOUGHT_FIELD: hold(turn.thought)} if turn.thought else {})

        messages = [laid_out(turn) for turn in turns]
        asked = messages[-1]["content"]
        if system_prompt.strip():
            if self.template.takes_system:
                messages.insert(0, {"role": "system", "content": hold(system_prompt)})
            else:  # it goes before the first message
                contents[messages[0]["content"]] = f"{system_prompt}\n\n{turns[0].content}"
        text = self.template.render_messages(messages, add_generation_prompt=True, thinking=thinking)
        if asked not in text:  # it shows no plain text, only the parts of multimodal messages
            raise GenerationFailed("template")
        if reply_start or thought_start:
            reply = laid_out(Message("assistant", reply_start, thought_start))
            text = self._begun_by_template([*messages, reply], thinking) or self._begun(text, asked, reply)
            if self.base_model and not (reply_start or thought_start)[0].isspace():
                text = _with_space_before(text, PLACEHOLDER.findall(text)[-1])
        return _Layout(text, contents, text.rpartition(asked)[2])

    def _begun_by_template(self, messages: Sequence[Mapping[str, str]], thinking: Thinking) -> str:
        """Return a prompt that ends in the last message, as the template writes it; empty if it doesn't.

        It is what transformers' `continue_final_message` gives.
        """
        if self.base_model:
            return ""
        reply = messages[-1]
        begun = reply["content"] or reply[THOUGHT_FIELD]
        try:
            text = self.template.render_messages(messages, add_generation_prompt=False, thinking=thinking)
        except GenerationFailed:
            return ""
        before, found, _ = text.rpartition(begun)
        if not found or not before.rpartition(messages[-2]["content"])[1]:
            return ""
        closing = self.reply_format.close_thought(before.rpartition(messages[-2]["content"])[2])
        return before + (f"{closing}\n\n" if closing and reply["content"] else "") + begun

    def _begun(self, text: str, asked: str, reply: Mapping[str, str]) -> str:
        """Return a prompt that ends in a reply, for a template that shows none: a thought that it opened is closed."""
        thought, closing = reply.get(THOUGHT_FIELD, ""), self.reply_format.close_thought(text.rpartition(asked)[2])
        if not reply["content"]:
            return text + ("" if closing else self.reply_format.open_thought()) + thought
        thought = f"{thought}\n{closing}\n\n" if closing and thought else closing and f"{closing}\n\n"
        return text + thought + self.reply_format.open_answer() + reply["content"]

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
        return self._opening_ids + ids + encode_text(run, not ids)


def normalise(messages: Sequence[Message]) -> list[Message]:
    """Return the turns a template can take: none empty, roles alternating, the user's first and last.

    Neighbours of one role are joined by a blank line.
    """
    turns: list[Message] = []
    for message in messages:
        if not message.content.strip() or (not turns and message.role == "assistant"):
            continue
        if turns and turns[-1].role == message.role:
            turns[-1] = replace(message, content=f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(message)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return turns


def _opening_ids(tokenizer: Any) -> list[int]:
    """Return the token that opens any text of this tokenizer, if it has one; chat templates bring their own."""
    ids = tokenizer("").input_ids
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _with_space_before(text: str, word: str) -> str:
    before, _, behind = text.rpartition(word)
    return f"{before} {word}{behind}"
