"""Serves the stand-in on this machine: three origins, by default over TLS.

TLS matters. The client takes a 401 for "no such repository" only on addresses that begin with `https://`.
"""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import trustme
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.conftest import wait_until
from tests.hub.api import make_api
from tests.hub.cdn import make_cdn
from tests.hub.space_host import make_space_host
from tests.hub.state import Hub


class Certificate(NamedTuple):
    """Files of a certificate for this machine's names."""

    authority: Path
    """Whom a client has to trust."""
    chain: Path
    """The certificate with its private key."""


@contextmanager
def serve(hub: Hub, tls: bool = True) -> Iterator[Hub]:
    """Serve a hub on free ports of this machine while the context lasts.

    Its two own origins differ in their host as well: a client keeps its token for `localhost`.
    """
    with tempfile.TemporaryDirectory() as folder:
        certificate = _make_certificate(Path(folder)) if tls else None
        scheme = "https" if tls else "http"
        with (
            _listen(make_api(hub), hub, certificate) as port,
            _listen(make_cdn(hub), hub, certificate) as cdn_port,
            _listen(make_space_host(hub), hub, certificate) as host_port,
        ):
            hub.url = f"{scheme}://localhost:{port}"
            hub.cdn_url = f"{scheme}://127.0.0.1:{cdn_port}"
            hub.spaces.host_url = f"{scheme}://127.0.0.1:{host_port}"
            hub.environ = {"HF_ENDPOINT": hub.url, "NO_PROXY": "localhost,127.0.0.1"}
            if certificate:
                hub.environ["SSL_CERT_FILE"] = str(certificate.authority)
            yield hub


@contextmanager
def _listen(app: Starlette, hub: Hub, certificate: Certificate | None) -> Iterator[int]:
    """Run an app on a free port, and give the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            http=_make_protocol(hub),
            lifespan="off",
            log_config=None,
            log_level="critical",  # a cut answer is an error to the server, and meant
            ssl_certfile=certificate.chain if certificate else None,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="hub", daemon=True)
        thread.start()
        wait_until(lambda: server.started, 10, "the hub")
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def _make_protocol(hub: Hub) -> type[H11Protocol]:
    """Return the protocol of connections that break or fall silent when the hub is down."""

    class Protocol(H11Protocol):
        def data_received(self, data: bytes) -> None:
            if hub.down == "hangs up":
                self.transport.close()
            elif hub.down != "silent":
                super().data_received(data)

    return Protocol


def _make_certificate(folder: Path) -> Certificate:
    """Make an authority and a certificate that it signs; both are good for this test only."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    certificate = Certificate(folder / "authority.pem", folder / "server.pem")
    authority.cert_pem.write_to_path(str(certificate.authority))
    server.private_key_and_cert_chain_pem.write_to_path(str(certificate.chain))
    return certificate
