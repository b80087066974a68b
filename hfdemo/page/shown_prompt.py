"""The exact prompt, drawn so that one can learn from it: each token apart, control tokens marked."""

from html import escape

from hfdemo.chat.request import ShownPrompt
from hfdemo.words import Language, say

MAX_TOKENS_DRAWN = 4000
"""A browser renders this many boxes instantly; longer prompts are cut in the middle."""


def prompt_html(prompt: ShownPrompt, language: Language) -> str:
    """Return a prompt as HTML. All text in it is escaped."""
    tokens = prompt.tokens
    head = say("prompt.head", language, tokens=f"{len(tokens):,}", dropped=prompt.dropped_messages)
    half = MAX_TOKENS_DRAWN // 2
    if len(tokens) <= MAX_TOKENS_DRAWN:
        drawn = "".join(_token(text, control) for text, control in tokens)
    else:
        parts = ("".join(_token(*token) for token in part) for part in (tokens[:half], tokens[-half:]))
        drawn = " … ".join(parts)
    return f'<p>{escape(head)}</p><pre class="prompt">{drawn}</pre>'


def _token(text: str, control: bool) -> str:
    kind = "control" if control else "text"
    return f'<span class="{kind}">{escape(text)}</span>'
