"""Tries a chat template in a process of its own, before it's rendered in this one.

A single call of Python's own, such as a power of large numbers or a text of a billion letters, can take for ever and
all memory. Nothing in the same process can end it: no other thread, and so nothing of the page, runs meanwhile.

This file is also the program that the process runs, with the standard library and jinja2 alone; it starts in 60 ms.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

MAX_BYTES = 2**30
"""How much memory a template may take; usual ones take less than a megabyte. Windows and macOS have no such limit."""

READY = b"ready\n"
OUT_OF_MEMORY = 3

LONG = (*("user", "assistant") * 12, "user")

CONVERSATIONS = (
    ("user",),
    ("user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "tool"),
    LONG,
    ("system", *LONG),
)
"""Who speaks in what the template is tried with."""

TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]

ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"tools": TOOLS},
    dict.fromkeys(("enable_thinking", "thinking", "reasoning"), True),
    dict.fromkeys(("enable_thinking", "thinking", "reasoning"), False),
    {"reasoning_effort": "high"},
)
"""What it is asked for with each."""


def find_excess(source: str, variables: Mapping[str, Any], seconds: float) -> str:
    """Return what a template does that must not happen in this process; empty if it does nothing of the kind.

    Args:
        source: the template.
        variables: what is passed to it besides conversations, as far as JSON has it.
        seconds: how long it may take for the conversations.
    """
    told = json.dumps({"path": sys.path, "source": source, "variables": variables}, default=str)
    return _excess_of(told, seconds) if sys.executable else ""


@lru_cache(maxsize=32)
def _excess_of(told: str, seconds: float) -> str:
    command = [sys.executable, "-I", "-S", __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        try:
            with suppress(OSError):  # it has ended
                process.stdin.write(told.encode())
                process.stdin.close()
            if process.stdout.readline() != READY:
                return ""  # there is no such process here
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"it does not end within {seconds:g} s"
        finally:
            process.kill()
    if code == OUT_OF_MEMORY:
        return f"it takes more than {MAX_BYTES / 2**30:g} GB of memory"
    return "it makes Python crash" if code else ""


def _render(told: Mapping[str, Any]) -> None:
    """Render conversations as transformers does. Source: transformers/utils/chat_template_utils.py."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block in which a template writes a reply."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(words: object) -> None:
        raise TemplateError(str(words))

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    jinja.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    jinja.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(str(form))}
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    template = jinja.from_string(told["source"])
    for roles in CONVERSATIONS:
        messages = [{"role": role, "content": f"content {number}"} for number, role in enumerate(roles)]
        given = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
        for asked in ASKED:
            try:
                template.render(given | told["variables"] | asked)
            except MemoryError:
                raise
            except Exception:  # what a template refuses is found out where it's used
                continue


def _bound_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))


def _main() -> int:
    told = json.load(sys.stdin.buffer)
    sys.path[:] = told["path"]
    _bound_memory()
    try:
        _render(told)
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception:  # it is no template; transformers says why
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(_main())
