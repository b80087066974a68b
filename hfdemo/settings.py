"""What the host decides, once, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from hfdemo.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """The host's settings. Every field can be set by an environment variable named in `from_env`."""

    model: str | None = None
    """`HFDEMO_MODEL`: a hub id, `id@revision`, a local folder or a GGUF file; None lets hfdemo choose."""

    system_prompt: str = ""
    """`HFDEMO_SYSTEM_PROMPT`: the system prompt a new chat starts with."""

    time_limit_s: int = 300
    """`HFDEMO_TIME_LIMIT_S`: how long one reply may take, in seconds."""

    max_waiting: int = 32
    """`HFDEMO_MAX_WAITING`: how many messages may be answered or wait for their answer at one time."""


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises:
        SettingsError: a value is outside its range.
    """
    defaults = Settings()
    return Settings(
        model=environ.get("HFDEMO_MODEL", "").strip() or None,
        system_prompt=environ.get("HFDEMO_SYSTEM_PROMPT", defaults.system_prompt),
        time_limit_s=_whole_number(environ, "HFDEMO_TIME_LIMIT_S", defaults.time_limit_s, low=1, high=86_400),
        max_waiting=_whole_number(environ, "HFDEMO_MAX_WAITING", defaults.max_waiting, low=1, high=1000),
    )


def _whole_number(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not value.isdecimal() or len(value) > 9 or not low <= int(value) <= high:
        raise SettingsError("bad_setting", name=name, value=value, low=low, high=high)
    return int(value)
