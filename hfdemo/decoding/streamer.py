"""From the token ids of one reply to the pieces that a reader gets, from one thread to another.

transformers' own `TextIteratorStreamer` holds text back until a space, leaves its reader waiting for ever when
`generate` raises, and knows nothing of thought. This subclass tells each character at once, and always an end.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from threading import Event
from typing import Any

from torch import Tensor
from transformers import TextIteratorStreamer

from hfdemo.chat.reply import HEARTBEAT_S, Delta, Receipt, Token
from hfdemo.chat.reply_format import ReplyFormat
from hfdemo.chat.stop_texts import StopTexts
from hfdemo.decoding.detokenizer import Detokenizer


def gathering_s(reply_s: float) -> float:
    """Return how long text is gathered before a reader gets it, when its reply has taken so many seconds.

    Whoever reads does so on a core that computes: a browser on the same machine takes some 20 ms to draw it. So the
    first words come as they are made, and later ones in larger pieces, when the reader has enough to read. No
    heartbeat comes between two pieces: it would be drawn, too.
    """
    return min(max(reply_s / 5, 0.04), 0.8 * HEARTBEAT_S)


class TokenStreamer(TextIteratorStreamer):
    """Takes the tokens of one reply in the thread that computes, and gives its text to a reader in another.

    Exactly one end always comes: whoever writes the reply calls `finish` or `fail`.

    Args:
        tokenizer: the model's tokenizer.
        end_ids: the tokens that end a reply; they have no text.
        stop_texts: texts that end the reply; they look at the answer only.
        reply_format: how thought and answer are marked.
        opening: how the prompt begins the reply.
        before: the last tokens of the prompt, if the reply goes on from text in it.
    """

    def __init__(
        self,
        tokenizer: Any,
        end_ids: Collection[int] = (),
        stop_texts: Sequence[str] = (),
        reply_format: ReplyFormat | None = None,
        opening: str = "",
        before: Sequence[int] = (),
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True)
        self.token_ids: list[int] = []
        self.thought = self.text = ""
        """What can be read of the reply."""
        self.first_token_at = self.last_token_at = self.first_text_at = 0.0
        self._prompt_comes = True
        self._end_ids = end_ids
        reply_format = reply_format or ReplyFormat()
        self._detokenizer = Detokenizer(tokenizer, before, reply_format.symbols)
        self._reader = reply_format.reader(opening)
        self._stop_texts = StopTexts(stop_texts)
        self._pieces: deque[Delta] = deque()
        self._news, self._ended = Event(), Event()
        self._outcome: Receipt | BaseException | None = None

    @property
    def stop_text_found(self) -> bool:
        """Whether a stop text came."""
        return self._stop_texts.found

    @property
    def in_thought(self) -> bool:
        """Whether what comes next is known to be thought."""
        return self._reader.in_thought

    def resume(self, token_ids: Sequence[int]) -> None:
        """Begin with the tokens of a reply that was cut off; their text comes as the first piece."""
        self.token_ids = list(token_ids)
        self.begin_with("".join(map(self._detokenizer.add, token_ids)))

    def begin_with(self, text: str) -> None:
        """Begin with text that the prompt ends in; it comes as the first piece."""
        self._begin(self._reader.add(text))

    def go_on_from(self, text: str, thought: str) -> None:
        """Begin with the answer and the thought of a reply that was cut off; they come as the first piece."""
        self._reader.go_on_from(text, thought)
        self._begin(Delta(text, thought))

    def _begin(self, told: Delta) -> None:
        text, thought = told.added_to("", "")
        self._tell(Delta(self._stop_texts.begin(text), thought))

    def put(self, value: Tensor) -> None:
        """Take the prompt (first call, shape [1, prompt tokens]) or the next token (shape [1]), as `generate` does."""
        if self._prompt_comes:
            self._prompt_comes = False
            return
        for token_id in value.flatten().tolist():
            self.add(token_id)

    def end(self) -> None:
        """Do nothing: `generate` calls this before it is known how the reply ended."""

    def add(self, token_id: int, told: Token | None = None) -> None:
        """Take the next token, and what its reader is told of it."""
        self.last_token_at = time.monotonic()
        self.first_token_at = self.first_token_at or self.last_token_at
        self.token_ids.append(token_id)
        if token_id not in self._end_ids:
            if told:
                self._pieces.append(Delta(tokens=(told,)))
            self._show(self._reader.add(self._detokenizer.add(token_id)))

    def complete(self) -> None:
        """Tell what was held back, but for half a character: the beginning of a tag or of a stop text."""
        self._show(self._reader.add(self._detokenizer.end()).then(self._reader.end()))
        self._tell(Delta(self._stop_texts.end()))

    def finish(self, receipt: Receipt) -> None:
        """Give the reader the end."""
        self._end_with(receipt)

    def fail(self, error: BaseException) -> None:
        """Let the reader know that the reply ended by an error, behind what came before."""
        self._end_with(error)

    def deltas(
        self, prompt_tokens: int = 0, interval_s: float = 0.0, ahead: Callable[[], int] = lambda: 0
    ) -> Iterator[Delta]:
        """Yield the reply in pieces, and one without text whenever none came for `HEARTBEAT_S` seconds.

        Args:
            prompt_tokens: how many tokens of the context the prompt takes.
            interval_s: pieces come no more often than this.
            ahead: tells how many replies have to be finished before this one is begun.

        Raises:
            BaseException: what `fail` was given.
        """
        while True:
            came = self._news.wait(HEARTBEAT_S)
            self._news.clear()
            ended = self._ended.is_set()  # looked at before the pieces are taken, so that none is missed
            piece = Delta(used_tokens=prompt_tokens + len(self.token_ids))
            while self._pieces:
                piece = piece.then(self._pieces.popleft())
            if isinstance(self._outcome, BaseException) and ended:
                if piece.text or piece.thought or piece.answer_was_thought:
                    yield piece
                raise self._outcome
            if isinstance(self._outcome, Receipt) and ended:
                yield piece.then(Delta(receipt=self._outcome))
                return
            yield piece if came else piece.then(Delta(ahead=ahead()))
            reply_s = time.monotonic() - self.first_token_at if self.first_token_at else 0.0
            self._ended.wait(max(gathering_s(reply_s), interval_s) if came else 0.0)

    def _show(self, told: Delta) -> None:
        self._tell(told if self._reader.answer_may_be_thought else self._stop_texts.look_at(told))

    def _tell(self, told: Delta) -> None:
        if not (told.thought or told.text or told.answer_was_thought):
            return
        if told.answer_was_thought:
            self.first_text_at = 0.0
        if told.text and not self.first_text_at:
            self.first_text_at = time.monotonic()
        self.text, self.thought = told.added_to(self.text, self.thought)
        self._pieces.append(told)
        self._news.set()

    def _end_with(self, outcome: Receipt | BaseException) -> None:
        self._outcome = outcome
        self._ended.set()
        self._news.set()
