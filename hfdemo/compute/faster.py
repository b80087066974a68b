"""Which of several ways to compute is the faster one on this CPU.

Where no feature of a CPU tells, the ways take turns and the shortest of many times counts, so that other work on the
machine changes little. Where one thread can tell for all, it is measured in that, by the time that it computes: of
several, one waits for the other, and other work changes all. What was found is kept on disk for this CPU, its threads
and this PyTorch.
"""

import hashlib
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import cached_assets_path

logger = logging.getLogger(__name__)

BUDGET_S = 0.04
"""How long one question is measured."""

LEAST_TRIES, MOST_TRIES = 3, 40

_NO_DISK = (OSError, ValueError)
"""What reading or writing the file raises where there is no folder for it, or something else in its place."""

_found: dict[str, str] = {}
"""What this process knows."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found to be faster."""

    question: str
    facts: Mapping[str, str]
    way: str


def faster(
    question: str, ways: Mapping[str, Callable[[], object]], in_one_thread: bool = False, **facts: object
) -> str:
    """Return the name of the way that takes the least time; measured once for each CPU.

    Args:
        question: what is chosen, in one word.
        ways: by their names, each does the same work once.
        in_one_thread: whether that thread's own time tells: the ways gain the same by more threads.
        facts: all that the answer depends on beside the CPU.
    """
    asked = " ".join([question, *(f"{name}={fact}" for name, fact in facts.items())])
    if asked not in _found:
        kept = _read_choices().get(asked, "")
        _found[asked] = kept if kept in ways else _measure(asked, ways, in_one_thread)
    return _found[asked]


def read_choices() -> list[Choice]:
    """Return what was found for this CPU so far, for people."""
    return [_as_choice(asked, way) for asked, way in sorted(_read_choices().items())]


def _as_choice(asked: str, way: str) -> Choice:
    question, *facts = asked.split(" ")
    return Choice(question, {name: fact for name, _, fact in (fact.partition("=") for fact in facts)}, way)


def _place() -> str:
    """Return under what the answers are kept: this CPU, and what is measured on it."""
    return f"{this_cpu()}, hfdemo {_program()}"


@cache
def _program() -> str:
    """Return what stands for the code whose ways are measured."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _read_choices() -> dict[str, str]:
    choices = _read_file().get(_place(), {})
    return {str(asked): str(way) for asked, way in choices.items()} if isinstance(choices, dict) else {}


def _measure(asked: str, ways: Mapping[str, Callable[[], object]], in_one_thread: bool) -> str:
    best = dict.fromkeys(ways, math.inf)
    clock = time.thread_time if in_one_thread else time.perf_counter
    with _one_thread() if in_one_thread else nullcontext():
        for way in ways.values():  # what is done only once doesn't count
            way()
        end = time.perf_counter() + BUDGET_S
        for tries in range(1, MOST_TRIES + 1):
            for name, way in ways.items():
                began = clock()
                way()
                best[name] = min(best[name], clock() - began)
            if tries >= LEAST_TRIES and time.perf_counter() > end:
                break
    found = min(best, key=lambda name: best[name])
    logger.info("%s: %s (%s)", asked, found, ", ".join(f"{name} {1e6 * s:.0f} us" for name, s in best.items()))
    _keep(asked, found)
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _keep(asked: str, found: str) -> None:
    """Add an answer to the file; the last of two programs that write at once wins, and the other measures again."""
    place = _place()
    content = {name: choices for name, choices in _read_file().items() if ", hfdemo " in name}
    choices = content.get(place)
    content[place] = (choices if isinstance(choices, dict) else {}) | {asked: found}
    with suppress(*_NO_DISK):  # each start measures
        path = _path()
        with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
            json.dump(content, file, indent=1)
        os.replace(file.name, path)


def _read_file() -> dict[str, object]:
    try:
        content = json.loads(_path().read_text("utf-8"))
    except _NO_DISK:
        return {}
    return content if isinstance(content, dict) else {}


def _path() -> Path:
    return Path(cached_assets_path("hfdemo", namespace="speed")) / "choices.json"


def this_cpu() -> str:
    """Return what the answers depend on: the CPU, how many threads compute, and PyTorch.

    A CPU's name tells little, `Intel Xeon` for one, so all its features count: a home may be moved, or be used by
    several machines.
    """
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    name, level = str(found.get("cpu_name", "")), torch.backends.cpu.get_cpu_capability()
    features = hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{name} {level} {features}, {torch.get_num_threads()} threads, torch {version('torch')}".strip()
