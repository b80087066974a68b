"""A time limit for programs that came from elsewhere, such as chat templates: they may loop for ever."""

import ctypes
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class _TooLong(BaseException):
    """Raised inside work that has to end; no `except Exception` holds it up."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what some work returns, in a thread of its own, which is ended if it takes too long.

    Between two of Python's instructions, that is: a single call of the interpreter's own is not interrupted.

    Raises:
        TimeoutError: it took too long.
        BaseException: what the work raised.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    thread = Thread(target=run, name="limited", daemon=True)
    thread.start()
    try:
        return result.result(seconds)
    except TimeoutError:
        if not result.done() and thread.ident is not None:
            # Source: PyThreadState_SetAsyncExc in Python's C API, the only way to end a thread from outside.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_TooLong))
        raise
