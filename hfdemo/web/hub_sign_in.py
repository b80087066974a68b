"""Sign-in with a Hugging Face account, on a Space: the host names who is let in, users and organisations.

Where the visitors' own credit pays for their replies, all are let in unless some are named.

Gradio's own routes talk to the Hub (OAuth with OpenID). Here they are a small app of their own, before everything
else, so that a stranger reaches these two routes and nothing of the page.
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope

from hfdemo.web.failures import few_a_second

logger = logging.getLogger(__name__)

logger.addFilter(few_a_second)

BEGIN, RETURN = "/login/huggingface", "/login/callback"
"""Where signing in begins, and where the Hub sends the browser back to."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of a request to the routes.

    Args:
        answer: to be sent as it is, while nobody has signed in.
        user: whom the Hub names.
        outcome: whether they are let in; `failed`: the Hub didn't say who it is.
        token: their access token, if it is needed.
        token_lasts_s: how long that is valid, in seconds.
    """

    answer: Response | None = None
    user: str = ""
    outcome: Literal["under way", "let in", "not on the list", "failed"] = "under way"
    token: str = field(default="", repr=False)
    token_lasts_s: float = math.inf


class HubSignIn:
    """Asks the Hub who somebody is.

    Args:
        routes: an app with Gradio's routes for it.
        allowed: the names of users and organisations; upper and lower case are the same. None are named: all are let
            in.
        needs_token: whether their access tokens are needed.
    """

    def __init__(self, routes: ASGIApp, allowed: Collection[str], needs_token: bool = False) -> None:
        self._routes = routes
        self._needs_token = needs_token
        self._allowed = {name.casefold() for name in allowed}

    async def visit(self, scope: Scope, receive: Receive) -> Visit:
        """Serve a request to one of the two routes, as far as the Hub is concerned."""
        answer = _Kept()
        inner = {**scope}
        try:
            await self._routes(inner, receive, answer.take)
        except Exception as error:  # the Hub is away, refuses, or the visitor refused
            logger.warning("signing in with the Hub failed: %s", type(error).__name__)
            return Visit(outcome="failed")
        said = inner.get("session", {}).get("oauth_info")
        if scope["path"].rstrip("/") != RETURN or not said:
            return Visit(answer.response())
        facts = said.get("userinfo") or {}
        user = str(facts.get("preferred_username") or "")
        names = {name.casefold() for name in (user, *_organisations(facts)) if name}
        if not user or (self._allowed and not names & self._allowed):
            return Visit(user=user, outcome="not on the list")
        if not self._needs_token:
            return Visit(user=user, outcome="let in")
        token, lasts_s = str(said.get("access_token") or ""), float(said.get("expires_in") or math.inf)
        return Visit(user=user, outcome="let in", token=token, token_lasts_s=lasts_s)


class _Kept:
    """Keeps an app's answer."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def response(self) -> Response:
        kept = Response(self._body, self._status)
        kept.raw_headers = self._headers
        return kept


def _organisations(facts: Mapping[str, Any]) -> list[str]:
    """Return the organisations that the Hub says somebody belongs to; it says so only of those they agreed to show."""
    return [str(one.get("preferred_username") or "") for one in facts.get("orgs") or [] if isinstance(one, Mapping)]
