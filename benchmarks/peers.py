"""What hfdemo is compared with, and hfdemo itself: each answers the same questions, in a process of its own.

The process reads a job as JSON from its input, loads the model, answers one question to warm up, then the others,
and prints what it measured. The clock runs from the question to each piece of text in the reader's hands.

llama.cpp lives in an environment of its own, so that at import this needs the standard library alone.
"""

import json
import os
import queue
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from benchmarks.prompts import SYSTEM_PROMPT
from benchmarks.replies import Ask, Counts, Reply, measure, talk

TEMPERATURE, TOP_P, TOP_K = 0.7, 0.9, 50
"""How everyone samples."""


class Peer(Protocol):
    """Answers questions with a model that it has loaded."""

    def reply(self, ask: Ask) -> Reply:
        """Yield the reply's text in pieces, and return its tokens."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


class UsualSpace:
    """`usual_space.py`, called without its page."""

    def __init__(self, model: str, gguf: str) -> None:
        os.environ["MODEL"] = model
        from benchmarks import usual_space

        self._respond = usual_space.respond
        self._counts: queue.Queue[Counts] = queue.Queue()
        generate = usual_space.pipe.model.generate

        def counted(**options: Any) -> Any:
            ids = generate(**options)
            prompt = options["input_ids"].shape[1]
            self._counts.put(Counts(prompt, 0, ids.shape[1] - prompt))
            return ids

        usual_space.pipe.model.generate = counted

    def reply(self, ask: Ask) -> Reply:
        """Yield the reply's text in pieces, and return its tokens."""
        *history, last = ask.messages
        temperature = TEMPERATURE if ask.sampled else 0
        so_far = ""
        for text in self._respond(last["content"], history, SYSTEM_PROMPT, ask.new_tokens, temperature, TOP_P):
            yield text[len(so_far) :]
            so_far = text
        return self._counts.get(timeout=10)

    def close(self) -> None:
        """Do nothing: all of it is in this process."""


class TransformersServe:
    """`transformers serve`, as it is without options, over HTTP."""

    def __init__(self, model: str, gguf: str) -> None:
        from tests.conftest import free_port

        port = free_port()
        program = str(Path(sys.executable).with_name("transformers"))
        self._server = subprocess.Popen(
            [program, "serve", model, "--port", str(port), "--device", "cpu"], stdout=sys.stderr
        )
        self._url, self._model = f"http://localhost:{port}", model
        self._wait()

    def _wait(self) -> None:
        import httpx

        while self._server.poll() is None:
            try:
                if httpx.get(f"{self._url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError("transformers serve did not start")

    def reply(self, ask: Ask) -> Reply:
        """Yield the reply's text in pieces, and return its tokens."""
        import httpx

        options = {"max_new_tokens": ask.new_tokens, "do_sample": ask.sampled}
        if ask.sampled:
            options |= {"temperature": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K}
        body = {
            "model": self._model,
            "messages": _with_system(ask.messages),
            "stream": True,
            "seed": ask.seed,
            "generation_config": json.dumps(options),
        }
        counts = Counts(0, 0, 0)
        with httpx.stream("POST", f"{self._url}/v1/chat/completions", json=body, timeout=300) as lines:
            for line in lines.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                yield chunk["choices"][0]["delta"].get("content", "")
                if usage := chunk.get("usage"):
                    counts = Counts(usage["prompt_tokens"], 0, usage["completion_tokens"])
        return counts

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()


class LlamaCpp:
    """llama.cpp through llama-cpp-python, with the GGUF file that hfdemo's model comes from."""

    def __init__(self, model: str, gguf: str) -> None:
        from llama_cpp import Llama

        self._llama = Llama(gguf, n_ctx=8192, n_threads=os.cpu_count(), n_threads_batch=os.cpu_count(), verbose=False)
        self._chat = ""

    def reply(self, ask: Ask) -> Reply:
        """Yield the reply's text in pieces, and return its tokens."""
        if not ask.chat or ask.chat != self._chat:
            self._llama.reset()  # else it goes on where the last prompt began alike
        self._chat = ask.chat
        chunks = self._llama.create_chat_completion(
            _with_system(ask.messages),
            stream=True,
            max_tokens=ask.new_tokens,
            temperature=TEMPERATURE if ask.sampled else 0,
            top_p=TOP_P,
            top_k=TOP_K,
            min_p=0,
            repeat_penalty=1,
            seed=ask.seed,
        )
        prompt = 0
        for chunk in chunks:
            prompt = prompt or self._llama.n_tokens  # the first token is there, and hasn't been read yet
            yield chunk["choices"][0]["delta"].get("content") or ""
        return Counts(prompt, 0, self._llama.n_tokens - prompt + 1)

    def close(self) -> None:
        """Free the model."""
        self._llama.close()


class Hfdemo:
    """This project's engine, as its page uses it."""

    def __init__(self, model: str, gguf: str) -> None:
        self.engine = start_engine(model)

    def reply(self, ask: Ask) -> Reply:
        """Yield the reply's text in pieces, and return its tokens."""
        return (yield from engine_reply(self.engine, ask))

    def close(self) -> None:
        """Do nothing: all of it is in this process."""


def start_engine(model: str) -> Any:
    """Return hfdemo's engine, with the model loaded and with whatever settings the environment holds."""
    from hfdemo.compute.thread import ComputeThread
    from hfdemo.engines.local import LocalEngine
    from hfdemo.engines.model_host import LocalModelHost
    from hfdemo.settings import from_env

    settings = from_env(os.environ | {"HFDEMO_MODEL": model})
    host = LocalModelHost(settings, ComputeThread())
    engine = LocalEngine(settings, host)
    host.load()
    while (status := engine.status()).stage != "ready":
        if status.error:
            raise status.error
        time.sleep(0.05)
    return engine


def engine_reply(engine: Any, ask: Ask) -> Reply:
    """Yield an engine's reply in pieces, and return its tokens."""
    from hfdemo.chat.messages import Message
    from hfdemo.chat.options import Options
    from hfdemo.chat.reply import StopSignal
    from hfdemo.chat.request import ChatRequest

    messages = tuple(Message(message["role"], message["content"]) for message in ask.messages)
    temperature = TEMPERATURE if ask.sampled else 0
    options = Options(temperature, TOP_P, ask.new_tokens, TOP_K, seed=ask.seed)
    receipt = None
    for delta in engine.stream(ChatRequest(messages, SYSTEM_PROMPT, options, cache_key=ask.chat), StopSignal()):
        yield delta.text
        receipt = delta.receipt or receipt
    assert receipt is not None
    return Counts(receipt.prompt_tokens, receipt.cached_tokens, receipt.new_tokens)


PEERS: dict[str, type[Peer]] = {
    "usual": UsualSpace,
    "serve": TransformersServe,
    "llama": LlamaCpp,
    "ours": Hfdemo,
}
TITLES = {"usual": "usual Space code", "serve": "transformers serve", "llama": "llama.cpp", "ours": "hfdemo"}


def memory_of_this_process() -> dict[str, int]:
    """Return the peak and the present of this process's resident memory, in bytes."""
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Vm")}
    return {"peak_bytes": found["VmHWM"], "kept_bytes": found["VmRSS"]}


def _with_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM_PROMPT}, *messages]


def main() -> None:
    """Do the job that comes on the input."""
    job = json.load(sys.stdin)
    peer = PEERS[job["peer"]](job["model"], job["gguf"])
    try:
        measure(peer.reply(Ask([{"role": "user", "content": "Count from one to ten."}], 16)))
        if "asks" in job:
            answers = [measure(peer.reply(Ask(**ask))) for ask in job["asks"]]
        else:
            answers = talk(peer.reply, job["questions"], job["new_tokens"])
        result = {"answers": [asdict(answer) for answer in answers], "memory": memory_of_this_process()}
    finally:
        peer.close()
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main()
