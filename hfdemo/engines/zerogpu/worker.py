"""What runs in a worker of ZeroGPU, a fork of the Space's process that has a GPU, and what comes from there."""

import mmap
from collections.abc import Generator
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from hfdemo.background import in_thread
from hfdemo.chat.messages import FinishedReply
from hfdemo.decoding.generation import Turn, generate_reply
from hfdemo.decoding.request import Order, make_streamer
from hfdemo.decoding.streamer import Stopped
from hfdemo.engines.protocol import HEARTBEAT_S
from hfdemo.errors import GenerationFailed, HfdemoError, explain_failure
from hfdemo.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of a reply, on its way from a worker; an empty one says that the worker is alive."""

    text: str = ""
    tokens: int = 0
    """How many tokens the reply has by now."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last that comes from a worker if all went well."""

    reply: FinishedReply
    token_ids: tuple[int, ...]


FromWorker = Piece | Ended | HfdemoError


class SharedStop(Event):
    """An event that a worker sees set, too: it is a byte of memory that this process shares with its forks."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        super().__init__()
        self._memory = memory
        self._place = place

    def is_set(self) -> bool:
        """Tell whether the reply is to end."""
        return bool(self._memory[self._place])

    def set(self) -> None:
        """Let the reply end."""
        self._memory[self._place] = 1

    def clear(self) -> None:
        """Make ready for another reply."""
        self._memory[self._place] = 0


def make_reply(model: LoadedModel, order: Order, stop: Event) -> Generator[FromWorker, None, None]:
    """Make a reply and yield it in pieces, as data that can go to another process; errors, too.

    Args:
        model: what the fork inherited.
        order: what to make.
        stop: ends the reply; so does closing the generator.

    Raises:
        GenerationFailed: an error that nobody foresaw was yielded before.
    """
    streamer = make_streamer(model, order, stop)
    turn = Turn(model, order.prompt, order.options, streamer, stop, begun_with=len(order.reply_ids))
    job = in_thread(lambda: generate_reply(turn), "generate")
    try:
        with suppress(Stopped):
            for text in streamer.pieces(HEARTBEAT_S):
                yield Piece(text, len(streamer.token_ids))
        yield Ended(job.result(), tuple(streamer.token_ids))
    except Exception as error:
        failure = error if isinstance(error, HfdemoError) else explain_failure(error)
        yield failure
        if failure.key == "generation":  # in what state the GPU is now, nobody knows: let ZeroGPU end this worker
            raise GenerationFailed("generation") from None
    finally:
        stop.set()
        wait([job])  # when the generator ends, the GPU is given back: nothing may compute there any more
