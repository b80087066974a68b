"""The access token's value, as the environment, a login or a file has it, and which of them: nothing else reads it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from huggingface_hub import get_token

from hfdemo.models.hub_private import constants
from hfdemo.settings import Platform
from hfdemo.variables import COPIED_ALONG, TOKEN_VARIABLES

TokenSource = Literal["HF_TOKEN", "hf auth login", "Colab", "Space"]

OF_THE_ENVIRONMENT: tuple[TokenSource, ...] = ("HF_TOKEN", "Space")
"""The sources that take precedence over a token that is stored on this machine."""

UNREADABLE = "\ufffd"
"""What stands for a token that can't be read: no header can hold it."""


def saved_token() -> str | None:
    """Return the access token, without what was copied along; None if there is none.

    A file that is no text, such as the UTF-16 that PowerShell's > writes, or a folder in its place, is a token that
    can't be sent.
    """
    try:
        token = get_token()
    except NotADirectoryError:  # it would be below a file, as where HF_HOME is none
        return None
    except (UnicodeError, OSError):
        return UNREADABLE
    return (token or "").strip(COPIED_ALONG) or None


def can_be_sent(token: str) -> bool:
    """Tell whether a header can hold a token."""
    return token.isascii() and token.isprintable() and " " not in token


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
