"""A Space's name: one that the Hub accepts, derived from any title. Doesn't talk to the Hub."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from hfdemo.errors import PublishError

MAX_CHARS = 96
DERIVED_CHARS = 60
"""The longest name derived from a title: it becomes part of a web address."""

_LEGAL = re.compile(rf"[A-Za-z0-9_](?:[\w.-]{{0,{MAX_CHARS - 2}}}[A-Za-z0-9_])?", re.ASCII)

INITIALS = ("g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p", "h")
VOWELS = (
    *("a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe"),
    *("yo", "u", "wo", "we", "wi", "yu", "eu", "ui", "i"),
)
FINALS = (
    *("", "k", "kk", "ks", "n", "nj", "nh", "t", "l", "lk", "lm", "lb", "ls", "lt", "lp", "lh"),
    *("m", "p", "ps", "t", "t", "ng", "t", "t", "k", "t", "p", "t"),
)
"""The letters of a Hangul syllable in their order in Unicode, in the Revised Romanization, each by itself.
Source: The Unicode Standard, section 3.12, and https://www.korean.go.kr/front_eng/roman/roman_01.do."""


@dataclass(frozen=True, slots=True)
class SpaceName:
    """A Space's name and title."""

    namespace: str | None
    """The account or organisation that owns it; None is the access token's account."""
    name: str
    """Its part of the address, as the Hub accepts it."""
    title: str | None
    """The title people read; None keeps the one in README.md."""


_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/spaces/|spaces/(?=[^/]+/)")
"""What stands before a Space's name in its address."""


def read_name(text: str, title: str | None = None) -> SpaceName:
    """Return a Space's name and title.

    Args:
        text: `space-name`, `namespace/space-name`, or any title, from which a name is derived.
        title: the title people read, if it differs.

    Raises:
        PublishError: the text has neither letters nor digits.
    """
    address = _ADDRESS.match(text.strip())
    text = _tidy(text.strip()[address.end() :].strip("/") if address else text)
    namespace, slash, rest = text.partition("/")
    if not slash or not is_legal(namespace):
        namespace, rest = "", text
    rest = rest.strip()
    title = _tidy(title or "") or None
    if is_legal(rest):
        return SpaceName(namespace or None, rest, title)
    if not any(unicodedata.category(character)[0] in "LNS" for character in rest):
        raise PublishError("bad_space_name", name=text)
    return SpaceName(namespace or None, make_name(rest), title or rest)


def is_legal(name: str) -> bool:
    """Tell whether the Hub accepts a name as it is.

    Source: `huggingface_hub.utils.validate_repo_id`, a little stricter about how a name begins.
    """
    return (
        _LEGAL.fullmatch(name) is not None
        and any(character.isalnum() for character in name)
        and "--" not in name
        and ".." not in name
        and not name.endswith(".git")
    )


def make_name(title: str) -> str:
    """Return a legal name for a title, always the same one.

    Latin letters and Hangul are transliterated; if other letters are dropped, a short hash tells titles apart.
    """
    spelled = [_spell(character) for character in title]
    lost = any(not part and unicodedata.category(at)[0] in "LN" for at, part in zip(title, spelled, strict=True))
    words = re.sub("[^a-z0-9]+", "-", "".join(part or "-" for part in spelled).lower()).strip("-")
    if words and not lost and len(words) <= DERIVED_CHARS:
        return words
    return f"{words[:DERIVED_CHARS].strip('-') or 'chat'}-{hashlib.sha256(title.encode()).hexdigest()[:6]}"


def _spell(character: str) -> str:
    """Return a character in ASCII, or "" if there is no simple way."""
    index = ord(character) - 0xAC00
    if 0 <= index < len(INITIALS) * len(VOWELS) * len(FINALS):
        rest, final = divmod(index, len(FINALS))
        initial, vowel = divmod(rest, len(VOWELS))
        return INITIALS[initial] + VOWELS[vowel] + FINALS[final]
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()


def _tidy(text: str) -> str:
    """Return text on one line with composed characters: some terminals send Hangul letter by letter."""
    printable = "".join(" " if unicodedata.category(at) in ("Cc", "Zl", "Zp") else at for at in text)
    return " ".join(unicodedata.normalize("NFC", printable).split())
