"""The door of a page with a password: nobody gets anything of the page before signing in.

Gradio's own sign-in looks at the password only after it has read and parsed a request, puts default values into the
page for strangers, and ends all sessions of a user at once. So this stands before Gradio, which knows of no passwords.
Programs sign in as with Gradio: `Client(..., auth=(user, password))`.
"""

import secrets
from collections.abc import Mapping
from html import escape
from http.cookies import SimpleCookie

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.refusals import refusal
from hfdemo.web.routes import callers_of
from hfdemo.web.sessions import Accounts, Sessions
from hfdemo.web.throttle import Throttle
from hfdemo.words import choose_language, say

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"

_FORM = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 1rem }}
form {{ display: grid; gap: .5rem; width: min(20rem, 100%) }}
input, button {{ font: inherit; padding: .5rem }}
button {{ margin-top: .5rem }}
</style></head><body><form method="post" action="login">
<h1>{title}</h1>
<p role="alert">{problem}</p>
<label for="username">{user}</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="from_page" value="1">
<button>{button}</button>
</form></body></html>
"""


class SignIn:
    """ASGI middleware; see the module.

    Args:
        app: what it guards.
        passwords: by user name; empty lets everybody in.
    """

    def __init__(self, app: ASGIApp, passwords: Mapping[str, str]) -> None:
        self._app = app
        self._accounts = Accounts(passwords) if passwords else None
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._cookie = f"hfdemo-{secrets.token_hex(4)}"  # two pages of one machine share their cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._accounts is None or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        secret = self._secret(scope)
        path = scope["path"].rstrip("/")
        if scope["type"] == "websocket":
            if self._sessions.user(secret):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        elif path == "/login" and scope["method"] == "POST":
            await (await self._sign_in(self._accounts, scope, receive))(scope, receive, send)
        elif path == "/login":  # a form that was wrong, opened again
            await RedirectResponse("./", 303)(scope, receive, send)
        elif path == "/logout":
            self._sessions.end(secret)
            await self._without_cookies(RedirectResponse("./", 303))(scope, receive, send)
        elif self._sessions.user(secret) or callers_of(scope["path"]) == "anyone":
            await self._app(scope, receive, send)
        elif path == "" and scope["method"] in ("GET", "HEAD"):
            await _form(scope)(scope, receive, send)
        else:
            await refusal("not_signed_in", 401, scope)(scope, receive, send)

    async def _sign_in(self, accounts: Accounts, scope: Scope, receive: Receive) -> Response:
        address = (scope.get("client") or ("", 0))[0]
        if wait_s := self._throttle.wait_s(address):
            seconds = int(wait_s) + 1
            return refusal("sign_in_slow", 429, scope, {"retry-after": str(seconds)}, seconds=seconds)
        try:
            form = await Request(scope, receive).form(max_files=0, max_fields=10, max_part_size=4096)
        except (HTTPException, MultiPartException, ClientDisconnect, ValueError):
            return refusal("bad_form", 400, scope)
        name, password = (str(form.get(field, "")).strip() for field in ("username", "password"))
        from_page = "from_page" in form
        if not accounts.holds(name, password):
            self._throttle.failed(address)
            return _form(scope, wrong=True) if from_page else refusal("wrong_password", 401, scope)
        self._throttle.succeeded(address)
        answer = RedirectResponse("./", 303) if from_page else JSONResponse({"success": True})
        return self._with_cookies(answer, self._sessions.begin(name))

    def _secret(self, scope: Scope) -> str:
        cookies: SimpleCookie = SimpleCookie()
        for line in Headers(scope=scope).getlist("cookie"):
            cookies.load(line)
        found = cookies.get(self._cookie) or cookies.get(f"{self._cookie}-plain")
        return found.value if found else ""

    def _with_cookies(self, answer: Response, secret: str) -> Response:
        """Set the session's cookie twice: a page in a frame (a Space) needs it so, a page without https so.

        Neither works in the other's place. Foreign pages can use neither: their origin is refused.
        """
        in_frame = "HttpOnly; Path=/; Secure; SameSite=None; Partitioned"
        answer.headers.append("set-cookie", f"{self._cookie}={secret}; {in_frame}")
        answer.headers.append("set-cookie", f"{self._cookie}-plain={secret}; HttpOnly; Path=/; SameSite=Lax")
        return answer

    def _without_cookies(self, answer: Response) -> Response:
        gone = "Max-Age=0; HttpOnly; Path=/"
        answer.headers.append("set-cookie", f"{self._cookie}=; {gone}; Secure; SameSite=None; Partitioned")
        answer.headers.append("set-cookie", f"{self._cookie}-plain=; {gone}; SameSite=Lax")
        return answer


def _form(scope: Scope, wrong: bool = False) -> HTMLResponse:
    """Return the form. Nothing in it depends on the page behind it."""
    language = choose_language(Headers(scope=scope).get("accept-language"))
    text = {key: escape(say(f"sign_in.{key}", language)) for key in ("title", "user", "password", "button")}
    problem = escape(say("refused.wrong_password", language)) if wrong else ""
    page = _FORM.format(language=language, problem=problem, **text)
    return HTMLResponse(page, 401 if wrong else 200, {"content-security-policy": POLICY, "cache-control": "no-store"})
