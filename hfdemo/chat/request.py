"""A request to an engine: one turn to answer."""

from dataclasses import dataclass, field

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options

ANY_OBJECT = '{"type": "object"}'
"""The schema of JSON of any form."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to answer: the conversation, whose last message is the user's, and how to answer it."""

    messages: tuple[Message, ...]
    system_prompt: str
    options: Options
    cache_key: str = ""
    """A secret that the server made for this conversation. Under it an engine may keep what it has read, so that the
    next turn reads only what is new."""
    reply_start: str = ""
    """What the reply begins with; the model goes on from there."""
    thought_start: str = ""
    """The thought of the reply that goes on; without `reply_start`, it was cut off during that."""
    continues: bool = False
    """Whether these two are the last reply of this conversation, which was cut off and is to go on."""
    update_interval_s: float = 0.0
    """How long the reader needs for an update: pieces of the reply come no more often."""
    keeps_all: bool = False
    """Whether the request is refused if it doesn't fit, in place of leaving out the oldest messages. What is left of
    the context is for the reply."""
    completes: bool = False
    """Whether the one message is a text that the model goes on with, without a chat template around it."""
    schema: str = ""
    """The JSON schema that the answer has to follow, as JSON."""
    schema_field: str = "response_format"
    """What the program that asks calls it, for errors."""
    schema_strict: bool = False
    """Whether an endpoint is to refuse a schema if it can't promise that it is followed to the letter. Models that run
    here follow each."""
    tools: str = ""
    """The tools that the model may ask for, as JSON: a list in the form of OpenAI's API."""
    must_call: tuple[str, ...] = ()
    """The names of the tools of which it has to ask for one; `schema` says the same."""
    one_call: bool = False
    """Whether it may ask for one of them at most."""
    effort: str = ""
    """How much it is to think, in a word for it that endpoints know beside those of `options.thinking`."""
    chat_template_kwargs: str = ""
    """What a program sets of the chat template beside thinking, as JSON; only endpoints get it."""
    access_token: str = field(default="", repr=False)
    """The visitor's own at the Hub, whose credit pays for the reply; empty if the host's does."""
    likeliest: int | None = None
    """For each token of the reply, how likely it was is told, and of so many others; None is not at all."""


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token as text, or several that only together are text."""

    text: str
    control: bool
    """Whether it is a control token."""
    count: int = 1
    """Of how many tokens it is the text."""


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt for people to look at."""

    tokens: tuple[ShownToken, ...]
    dropped_messages: int
    context_limit: int | None
