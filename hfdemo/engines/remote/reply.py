"""From the pieces that a server sends to those that a reader gets; pure."""

import time
from dataclasses import replace

from hfdemo.chat.messages import replace_surrogates
from hfdemo.chat.reply import Delta, FinishReason, Receipt
from hfdemo.chat.reply_format import PLAIN, usual_format
from hfdemo.chat.request import ChatRequest
from hfdemo.chat.stop_texts import StopTexts
from hfdemo.engines.remote.calls import CallsComing
from hfdemo.engines.remote.events import Chunk, Usage

FILTERED = ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "error_toxic")
"""How servers call the end of a reply that they don't want."""
BROKEN = (
    *("error", "abort", "aborted", "cancelled", "canceled", "user_cancel", "timeout", "network_error"),
    "insufficient_system_resource",
)
"""How servers call an end that is none."""
TOO_LONG = ("length", "max_tokens", "max_output_tokens", "model_length", "error_limit")
"""How servers call the end of a reply that has as many tokens as it may have, or as the context holds."""

ECHO_CHARS = 20
"""How long the beginning of a reply must be to tell that a server says it again; less may be said twice by chance."""


class RemoteReply:
    """One reply that comes. Stop texts are looked for here: a server would find them in the thought, too.

    Args:
        request: what was asked.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._within_thought = bool(request.thought_start and not request.reply_start)
        self._format = PLAIN if request.completes else usual_format()
        self._reader = self._format.reader("<think>" if self._within_thought else "")
        self._stop_texts = StopTexts(request.options.stop_texts)
        self._echo = request.reply_start if len(request.reply_start) >= ECHO_CHARS else ""
        self._maybe_echo = ""
        self._half = ""  # of a character that a server sends as two escapes
        self._text = self._thought = ""
        self._asked_at = time.monotonic()
        self._first_at = self._last_at = self._answer_at = 0.0
        self._pieces = 0
        self._usage: Usage | None = None
        self._calls = CallsComing()
        self.finish = self.model = ""
        """Why the reply ended, in the server's word, and the model that it names."""

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._pieces > 0

    @property
    def stop_text_found(self) -> bool:
        """Whether a stop text came."""
        return self._stop_texts.found

    @property
    def used_tokens(self) -> int:
        """How many tokens the conversation takes up to now; 0 while the server doesn't tell."""
        return self._usage.prompt_tokens + self._usage.new_tokens if self._usage else 0

    def begin(self) -> Delta:
        """Return what the reply goes on from; it is the first piece."""
        text, thought = self._request.reply_start, self._request.thought_start
        if not text and not thought:
            return Delta()
        self._reader.go_on_from(text, thought)
        return Delta(self._stop_texts.begin(text), thought)

    def add(self, chunk: Chunk) -> Delta:
        """Take what the server sent and return what it adds."""
        self.finish, self.model = chunk.finish or self.finish, chunk.model or self.model
        self._usage = chunk.usage or self._usage
        self._calls.add(chunk.calls)
        if chunk.says_something:
            self._last_at = time.monotonic()
            self._first_at = self._first_at or self._last_at
            self._pieces += 1
        if chunk.thought and self._within_thought:  # it has a field of its own, so nothing will close it
            self._within_thought, self._reader = False, self._format.reader()
            self._reader.go_on_from("", self._request.thought_start)
        thought = chunk.thought if self._thought else chunk.thought.lstrip("\n")
        text = self._without_echo(self._whole(chunk.text))
        told = Delta(thought=replace_surrogates(thought), tokens=chunk.tokens)
        return self._shown(told.then(self._reader.add(text)) if text else told)

    def end(self) -> Delta:
        """Return what was held back."""
        rest = self._maybe_echo + replace_surrogates(self._half)
        self._maybe_echo = self._half = ""
        told = self._shown(self._reader.add(rest).then(self._reader.end()))
        told = told.then(Delta(self._stop_texts.end(), used_tokens=self.used_tokens))
        calls = self._calls.read(is_whole=self.finish_reason() == "end_of_turn" and bool(self.finish))
        if self._request.tools:
            return told.then(Delta(calls=calls))
        if calls and not (self._text + told.text).strip():  # nobody asked for them, but there is no other reply
            return told.then(Delta("\n".join(f"{call.name}({call.arguments})" for call in calls)))
        return told

    def finish_reason(self) -> FinishReason:
        """Return why the server ended the reply."""
        if self.stop_text_found or self.finish == "stop_sequence":
            return "stop_text"
        if self.finish in FILTERED:
            return "content_filter"
        return "max_new_tokens" if self.finish in TOO_LONG else "end_of_turn"

    def receipt(
        self, reason: FinishReason, model: str, host: str, seed: int, limit: int | None, dropped: int
    ) -> Receipt:
        """Return what the reply took; where the server doesn't tell, each piece counts as a token."""
        usage = self._usage or Usage(0, 0, 0)
        new_tokens = usage.new_tokens or self._pieces
        took_s = self._last_at - self._first_at
        return Receipt(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            new_tokens=new_tokens,
            first_token_s=self._first_at - self._asked_at if self._first_at else 0.0,
            tokens_per_s=(new_tokens - 1) / took_s if new_tokens > 1 and took_s > 0 else 0.0,
            finish_reason=reason,
            seed=seed,
            model=self.model or model,
            device=host,
            context_limit=limit,
            dropped_messages=dropped,
            thought_s=max(0.0, self._answer_at - self._first_at) if self._thought and self._answer_at else 0.0,
        )

    def _shown(self, told: Delta) -> Delta:
        if self._thought and not (self._text or told.answer_was_thought):  # behind a thought in a field of its own
            told = replace(told, text=told.text.lstrip("\n"))
        shown = replace(self._stop_texts.look_at(told), used_tokens=self.used_tokens)
        self._text, self._thought = shown.added_to(self._text, self._thought)
        if self._text.strip():
            self._answer_at = self._answer_at or time.monotonic()
        elif told.answer_was_thought:
            self._answer_at = 0.0
        return shown

    def _whole(self, text: str) -> str:
        """Return text without halves of characters; one at the end waits for the other half."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return replace_surrogates(text[: len(text) - len(self._half)])

    def _without_echo(self, text: str) -> str:
        """Leave out the beginning of a reply that goes on, where a server says that again."""
        if not self._echo:
            return text
        self._maybe_echo += text
        held, echo = self._maybe_echo, self._echo
        if echo.startswith(held) and held != echo:
            return ""
        self._echo = self._maybe_echo = ""
        return held.removeprefix(echo)


def ends_well(finish: str) -> bool:
    """Tell whether a server's word means that the reply has ended, and not that it broke."""
    return bool(finish) and finish not in BROKEN
