"""From a conversation to the token ids a model reads, for any chat template.

Pure: no model, no page, no torch. The tokenizer is any of transformers' tokenizers.

What people typed stays text. The template is rendered around placeholders; only the template's own words
may become control tokens, and the contents are encoded by a copy of the tokenizer that knows no control token.
See https://github.com/huggingface/transformers/issues/29279 for what happens otherwise.
"""

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2.exceptions import TemplateError

from hfdemo.errors import GenerationFailed, InvalidInput
from hfdemo.messages import Message

EncodeText = Callable[[str, bool], list[int]]
"""`encode(text, at_start) -> ids`, which never makes a control token of text.

`at_start` says whether the text opens the prompt: tokenizers that put a space before the first word only
must not put one before a run that follows a control token.
"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads."""

    ids: tuple[int, ...]
    dropped: int = 0
    """How many of the oldest messages fell out, because the context has no room for them."""


class PromptBuilder:
    """Turns conversations into prompts for one model.

    Args:
        tokenizer: the model's tokenizer, of any kind transformers has.
        context_limit: how many tokens the model can read and write together; None if it has no limit.
    """

    def __init__(self, tokenizer: Any, context_limit: int | None) -> None:
        self.tokenizer = tokenizer
        self.context_limit = context_limit
        self._encode_text = _text_encoder(tokenizer)
        self._control_tokens = _ControlTokens(tokenizer)
        self._takes_system = self._template_takes_system()
        self._opening_ids = [] if tokenizer.chat_template else _opening_ids(tokenizer)

    def build(self, messages: Sequence[Message], system_prompt: str, max_new_tokens: int) -> Prompt:
        """Build the prompt of a turn, leaving room for `max_new_tokens`.

        The oldest turns fall out when the context is full; the system prompt and the last message never do.

        Raises:
            InvalidInput: the system prompt and the last message alone don't fit.
            GenerationFailed: the chat template refuses any conversation.
        """
        turns = normalise(messages)
        kept = turns
        encode_text = cache(self._encode_text)  # the same turns are encoded again after the oldest fell out
        while True:
            ids = self._encode(kept, system_prompt, encode_text)
            if self.context_limit is None or len(ids) + max_new_tokens <= self.context_limit:
                return Prompt(tuple(ids), dropped=len(turns) - len(kept))
            if len(kept) == 1:
                raise InvalidInput(
                    "too_many_tokens",
                    tokens=f"{len(ids):,}",
                    max_new_tokens=f"{max_new_tokens:,}",
                    limit=f"{self.context_limit:,}",
                )
            kept = kept[2:]  # a question and its answer

    def end_of_turn_ids(self) -> set[int]:
        """Return the control tokens with which the chat template closes the model's turn."""
        if not self.tokenizer.chat_template:
            return set()
        question, answer = _placeholder(), _placeholder()
        try:
            text = self._render([("user", question), ("assistant", answer)], add_generation_prompt=False)
        except TemplateError:
            return set()
        closing = self._control_tokens.split(text.partition(answer)[2].lstrip())
        return {closing[0]} if closing and isinstance(closing[0], int) else set()

    def _encode(self, turns: Sequence[Message], system_prompt: str, encode_text: EncodeText) -> list[int]:
        contents: dict[str, str] = {}

        def hold(content: str) -> str:
            placeholder = _placeholder()
            contents[placeholder] = content
            return placeholder

        roles_and_contents: list[tuple[str, str]] = [(turn.role, hold(turn.content)) for turn in turns]
        if system_prompt.strip():
            if self._takes_system:
                roles_and_contents.insert(0, ("system", hold(system_prompt)))
            else:
                contents[roles_and_contents[0][1]] = f"{system_prompt}\n\n{turns[0].content}"
        try:
            text = self._render(roles_and_contents, add_generation_prompt=True)
        except TemplateError as error:
            raise GenerationFailed("template") from error
        return self._encode_around(text, contents, encode_text)

    def _encode_around(self, text: str, contents: dict[str, str], encode_text: EncodeText) -> list[int]:
        """Encode rendered text: control tokens by id, and each run of text between two of them in one go."""
        ids = list(self._opening_ids)
        run = ""
        for part in re.split(f"({'|'.join(contents)})", text):
            for piece in [contents[part]] if part in contents else self._control_tokens.split(part):
                if isinstance(piece, str):
                    run += piece
                else:
                    ids += [*encode_text(run, not ids), piece]
                    run = ""
        return ids + encode_text(run, not ids)

    def _render(self, roles_and_contents: Sequence[tuple[str, str]], add_generation_prompt: bool) -> str:
        if not self.tokenizer.chat_template:
            return _render_plainly(roles_and_contents)
        rendered = self.tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in roles_and_contents],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,  # a thinking model (Qwen3) answers straight away; other templates ignore it
        )
        return str(rendered)

    def _template_takes_system(self) -> bool:
        """Tell whether the template shows a system prompt: some raise on it (Gemma 2), some leave it out."""
        system = _placeholder()
        try:
            return system in self._render([("system", system), ("user", _placeholder())], add_generation_prompt=True)
        except TemplateError:
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
    """Finds the tokenizer's added tokens in the template's own words."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokens = {str(token): (token_id, token) for token_id, token in tokenizer.added_tokens_decoder.items()}
        longest_first = sorted(self._tokens, key=len, reverse=True)
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


def _text_encoder(tokenizer: Any) -> EncodeText:
    """Return an encoder for text alone: a copy of the tokenizer that knows no control token."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return lambda text, at_start: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    from tokenizers import Tokenizer

    state = json.loads(backend.to_str())
    state |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    first = Tokenizer.from_str(json.dumps(state))
    later = Tokenizer.from_str(json.dumps(_without_first_space(state)))

    def encode(text: str, at_start: bool) -> list[int]:
        encoder = first if at_start else later
        return list(encoder.encode(text, add_special_tokens=False).ids) if text else []

    return encode


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


def _placeholder() -> str:
    """Return a word no text holds; letters and digits only, so that no template changes it."""
    return f"content{secrets.token_hex(12)}end"
