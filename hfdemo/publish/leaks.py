"""Access tokens and keys in what is to be sent: found by their shape, told by their place, never shown."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hfdemo.errors import hide_tokens

SHAPES = {
    "Hugging Face": r"hf_(?:oauth_|jwt_)?[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}",
    "OpenAI, Anthropic": r"sk-[A-Za-z0-9_-]{20,}",
    "GitHub": r"gh[opsur]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}",
    "GitLab": r"glpat-[A-Za-z0-9_-]{20,}",
    "AWS": r"AKIA[0-9A-Z]{16}(?![0-9A-Z])",
    "Google": r"AIza[0-9A-Za-z_-]{35}",
    "Slack": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "PEM": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
"""Whose key it is, and how the key looks."""

SHORTEST_KNOWN = 8
"""How long a value is at least that is searched for: `1` or `yes` is everywhere."""

_ANY = {maker: re.compile(rf"(?<![A-Za-z0-9_-])(?:{shape})") for maker, shape in SHAPES.items()}


@dataclass(frozen=True, slots=True)
class Leak:
    """Where a key is."""

    path: str
    line: int
    kind: str
    """Whose it is, or the name of the secret."""


def find_leaks(files: Iterable[tuple[str, bytes]], known: Mapping[str, str]) -> list[Leak]:
    """Return where keys are in the files, one for each line at most.

    Args:
        files: names and contents.
        known: values that must not be in them, by name.
    """
    return [
        Leak(path, number, kind)
        for path, content in files
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1)
        for kind in list(_kinds(line, known))[:1]
    ]


def mask(text: str, known: Mapping[str, str]) -> str:
    """Return text without the keys in it."""
    for value in known.values():
        if len(value) >= SHORTEST_KNOWN:
            text = text.replace(value, "***")
    for pattern in _ANY.values():
        text = pattern.sub("***", text)
    return hide_tokens(text)


def _kinds(line: str, known: Mapping[str, str]) -> Iterator[str]:
    yield from (name for name, value in known.items() if len(value) >= SHORTEST_KNOWN and value in line)
    yield from (maker for maker, pattern in _ANY.items() if pattern.search(line))
