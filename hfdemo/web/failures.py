"""What goes wrong behind the door: a sentence for the caller, and one line without text of a visitor's in the log."""

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfdemo.web.refusals import refusal

logger = logging.getLogger(__name__)

LINES_A_SECOND = 3

LIBRARIES = ("asyncio", "mcp", "python_multipart", "sse_starlette")
"""Those that log what they find in requests."""


class FewASecond(logging.Filter):
    """Lets a few records through each second; the next one that passes tells how many were left out.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._second = self._passed = self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._passed = second, 0
        if self._passed >= LINES_A_SECOND:
            self._left_out += 1
            return False
        self._passed += 1
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} more lines left out)", None
            self._left_out = 0
        return True


few_a_second = FewASecond()
"""One for all that strangers can make the log write."""

logger.addFilter(few_a_second)


class WithoutTheirWords(logging.Filter):
    """Lets other libraries' records of a stranger's request through as one line that tells where, and no text.

    What they log quotes what was sent, over many lines, as often as it is sent.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        library = record.name.partition(".")[0]
        if library == "root":  # mcp logs by no name
            library = next((part for part in Path(record.pathname).parts if part in LIBRARIES), library)
        if library not in LIBRARIES:
            return True
        if record.levelno < logging.WARNING:
            return False
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else record.levelname.lower()
        record.msg = f"a request failed: {kind} of {library} at {record.funcName}, {record.filename}:{record.lineno}"
        record.args = record.exc_info = record.exc_text = record.stack_info = None
        return few_a_second.filter(record)


without_their_words = WithoutTheirWords()


def keep_words_out() -> None:
    """Let nothing that strangers send get into the log by way of other libraries, and few lines a second.

    What uvicorn warns of, requests that are none, quotes nothing.
    """
    logging.getLogger("uvicorn.error").addFilter(few_a_second)
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler:
            handler.addFilter(without_their_words)


def log_error(error: BaseException) -> None:
    """Log in one line what went wrong and where, without the error's text: it may quote a visitor."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}, {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    logger.warning("a request failed: %s at %s", type(error).__name__, where)


class Failures:
    """ASGI middleware: answers for what breaks behind it.

    Args:
        app: what it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = ended = broken = False

        async def sender(message: Message) -> None:
            nonlocal started, ended, broken
            if message["type"] == "http.response.start":
                broken = message["status"] == 500 and _is_plain_text(message)
            if broken:  # Starlette says "Internal Server Error", and raises what it was
                return
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, sender)
        except Exception as error:
            # Gradio raises it in streams whose session is gone; Starlette makes an error of it if they have begun.
            if not isinstance(error, HTTPException) and not isinstance(error.__cause__, HTTPException):
                log_error(error)
            broken = broken or not started
        if broken:
            await refusal("unexpected", 500, scope)(scope, receive, send)
        elif started and not ended:
            await send({"type": "http.response.body", "body": b""})


def _is_plain_text(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/plain")
