"""From a conversation to the token ids a model reads, for any chat template.

Pure: no model, no page, no torch. The tokenizer is any of transformers' tokenizers.

What people typed stays text. The template is rendered around placeholders; only the template's own words
may become control tokens, and the contents are encoded by a copy of the tokenizer that knows no control token.
See https://github.com/huggingface/transformers/issues/29279 for what happens otherwise.
"""

import json
import re
import secrets
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Thinking
from hfdemo.chat.reply_format import THOUGHT_TAGS
from hfdemo.errors import GenerationFailed, InvalidInput

EncodeText = Callable[[str, bool], list[int]]
"""`encode(text, at_start) -> ids`, which never makes a control token of text.

`at_start` says whether the text opens the prompt: tokenizers that put a space before the first word only
must not put one before a run that follows a control token.
"""

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
        self.base_model = not tokenizer.chat_template
        self.stop_texts = BASE_MODEL_STOP_TEXTS if self.base_model else ()
        self.thinking_modes = _thinking_modes(tokenizer)
        control_tokens = _control_tokens(tokenizer)
        self._encode_text = _text_encoder(tokenizer, control_tokens)
        self._letter_ids = self._encode_text("a", True)
        self._control_tokens = _ControlTokens(control_tokens)
        self._longest_token_chars = max(map(len, tokenizer.get_vocab()), default=1)
        self.takes_system_prompt = self._template_takes_system()  # if not, it goes before the first message
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
                placeholder = _placeholder()
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
        if not self.tokenizer.chat_template:
            return set()
        question, answer = _placeholder(), _placeholder()
        try:
            text = self._render([("user", question), ("assistant", answer)], add_generation_prompt=False)
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
            placeholder = _placeholder()
            contents[placeholder] = content
            return placeholder

        roles_and_contents: list[tuple[str, str]] = [(turn.role, hold(turn.content)) for turn in turns]
        if system_prompt.strip():
            if self.takes_system_prompt:
                roles_and_contents.insert(0, ("system", hold(system_prompt)))
            else:
                contents[roles_and_contents[0][1]] = f"{system_prompt}\n\n{turns[0].content}"
        text = self._render(roles_and_contents, add_generation_prompt=True, thinking=thinking)
        if roles_and_contents[-1][1] not in text:  # it shows no plain text, only the parts of multimodal messages
            raise GenerationFailed("template")
        return text, contents

    def _encode_around(self, text: str, contents: dict[str, str], encode_text: EncodeText) -> list[int]:
        """Encode rendered text: control tokens by id, and each run of text between two of them in one go."""
        ids: list[int] = []
        run = ""
        for part in _PLACEHOLDER.split(text):
            for piece in [contents[part]] if part in contents else self._control_tokens.split(part):
                if isinstance(piece, str):
                    run += piece
                else:
                    ids += [*encode_text(run, not ids), piece]
                    run = ""
        return self._opening_ids + ids + encode_text(run, not ids)

    def _render(
        self,
        roles_and_contents: Sequence[tuple[str, str]],
        add_generation_prompt: bool,
        thinking: Thinking = "auto",
    ) -> str:
        if not self.tokenizer.chat_template:
            return _render_plainly(roles_and_contents)
        try:
            rendered = self.tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in roles_and_contents],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **_thinking_arguments(thinking),
            )
        except Exception as error:  # the template is a program that came with the model: it may raise anything
            raise GenerationFailed("template") from error
        return str(rendered)

    def _template_takes_system(self) -> bool:
        """Tell whether the template shows a system prompt: some raise on it (Gemma 2), some leave it out."""
        system = _placeholder()
        try:
            return system in self._render([("system", system), ("user", _placeholder())], add_generation_prompt=True)
        except GenerationFailed:
            return False


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


class _ControlTokens:
    """Finds the tokenizer's control tokens in the template's own words."""

    def __init__(self, tokens: Mapping[str, tuple[int, Any]]) -> None:
        self._tokens = tokens
        self.ids = [token_id for token_id, _ in tokens.values()]
        longest_first = sorted(tokens, key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def split(self, text: str) -> list[str | int]:
        """Split the template's words into plain text and the ids of control tokens.

        A token that swallows the white space beside it (`lstrip`, `rstrip`) does so here, too.
        """
        if self._pattern is None:
            return [text] if text else []
        pieces: list[str | int] = []
        swallow = False
        for part in self._pattern.split(text):
            if part in self._tokens:
                token_id, token = self._tokens[part]
                if token.lstrip and pieces and isinstance(pieces[-1], str):
                    pieces[-1] = pieces[-1].rstrip()
                pieces.append(token_id)
                swallow = token.rstrip
            else:
                pieces.append(part.lstrip() if swallow else part)
                swallow = False
        return [piece for piece in pieces if piece != ""]


def _control_tokens(tokenizer: Any) -> dict[str, tuple[int, Any]]:
    """Return the added tokens, with their ids, that mean more than their text.

    The others are words and white space that the vocabulary lacks: runs of spaces (GPT-NeoX), of newlines (Gemma).
    """
    return {
        str(token): (token_id, token)
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if not _is_plain(str(token), token.special)
    }


def _is_plain(token: str, special: bool) -> bool:
    text = token.replace("▁", " ").strip()
    return not text or (text.isalnum() and not special)


def _text_encoder(tokenizer: Any, control_tokens: Mapping[str, Any]) -> EncodeText:
    """Return an encoder for text alone: a copy of the tokenizer that knows no control token."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return lambda text, at_start: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    from tokenizers import Tokenizer

    state = _without_control_tokens(json.loads(backend.to_str()), control_tokens)
    state |= {"post_processor": None, "truncation": None, "padding": None}
    later_state = _without_first_space(state)
    first = Tokenizer.from_str(json.dumps(state))
    later = first if later_state == state else Tokenizer.from_str(json.dumps(later_state))

    def encode(text: str, at_start: bool) -> list[int]:
        encoder = first if at_start else later
        return list(encoder.encode(text, add_special_tokens=False).ids) if text else []

    return encode


def _without_control_tokens(state: dict[str, Any], control_tokens: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's state with control tokens renamed to words no text holds; all ids stay the same.

    Leaving them out of the added tokens isn't enough: most vocabularies hold them, too, and Unigram, BPE with
    such merges and BPE that ignores merges find them there.
    """
    names = {token: _placeholder() for token in control_tokens}
    added_tokens = [
        token | {"content": names.get(token["content"], token["content"])} for token in state["added_tokens"]
    ]
    model = dict(state["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): piece_id for piece, piece_id in model["vocab"].items()}
    else:  # Unigram: pairs of piece and score
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if left not in names and right not in names and left + right not in names
        ]
    if model.get("unk_token"):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return state | {"added_tokens": added_tokens, "model": model}


def _without_first_space(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's state with Metaspace's `prepend_scheme` "first" switched off."""
    pre_tokenizer = state.get("pre_tokenizer") or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    changed = [step | {"prepend_scheme": "never"} if step.get("prepend_scheme") == "first" else step for step in steps]
    if "pretokenizers" in pre_tokenizer:
        return state | {"pre_tokenizer": pre_tokenizer | {"pretokenizers": changed}}
    return state | {"pre_tokenizer": changed[0] or None}


def _opening_ids(tokenizer: Any) -> list[int]:
    """Return the token that opens any text of this tokenizer, if it has one; chat templates bring their own."""
    ids = tokenizer("").input_ids
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _render_plainly(roles_and_contents: Sequence[tuple[str, str]]) -> str:
    """Render the beginners' tutorial's System/User/Assistant prompt, for models without a chat template."""
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    turns = [f"{names[role]}: {content}\n" for role, content in roles_and_contents]
    return "".join(turns) + "Assistant:"


def _thinking_modes(tokenizer: Any) -> tuple[Thinking, ...]:
    """Return what the chat template can be asked for, by the variables it reads."""
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    efforts: tuple[Thinking, ...] = ("low", "medium", "high") if "reasoning_effort" in template else ()
    switch: tuple[Thinking, ...] = ("off", "on") if "enable_thinking" in template else ()
    return switch + efforts


def _thinking_arguments(thinking: Thinking) -> dict[str, Any]:
    """Return the template's variables for a wish; templates leave alone those they don't know.

    `enable_thinking` is Qwen3's, SmolLM3's and EXAONE 4's; `reasoning_effort` is gpt-oss's.
    """
    arguments: dict[str, Any] = {"enable_thinking": thinking not in ("auto", "off")}
    if thinking in ("low", "medium", "high"):
        arguments["reasoning_effort"] = thinking
    return arguments


def _open_thought(text: str) -> str | None:
    """Return the closing tag of a thought that a rendered prompt ends in, as DeepSeek-R1's template does."""
    for opening, closing in THOUGHT_TAGS:
        if text.rstrip().endswith(opening):
            return closing
    return None


_PLACEHOLDER = re.compile("(content[0-9a-f]{24}end)")


def _placeholder() -> str:
    """Return a word no text holds; letters and digits only, so that no template changes it."""
    return f"content{secrets.token_hex(12)}end"
