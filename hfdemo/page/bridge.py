"""From an engine's sync generator to the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from itertools import chain
from threading import Event
from typing import TypeVar, cast

from gradio.context import LocalContext

T = TypeVar("T")


async def iterate_in_thread(generator: Generator[T, None, None], stop: Event) -> AsyncGenerator[T, None]:
    """Yield what a blocking generator yields, without ever blocking the event loop.

    Only an async generator lets Gradio's Stop interrupt a wait. When the reader leaves, for whatever reason, `stop`
    is set at once and the generator is closed in its own thread, as soon as its `next` returns.

    One thread serves one generator, in a copy of the caller's context: there ZeroGPU keeps the visitor's quota
    token, and a generator must be closed in the thread that ran it.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="reply")
    context = copy_context()
    loop = asyncio.get_running_loop()
    end = object()
    try:
        while (item := await loop.run_in_executor(thread, lambda: context.run(next, generator, end))) is not end:
            yield cast(T, item)
    except asyncio.CancelledError:
        _leave_queue(context)
        raise
    finally:
        stop.set()
        thread.submit(context.run, generator.close)
        thread.shutdown(wait=False)


def _leave_queue(context: Context) -> None:
    """Say of this call that nobody waits for it any more, which Gradio's Stop doesn't.

    While `spaces` waits for a GPU, it looks at this; else it would take one from the visitor's quota in the end.
    """
    blocks, call = context.get(LocalContext.blocks), context.get(LocalContext.event_id)
    for event in chain.from_iterable(jobs or () for jobs in (blocks._queue.active_jobs if blocks else ())):
        if event._id == call:
            event.alive = False
