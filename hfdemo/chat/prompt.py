"""From a conversation to the token ids a model reads, for any chat template.

Pure: no model, no page, no torch. The tokenizer is any of transformers' tokenizers.

What people typed stays text. The template is rendered around placeholders; only the template's own words
may become control tokens, and the contents are encoded by a copy of the tokenizer that knows no control token.
See https://github.com/huggingface/transformers/issues/29279 for what happens otherwise.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hfdemo.chat.encoder import ControlTokens, EncodeText, find_control_tokens, make_text_encoder
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Thinking
from hfdemo.chat.reply_format import THOUGHT_TAGS
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
    open_thought: str | None = None
    """The tag that will close the thought, if the template opened one for the model."""


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
        self._opening_ids = _opening_ids(tokenizer) if self.base_model else []

    def build(
        self,
        messages: Sequence[Message],
        system_prompt: str,
        max_new_tokens: int,
        *,
        reply_start: str = "",
        reply_ids: Sequence[int] = (),
        thinking: Thinking = "auto",
    ) -> Prompt:
        """Build the prompt of a turn, leaving room for `max_new_tokens`.

        The oldest turns fall out when the context is full; the system prompt and the last message never do.

        Args:
            messages: the conversation; its last message is the user's.
            system_prompt: may be empty.
            max_new_tokens: how many tokens the reply may have.
            reply_start: text that the model's reply begins with.
            reply_ids: the same as tokens, where they are known, as of a reply that was cut off.
            thinking: whether a thinking model shall think first.

        Raises:
            InvalidInput: there is no message, or the system prompt and the last message alone don't fit.
            GenerationFailed: the chat template refuses any conversation.
        """
        turns = normalise(messages)
        if not turns:
            raise InvalidInput("empty_message")
        self._refuse_far_too_long([system_prompt, turns[-1].content, reply_start], max_new_tokens)
        encode_text = cache(self._encode_text)  # the same turns are encoded again after the oldest fell out
        open_thought: str | None = None

        @cache
        def ids_from(start: int) -> tuple[int, ...]:
            nonlocal open_thought
            text, contents = self._lay_out(turns[start:], system_prompt, thinking)
            open_thought = _open_thought(text)
            if reply_start and not reply_ids:
                placeholder = make_placeholder()
                space = " " if self.base_model and not reply_start[0].isspace() else ""
                text, contents[placeholder] = text + placeholder, space + reply_start
            return (*self._encode_around(text, contents, encode_text), *reply_ids)

        def fits(start: int) -> bool:
            if self._are_far_too_long([system_prompt, *(turn.content for turn in turns[start:]), reply_start]):
                return False
            return self.context_limit is None or len(ids_from(start)) + max_new_tokens <= self.context_limit

        starts = range(0, len(turns), 2)  # a question falls out together with its answer
        start = 0 if fits(0) else starts[bisect_left(starts[:-1], True, key=fits)]
        if not fits(start):
            raise self._too_long(f"{len(ids_from(start)):,}", max_new_tokens)
        return Prompt(ids_from(start), dropped=start, open_thought=open_thought)

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

    def _lay_out(self, turns: Sequence[Message], system_prompt: str, thinking: Thinking) -> tuple[str, dict[str, str]]:
        """Render the template around placeholders, and return the text and what they stand for."""
        contents: dict[str, str] = {}

        def hold(content: str) -> str:
            placeholder = make_placeholder()
            contents[placeholder] = content
            return placeholder

        roles_and_contents: list[tuple[str, str]] = [(turn.role, hold(turn.content)) for turn in turns]
        if system_prompt.strip():
            if self.template.takes_system:
                roles_and_contents.insert(0, ("system", hold(system_prompt)))
            else:  # it goes before the first message
                contents[roles_and_contents[0][1]] = f"{system_prompt}\n\n{turns[0].content}"
        text = self.template.render(roles_and_contents, add_generation_prompt=True, thinking=thinking)
        if roles_and_contents[-1][1] not in text:  # it shows no plain text, only the parts of multimodal messages
            raise GenerationFailed("template")
        return text, contents

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
            turns[-1] = Message(message.role, f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(message)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return turns


def _opening_ids(tokenizer: Any) -> list[int]:
    """Return the token that opens any text of this tokenizer, if it has one; chat templates bring their own."""
    ids = tokenizer("").input_ids
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _open_thought(text: str) -> str | None:
    """Return the closing tag of a thought that a rendered prompt ends in, as DeepSeek-R1's template does."""
    for opening, closing in THOUGHT_TAGS:
        if text.rstrip().endswith(opening):
            return closing
    return None
