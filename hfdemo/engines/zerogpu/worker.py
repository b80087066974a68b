"""What runs in a worker of ZeroGPU, a fork of the Space's process that has a GPU, and what comes from there."""

import mmap
from collections.abc import Generator
from concurrent.futures import wait

from hfdemo.background import in_thread
from hfdemo.chat.reply import FINISH_REASONS, Delta, FinishReason, StopSignal
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.prefix_cache import CachedReply
from hfdemo.decoding.request import DecodeRequest
from hfdemo.decoding.running import RunningReply
from hfdemo.errors import GenerationFailed, HfdemoError, explain_failure
from hfdemo.models.load import LoadedModel

FromWorker = Delta | CachedReply | HfdemoError
"""Pieces of the reply; before the last one, what the next turn can use of it; or why there is none."""


class SharedStop(StopSignal):
    """An event that a worker sees set, too: a byte of memory that this process shares with its forks.

    Args:
        memory: shared; 0 says that the reply goes on, else the byte names the reason.
        slot: which byte it is.
    """

    def __init__(self, memory: mmap.mmap, slot: int) -> None:
        super().__init__()
        self._memory = memory
        self._slot = slot

    def is_set(self) -> bool:
        """Tell whether the reply is to end."""
        return bool(self._memory[self._slot])

    def set(self, reason: FinishReason = "stopped") -> None:
        """Let the reply end."""
        super().set(reason)
        if reason == "stopped" or not self._memory[self._slot]:
            self._memory[self._slot] = 1 + FINISH_REASONS.index(reason)

    def clear(self) -> None:
        """Make ready for another reply."""
        super().clear()
        self._memory[self._slot] = 0

    @property
    def reason(self) -> FinishReason:
        """Why the reply is to end."""
        return FINISH_REASONS[self._memory[self._slot] - 1] if self.is_set() else "stopped"


def write_reply(model: LoadedModel, request: DecodeRequest, stop: StopSignal) -> Generator[FromWorker, None, None]:
    """Write a reply and yield it in pieces, as data that can go to another process; errors, too.

    Args:
        model: what the fork inherited.
        request: what to write.
        stop: ends the reply; so does closing the generator.

    Raises:
        GenerationFailed: after an unexpected error, which has been yielded already.
    """
    reply = RunningReply(model, request, stop)
    job = in_thread(lambda: Loop(CallingThread()).add(reply), "decode")
    try:
        for delta in reply.streamer.deltas(request.prompt_tokens, request.update_interval_s):
            if delta.receipt:
                yield reply.cached(with_cache=False)
            yield delta
    except Exception as error:
        failure = error if isinstance(error, HfdemoError) else explain_failure(error)
        yield failure
        if failure.key == "generation":  # in what state the GPU is now, nobody knows: let ZeroGPU end this worker
            raise GenerationFailed("generation") from None
    finally:
        stop.set()
        wait([job])  # when the generator ends, the GPU is given back: nothing may compute there any more
