"""The access token: where it comes from, whose it is, and whether the Hub knows it. Its value never leaves here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import get_token, whoami
from huggingface_hub.errors import HfHubHTTPError

from hfdemo.models.explain import bad_token_error
from hfdemo.models.hub_private import constants
from hfdemo.settings import Platform

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
    try:
        token = get_token()
    except OSError:  # the file it would be in can't be read
        token = None
    if token is None:
        return None
    if token in (environ.get("HF_TOKEN", "").strip(), environ.get("HUGGING_FACE_HUB_TOKEN", "").strip()):
        return "Space" if platform in ("space", "zerogpu") else "HF_TOKEN"
    login = Path(constants.HF_TOKEN_PATH)
    return "hf auth login" if login.is_file() or platform != "colab" else "Colab"


def check_token(platform: Platform) -> Account | None:
    """Ask the Hub whose access token this is; None if there is no token, or the Hub doesn't say.

    The answer is cached, because the Hub limits this question strictly.

    Raises:
        ModelLoadError: the Hub doesn't know the token.
        httpx2.TransportError, OfflineModeIsEnabled: the Hub can't be reached.
    """
    source = token_source(platform)
    if source is None:
        return None
    token = get_token() or ""
    if not token.isascii() or not token.isprintable() or " " in token:  # no header can hold it
        raise bad_token_error(source, platform)
    try:
        answer = whoami(cache=True)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise bad_token_error(source, platform) from None
        return None
    role = answer.get("auth", {}).get("accessToken", {}).get("role", "")
    return Account(str(answer.get("name", "")), str(role), source)
