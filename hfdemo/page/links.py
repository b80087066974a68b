"""Web addresses in a text, made into links."""

import re
from html import escape

_ADDRESS = re.compile(r"(https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+)")
"""Only what may stand in an address: a Korean particle right after it is no part of it."""

_SENTENCE_ENDS = ".,;:!?'()[]"
"""What may stand in an address, but at its end belongs to the sentence around it."""


def with_links(text: str) -> str:
    """Return a text as HTML in which its http and https addresses can be clicked. All of it is escaped."""
    parts = _ADDRESS.split(text)  # text and addresses by turns
    return "".join(_link(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _link(found: str) -> str:
    address = found.rstrip(_SENTENCE_ENDS)
    shown = escape(address)
    link = f'<a href="{shown}" target="_blank" rel="noopener noreferrer">{shown}</a>'
    return link + escape(found[len(address) :])
