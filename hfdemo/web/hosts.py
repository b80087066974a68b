"""Under which host names the page answers, whose pages may send it events, and which proxies it believes.

A page on a laptop is in the reach of every page that the laptop's browser visits: a foreign page can send requests to
`localhost`, and with a name of its own that leads to 127.0.0.1 (DNS rebinding) it can read the answers, too. So a
request must name a host that is ours, and come from a page that is ours if it comes from a page at all.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hfdemo.settings import Settings
from hfdemo.web.refusals import refusal

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

COLAB_NAMES = (".colab.dev", ".googleusercontent.com")
"""Under these, Colab shows the ports of its machines."""

EVERYWHERE = ("0.0.0.0/0", "::/0")

FORWARDING = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
"""The headers in which a proxy tells of the request it got; Gradio makes the page's addresses from them."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d*)?")

_HOP = re.compile(r"(?:\[([^\]]+)\]|([^:]+))(?::\d+)?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class HostRules:
    """What is ours.

    Args:
        names: host names; one that begins with a dot stands for all below it, and `*` for all.
        any_address: whether plain IP addresses are ours. Nobody can make one lead elsewhere.
        any_name: whether a host name proves nothing: a proxy of the platform rewrites it.
        proxies: whose word counts.
    """

    names: tuple[str, ...] = ()
    any_address: bool = False
    any_name: bool = False
    proxies: tuple[Network, ...] = ()

    def is_own_host(self, authority: str) -> bool:
        """Tell whether a request's host, with or without a port, is ours."""
        name = _host_name(authority)
        return (
            self.any_name or name in LOOPBACK_NAMES or self.is_named(name) or (self.any_address and _is_address(name))
        )

    def is_own_origin(self, origin: str, authority: str) -> bool:
        """Tell whether a page is ours from which a request to a host comes.

        A page at another port of `localhost` is another's.
        """
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return _without_usual_port(parts.netloc) == _without_usual_port(authority) or self.is_named(name)

    def is_named(self, name: str) -> bool:
        """Tell whether a host name is among those that we were given."""
        return any(
            known == "*" or name == known or (known.startswith(".") and name.endswith(known)) for known in self.names
        )

    def believes(self, address: str) -> bool:
        """Tell whether a request from an address may tell for whom it is sent."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.proxies)


def host_rules(settings: Settings) -> HostRules:
    """Return the rules for where and how the page runs."""
    proxies = list(settings.trusted_proxies)
    names = list(settings.allowed_hosts)
    if settings.platform != "local":  # only through the platform's own proxy can these machines be reached
        proxies += EVERYWHERE
    if settings.platform == "colab":
        names += COLAB_NAMES
    elif not settings.private:
        own = socket.gethostname().lower()
        names += [own, f"{own}.local"]
    return HostRules(
        tuple(names),
        any_address=not settings.private,
        any_name=settings.platform == "colab",
        proxies=tuple(ipaddress.ip_network(proxy, strict=False) for proxy in proxies),
    )


class Hosts:
    """ASGI middleware: refuses foreign hosts and origins, and lets only trusted proxies tell who sends a request.

    Args:
        app: what it guards.
        rules: what is ours.
        share_link: returns the address of Gradio's share link, if there is one by now.
    """

    def __init__(self, app: ASGIApp, rules: HostRules, share_link: Callable[[], str | None] = lambda: None) -> None:
        self._app = app
        self._rules = rules
        self._share_link = share_link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = self._as_sent(scope)
        if key := self._problem(scope):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await refusal(key, 403, scope)(scope, receive, send)
        elif scope.get("method") == "CONNECT":  # asks a proxy for a tunnel; after an answer of 200 there would be one
            allowed = "GET, POST"
            await refusal("wrong_method", 405, scope, {"allow": allowed}, allowed=allowed)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        shared = _authority(self._share_link() or "")
        hosts = [*headers.getlist("host"), *headers.getlist("x-forwarded-host")]
        if not hosts or not all(self._rules.is_own_host(host) or _same(host, shared) for host in hosts):
            return "foreign_host"
        origins = headers.getlist("origin")
        host = headers.get("x-forwarded-host") or hosts[0]
        own = (self._rules.is_own_origin(one, host) or _same(_authority(one), shared) for one in origins)
        return None if all(own) else "foreign_origin"

    def _as_sent(self, scope: Scope) -> Scope:
        """Return a request as a trusted proxy tells that it got it, or without what another sender tells."""
        peer, port = scope.get("client") or ("", 0)
        peer = _as_ipv4(peer)
        scope = {**scope, "client": (peer, port)}
        headers = Headers(scope=scope)
        if not self._rules.believes(peer):
            told = {name.encode() for name in FORWARDING}
            return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in told]}
        kept = [
            (name, value.split(b",")[0].strip() if name == b"x-forwarded-host" else value)
            for name, value in scope["headers"]
            if name != b"x-gradio-server"
        ]
        secure = headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"
        scheme = {"http": "https", "ws": "wss"}.get(scope["scheme"], scope["scheme"]) if secure else scope["scheme"]
        client = (self._visitor(headers.getlist("x-forwarded-for"), peer), 0)
        return {**scope, "headers": kept, "scheme": scheme, "client": client}

    def _visitor(self, forwarded: list[str], peer: str) -> str:
        """Return the address of whoever sent a request to the outermost proxy that is known.

        Each proxy adds the address that it saw, so the right end is true, and the left end may be the visitor's word.
        Where every address is a proxy's (a Space), those inside the platform are left out.
        """
        hops = [_as_ipv4(_without_port(hop.strip())) for part in forwarded for hop in part.split(",")]
        for hop in reversed(hops):
            if not _is_address(hop):
                break
            peer = hop
            if not self._is_proxy_between(hop):
                break
        return peer

    def _is_proxy_between(self, address: str) -> bool:
        found = ipaddress.ip_address(address)
        named = any(found in network and network.prefixlen for network in self._rules.proxies)
        return named or (self._rules.believes(address) and found.is_private)


def _host_name(authority: str) -> str:
    """Return the name in a Host header; empty if the header holds anything else."""
    found = _HOST.fullmatch(authority.lower())
    return found[1].strip("[]").rstrip(".") if found else ""


def _authority(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return bool(other) and _without_usual_port(one) == _without_usual_port(other)


def _without_usual_port(authority: str) -> str:
    return authority.lower().removesuffix(":80").removesuffix(":443")


def _without_port(hop: str) -> str:
    """Return an address without the port that some proxies add (`192.0.2.1:50000`, `[2001:db8::1]:50000`)."""
    found = _HOP.fullmatch(hop)
    return found[1] or found[2] if found else hop


def _as_ipv4(address: str) -> str:
    """Return an IPv4 address as one, also where a listener for both kinds tells it as `::ffff:192.0.2.1`.

    All of these are one network of IPv6, and would count as one client.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
