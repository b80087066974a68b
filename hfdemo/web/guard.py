"""What stands between the net and Gradio, from the outside in; each part is a module beside this one."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.settings import Settings
from hfdemo.web.bodies import MOST_BYTES, MOST_LARGE, BodyLimits, FewLargeBodies
from hfdemo.web.events import Events, EventTable
from hfdemo.web.failures import Failures
from hfdemo.web.headers import GUARDED, SafeHeaders
from hfdemo.web.health import Health
from hfdemo.web.hosts import Hosts, host_rules
from hfdemo.web.hub_sign_in import HubSignIn
from hfdemo.web.keys import Keys
from hfdemo.web.metrics_route import MetricsRoute
from hfdemo.web.routes import Routes
from hfdemo.web.sign_in import SignIn
from hfdemo.web.streams import FewStreams


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guard has to know.

    Args:
        settings: the host's.
        table: the page's events.
        share_link: returns the address of Gradio's share link, if there is one by now.
        is_ready: tells whether messages can be answered now.
        door: serves the API in OpenAI's form; without it there is none.
        hub_routes: Gradio's routes to sign in with a Hugging Face account, if the host lets users of the Hub in.
        metrics: returns the numbers for Prometheus; None where the host doesn't offer them.
    """

    settings: Settings
    table: EventTable
    share_link: Callable[[], str | None]
    is_ready: Callable[[], bool]
    door: ASGIApp | None = None
    metrics: Callable[[], bytes] | None = None
    hub_routes: ASGIApp | None = None


def guard(app: ASGIApp, guarded: Guarded) -> ASGIApp:
    """Return an app that serves only what it should, to whom it should.

    Each check comes before what it protects: nothing of a stranger's is read before the sign-in, and nothing is
    parsed before its size is known.
    """
    settings = guarded.settings
    app = _Marked(app)
    app = Events(app, guarded.table)
    most_bytes = max(MOST_BYTES, MOST_LARGE * settings.max_request_bytes)
    app = FewLargeBodies(app, most_bytes=most_bytes, most_of_one=most_bytes // 2)
    app = FewStreams(app)
    app = Routes(app)
    app = MetricsRoute(app, guarded.metrics)
    routes, pays = guarded.hub_routes, settings.visitors_pay
    hub = HubSignIn(routes, settings.allowed_users, needs_token=pays) if routes else None
    app = SignIn(app, settings.accounts, hub, pays)
    app = Keys(app, guarded.door, dict(settings.api_keys))
    app = BodyLimits(app, settings.max_request_bytes)
    app = Health(app, guarded.is_ready)
    app = Hosts(app, host_rules(settings), guarded.share_link)
    return SafeHeaders(Failures(app))


class _Marked:
    """Marks requests that have passed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, GUARDED: True}, receive, send)
