"""The shared step on a GPU, recorded once for the chats that are there and replayed for each token.

A few chats keep a GPU so little busy that it waits for Python: a model of 30 layers starts some hundred operations a
token. A CUDA graph starts all of them at once (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). It
computes at fixed places in memory, so it belongs to the buffers of these chats' caches, and is recorded anew when a
chat joins or leaves, or a buffer has grown.
"""

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hfdemo.compute.chat_cache import ChatCache
from hfdemo.compute.shared_step import SharedStep, keeps_keys_and_values
from hfdemo.compute.step import agrees
from hfdemo.compute.torch_private import copy_each
from hfdemo.compute.transformers_private import Cache, DynamicLayer

logger = logging.getLogger(__name__)

CHATS_PER_STEADY_STEP = 4
"""Many chats seldom stay the same for long: each so many have to, for one step, before they are recorded. Recording
takes as long as a step."""

Forward = Callable[[], Tensor]
Recorder = Callable[[Forward], tuple[Tensor, Forward]]
"""Computes something once, and returns the result and what computes it again from what is then in its inputs."""


class RecordedStep(SharedStep):
    """The shared step of one model, which is replayed while the chats stay the same. Use `make_recorded_step`.

    Args:
        model: a causal language model on one device whose layers keep the keys and values of every token.
        record: how operations are recorded.
    """

    def __init__(self, model: Any, record: Recorder) -> None:
        super().__init__(model)
        self._record = record
        self._seen: list[weakref.ref[Tensor]] = []
        self._steady_steps = 0
        self._recording: _Recording | None = None
        self.works = True
        """Whether nothing failed so far."""

    def __call__(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        """Read one token of each chat; see `step.Step`."""
        for cache_ in caches:
            cache_.room_for(cache_.tokens + 1)
        if not self.works or not self._are_steady(caches):
            return super().__call__(tokens, caches)
        try:
            logits = self._replay(tokens, caches)
        except Exception as error:  # some models look at their numbers on the way, which can't be recorded
            logger.warning("this model's step isn't recorded (%s)", type(error).__name__)
            self.works, self._recording = False, None
            return super().__call__(tokens, caches)
        for cache_ in caches:
            cache_.set_tokens(cache_.tokens + 1)
        return logits

    def _are_steady(self, caches: Sequence[ChatCache]) -> bool:
        """Tell whether the same buffers were there for long enough."""
        found = [id(held()) for held in self._seen]  # == would compare each number
        if found == [id(cache_.buffer) for cache_ in caches]:
            self._steady_steps += 1
        else:
            # References that don't keep the memory of a chat that has left.
            self._seen = [weakref.ref(cache_.buffer) for cache_ in caches]
            self._steady_steps, self._recording = 0, None
        return self._steady_steps >= len(caches) // CHATS_PER_STEADY_STEP

    def _replay(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        places = torch.tensor([[cache_.tokens] for cache_ in caches])
        if self._recording:
            self._recording.ids.copy_(tokens[:, None])
            self._recording.positions.copy_(places)
            return self._recording.replay().clone()  # the next token's logits are written to the same place
        for cache_ in caches:
            cache_.buffer[:, :, cache_.tokens :] = 0  # attention gives it a weight of 0, and 0 times NaN is NaN
        ids, positions = tokens.to(self._model.device)[:, None].clone(), places.to(self._model.device)
        rows = _Rows(self._seen, positions)

        def forward() -> Tensor:
            logits: Tensor = self._model(
                ids,
                attention_mask=rows.mask(),
                position_ids=positions,
                cache=Cache(layers=[_LayerOfRows(rows, index) for index in range(rows.layers)]),
                use_cache=True,
            ).logits[:, -1]
            rows.store()
            return logits

        logits, replay = self._record(forward)
        self._recording = _Recording(ids, positions, rows, replay)
        return logits.clone()


@dataclass(frozen=True)
class _Recording:
    """What the recorded operations read and write, and what repeats them."""

    ids: Tensor
    positions: Tensor
    rows: "_Rows"
    replay: Forward


class _Rows:
    """The buffers of several chats as the rows of a batch, each from its first token on and as long as the longest.

    Args:
        held: the chats' buffers, each of shape [layers, 2 * key heads, allocated tokens, head size].
        positions: how many tokens of each are valid, of shape [chats, 1].
    """

    def __init__(self, held: Sequence["weakref.ref[Tensor]"], positions: Tensor) -> None:
        self._held, self._positions = held, positions
        buffers = self.buffers()
        self.layers, heads, _, size = buffers[0].shape
        self.room = max(buffer.shape[2] for buffer in buffers)
        self.several = len(buffers) > 1
        # The layers use it one after the other. A chat alone needs no copy.
        self.padded = buffers[0].new_zeros(len(buffers), heads, self.room, size) if self.several else buffers[0][:0]
        self.new: list[Tensor] = []

    def buffers(self) -> list[Tensor]:
        """Return the chats' buffers, which their caches keep."""
        buffers = [held() for held in self._held]
        return [buffer for buffer in buffers if buffer is not None]

    def mask(self) -> Tensor:
        """Return which tokens each chat sees, of shape [chats, 1, 1, room]; begins a step."""
        self.new.clear()
        return (torch.arange(self.room, device=self._positions.device) <= self._positions)[:, None, None]

    def update(self, index: int, new: Tensor) -> Tensor:
        """Put keys and values of shape [chats, 2 * key heads, 1, head size] into a layer; return the whole layer."""
        buffers = self.buffers()
        rows = self.padded if self.several else buffers[0][index][None]
        if self.several:
            filled = [row[:, : buffer.shape[2]] for row, buffer in zip(rows, buffers, strict=True)]
            copy_each(filled, [buffer[index] for buffer in buffers])  # one operation for all chats
            self.new.append(new)
        rows.scatter_(2, self._positions[:, :, None, None].expand_as(new), new)
        return rows

    def store(self) -> None:
        """Put what is new into each chat's own buffer; ends a step."""
        if self.several:
            new = torch.stack(self.new)
            for chat, buffer in enumerate(self.buffers()):
                buffer.index_copy_(2, self._positions[chat], new[:, chat])
            self.new.clear()


class _LayerOfRows(DynamicLayer):
    """One layer of `_Rows`, as transformers sees it."""

    def __init__(self, rows: _Rows, index: int) -> None:
        super().__init__()
        self._rows, self._index = rows, index

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store keys and values of shape [chats, key heads, 1, head size]; return all that attention may see."""
        heads = key_states.shape[1]
        rows = self._rows.update(self._index, torch.cat([key_states, value_states], 1))
        return rows[:, :heads], rows[:, heads:]

    def get_seq_length(self) -> int:
        """Return how many tokens precede the new one, as far as the shape of the mask tells."""
        return self._rows.room - 1


def record_on_gpu(forward: Forward) -> tuple[Tensor, Forward]:
    """Record what a GPU computes, as a CUDA graph.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. `torch.cuda.graph` would also empty the
    allocator's cache each time.
    """
    graph, stream = torch.cuda.CUDAGraph(), _recording_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = forward()  # what is initialised at first use can't be recorded
        graph.capture_begin(capture_error_mode="thread_local")  # other threads may ask for the free memory meanwhile
        try:
            logits = forward()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)

    def replay() -> Tensor:
        graph.replay()
        return logits

    return result, replay


@cache
def _recording_stream() -> torch.cuda.Stream:
    """Return the stream for all recordings: on each that was ever used, cuBLAS keeps its workspace (32 MB)."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def make_recorded_step(model: Any, record: Recorder = record_on_gpu) -> RecordedStep | None:
    """Return the recorded step of a model, or None if it doesn't compute what the model computes.

    Args:
        model: a causal language model.
        record: how operations are recorded.
    """
    try:
        if not keeps_keys_and_values(model, (DynamicLayer,)):
            return None
        step = RecordedStep(model, record)
        return step if agrees(step, model) and step.works else None
    except Exception as error:  # a model's own code may do anything with a cache it doesn't know
        logger.info("this model's step isn't recorded (%s)", type(error).__name__)
        return None
