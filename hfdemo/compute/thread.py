"""The one thread in which torch computes."""

import atexit
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

END_S = 2
"""So long a program that ends waits for the job that runs."""


class Compute(Protocol):
    """Where jobs are run, one after the other."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function after all that was submitted before, and return its future."""
        ...

    def has_waiting_jobs(self) -> bool:
        """Tell whether a job waits for the one that runs."""
        ...


class CallingThread:
    """Runs each job at once, in the thread that brings it."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function, and return its future when it is done."""
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

    The thread is a daemon, which a `ThreadPoolExecutor`'s isn't: Ctrl-C needn't wait for a reply or a download. A
    program that comes to its end waits a little, because Python aborts if it ends a thread in the midst of torch.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function after all that was submitted before, and return its future at once."""
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
                except BaseException as error:  # whatever it is, the thread lives on
                    future.set_exception(error)
            del job, future, function, args  # they may hold a whole conversation

    def _end(self) -> None:
        self._jobs.put(None)
        self._thread.join(END_S)
