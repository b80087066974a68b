"""Why an endpoint doesn't answer, in words for people."""

import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from hfdemo.chat.messages import replace_surrogates
from hfdemo.engines.remote.address import Address
from hfdemo.engines.remote.body import is_too_long
from hfdemo.engines.remote.events import SaidError, find_error, find_param, read_body
from hfdemo.errors import GenerationFailed, HfdemoError

MAX_SAID_CHARS = 200

_ABOUT_REQUEST = re.compile(r"moderat|flagged|region|countr|territor|polic|support", re.I)
"""That a 403 is not about the key, or a 404 not about the model, but about what is asked."""

_OF_CONVERSATION = re.compile(r"(?!.*tool_call)(?:messages|prompt|input|contents?|max_)", re.I)
"""The fields that may be too long for the model; any other is too long in itself."""

LONGEST_WAIT_S = 24 * 3600.0


class Refusal(Exception):
    """An endpoint answered a request with something else than a reply.

    Args:
        status: the HTTP status; 0 if there is none.
        said: the server's own words; empty if it has none for people.
        body: its answer, if that is JSON.
        retry_after_s: after how many seconds it wants to be asked again, if it tells.
    """

    def __init__(self, status: int, said: str, body: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.said = said
        self.body = body
        self.retry_after_s = retry_after_s

    @property
    def is_too_long(self) -> bool:
        """Whether the conversation doesn't fit the model."""
        if self.status not in (0, 400, 422, 500):
            return self.status == 413
        param = find_param(self.body)
        return is_too_long(self.said) and (not param or _OF_CONVERSATION.match(param) is not None)

    @property
    def is_about_model(self) -> bool:
        """Whether there is no such model: a page for people says nothing of that."""
        return self.status == 404 and bool(self.body) and not _ABOUT_REQUEST.search(self.said)


def read_refusal(status: int, headers: Mapping[str, str], content: bytes) -> Refusal:
    """Return what an answer with an error says."""
    body = read_body(content)
    if body is None:
        text = content[: 4 * MAX_SAID_CHARS].decode("utf-8", "replace").strip()
        return Refusal(status, "" if "<" in text else text, {}, _retry_after_s(headers))
    error = find_error(body)
    if error and error.status in (402, 413):  # OpenAI's server says so with 429 and 400
        status = error.status
    return Refusal(status, error.said if error else "", error.body if error else body, _retry_after_s(headers))


def read_said(error: SaidError) -> Refusal:
    """Return the refusal that came inside a stream."""
    return Refusal(error.status, error.said, error.body)


def explain_endpoint_refusal(refusal: Refusal, address: Address, model: str) -> HfdemoError:
    """Return what to tell people."""
    host, status = address.host, refusal.status
    if refusal.is_too_long:
        return GenerationFailed("endpoint_too_long", model=model, host=host)
    if status in (403, 404) and _ABOUT_REQUEST.search(refusal.said):
        return GenerationFailed("endpoint_refused", host=host, said=_own_words(refusal, address))
    if address.of_visitor and status in (401, 403):
        return GenerationFailed("credit_expired")
    if address.of_visitor and status == 402:
        return GenerationFailed("credit_used_up")
    if status in (401, 403):
        name = address.key_name
        if address.key:
            return GenerationFailed("endpoint_bad_key", host=host, name=name)
        return GenerationFailed("endpoint_no_key", host=host, name=name)
    if status == 402:
        return GenerationFailed("endpoint_no_credit", host=host)
    if status == 404:
        return GenerationFailed("endpoint_no_model", host=host, model=model)
    if status == 429:
        if refusal.retry_after_s is None:
            return GenerationFailed("endpoint_busy", host=host)
        return GenerationFailed("endpoint_busy_for", host=host, seconds=max(1, round(refusal.retry_after_s)))
    if status == 503:
        return GenerationFailed("endpoint_loading", host=host, model=model)
    if status in (408, 504):
        return GenerationFailed("endpoint_too_slow", host=host)
    said = _own_words(refusal, address)
    if 400 <= status < 500:
        return GenerationFailed("endpoint_refused", host=host, said=said)
    ends = said.endswith((".", "!", "?", "…"))  # another sentence comes behind it
    return GenerationFailed("endpoint_failed", host=host, said=said if ends else f"{said}.")


def explain_unreachable(error: Exception, address: Address) -> HfdemoError:
    """Return what to tell people when there was no answer at all."""
    if isinstance(error, httpx2.TimeoutException):
        return GenerationFailed("endpoint_too_slow", host=address.host)
    return GenerationFailed("endpoint_unreachable", host=address.host, problem=_root_problem(error))


def _own_words(refusal: Refusal, address: Address) -> str:
    """Return the server's words, cut to a length for people, and without what is secret."""
    said = " ".join(refusal.said.split()) or f"HTTP {refusal.status}"
    for secret in address.secrets:
        said = said.replace(secret, "***")
    return replace_surrogates(said if len(said) <= MAX_SAID_CHARS else f"{said[:MAX_SAID_CHARS]}…")


def _root_problem(error: BaseException) -> str:
    """Return the system's own words for the problem, or else the error's name."""
    name = type(error).__name__
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, ssl.SSLError | socket.gaierror) and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # its own text names the address that the host's name leads to
    return name


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a server wants to be left alone; None if it doesn't tell, or nothing that can be meant."""
    seconds = _told_seconds(headers)
    return seconds if seconds is not None and seconds <= LONGEST_WAIT_S else None


def _told_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`, which may be a date, or of the Hub's `RateLimit`."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # no date, or one in a year that there is not
        found = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
        return float(found[1]) if found else None
