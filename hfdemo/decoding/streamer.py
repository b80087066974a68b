"""From the token ids that `generate` makes to the text a person reads, with a way to stop in between.

transformers' own `TextIteratorStreamer` holds text back until a space, leaves its reader waiting for ever
when `generate` raises, and can't be stopped; this subclass mends the three.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty
from threading import Event
from typing import Any

from torch import Tensor
from torch.nn import Module
from transformers import LogitsProcessor, TextIteratorStreamer

from hfdemo.chat.messages import FinishReason
from hfdemo.chat.reply_format import hold_back
from hfdemo.decoding.sampling import refuse_no_number
from hfdemo.engines.protocol import HEARTBEAT_S

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that aren't a character, or not yet."""


class Stopped(Exception):
    """Raised inside `generate` to end it, because nobody wants the rest of the reply."""


class Finished(Exception):
    """Raised inside `generate` to end it, because the reply is complete."""

    def __init__(self, reason: FinishReason) -> None:
        self.reason = reason
        super().__init__(reason)


class Detokenizer:
    """Turns token ids into text as soon as its characters are whole.

    Only the last few tokens are decoded again, so a step costs the same at any length. They are decoded behind
    the tokens before them, because a tokenizer may write a word differently at the start of a text.

    Args:
        tokenizer: the model's tokenizer.
        before: the last tokens before the text, if it goes on from one.

    Source: the offsets of text-generation-inference, `Model.decode_token`
    (https://github.com/huggingface/text-generation-inference/blob/main/server/text_generation_server/models/model.py).
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._hidden = set(tokenizer.all_special_ids)
        self._before = list(before)  # already told in full: only context for what follows
        self._before_text = self._decode(self._before)
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
            self._before_text = self._decode(self._before)
        elif new:
            self._told = whole
        return new

    def end(self) -> str:
        """Return what is left, also half a character, so that all pieces together are the decoded reply."""
        return self._text()[len(self._told) :]

    def _text(self) -> str:
        return self._decode(self._before + self._ids)[len(self._before_text) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class FiniteLogits(LogitsProcessor):
    """Ends a reply whose logits are no numbers any more, where `generate` chooses the tokens."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores, of shape [1, vocabulary], as they are.

        Raises:
            GenerationFailed: one of them is NaN or plus infinity.
        """
        refuse_no_number(scores.max())
        return scores


class StopTexts:
    """Ends a reply at the first stop text, which is never shown; nor is its beginning, while it may become one.

    The first is the one that is whole first, so that it doesn't matter in which pieces the reply comes.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""
        self.found = False

    def begin(self, text: str) -> str:
        """Take the beginning of a reply that is known already: it ends nothing, but a stop text may begin in it."""
        shown, self._held = hold_back(text, self._texts)
        return shown

    def add(self, text: str) -> str:
        """Take the next piece of the reply and return what can be shown."""
        if self.found or not self._texts:
            return "" if self.found else text
        self._held += text
        found = [
            (self._held.find(stop) + len(stop), self._held.find(stop)) for stop in self._texts if stop in self._held
        ]
        if found:
            _, start = min(found)
            shown, self._held, self.found = self._held[:start], "", True
            return shown
        shown, self._held = hold_back(self._held, self._texts)
        return shown

    def end(self) -> str:
        """Return what was held back and became no stop text."""
        held, self._held = self._held, ""
        return held


def gathering_s(reply_s: float) -> float:
    """Return how long text is gathered before it is handed over, when its reply has taken so many seconds.

    Whoever takes it does so on a core that computes: a browser on the same machine takes some 20 ms to draw it. So
    the first words come as they are made, and later ones in larger pieces, when the reader has enough to read. No
    heartbeat comes between two pieces: it would be drawn, too.
    """
    return min(max(reply_s / 5, 0.04), 0.8 * HEARTBEAT_S)


class TokenStreamer(TextIteratorStreamer):
    """Hands the text of one reply from the thread that generates to the one that shows it.

    `generate` calls `put` and `end`; the reader calls `pieces`. Exactly one end, or one error, always comes:
    whoever calls `generate` calls `fail` when it raises.

    Args:
        tokenizer: the model's tokenizer.
        stop: set by anyone to end the reply; `put` then raises `Stopped`.
        stop_texts: texts that end the reply; `put` then raises `Finished`.
        time_limit_s: how long the reply may take from when the prompt comes; `put` then raises `Finished`.
        before: the last tokens of the prompt, if the reply goes on from text in it.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Event,
        stop_texts: Sequence[str] = (),
        time_limit_s: float = math.inf,
        before: Sequence[int] = (),
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True)
        self.token_ids: list[int] = []
        self.text = ""
        self.first_token_at = 0.0
        self.last_token_at = 0.0
        self.on_first_token: Callable[[], None] = lambda: None
        self._prompt_comes = True
        self._detokenizer = Detokenizer(tokenizer, before)
        self._stop = stop
        self._stop_texts = StopTexts(stop_texts)
        self._time_limit_s = time_limit_s
        self._deadline = math.inf
        self._ended_by: FinishReason | None = None
        self._gathered = ""
        self._handed_over_at = -math.inf

    def end_soon(self, reason: FinishReason) -> None:
        """Let the reply end with what it has, at the next step; may be called from any thread."""
        self._ended_by = reason

    def check(self) -> None:
        """Find out whether the reply has to end now; called between the steps of the model, and in them.

        Raises:
            Stopped: nobody wants the rest.
            Finished: its time is over, or `end_soon` was called.
        """
        if self._stop.is_set():
            raise Stopped
        if self._ended_by:
            raise Finished(self._ended_by)
        if time.monotonic() > self._deadline:
            raise Finished("time_limit")

    def resume(self, token_ids: Sequence[int]) -> None:
        """Begin with the tokens of a reply that was cut off; their text comes as the first piece."""
        self.token_ids = list(token_ids)
        self._hand_over(self._stop_texts.begin("".join(map(self._detokenizer.add, token_ids))))

    def begin_with(self, text: str) -> None:
        """Begin with text that the prompt ends in; it comes as the first piece."""
        self._hand_over(self._stop_texts.begin(text))

    def put(self, value: Tensor) -> None:
        """Take the prompt (first call, shape [1, prompt tokens]) or the next token (shape [1])."""
        if self._prompt_comes:
            self.begin()
            return
        for token_id in value.flatten().tolist():
            self.add(token_id)

    def begin(self) -> None:
        """Take note that the prompt is about to be read.

        Raises:
            Stopped: nobody wants the reply any more.
        """
        if self._stop.is_set():
            raise Stopped
        self._prompt_comes = False
        self._deadline = time.monotonic() + self._time_limit_s  # not before: the reply may have waited in line

    def add(self, token_id: int) -> None:
        """Take the next token.

        Raises:
            Stopped, Finished: it was the last one, as a stop text is whole or as `check` says.
        """
        if self._stop.is_set():
            raise Stopped
        self.last_token_at = time.monotonic()
        if not self.first_token_at:
            self.first_token_at = self.last_token_at
            self.on_first_token()
        self.token_ids.append(token_id)
        self._show(self._detokenizer.add(token_id))
        if self._stop_texts.found:
            raise Finished("stop_text")
        self.check()

    def end(self) -> None:
        """Say that the reply is complete."""
        self._show(self._detokenizer.end())
        self._hand_over(self._stop_texts.end())
        self._hand_over_all()
        self.text_queue.put(self.stop_signal)

    def _show(self, text: str) -> None:
        self._hand_over(self._stop_texts.add(text))

    def _hand_over(self, text: str) -> None:
        if not text:
            return
        self.text += text
        self._gathered += text
        now = time.monotonic()
        if now - self._handed_over_at >= gathering_s(now - self.first_token_at if self.first_token_at else 0):
            self._hand_over_all()

    def _hand_over_all(self) -> None:
        if self._gathered:
            self.text_queue.put(self._gathered)
            self._gathered, self._handed_over_at = "", time.monotonic()

    def fail(self, error: BaseException) -> None:
        """Say that the reply ended by an error."""
        self._hand_over_all()
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
def interruptible(layers: Sequence[Module], check: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Let `check` end a forward pass in the midst of the model's layers, by what it raises.

    A streamer and a stopping criterion are asked between tokens only, and reading a long prompt takes seconds.
    What is yielded takes the checks out: once the prompt is read, the streamer's own is enough, and free.
    """
    handles = [module.register_forward_pre_hook(lambda *_: check()) for layer in layers for module in layer.modules()]

    def lift() -> None:
        while handles:
            handles.pop().remove()

    try:
        yield lift
    finally:
        lift()
