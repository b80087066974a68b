"""What an engine sends back: pieces of a reply, the receipt on the last one, and the event that ends it early."""

from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Literal, get_args

from hfdemo.chat.messages import ToolCall

FinishReason = Literal[
    "end_of_turn", "max_new_tokens", "stopped", "stop_text", "time_limit", "model_changed", "content_filter"
]
"""Why a reply ended: the model ended it, it reached `max_new_tokens`, somebody stopped it, a stop text came, the
host's time limit passed, somebody chose another model, or the content filter of a server elsewhere ended it."""

FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)

CUT_OFF: tuple[FinishReason, ...] = ("max_new_tokens", "stopped", "time_limit", "model_changed")
"""The reasons after which there is more to say."""


HEARTBEAT_S = 0.25
"""The longest silence of a reply: how soon a closed tab is noticed."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one reply took."""

    prompt_tokens: int
    cached_tokens: int
    """How many of the prompt's tokens were not read again."""
    new_tokens: int
    first_token_s: float
    """From the beginning of the work, without the time in the queue."""
    tokens_per_s: float
    """After the first token; 0 if there was one only."""
    finish_reason: FinishReason
    seed: int
    model: str
    device: str
    context_limit: int | None
    """How many tokens the model can hold."""
    dropped_messages: int
    """How many of the oldest messages the model was not shown, because its context was full."""
    thought_s: float = 0.0
    """From the first token to the answer's first, if the model thought."""

    @property
    def used_tokens(self) -> int:
        """How many tokens of the context the conversation takes after the reply."""
        return self.prompt_tokens + self.new_tokens

    def after(self, earlier: "Receipt") -> "Receipt":
        """Return the receipt of a whole reply of which this is the last part; what an earlier part took is added.

        Prompt, cache and first token are the first part's, how it ended and with which seed and model, the last one's.
        """
        new_tokens = earlier.new_tokens + self.new_tokens
        seconds = sum((part.new_tokens - 1) / part.tokens_per_s for part in (earlier, self) if part.tokens_per_s)
        timed = sum(part.new_tokens - 1 for part in (earlier, self) if part.tokens_per_s)
        prompt_tokens = max(0, self.used_tokens - new_tokens)  # to this part, the earlier one was of the prompt
        return replace(
            self,
            prompt_tokens=prompt_tokens,
            cached_tokens=min(earlier.cached_tokens, prompt_tokens),
            new_tokens=new_tokens,
            first_token_s=earlier.first_token_s,
            tokens_per_s=timed / seconds if seconds else 0.0,
            thought_s=earlier.thought_s + self.thought_s,
        )


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and how likely a model found it before anything was left out (temperature, top_p, ...)."""

    text: str
    """May have U+FFFD in place of half a character."""
    data: bytes
    """The token itself; only several together may be text."""
    logprob: float
    """The natural logarithm of its probability."""
    others: tuple["Token", ...] = ()
    """The likeliest ones in its place, as many as were asked for; it may be one of them."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a reply. One without text is a heartbeat: the engine is alive and still at work."""

    text: str = ""
    thought: str = ""
    """What a thinking model thinks before it answers."""
    used_tokens: int = 0
    """How many tokens of the model's context are used up to now; 0 before the prompt is built."""
    ahead: int = 0
    """How many replies have to be finished before this one is begun."""
    receipt: Receipt | None = None
    """Set on the last piece, and only there."""
    answer_was_thought: bool = False
    """Whether all that came as answer before this piece was thought: only now a mark told so."""
    tokens: tuple[Token, ...] = ()
    """The tokens that were written, if the request asks for them; their text may come later, or not at all."""
    calls: tuple[ToolCall, ...] = ()
    """The tools that the model asks for, as another server tells it; where a model runs here, they are in the text."""

    def added_to(self, text: str, thought: str) -> tuple[str, str]:
        """Return the answer and the thought so far, with this piece behind them."""
        if self.answer_was_thought:
            text, thought = "", thought + text
        return text + self.text, thought + self.thought

    def then(self, later: "Delta") -> "Delta":
        """Return two pieces as one."""
        text, thought = later.added_to(self.text, self.thought)
        return Delta(
            text,
            thought,
            later.used_tokens or self.used_tokens,
            later.ahead,
            later.receipt,
            self.answer_was_thought or later.answer_was_thought,
            self.tokens + later.tokens,
            self.calls + later.calls,
        )


class StopSignal(Event):
    """The one event that ends a reply early, whoever sets it: a person, a closed tab, a time limit, a new model."""

    def __init__(self) -> None:
        super().__init__()
        self._reason: FinishReason = "stopped"
        self._changing = Lock()

    @property
    def reason(self) -> FinishReason:
        """Why the reply is to end, once it is set."""
        return self._reason

    def set(self, reason: FinishReason = "stopped") -> None:
        """Let the reply end with what it has. The first reason counts, unless a person stops it."""
        with self._changing:
            if reason == "stopped" or not self.is_set():
                self._reason = reason
            super().set()

    def revert(self, reason: FinishReason) -> bool:
        """Let the reply go on if it was to end for this reason; tell whether it goes on."""
        with self._changing:
            if self.reason == reason:
                self.clear()
            return not self.is_set()
