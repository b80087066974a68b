"""Access tokens and secret keys in the files to send: found by their shape, reported by file and line, never shown."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hfdemo.errors import hide_tokens

SHAPES: dict[str, dict[str, str]] = {
    "Hugging Face": {"hf_": "(?:oauth_|jwt_)?[A-Za-z0-9]{20,}", "api_org_": "[A-Za-z0-9]{20,}"},
    "OpenAI, Anthropic": {"sk-": "[A-Za-z0-9_-]{20,}"},
    "GitHub": {f"gh{kind}_": "[A-Za-z0-9]{30,}" for kind in "opsur"} | {"github_pat_": "[A-Za-z0-9_]{30,}"},
    "GitLab": {"glpat-": "[A-Za-z0-9_-]{20,}"},
    "AWS": {"AKIA": "[0-9A-Z]{16}(?![0-9A-Z])"},
    "Google": {"AIza": "[0-9A-Za-z_-]{35}"},
    "Slack": {"xox": "[abeoprs]-[A-Za-z0-9-]{10,}"},
    "PEM": {"-----BEGIN ": "(?:[A-Z]+ )*PRIVATE KEY-----"},
}
"""Whose key it is, how it begins, and its shape behind that."""

SHORTEST_KNOWN = 8
"""Values shorter than this are not searched for: `1` or `yes` would be everywhere."""

_ANY = {
    maker: re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(re.escape(start) + rest for start, rest in shapes.items())})")
    for maker, shapes in SHAPES.items()
}


_IN_ADDRESS = re.compile(r"://[^/\s:@'\"<>{}]+:[^/\s@'\"<>{}]+@")
"""A password in an address, as of a private index; `{user}` and `<user>` stand for one in documentation."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Where a secret key is."""

    path: str
    line: int
    kind: str
    """The key's issuer, or the name of the secret."""


def find_leaks(files: Iterable[tuple[str, bytes]], known: Mapping[str, str]) -> list[Leak]:
    """Return where the files contain secret keys, at most one for each line.

    Args:
        files: names and contents.
        known: secret values that must not be in them, by name.
    """
    return [leak for path, content in files for leak in _leaks_of(path, content.decode("utf-8", "replace"), known)]


def _leaks_of(path: str, text: str, known: Mapping[str, str]) -> Iterator[Leak]:
    if next(_kinds(text, known), None) is None:  # as nearly always: its lines needn't be looked at one by one
        return
    for number, line in enumerate(text.splitlines(), 1):
        if kind := next(_kinds(line, known), None):
            yield Leak(path, number, kind)


def mask(text: str, known: Mapping[str, str]) -> str:
    """Return text with its secret keys masked."""
    for value in known.values():
        if len(value) >= SHORTEST_KNOWN:
            text = text.replace(value, "***")
    for pattern in _ANY.values():
        text = pattern.sub("***", text)
    text = _IN_ADDRESS.sub("://***@", text)
    return hide_tokens(text)


def _kinds(text: str, known: Mapping[str, str]) -> Iterator[str]:
    yield from (name for name, value in known.items() if len(value) >= SHORTEST_KNOWN and value in text)
    for maker, shapes in SHAPES.items():
        # Finding a beginning takes a hundredth of the time, and there is seldom one.
        if any(start in text for start in shapes) and _ANY[maker].search(text):
            yield maker
    if "@" in text and "://" in text and _IN_ADDRESS.search(text):
        yield "URL"
