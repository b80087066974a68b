"""Work that nobody can interrupt, in a thread of its own, so that whoever waits for it can leave."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Begin to do the work in a thread of that name, and return at once.

    The thread is a daemon, which a `ThreadPoolExecutor`'s isn't: the end of the program needn't wait for it.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return result
