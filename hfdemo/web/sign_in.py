"""The door of a page with a password: nobody gets anything of the page before signing in.

Gradio's own sign-in looks at the password only after it has read and parsed a request, puts default values into the
page for strangers, and ends all sessions of a user at once. So this stands before Gradio, which knows of no passwords.
Programs sign in as with Gradio: `Client(..., auth=(user, password))`, or with each request (HTTP Basic).
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from html import escape

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.web.hub_sign_in import BEGIN, RETURN, HubSignIn
from hfdemo.web.refusals import refusal
from hfdemo.web.routes import callers_of
from hfdemo.web.sessions import Accounts, Sessions
from hfdemo.web.throttle import Throttle
from hfdemo.words import Language, choose_language, say

FORM_WORDS = ("title", "user", "password", "button", "hub", "credit", "out")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"

VISITORS_TOKEN = "hfdemo.visitors_token"
"""Where a request has the access token of its visitor, if that is needed; it is told to nobody but the engine."""

_FORM = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 1rem }}
form {{ display: grid; gap: .5rem; width: min(20rem, 100%) }}
input, button, a {{ font: inherit; padding: .5rem }}
button, a {{ margin-top: .5rem; text-align: center }}
</style></head><body><form method="post" action="{action}">
<h1>{title}</h1>
<p role="alert">{problem}</p>
{ways}
</form></body></html>
"""

_HUB = """<a href="{up}login/huggingface" target="_blank" rel="noopener">{hub}</a>"""
_CREDIT = "<p>{credit}</p>"
"""In a tab of its own: in a frame, where a Space is shown, the Hub's page can't open."""

_OUT = "<button>{out}</button>"
_PASSWORD = """<label for="username">{user}</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="from_page" value="1">
<button>{button}</button>"""


class SignIn:
    """ASGI middleware; see the module.

    Args:
        app: what it guards.
        passwords: by user name.
        hub: asks the Hub who somebody is; without it and without passwords, everybody is let in.
        visitors_pay: whether that is to say whose credit pays for their replies.
    """

    def __init__(
        self, app: ASGIApp, passwords: Mapping[str, str], hub: HubSignIn | None = None, visitors_pay: bool = False
    ) -> None:
        self._app = app
        self._accounts = Accounts(passwords)
        self._hub = hub
        self._ways = [
            *([_CREDIT] if visitors_pay else []),
            *([_HUB] if hub else []),
            *([_PASSWORD] if passwords else []),
        ]
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._cookie = f"hfdemo-{secrets.token_hex(4)}"  # two pages of one machine share their cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not self._ways or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        secret = self._secret(scope)
        path = scope["path"].rstrip("/")
        if scope["type"] == "websocket":
            if self._is_signed_in(scope, secret):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        elif path == "/login" and scope["method"] == "POST":
            await (await self._sign_in(scope, receive))(scope, receive, send)
        elif self._hub and path in (BEGIN, RETURN) and scope["method"] != "GET":
            await refusal("wrong_method", 405, scope, {"allow": "GET"}, allowed="GET")(scope, receive, send)
        elif self._hub and path in (BEGIN, RETURN):
            await (await self._sign_in_with_hub(self._hub, scope, receive))(scope, receive, send)
        elif path == "/login":  # a form that was wrong, opened again
            await _to_page(scope)(scope, receive, send)
        elif path == "/logout":
            await self._sign_out(scope, secret)(scope, receive, send)
        elif self._is_signed_in(scope, secret) or callers_of(scope["path"]) == "anyone":
            await self._app({**scope, VISITORS_TOKEN: self._sessions.token(secret)}, receive, send)
        elif path == "" and scope["method"] in ("GET", "HEAD"):
            await self._form(scope)(scope, receive, send)
        else:
            await self._not_signed_in(scope)(scope, receive, send)

    def _is_signed_in(self, scope: Scope, secret: str) -> bool:
        return bool(self._sessions.user(secret)) or self._says_password(scope)

    def _not_signed_in(self, scope: Scope) -> Response:
        """Refuse a request; one that brings a password itself is told what is wrong with it."""
        if not Headers(scope=scope).get("authorization", "").lower().startswith("basic "):
            return refusal("not_signed_in", 401, scope)
        return self._slow(scope) if self._throttle.wait_s(_address(scope)) else refusal("wrong_password", 401, scope)

    def _says_password(self, scope: Scope) -> bool:
        """Tell whether a request brings a right name and password itself, as monitors do."""
        kind, _, encoded = Headers(scope=scope).get("authorization", "").partition(" ")
        address = _address(scope)
        if kind.lower() != "basic" or self._throttle.wait_s(address):
            return False
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # it is no base64, or no UTF-8
            return False
        right = self._accounts.holds(name, password)
        if right:
            self._throttle.succeeded(address, name)
        else:
            self._throttle.failed(address, name)
        return right

    async def _sign_in_with_hub(self, hub: HubSignIn, scope: Scope, receive: Receive) -> Response:
        visit = await hub.visit(scope, receive)
        if visit.answer:
            return visit.answer
        if visit.outcome == "let in":
            answer: Response = self._with_cookies(
                RedirectResponse("/", 303), self._sessions.begin(visit.user, visit.token, visit.token_lasts_s)
            )
        elif visit.outcome == "failed":
            answer = self._form(scope, "hub_sign_in_failed", 502)
        else:
            answer = self._form(scope, "not_on_the_list", 403, user=visit.user)
        answer.delete_cookie("session", secure=True, httponly=True, samesite="none")  # it has the visitor's token
        return answer

    async def _sign_in(self, scope: Scope, receive: Receive) -> Response:
        address = _address(scope)
        if self._throttle.wait_s(address):
            return self._slow(scope)
        try:
            form = await Request(scope, receive).form(max_files=0, max_fields=10, max_part_size=4096)
        except (HTTPException, MultiPartException, ClientDisconnect, ValueError):
            return refusal("bad_form", 400, scope)
        if self._throttle.wait_s(address):  # many forms may have been begun before the first one was wrong
            return self._slow(scope)
        name, password = (str(form.get(field, "")).strip() for field in ("username", "password"))
        from_page = "from_page" in form
        if not self._accounts.holds(name, password):
            self._throttle.failed(address, name)
            return self._form(scope, "wrong_password", 401) if from_page else refusal("wrong_password", 401, scope)
        self._throttle.succeeded(address, name)
        answer = _to_page(scope) if from_page else JSONResponse({"success": True})
        return self._with_cookies(answer, self._sessions.begin(name))

    def _sign_out(self, scope: Scope, secret: str) -> Response:
        """End a session, if its visitor wants that. Any page can have a browser ask for this address, by a picture."""
        if not self._sessions.user(secret):
            return _to_page(scope)
        if scope["method"] != "POST" and Headers(scope=scope).get("sec-fetch-site") not in ("same-origin", "none"):
            return _draw_form(scope, "logout", "out", [_OUT])
        self._sessions.end(secret)
        return self._without_cookies(_to_page(scope))

    def _slow(self, scope: Scope) -> Response:
        seconds = int(self._throttle.wait_s(_address(scope))) + 1
        return refusal("sign_in_slow", 429, scope, {"retry-after": str(seconds)}, seconds=seconds)

    def _secret(self, scope: Scope) -> str:
        """Return what a request's cookie holds, whatever cookies of other pages stand beside it.

        Python's own reader fails with some names, and stops at the first cookie that it can't read.
        """
        pairs = [pair.partition("=") for line in Headers(scope=scope).getlist("cookie") for pair in line.split(";")]
        cookies = {name.strip(): value.strip() for name, _, value in reversed(pairs)}  # the first of a name counts
        return cookies.get(self._cookie) or cookies.get(f"{self._cookie}-plain") or ""

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

    def _form(self, scope: Scope, problem: str = "", status: int = 200, **facts: str) -> HTMLResponse:
        """Return the form to sign in, with the sentence of a problem."""
        sentence = escape(say(f"refused.{problem}", _language(scope), **facts)) if problem else ""
        return _draw_form(scope, "login", "title", self._ways, sentence, status)


def _draw_form(
    scope: Scope, action: str, title: str, parts: Sequence[str], problem: str = "", status: int = 200
) -> HTMLResponse:
    """Return a form. Nothing in it depends on the page behind it."""
    language, up = _language(scope), "../" * (scope["path"].count("/") - 1)  # it is shown at the Hub's way back, too
    text = {key: escape(say(f"sign_in.{key}", language)) for key in FORM_WORDS}
    inner = "\n".join(parts).format(up=up, **text)
    page = _FORM.format(language=language, action=up + action, title=text[title], problem=problem, ways=inner)
    return HTMLResponse(page, status, {"content-security-policy": POLICY, "cache-control": "no-store"})


def _language(scope: Scope) -> Language:
    return choose_language(Headers(scope=scope).get("accept-language"))


def _to_page(scope: Scope) -> RedirectResponse:
    """Lead to the page, at whatever sub-path the browser sees it; `/login/` is one step below `/login`."""
    return RedirectResponse("../" if scope["path"].endswith("/") else "./", 303)


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("", 0))[0])
