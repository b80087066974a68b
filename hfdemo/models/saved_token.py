"""The access token's value, as the environment, a login or a file has it: nothing else of hfdemo reads it."""

from huggingface_hub import get_token

from hfdemo.variables import COPIED_ALONG

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
