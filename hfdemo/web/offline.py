"""What the browser shows while the chat can't be reached: a page that says what to do, and opens the chat by itself.

A service worker gives it out; it keeps nothing else and answers nothing else, so that no page can be out of date.
Source: https://www.w3.org/TR/service-workers/.
"""

import json

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.words import LANGUAGES, Language, say

PATH = "/service-worker.js"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

_PAGE = """<!doctype html><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; font: 16px/1.6 system-ui, "Noto Sans KR", sans-serif; }
body { display: grid; place-content: center; min-height: 90vh; max-width: 30rem; margin: auto; padding: 1rem; }
main { display: grid; gap: 1rem; }
h1 { font-size: 1.25rem; margin: 0; } p { margin: 0; word-break: keep-all; overflow-wrap: anywhere; }
button { justify-self: start; min-height: 44px; padding: 0 1.2rem; font: inherit; }
</style>
<main><h1></h1><p></p><button onclick="location.reload()"></button></main>
<script>
const texts = {texts};
const names = navigator.languages.map((name) => name.slice(0, 2));
try { names.unshift(localStorage.getItem("hfdemo_language")); } catch { /* refused: the browser's language */ }
const language = names.find((name) => Object.hasOwn(texts, name)) ?? "en";
document.documentElement.lang = language;
document.title = texts[language].title;
document.querySelector("h1").textContent = texts[language].title;
document.querySelector("p").textContent = texts[language].text;
document.querySelector("button").textContent = texts[language].retry;
const look = () => fetch("gradio_api/app_id", { cache: "no-store" })
  .then((answer) => { if (answer.status < 500) location.reload(); })
  .catch(() => undefined);
setInterval(look, 3000);
addEventListener("online", look);
</script>"""

_WORKER = """const page = {page};
const kind = { "content-type": "text/html; charset=utf-8", "content-security-policy": {policy} };
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.mode !== "navigate") return;
  event.respondWith(fetch(event.request).catch(() => new Response(page, { status: 503, headers: kind })));
});
"""


class OfflinePage:
    """ASGI middleware: serves the service worker.

    Args:
        app: what it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        page = _PAGE.replace("{texts}", json.dumps({language: _texts(language) for language in LANGUAGES}))
        self._worker = _WORKER.replace("{page}", json.dumps(page)).replace("{policy}", json.dumps(_POLICY))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope.get("path") != PATH:
            await self._app(scope, receive, send)
            return
        headers = {"cache-control": "no-cache"}
        await Response(self._worker, media_type="text/javascript", headers=headers)(scope, receive, send)


def _texts(language: Language) -> dict[str, str]:
    return {
        "title": say("offline.title", language),
        "text": say("offline.text", language),
        "retry": say("offline.retry", language),
    }
