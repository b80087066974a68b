"""The exact prompt, drawn so that one can learn from it: each token apart, control tokens marked.

Tokens that only together are a character are drawn as one, with their number.
"""

from html import escape

from hfdemo.chat.request import ShownPrompt, ShownToken
from hfdemo.words import Language, say

MAX_TOKENS_DRAWN = 4000
"""A browser renders this many boxes instantly; longer prompts are cut in the middle."""


def prompt_html(prompt: ShownPrompt, language: Language) -> str:
    """Return a prompt as HTML. All text in it is escaped."""
    tokens = prompt.tokens
    count = sum(token.count for token in tokens)
    head = say("prompt.head", language, tokens=f"{count:,}", dropped=prompt.dropped_messages)
    half = MAX_TOKENS_DRAWN // 2
    parts = [tokens] if len(tokens) <= MAX_TOKENS_DRAWN else [tokens[:half], tokens[-half:]]
    drawn = " … ".join("".join(map(_draw, part)) for part in parts)
    return f'<p>{escape(head)}</p><pre class="prompt">{drawn}</pre>'


def _draw(token: ShownToken) -> str:
    kind = "control" if token.control else "text"
    several = f' data-tokens="{token.count}"' if token.count > 1 else ""
    return f'<span class="{kind}"{several}>{escape(token.text)}</span>'
