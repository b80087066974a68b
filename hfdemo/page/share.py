"""A share link: Gradio's tunnel from a public address to a page on this machine, held by a process of its own."""

import secrets
import signal
import sys
from urllib.parse import urlsplit

from hfdemo.page import gradio_private


def hold_link(port: int) -> None:
    """Print the link to a port of this machine, and hold it until this process is ended.

    If there is no link, the line that is printed says why; it doesn't begin with `http`.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an exit closes the tunnel, a kill would leave it open
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    try:
        address = gradio_private.open_tunnel(port, secrets.token_urlsafe(32))
    except Exception as error:  # whatever it is, there is no link
        _print(_last_line(error))
        return
    if not gradio_private.is_own_share_server():  # Gradio's own has a certificate
        address = urlsplit(address)._replace(scheme="https").geturl()
    _print(address)
    gradio_private.wait_for_tunnels()


def _last_line(error: Exception) -> str:
    """Return what an error says at last: in the log of a tunnel, that is the reason."""
    return str(error).strip().split("\n")[-1] or type(error).__name__


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201
