"""Korean particles that follow the last sound of the word before them: 모델을, but 토큰 수를.

`ko.toml` writes both forms after a gap, such as `{model}을(를)`; `choose_particle` picks one for the word that fills
the gap. Latin letters, words and digits are taken as Koreans read them aloud; where that can't be told, both stay.
"""

import re
import unicodedata
from typing import Literal

Sound = Literal["vowel", "ㄹ", "consonant"]
"""How a word ends when it is read aloud; ㄹ is the one consonant after which (으)로 is 로."""

PARTICLES = {
    "을(를)": ("을", "를"),
    "은(는)": ("은", "는"),
    "이(가)": ("이", "가"),
    "과(와)": ("과", "와"),
    "(으)로": ("으로", "로"),
    "(이)": ("이", ""),
}
"""Each mark, with the form after a consonant and the form after a vowel. `(이)` begins (이)라, (이)나, (이)며 …"""

_MARK = re.compile("|".join(map(re.escape, PARTICLES)))
_AFTER_GAP = re.compile(rf"([\s\"'`’”*]*)({_MARK.pattern})")
"""A mark right after a gap; a quotation mark, or the space that ends a web address, may stand between."""

_REMARK = re.compile(r"(?<=\w)(?:\s?\([^()]*\))+$")
"""Remarks in brackets behind a word. A particle follows the word: Qwen3(4 GB)이, because of 삼."""

_LAST_PART = re.compile(r"[A-Z]+$|[A-Z]?[a-z]+$")
"""The last word of a name such as SmolLM, ChatGPT or GitHub."""

_DIGITS: dict[str, Sound] = {
    **dict.fromkeys("2459", "vowel"),
    **dict.fromkeys("178", "ㄹ"),
    **dict.fromkeys("036", "consonant"),
}
"""영 일 이 삼 사 오 육 칠 팔 구; ten, hundred and thousand end in consonants, too."""

_LETTERS: dict[str, Sound] = {"l": "ㄹ", "r": "ㄹ", "m": "consonant", "n": "consonant"}
"""엘, 알, 엠, 엔. All other letters are read with a vowel at the end."""

_WORDS: tuple[tuple[re.Pattern[str], Sound], ...] = (
    (re.compile(r"(?:hub|bit|check|readme)$"), "vowel"),  # 허브, 비트, 체크, 리드미: unlike the rules below
    (re.compile(r"le?$"), "ㄹ"),  # 모델, 파일
    (re.compile(r"(?:[mn]|ng|[aeiouy][mn]e)$"), "consonant"),  # 시스템, 토큰, 네임
    (re.compile(r"(?:^|[^aeiou])[aeiou](?:p+|t|k|ck|c|b)$"), "consonant"),  # 앱, 챗, 스택, 퍼블릭, 웹
    (re.compile(r"book$"), "consonant"),  # 노트북
)
"""Ends of English words and how Korean renders them, first match first; any other ends in a vowel: 페이스, 서버."""

_LONGEST_ACRONYM = 3


def choose_particle(word: str, text: str) -> str:
    """Return `text`, which comes right after `word`, with the particle mark at its beginning resolved."""
    found = _AFTER_GAP.match(text)
    sound = last_sound(word) if found else None
    if found is None or sound is None:
        return text
    between, mark = found.groups()
    after_consonant, after_vowel = PARTICLES[mark]
    like_a_vowel = sound == "vowel" or (sound == "ㄹ" and mark == "(으)로")
    return between + (after_vowel if like_a_vowel else after_consonant) + text[found.end() :]


def last_sound(word: str) -> Sound | None:
    """Return how a word ends when it is read aloud in Korean; None if that can't be told."""
    read = _REMARK.sub("", unicodedata.normalize("NFC", word).rstrip())
    while read and _is_silent(read[-1]):
        read = read[:-1]
    if not read:
        return None
    last = read[-1]
    if "가" <= last <= "힣":
        return _hangul_sound(last)
    if last in _DIGITS:
        return _DIGITS[last]
    if last == "%":  # 퍼센트
        return "vowel"
    part = _LAST_PART.search(read)
    return _latin_sound(part[0]) if part else None


def _is_silent(character: str) -> bool:
    return character == "`" or (character != "%" and unicodedata.category(character)[0] in "PZC")


def _hangul_sound(syllable: str) -> Sound:
    final = (ord(syllable) - ord("가")) % 28
    if not final:
        return "vowel"
    return "ㄹ" if final == 8 else "consonant"


def _latin_sound(part: str) -> Sound:
    lower = part.lower()
    spelled = len(part) == 1 or not re.search("[aeiou]", lower) or (part.isupper() and len(part) <= _LONGEST_ACRONYM)
    if spelled:
        return _LETTERS.get(lower[-1], "vowel")
    return next((sound for end, sound in _WORDS if end.search(lower)), "vowel")
