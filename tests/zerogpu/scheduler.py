"""Lends GPUs that aren't there, takes them back, and remembers to whom they were lent and for how long."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PING_S = 0.1
"""How often somebody in the line hears of it. The client takes what comes together for one event: mind the gap."""


@dataclass
class Loan:
    """A GPU that was asked for."""

    token: str | None
    """The visitor's, as it was sent."""
    seconds: int
    number: int
    gpu: int = -1
    """Which one was lent."""
    pid: int = 0
    """The worker that uses it."""
    asked_at: float = field(default_factory=time.monotonic)
    began_at: float = 0.0
    ended_at: float = 0.0
    failed: bool = False
    aborted: bool = False
    left: bool = False
    """Whether who asked has left the line."""

    @property
    def allow_token(self) -> str:
        return f"allow-{self.number}"


@dataclass(frozen=True)
class Refusal:
    """An answer without a GPU."""

    status: int
    body: dict[str, float] | None = None
    """What is left of the quota and how long to wait, in seconds."""
    headers: dict[str, str] = field(default_factory=dict)


class Scheduler:
    """The state of the stand-in, and what a test may do with it.

    Args:
        gpus: how many there are.
    """

    def __init__(self, gpus: int = 1) -> None:
        self.loans: list[Loan] = []
        self.startups = 0
        self.refusal: Refusal | None = None
        """What everybody is told from now on."""
        self.patience_s = 60.0
        """How long somebody waits in the line before he is sent away."""
        self.reason = "node"
        """Why there is a line."""
        self._gpus: dict[int, Loan | None] = dict.fromkeys(range(gpus))
        self._last_pid: dict[int, int] = {}

    @property
    def lent(self) -> list[Loan]:
        """The loans that haven't ended."""
        return [loan for loan in self._gpus.values() if loan]

    def forget(self) -> None:
        """Make ready for another test."""
        assert not self.lent, self.lent
        self.loans.clear()
        self.refusal, self.patience_s = None, 60.0

    def abort(self, loan: Loan) -> None:
        """Take a GPU back from a worker that still uses it."""
        loan.aborted = True
        self._end(loan)
        kill(loan.pid)

    def app(self) -> Starlette:
        """Return what answers over HTTP."""
        routes = {"/startup-report": self._startup, "/schedule": self._schedule}
        routes |= {"/allow": self._allow, "/release": self._release}
        return Starlette(routes=[Route(path, answer, methods=["POST"]) for path, answer in routes.items()])

    async def _startup(self, _: Request) -> Response:
        self.startups += 1
        return Response()

    async def _schedule(self, request: Request) -> Response:
        asked = request.query_params
        loan = Loan(asked.get("token"), int(asked["durationSeconds"]), len(self.loans))
        self.loans.append(loan)
        if self.refusal:
            headers = self.refusal.headers
            return JSONResponse(self.refusal.body or {}, self.refusal.status, headers=headers)
        if given := self._give(loan):
            return JSONResponse(given)
        headers = {"X-Queuing-Reason": self.reason}
        return StreamingResponse(self._line(loan), media_type="text/event-stream", headers=headers)

    async def _line(self, loan: Loan) -> AsyncIterator[str]:
        """Tell somebody in the line how it goes."""
        try:
            while not (given := self._give(loan)):
                if time.monotonic() - loan.asked_at > self.patience_s:
                    yield "event: failed\n"
                    return
                yield "event: ping\n"
                await asyncio.sleep(PING_S)
        finally:
            loan.left = loan.gpu == -1
        await asyncio.sleep(PING_S)
        yield f"event: succeeded\ndata: {json.dumps(given)}\n"

    def _give(self, loan: Loan) -> dict[str, Any] | None:
        for gpu, other in self._gpus.items():
            if other is None:
                self._gpus[gpu], loan.gpu = loan, gpu
                idle = is_alive(self._last_pid.get(gpu, 0))  # a worker that was there before may go on
                loan.pid = self._last_pid[gpu] if idle else 0
                loan.began_at = time.monotonic() if idle else 0.0
                return {"idle": idle, "nvidiaIndex": gpu, "nvidiaUUID": f"GPU-{gpu}", "allowToken": loan.allow_token}
        return None

    async def _allow(self, request: Request) -> Response:
        loan = self._loan(request)
        loan.pid, loan.began_at = int(request.query_params["pid"]), time.monotonic()
        self._last_pid[loan.gpu] = loan.pid
        return Response()

    async def _release(self, request: Request) -> Response:
        loan = self._loan(request)
        if loan.ended_at:
            return Response(status_code=404)
        loan.failed = request.query_params["fail"] == "true"
        self._end(loan)
        if loan.failed:
            kill(loan.pid)  # it is never used again, and the next one needs the memory of its GPU
        return Response()

    def _loan(self, request: Request) -> Loan:
        return next(loan for loan in self.loans if loan.allow_token == request.query_params["allowToken"])

    def _end(self, loan: Loan) -> None:
        loan.ended_at = time.monotonic()
        self._gpus[loan.gpu] = None


def kill(pid: int) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
