"""What a request is told that isn't served: a sentence in the caller's language, as JSON."""

from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

from hfdemo.words import choose_language, say

API = "/v1/"
"""Where the API in OpenAI's form is."""


def refusal(
    key: str, status: int, scope: Scope, headers: dict[str, str] | None = None, **facts: object
) -> JSONResponse:
    """Return an answer that says why a request is refused, and what to do.

    Args:
        key: the name of the sentence in `words/`, without the leading `refused.`.
        status: the HTTP status.
        scope: the request's.
        headers: more headers.
        facts: what goes into the gaps of the sentence.
    """
    language = choose_language(Headers(scope=scope).get("accept-language"))
    text = say(f"refused.{key}", language, **facts)
    if scope["path"].startswith(API):
        return JSONResponse(error_body(text, status, code=key), status, headers)
    return JSONResponse({"error": text, "detail": text}, status, headers)


def error_body(text: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return an error in the form of OpenAI's API.

    Args:
        text: a sentence for people.
        status: the HTTP status.
        param: which parameter is wrong.
        code: a name for programs.

    Source: https://platform.openai.com/docs/guides/error-codes
    """
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}
