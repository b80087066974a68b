"""The access token: where it comes from, whose it is, and whether the Hub knows it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import whoami
from huggingface_hub.errors import HfHubHTTPError

from hfdemo.models.explain import bad_token_error
from hfdemo.models.hub_private import constants
from hfdemo.models.saved_token import can_be_sent, saved_token
from hfdemo.settings import Platform
from hfdemo.variables import TOKEN_VARIABLES

TokenSource = Literal["HF_TOKEN", "hf auth login", "Colab", "Space"]


@dataclass(frozen=True, slots=True)
class Account:
    """The account that an access token belongs to."""

    name: str
    role: str
    """`read`, `write` or `fineGrained`."""
    source: TokenSource


def token_source(platform: Platform, environ: Mapping[str, str] = os.environ) -> TokenSource | None:
    """Return where the access token comes from, or None if there is none.

    The order is that of `huggingface_hub.get_token`: environment, login, Colab's vault.
    """
    token = saved_token()
    if token is None:
        return None
    # As `get_token` does.
    named = (environ.get(name, "").replace("\r", "").replace("\n", "").strip() for name in TOKEN_VARIABLES)
    if token in named:
        return "Space" if platform in ("space", "zerogpu") else "HF_TOKEN"
    login = Path(constants.HF_TOKEN_PATH)
    return "hf auth login" if login.is_file() or platform != "colab" else "Colab"


def usable_token_source(platform: Platform) -> TokenSource | None:
    """Return where the access token comes from, or None if there is none.

    Raises:
        ModelLoadError: no header can hold it.
    """
    source, token = token_source(platform), saved_token() or ""
    if source and not can_be_sent(token):
        raise bad_token_error(source, platform)
    return source


def check_token(platform: Platform) -> Account | None:
    """Ask the Hub whose access token this is; None if there is no token, or the Hub doesn't say.

    The answer is cached, because the Hub limits this question strictly.

    Raises:
        ModelLoadError: the Hub doesn't know the token.
        httpx2.TransportError, OfflineModeIsEnabled: the Hub can't be reached.
    """
    source = usable_token_source(platform)
    if source is None:
        return None
    try:
        answer = whoami(saved_token(), cache=True)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise bad_token_error(source, platform) from None
        return None
    role = answer.get("auth", {}).get("accessToken", {}).get("role", "")
    return Account(str(answer.get("name", "")), str(role), source)
