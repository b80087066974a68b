"""The loop that writes tokens: one of each reply at a time, for one reply or many.

One step of the model reads all weights once, for however many tokens (continuous batching as in Orca,
https://www.usenix.org/conference/osdi22/presentation/yu). A reply joins when its prompt is read and leaves when it
ends, at any step; nobody waits for anybody else's end. All of it runs in the compute thread, one round after the
other, so that a change of models comes in between.
"""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

import torch
from torch import Tensor

from hfdemo.chat.reply import FinishReason
from hfdemo.compute.step import Step
from hfdemo.compute.thread import Compute
from hfdemo.decoding.generate import write_whole_reply
from hfdemo.decoding.piece_size import PieceSize
from hfdemo.decoding.running import Interrupted, RunningReply, hooked

PIECE_TOKENS, PIECE_S = 256, 0.25
"""How much of a prompt is read between two steps of the others to begin with, and how long they may wait for it."""

LONE_PIECE_TOKENS, LONE_PIECE_S = 4096, 20.0
"""The same where nobody waits. A stopped reply ends with the product that is being computed, a hundredth of that.

Packed weights are unpacked once for each piece: two of 1,000 tokens take a fifth longer than one of 2,000.
"""

LONE_PIECE_BESIDE_TOKENS, LONE_PIECE_BESIDE_S = 1024, 2.0
"""The same where nobody waits now, but others may come.

The time is long enough that a slow moment does not cut the same prompt into other pieces, which are rounded in another
way, so that the same seed makes another reply.
"""


class Loop:
    """The replies of one model: those that are written, and those that wait.

    Args:
        compute: where the rounds run.
        most: how many replies are written at one time; the others wait, first come, first served.
    """

    def __init__(self, compute: Compute, most: int = 1) -> None:
        self._compute = compute
        self._most = most
        self._lock = Lock()
        self._waiting: deque[RunningReply] = deque()
        self._running: list[RunningReply] = []
        self._is_scheduled = False
        alone = (LONE_PIECE_TOKENS, LONE_PIECE_S) if most == 1 else (LONE_PIECE_BESIDE_TOKENS, LONE_PIECE_BESIDE_S)
        self._lone_piece = PieceSize(*alone)
        self._piece_beside_others = PieceSize(PIECE_TOKENS, PIECE_S)

    @property
    def is_busy(self) -> bool:
        """Whether there are replies that have not ended."""
        return self._is_scheduled

    def add(self, reply: RunningReply) -> None:
        """Write a reply beside the others. It always ends: first `done` is set, then the streamer is closed."""
        with self._lock:
            self._waiting.append(reply)
            was_scheduled, self._is_scheduled = self._is_scheduled, True
        if not was_scheduled:
            self._compute.submit(self._run)

    def ahead(self, reply: RunningReply) -> int:
        """Return how many replies have to end before this one is begun."""
        with self._lock:
            if reply not in self._waiting:
                return 0
            return max(0, len(self._running) + self._waiting.index(reply) - self._most + 1)

    def withdraw(self, reply: RunningReply) -> None:
        """End a stopped reply that still waits: a long round may not look at it for a while. Safe from any thread."""
        with self._lock:
            if reply not in self._waiting:
                return
            self._waiting.remove(reply)
        reply.finish(reply.stop.reason)

    def end_all(self, reason: FinishReason) -> None:
        """Let all replies end with what they have, at the next step. Safe from any thread."""
        with self._lock:
            for reply in (*self._running, *self._waiting):
                reply.stop.set(reason)

    def finish(self) -> None:
        """Run until all replies have ended; called in the compute thread, when they are to end soon."""
        while self._running or self._waiting:
            self._round()

    def _run(self) -> None:
        """Run rounds until nothing is left, or another job waits for the compute thread."""
        while True:
            self._round()
            with self._lock:
                self._is_scheduled = bool(self._running or self._waiting)
                if not self._is_scheduled:
                    return
            if self._compute.has_waiting_jobs():
                self._compute.submit(self._run)
                return

    def _round(self) -> None:
        """Begin what can begin, read on in one prompt, and write a token of each reply."""
        try:
            with torch.inference_mode():
                self._admit()
                self._prefill()
                self._decode()
        except BaseException as error:  # the model failed for all
            for reply in list(self._running):
                self._fail(reply, error)

    def _admit(self) -> None:
        while len(self._running) < self._most:
            with self._lock:
                if not self._waiting:
                    return
                reply = self._waiting.popleft()
                self._running.append(reply)
            try:
                if not self._ends(reply):
                    reply.begin()
                    if reply.model.step is None:
                        self._take_detour(reply)
            except BaseException as error:
                self._fail(reply, error)

    def _take_detour(self, reply: RunningReply) -> None:
        with suppress(Interrupted):
            write_whole_reply(reply)
        if not self._ends(reply):
            raise RuntimeError("generate has returned before the end of the reply")

    def _prefill(self) -> None:
        """Read a piece of the prompt that came first."""
        reply = next((reply for reply in self._running if reply.unread), None)
        if reply is None:
            return
        size = self._lone_piece if len(self._running) == 1 else self._piece_beside_others
        piece = reply.unread[: size.tokens]
        began = time.perf_counter()
        try:
            with suppress(Interrupted):
                with reply.interruptible(), hooked(reply.model.layers, self._end_stopped_beside):
                    logits = read(reply, piece)
                logits[0].item()  # a GPU has read it only then
                size.took(len(piece), time.perf_counter() - began)
                reply.unread = reply.unread[len(piece) :]
                if not reply.unread:
                    self._write(reply, logits)
                    return
            self._ends(reply)
        except BaseException as error:
            self._fail(reply, error)

    def _end_stopped_beside(self) -> None:
        """End the others that were stopped: for that, nobody has to wait until somebody's prompt is read."""
        first = next(reply for reply in self._running if reply.unread)
        for reply in list(self._running):
            if reply is not first and reply.stop.is_set():
                self._ends(reply)

    def _decode(self) -> None:
        """Write the next token of each reply whose prompt is read."""
        writing = [reply for reply in list(self._running) if not self._ends(reply) and not reply.unread]
        if not writing:
            return
        step = writing[0].model.step
        assert step is not None
        if len(self._running) == 1 and step.tokens_ahead:
            self._decode_ahead(writing[0], step)
            return
        tokens = torch.tensor([reply.last_id for reply in writing])
        logits = step(tokens, [reply.cache for reply in writing])
        for reply, scores in zip(writing, logits, strict=True):
            self._write(reply, scores)

    def _decode_ahead(self, reply: RunningReply, step: Step) -> None:
        """Write the next token of the only reply, and those behind it that a draft predicted.

        Each is chosen from its own logits, as if there were no draft.
        """
        draft = reply.draft(step.tokens_ahead)
        tokens = torch.tensor([reply.last_id, *draft])
        held, began = reply.cache.tokens, time.perf_counter()
        logits = step(tokens, [reply.cache] * len(tokens))
        step_s = time.perf_counter() - began
        written = 0
        for scores, predicted in zip(logits, (*draft, None), strict=True):
            written += 1
            reply.cache.set_tokens(held + written)  # what is behind was read for nothing if the draft is wrong here
            self._write(reply, scores)
            if reply not in self._running or reply.last_id != predicted:
                break
        reply.took(len(draft), written, step_s)

    def _write(self, reply: RunningReply, logits: Tensor) -> None:
        try:
            reply.write(reply.choose(logits))
            self._ends(reply)
        except BaseException as error:
            self._fail(reply, error)

    def _ends(self, reply: RunningReply) -> bool:
        """End a reply if it has to end here, and tell whether it did."""
        reason = reply.finish_reason()
        if reason:
            self._finish(reply, reason)
        return reason is not None

    def _finish(self, reply: RunningReply, reason: FinishReason) -> None:
        self._leave(reply)
        try:
            reply.finish(reason)
        except BaseException as error:
            reply.fail(error)

    def _fail(self, reply: RunningReply, error: BaseException) -> None:
        self._leave(reply)
        reply.fail(error)

    def _leave(self, reply: RunningReply) -> None:
        with self._lock:
            if reply in self._running:
                self._running.remove(reply)


def read(reply: RunningReply, ids: Sequence[int]) -> Tensor:
    """Let the model read some tokens of a prompt, and return the logits of the next one, of shape [vocabulary].

    The last token is read by the step that writes, so that a reply which is made again, or goes on where it was cut
    off, is computed as it was the first time.
    """
    step = reply.model.step
    assert step is not None
    prompt_ids = reply.request.prompt.ids
    last = len(ids) == len(prompt_ids) - reply.cache.get_seq_length()
    begin = ids[:-1] if last and len(prompt_ids) > 1 else ids
    if begin:
        logits = step.read(torch.tensor(begin), reply.cache)
    return logits if len(begin) == len(ids) else step(torch.tensor(ids[-1:]), [reply.cache])[0]
