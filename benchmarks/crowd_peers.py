"""Many chats at once, in a process of its own: with hfdemo's engine, or with llama.cpp's batches.

Both read a job from the input and print the chats that were had at once, and how long those waited who came later.
At import this needs the standard library alone, for llama.cpp's environment holds nothing else.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from threading import Event
from typing import Any

from benchmarks.peers import engine_reply, start_engine
from benchmarks.replies import Answer, Ask, measure

NEW_TOKENS = 128
JOINING_NEW_TOKENS = 8


class HfdemoCrowd:
    """Chats with hfdemo's engine, each in a thread of its own, as the page has them."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._engine = start_engine(job["model"])
        self._messages: list[str] = job["messages"]
        measure(engine_reply(self._engine, self._ask(0, 16)))

    def together(self, count: int) -> list[Answer]:
        """Have so many chats at once."""
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda chat: measure(engine_reply(self._engine, self._ask(chat))), range(count)))

    def joins(self, count: int, times: int) -> list[float]:
        """Return how long the first token took for chats that joined when all others were under way."""
        first_s = []
        with self._others(count - 1):
            for _ in range(times):
                time.sleep(random.uniform(0.05, 0.3))
                first_s.append(measure(engine_reply(self._engine, self._ask(count - 1, JOINING_NEW_TOKENS))).first_s)
        return first_s

    @contextmanager
    def _others(self, count: int) -> Iterator[None]:
        """Let so many chats go on and on."""
        over, began = Event(), [Event() for _ in range(count)]

        def chat_on(chat: int) -> None:
            while not over.is_set():
                with closing(engine_reply(self._engine, self._ask(chat))) as pieces:
                    for piece in pieces:
                        if piece:
                            began[chat].set()
                        if over.is_set():
                            return

        with ThreadPoolExecutor(max(1, count)) as threads:
            chats = [threads.submit(chat_on, chat) for chat in range(count)]
            if began:
                began[0].wait(60)
            time.sleep(1)
            try:
                yield
            finally:
                over.set()
            for chat in chats:
                chat.result()  # what went wrong, if anything did

    def _ask(self, chat: int, new_tokens: int = NEW_TOKENS) -> Ask:
        name = f"{chat} {time.monotonic_ns()}"  # a new conversation each time: nothing of it has been read
        return Ask([{"role": "user", "content": self._messages[chat]}], new_tokens, chat=name)


@dataclass(eq=False)
class LlamaChat:
    """One sequence of a batch."""

    sequence: int
    prompt: list[int]
    new: list[int] = field(default_factory=list)
    read: int = 0
    first_s: float = 0.0


class LlamaCrowd:
    """Chats with llama.cpp: in each step one batch holds the next token of each, and the prompts of the new ones."""

    def __init__(self, job: dict[str, Any]) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._prompts: list[list[int]] = job["prompts"]
        self._silent = llama_cpp.llama_log_callback(lambda *_: None)  # it must live as long as it may be called
        llama_cpp.llama_log_set(self._silent, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            job["gguf"].encode(), llama_cpp.llama_model_default_params()
        )
        self._greedy = llama_cpp.llama_sampler_init_greedy()
        self._batch = llama_cpp.llama_batch_init(2048, 0, 1)
        self.together(1)

    def together(self, count: int) -> list[Answer]:
        """Have so many chats at once."""
        chats = [LlamaChat(chat, self._prompts[chat]) for chat in range(count)]
        with self._context(count) as step:
            started = time.perf_counter()
            step(chats)
            first_s = time.perf_counter() - started
            while len(chats[0].new) < NEW_TOKENS:
                step(chats)
            rest_s = time.perf_counter() - started - first_s
        return [Answer(len(chat.prompt), 0, len(chat.new), first_s, rest_s, "") for chat in chats]

    def joins(self, count: int, times: int) -> list[float]:
        """Return how long the first token took for chats that joined when all others were under way."""
        others = [LlamaChat(chat, self._prompts[chat]) for chat in range(count - 1)]
        first_s = []
        with self._context(count) as step:
            for _ in range(times):
                for _ in range(random.randint(3, 20)):
                    before = step(self._renewed(others)) if others else 0.0
                joining = LlamaChat(count - 1, self._prompts[count - 1])
                # It comes at some moment of the step before the one that it can be part of.
                first_s.append(random.random() * before + step([*others, joining]))
                while len(joining.new) < JOINING_NEW_TOKENS:
                    step([*self._renewed(others), joining])
                self._forget(joining)
        return first_s

    @contextmanager
    def _context(self, count: int) -> Iterator[Callable[[list[LlamaChat]], float]]:
        """Make room for so many chats; what is given does a step and returns how long it took."""
        options = self._api.llama_context_default_params()
        options.n_ctx, options.n_seq_max, options.n_batch = 512 * count, count, 2048
        options.n_threads = options.n_threads_batch = os.cpu_count()
        self._llama = self._api.llama_init_from_model(self._model, options)
        try:
            yield self._step
        finally:
            self._api.llama_free(self._llama)

    def _step(self, chats: list[LlamaChat]) -> float:
        started = time.perf_counter()
        batch, ends = self._batch, []
        batch.n_tokens = 0
        for chat in chats:
            for token in chat.new[-1:] or chat.prompt:
                place = batch.n_tokens
                batch.token[place], batch.pos[place] = token, chat.read
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, chat.sequence
                batch.logits[place] = False
                chat.read += 1
                batch.n_tokens += 1
            batch.logits[batch.n_tokens - 1] = True
            ends.append(batch.n_tokens - 1)
        if self._api.llama_decode(self._llama, batch):
            raise RuntimeError("llama.cpp could not read the batch")
        for chat, end in zip(chats, ends, strict=True):
            chat.new.append(self._api.llama_sampler_sample(self._greedy, self._llama, end))
        return time.perf_counter() - started

    def _renewed(self, chats: list[LlamaChat]) -> list[LlamaChat]:
        """Let chats begin again that have come to their end."""
        for chat in chats:
            if len(chat.new) >= NEW_TOKENS:
                self._forget(chat)
                chat.new, chat.read = [], 0
        return chats

    def _forget(self, chat: LlamaChat) -> None:
        self._api.llama_memory_seq_rm(self._api.llama_get_memory(self._llama), chat.sequence, -1, -1)


def main() -> None:
    """Do the job that comes on the input."""
    job = json.load(sys.stdin)
    random.seed(job["run"])
    crowd = LlamaCrowd(job) if job["peer"] == "llama" else HfdemoCrowd(job)
    result = {
        count: {
            "together": [asdict(answer) for answer in crowd.together(count)],
            "joins": crowd.joins(count, job["joins"]),
        }
        for count in job["counts"]
    }
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main()
