"""What a request is told that isn't served: a sentence in the caller's language, as JSON."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

from hfdemo.words import choose_language, say


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
    return JSONResponse({"error": text, "detail": text}, status, headers)
