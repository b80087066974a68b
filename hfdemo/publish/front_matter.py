"""The front matter of README.md, which configures a Space, and what a Space would reject in it.

Source: https://huggingface.co/docs/hub/spaces-config-reference, and what the Hub's server was seen to reject.
"""

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import SpaceHardware

from hfdemo.errors import PublishError
from hfdemo.publish.name import is_legal

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST = {"title": 100, "short_description": 60}
REQUIRED = ("title", "sdk", "sdk_version", "app_file", "python_version")
ZERO_GPU_PYTHON = "3.12.12"
"""ZeroGPU also has 3.10.13, which is too old for this program."""

MAX_OAUTH_MINUTES = 43_200
CUSTOM_HEADERS = ("cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy")

CHOICES: dict[str, tuple[str, ...]] = {
    "sdk": ("gradio",),
    "colorFrom": COLOURS,
    "colorTo": COLOURS,
    "header": ("default", "mini"),
    "suggested_hardware": tuple(item.value for item in SpaceHardware if item != SpaceHardware.ZERO_A10G),
}
"""The keys with a fixed set of values."""

_EMOJI_PART = (
    "(?:[\U0001f1e6-\U0001f1ff]{2}"
    "|[#*0-9]\ufe0f?\u20e3"
    "|[\u00a9\u00ae\u203c-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]\ufe0f?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*)"
)
_EMOJI = re.compile(f"{_EMOJI_PART}(?:\u200d{_EMOJI_PART})*")
_PRELOAD = re.compile(r"\S+(?: \S+(?: [0-9a-f]{40})?)?")


def read(readme: str) -> dict[str, Any]:
    """Return the front matter of a README.

    Raises:
        PublishError: there is none, or it can't be read.
    """
    try:
        facts = yaml.safe_load(_lines(readme))
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date that there is not
        raise PublishError("front_broken", problem=" ".join(str(error).split())) from None
    if not isinstance(facts, dict):
        raise PublishError("front_missing")
    return facts


def with_title(readme: str, title: str) -> str:
    """Return a README with another title in its front matter.

    Raises:
        PublishError: there is no front matter.
    """
    lines = _lines(readme)
    line = f"title: {json.dumps(title, ensure_ascii=False)}\n"  # a JSON string is a YAML string, too
    changed, count = _entry("title").subn(lambda _: line, lines, count=1)
    return readme.replace(lines, changed if count else f"{line}{lines}", 1)


def with_sign_in(readme: str, scopes: Sequence[str] = ()) -> str:
    """Return a README whose Space lets visitors sign in with Hugging Face.

    Args:
        readme: the whole file.
        scopes: what the visitors let the Space do, besides what the front matter asks them for already.

    Raises:
        PublishError: there is no front matter.
    """
    facts = read(readme)
    asked = facts.get("hf_oauth_scopes") or []
    wanted: dict[str, Any] = {"hf_oauth": True}
    if isinstance(asked, list) and (together := [*asked, *(scope for scope in scopes if scope not in asked)]):
        wanted["hf_oauth_scopes"] = together
    if facts | wanted == facts:
        return readme
    lines = _lines(readme)
    left = lines
    for key in wanted:
        left = _entry(key).sub("", left)
    return readme.replace(lines, left + yaml.safe_dump(wanted, sort_keys=False), 1)


def lint(readme: str, files: Collection[str], zero_gpu: bool) -> list[PublishError]:
    """Return what a Space would reject in the front matter of a README.

    Args:
        readme: the whole file.
        files: the names of the files sent with it.
        zero_gpu: whether the Space will run on ZeroGPU.
    """
    try:
        facts = read(readme)
    except PublishError as error:
        return [error]
    found = [PublishError("front_lacks", name=key) for key in REQUIRED if facts.get(key) in (None, "")]
    for key, value in facts.items():
        if value is not None and value != "" and (finding := _lint_value(str(key), value)):
            found.append(finding)
    app_file = facts.get("app_file")
    if isinstance(app_file, str) and app_file not in files:
        found.append(PublishError("front_no_app_file", file=app_file))
    version = facts.get("python_version")
    if zero_gpu and _is_python(version) and version != ZERO_GPU_PYTHON:
        found.append(PublishError("front_zero_python", version=version, allowed=ZERO_GPU_PYTHON))
    return found


def _lines(readme: str) -> str:
    match = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", readme.removeprefix("\ufeff"), re.DOTALL | re.MULTILINE)
    if match is None:
        raise PublishError("front_missing")
    return match[1]


def _entry(key: str) -> re.Pattern[str]:
    """Return what matches a key of the front matter with its value, which may go on over lines that are indented."""
    return re.compile(rf"^(?:{key}|'{key}'|\"{key}\")[ \t]*:.*\n(?:(?:[ \t-].*|\r?)\n)*", re.MULTILINE)


def _lint_value(key: str, value: object) -> PublishError | None:
    """Return the problem with one line of the front matter."""
    if key == "hardware":
        return PublishError("front_hardware")
    if key in CHOICES:
        allowed = ", ".join(CHOICES[key])
        return None if value in CHOICES[key] else PublishError("front_choice", name=key, value=value, allowed=allowed)
    if key in LONGEST and isinstance(value, str) and len(value) > LONGEST[key]:
        return PublishError("front_too_long", name=key, chars=len(value), limit=LONGEST[key])
    if key in FORMS:
        is_good, example = FORMS[key]
        return None if is_good(value) else PublishError("front_form", name=key, value=value, example=example)
    names = {name.lower(): name for name in (*CHOICES, *FORMS)}
    near = difflib.get_close_matches(key.lower(), names, 1, 0.85)
    return PublishError("front_unknown", name=key, near=names[near[0]]) if near else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_is_python = _matches(r"3\.1[1-9](?:\.\d+)?")
"""A version that this program supports, as a string: as a number, 3.10 would be 3.1."""


def _is_list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_good, value))


def _is_repository(value: object) -> bool:
    return isinstance(value, str) and all(map(is_legal, value.split("/"))) and value.count("/") <= 1


def _is_preload(value: object) -> bool:
    return isinstance(value, str) and bool(_PRELOAD.fullmatch(value)) and _is_repository(value.split(" ")[0])


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_minutes(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_OAUTH_MINUTES


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(key in CUSTOM_HEADERS and _is_text(text) for key, text in value.items())


def _is_emoji(value: object) -> bool:
    return isinstance(value, str) and _EMOJI.fullmatch(value) is not None


def _is_org(value: object) -> bool:
    return isinstance(value, bool) or _is_repository(value) or _is_list_of(_is_repository)(value)


FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "title": (_is_text, "My chat"),
    "short_description": (_is_text, "A chat with a language model"),
    "emoji": (_is_emoji, "💬"),
    "sdk_version": (_matches(r"\d+\.\d+\.\d+"), "6.31.0"),
    "python_version": (_is_python, f'"{ZERO_GPU_PYTHON}"'),
    "app_file": (_is_text, "app.py"),
    "models": (_is_list_of(_is_repository), "[Qwen/Qwen3-0.6B]"),
    "datasets": (_is_list_of(_is_repository), "[HuggingFaceH4/no_robots]"),
    "tags": (_is_list_of(_is_text), "[chatbot]"),
    "preload_from_hub": (_is_list_of(_is_preload), "[Qwen/Qwen3-0.6B config.json]"),
    "startup_duration_timeout": (_matches(r"\d+ ?[smh]"), "1h"),
    "license": (_is_text, "apache-2.0"),
    "thumbnail": (_is_text, "https://huggingface.co/front/assets/huggingface_logo.svg"),
    "fullWidth": (_is_bool, "true"),
    "pinned": (_is_bool, "true"),
    "disable_embedding": (_is_bool, "true"),
    "hf_oauth": (_is_bool, "true"),
    "hf_oauth_scopes": (_is_list_of(_is_text), "[inference-api]"),
    "hf_oauth_expiration_minutes": (_is_minutes, "480"),
    "hf_oauth_authorized_org": (_is_org, "my-organisation"),
    "custom_headers": (_is_headers, "{cross-origin-opener-policy: same-origin}"),
}
"""The other keys: a check of the value, and an example that passes it."""
