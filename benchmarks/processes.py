"""Each peer runs in a process of its own, one at a time, so that none disturbs another."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from benchmarks.replies import Answer
from benchmarks.report import progress

LLAMA_PYTHON = os.environ.get("LLAMA_PYTHON", ".venv-llama/bin/python")
"""The Python of the environment that has llama.cpp."""


def run_job(module: str, peer: str, job: dict[str, Any], **environ: str) -> Any:
    """Run a job in a process of its own, and return what it prints on its last line.

    Args:
        module: whose `main` reads the job.
        peer: llama.cpp needs another Python.
        job: what to do; the model's files are added.
        environ: more environment variables.
    """
    python = LLAMA_PYTHON if peer == "llama" else sys.executable
    output = subprocess.run(
        [python, "-m", module],
        input=json.dumps(job | {"peer": peer} | model_files()),
        env=os.environ | environ,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def ask_peer(peer: str, **job: Any) -> tuple[list[Answer], dict[str, int]]:
    """Let a peer answer in a process of its own; return the answers, and the memory that the process took.

    Args:
        peer: a name in `PEERS`.
        job: either `asks`, or `questions` and `new_tokens` for a conversation.
    """
    if "asks" in job:
        job["asks"] = [asdict(ask) for ask in job["asks"]]
    result = run_job("benchmarks.peers", peer, job)
    return [Answer(**answer) for answer in result["answers"]], result["memory"]


def model_files() -> dict[str, str]:
    """Return where the embedded model is, as hfdemo keeps it and as a GGUF file; fetch what isn't there."""
    from benchmarks.gguf_file import ensure_gguf_file
    from hfdemo.models.embedded import ensure_embedded_model

    return {"model": str(ensure_embedded_model()), "gguf": str(ensure_gguf_file())}


def find_peers(*wanted: str) -> tuple[list[str], str]:
    """Return those peers that can run here, and the version of llama.cpp's package if it is among them.

    Tells in the terminal how to install the others.
    """
    found, note = list(wanted), ""
    if "serve" in found and not find_spec("openai"):
        progress("transformers serve is left out: pip install openai")
        found.remove("serve")
    if "llama" in found:
        ask = "from importlib.metadata import version; print(version('llama-cpp-python'))"
        try:
            note = subprocess.run([LLAMA_PYTHON, "-c", ask], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            progress("llama.cpp is left out: see benchmarks/README.md")
            found.remove("llama")
    return found, f"llama-cpp-python {note.strip()}" if note else ""
