"""Uninterruptible work in its own thread, so that the caller can stop waiting for it."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Start the work in a thread of that name, and return at once.

    The thread is a daemon, unlike those of a `ThreadPoolExecutor`: the program can exit without waiting for it.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return result
