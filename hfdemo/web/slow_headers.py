"""Closes connections whose headers don't come: a few hundred of them would be all that the server can hold."""

import asyncio
from typing import Any

HEADERS_WAIT_S = 20.0
"""How long the headers of a request may take."""


def bound_headers(protocol: type[Any], seconds: float = HEADERS_WAIT_S) -> type[Any]:
    """Return uvicorn's class for a connection, with a limit for how long it waits for headers.

    uvicorn itself bounds only the time between two requests of one connection.
    """

    class Bounded(protocol):
        """A connection that is closed when the headers of a request take too long."""

        _closing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Begin to wait for headers."""
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            """Read what came, and wait on if the headers are not whole yet."""
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()
            elif self._closing is None:
                self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            """Wait no more."""
            self._forget()
            super().connection_lost(exc)

        def _expect(self) -> None:
            self._closing = self.loop.call_later(seconds, self._close)

        def _forget(self) -> None:
            if self._closing is not None:
                self._closing.cancel()
                self._closing = None

        def _close(self) -> None:
            self._closing = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Bounded
