"""Every sentence a person reads, in each language: `en.toml` and `ko.toml`.

A text is named by a dotted key (`error.bad_number`); gaps such as `{name}` are filled by `say`.
Both files hold the same keys with the same gaps (a test compares them). A Korean particle after a gap is written in
both its forms, and `say` keeps the one that fits the word.
"""

import ctypes
import locale
import re
import string
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from hfdemo.words.particles import choose_particle

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_PREFERENCE = re.compile(rf"(?:^|,)\s*({'|'.join(LANGUAGES)})(?![a-z])[^,;]*(?:;\s*q=([01](?:\.\d*)?))?")


def say(key: str, language: Language = "en", **fields: object) -> str:
    """Return the text named `key`, with its gaps filled."""
    text, value = "", ""
    for literal, name, spec, conversion in string.Formatter().parse(texts(language)[key]):
        text += choose_particle(value, literal)
        value = "" if name is None else _fill(name, spec, conversion, fields)
        text += value
    return text


@cache
def texts(language: Language) -> dict[str, str]:
    """Return all texts of a language, by dotted key."""
    document = tomllib.loads(files(__name__).joinpath(f"{language}.toml").read_text("utf-8"))
    return dict(_flatten(document))


def choose_language(preferences: str | None) -> Language:
    """Return the language that suits an `Accept-Language` header, a locale or a language code best."""
    found = _PREFERENCE.findall((preferences or "").lower())
    weighted = [(float(weight or 1), as_language(language)) for language, weight in found]
    weight, language = max(weighted, key=lambda pair: pair[0], default=(1.0, as_language("en")))
    return language if weight else "en"


def language_of_terminal(environ: Mapping[str, str]) -> Language:
    """Return the language of who sits at the terminal: what `HFDEMO_LANGUAGE` says, or else the system's."""
    names = ("HFDEMO_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    return choose_language(next((environ[name] for name in names if environ.get(name)), None) or _system_locale())


def _system_locale() -> str:
    """Return the locale of Windows, which has no variable for it; elsewhere nothing."""
    if sys.platform != "win32":
        return ""
    return locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "")


def as_language(value: object) -> Language:
    """Return `value` if it names a language the page speaks, else English."""
    return next((language for language in LANGUAGES if language == value), "en")


def _fill(name: str, spec: str | None, conversion: str | None, fields: dict[str, object]) -> str:
    gap = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
    text = f"{{{gap}}}".format(**fields)
    return text.replace("\\\\", "\\") if conversion == "r" else text  # a path of Windows, as it was typed


def _flatten(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{name}.")
        else:
            flat.append((prefix + name, value))
    return flat
