"""The one thread in which torch computes."""

import atexit
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

END_S = 2
"""How long an ending program waits for the running job."""


class Compute(Protocol):
    """Runs jobs one after the other."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function after everything submitted before it, and return its future."""
        ...

    def has_waiting_jobs(self) -> bool:
        """Tell whether a job waits for the one that runs."""
        ...


class CallingThread:
    """Runs each job at once, in the thread that submits it."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function, and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def has_waiting_jobs(self) -> bool:
        """Tell that none does."""
        return False


class ComputeThread:
    """Runs jobs one after the other in one thread of its own.

    The thread is a daemon, unlike a `ThreadPoolExecutor`'s: Ctrl-C needn't wait for a reply or a download. An ending
    program waits a little, because Python aborts if it ends a thread that is inside torch.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a function behind everything submitted before it, and return its future at once."""
        future: Future[Any] = Future()
        self._jobs.put((future, function, args))
        return future

    def has_waiting_jobs(self) -> bool:
        """Tell whether a job waits for the one that runs."""
        return not self._jobs.empty()

    def _run(self) -> None:
        while job := self._jobs.get():
            future, function, args = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args))
                except BaseException as error:  # whatever it is, the thread must go on
                    future.set_exception(error)
            del job, future, function, args  # they may hold a whole conversation

    def _end(self) -> None:
        self._jobs.put(None)
        self._thread.join(END_S)
