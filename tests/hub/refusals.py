"""What the Hub answers when it refuses, word for word: the client and this program tell the cases apart by it."""

import uuid
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

DISABLED = "Access to this resource is disabled."
"""The client knows a disabled repository by exactly this text."""


class Refusal(NamedTuple):
    """An error: `code` is the Hub's own name for it, which it gives to some errors only."""

    status: int
    message: str
    code: str | None = None
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """Ends the handling of a request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal(
    status: int,
    message: str,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    plain_text: bool = False,
) -> Response:
    """Return an error as the Hub sends it: the headers say it all, and the body says it again."""
    sent = {"X-Error-Message": message, "X-Request-Id": f"Root=1-{uuid.uuid4()}", **(headers or {})}
    if code:
        sent["X-Error-Code"] = code
    if status == 401:
        sent["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    if plain_text:
        return PlainTextResponse(message, status, headers=sent)
    return JSONResponse({"error": message}, status, headers=sent)


def answer_refused(request: Request, error: Exception) -> Response:
    """Return the answer to a refused request: JSON from the API, plain text from the addresses of files."""
    assert isinstance(error, Refused)
    return refusal(*error.refusal, plain_text=not request.url.path.startswith("/api/"))


def bad_token() -> Refusal:
    return Refusal(401, "Invalid username or password.")


def missing(signed_in: bool) -> Refusal:
    """Return the answer about a model that isn't there, or that whoever asks may not know of."""
    return Refusal(404, "Repository not found", "RepoNotFound") if signed_in else bad_token()


def no_revision(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(message: str, commit: str) -> Refusal:
    """Return the answer about a missing file; with the commit, the client remembers that it is missing."""
    return Refusal(404, message, "EntryNotFound", {"X-Repo-Commit": commit})


def disabled() -> Refusal:
    return Refusal(403, DISABLED)


def rate_limited(bucket: str, seconds: int) -> Refusal:
    message = "We had to rate limit your IP. To continue using our service, create a HF account or login."
    headers = {
        "RateLimit": f'"{bucket}";r=0;t={seconds}',
        "RateLimit-Policy": f'"fixed window";"{bucket}";q=500;w=300',
    }
    return Refusal(429, message, headers=headers)


def gate_without_token(model: str) -> Refusal:
    message = (
        f"Access to model {model} is restricted. You must have access to it and be authenticated to access it. "
        "Please log in."
    )
    return Refusal(401, message, "GatedRepo")


def gate_without_right() -> Refusal:
    message = (
        "Please enable access to public gated repositories in your fine-grained token settings "
        "to view this repository."
    )
    return Refusal(403, message)


def gate_closed(model: str, request: str) -> Refusal:
    """Return the answer to a person whose request for access is in this state."""
    page = f"https://huggingface.co/{model}"
    messages = {
        "not asked": f"Access to model {model} is restricted and you are not in the authorized list. "
        f"Visit {page} to ask for access.",
        "pending": f"Your request to access model {model} is awaiting a review from the repo authors.",
        "rejected": f"Your request to access model {model} has been rejected by the repo's authors.",
        "reset": f"Your request to access model {model} has been reset by the repo's authors. "
        f"Visit {page} to submit a new request.",
    }
    return Refusal(403, messages[request], "GatedRepo")
