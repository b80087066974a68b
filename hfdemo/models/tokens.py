"""The access token: whose it is, and whether the Hub knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import whoami
from huggingface_hub.errors import HfHubHTTPError

from hfdemo.background import in_thread
from hfdemo.models.explain import bad_token_error
from hfdemo.models.saved_token import TokenSource, can_be_sent, saved_token, token_source
from hfdemo.settings import Platform

ANSWERS_WITHIN_S = 20.0
"""How long the Hub may take to answer a question; its client would wait for ever."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that an access token belongs to."""

    name: str
    role: str
    """`read`, `write` or `fineGrained`."""
    source: TokenSource


def usable_token_source(platform: Platform) -> TokenSource | None:
    """Return where the access token comes from, or None if there is none.

    Raises:
        ModelLoadError: no header can hold it.
    """
    source, token = token_source(platform), saved_token() or ""
    if source and not can_be_sent(token):
        raise bad_token_error(source, platform)
    return source


def ask_whoami(platform: Platform) -> tuple[TokenSource, Mapping[str, Any]] | None:
    """Ask the Hub whose access token this is; return where that comes from, and the answer. None if there is no token.

    The answer is cached, because the Hub limits this question strictly.

    Raises:
        ModelLoadError: the Hub doesn't know the token.
        HfHubHTTPError: the Hub doesn't say.
        One of UNREACHABLE: the Hub can't be reached.
    """
    source, token = usable_token_source(platform), saved_token()
    if source is None:
        return None
    try:
        answer = in_thread(lambda: whoami(token, cache=True), "hub-whoami").result(ANSWERS_WITHIN_S)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise bad_token_error(source, platform) from None
        raise
    return source, answer


def check_token(platform: Platform) -> Account | None:
    """Ask the Hub whose access token this is; None if there is no token, or the Hub doesn't say.

    Raises:
        ModelLoadError: the Hub doesn't know the token.
        One of UNREACHABLE: the Hub can't be reached.
    """
    try:
        found = ask_whoami(platform)
    except HfHubHTTPError:
        return None
    if found is None:
        return None
    source, answer = found
    role = answer.get("auth", {}).get("accessToken", {}).get("role", "")
    return Account(str(answer.get("name", "")), str(role), source)
