"""From the token ids that `generate` makes to the text a person reads, with a way to stop in between.

transformers' own `TextIteratorStreamer` holds text back until a space, leaves its reader waiting for ever
when `generate` raises, and can't be stopped; this subclass mends the three.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty
from threading import Event
from typing import Any

from torch import Tensor
from torch.nn import Module
from transformers import TextIteratorStreamer

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that aren't a character, or not yet."""


class Stopped(Exception):
    """Raised inside `generate` to end it, because nobody wants the rest of the reply."""


class Detokenizer:
    """Turns token ids into text as soon as its characters are whole.

    Only the last few tokens are decoded again, so a step costs the same at any length. They are decoded behind
    the tokens before them, because a tokenizer may write a word differently at the start of a text.
    Source: the offsets of text-generation-inference, `Model.decode_token`
    (https://github.com/huggingface/text-generation-inference/blob/main/server/text_generation_server/models/model.py).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._hidden = set(tokenizer.all_special_ids)
        self._before: list[int] = []  # already told in full: only context for what follows
        self._ids: list[int] = []
        self._told = ""  # what has been told of `_ids`

    def add(self, token_id: int) -> str:
        """Take one token and return the text that became complete, which may be none."""
        if token_id in self._hidden:
            return ""
        self._ids.append(token_id)
        text = self._text()
        whole = text.rstrip(REPLACEMENT)  # a character that is still coming ends in U+FFFD
        new = whole[len(self._told) :]
        if text and whole == text:
            self._before, self._ids, self._told = self._ids, [], ""
        elif new:
            self._told = whole
        return new

    def end(self) -> str:
        """Return what is left, also half a character, so that all pieces together are the decoded reply."""
        return self._text()[len(self._told) :]

    def _text(self) -> str:
        before = self._decode(self._before)
        return self._decode(self._before + self._ids)[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class TokenStreamer(TextIteratorStreamer):
    """Hands the text of one reply from the thread that generates to the one that shows it.

    `generate` calls `put` and `end`; the reader calls `pieces`. Exactly one end, or one error, always comes:
    whoever calls `generate` calls `fail` when it raises.

    Args:
        tokenizer: the model's tokenizer.
        stop: set by anyone to end the reply; `put` then raises `Stopped`.
    """

    def __init__(self, tokenizer: Any, stop: Event) -> None:
        super().__init__(tokenizer, skip_prompt=True)
        self.token_ids: list[int] = []
        self._prompt_comes = True
        self.on_first_token: Callable[[], None] = lambda: None
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = stop

    def put(self, value: Tensor) -> None:
        """Take the prompt (first call, shape [1, prompt tokens]) or the next token (shape [1])."""
        if self._stop.is_set():
            raise Stopped
        if self._prompt_comes:
            self._prompt_comes = False
            return
        if not self.token_ids:
            self.on_first_token()
        for token_id in value.flatten().tolist():
            self.token_ids.append(token_id)
            if text := self._detokenizer.add(token_id):
                self.text_queue.put(text)

    def end(self) -> None:
        """Say that the reply is complete."""
        if text := self._detokenizer.end():
            self.text_queue.put(text)
        self.text_queue.put(self.stop_signal)

    def fail(self, error: BaseException) -> None:
        """Say that the reply ended by an error."""
        self.text_queue.put(error)

    def pieces(self, heartbeat_s: float) -> Iterator[str]:
        """Yield the text in pieces, and an empty one when none came for `heartbeat_s` seconds.

        Raises:
            Stopped: the reply was stopped.
            Exception: what `fail` was given.
        """
        while True:
            try:
                item = self.text_queue.get(timeout=heartbeat_s)
            except Empty:
                yield ""
                continue
            if item is self.stop_signal:
                return
            if isinstance(item, BaseException):
                raise item
            yield item


@contextmanager
def interruptible(layers: Sequence[Module], stop: Event) -> Iterator[Callable[[], None]]:
    """Let `stop` end a forward pass in the midst of the model's layers, by raising `Stopped`.

    A streamer and a stopping criterion are asked between tokens only, and reading a long prompt takes seconds.
    What is yielded takes the checks out: once the prompt is read, the streamer's own is enough, and free.
    """

    def check(*_: object) -> None:
        if stop.is_set():
            raise Stopped

    handles = [module.register_forward_pre_hook(check) for layer in layers for module in layer.modules()]

    def lift() -> None:
        while handles:
            handles.pop().remove()

    try:
        yield lift
    finally:
        lift()
