"""Python processes that need not import what takes long: forks of one process that has imported it.

A start of hfdemo spends much of its time on importing torch and what else it stands on. Where it's started again and
again, a fork spares that, and still is a process with an environment, arguments, files, signals and memory of its own.
What libraries read from the environment when they are imported, all forks have from the first process.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from tests import ROOT

IMPORTS = """
import gc
gc.set_threshold(50_000, 20, 100)  # as `app.py`, and for its reason
import fastapi, httpx, jinja2, numpy, pandas, PIL.Image, pydantic, safetensors.torch, typer, uvicorn
import torch, torch._dynamo, torch.distributed.tensor
"""
"""What every start imports, takes long, and reads nothing of the environment that a test sets."""

READ_AT_START = ("LD_", "MALLOC_", "MKL_", "OMP_", "PYTHON")
"""How the variables begin that are read before the first import, or when torch is imported."""

GIVEN_TO_FORKS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
"""Those of them that a fork heeds."""

SERVER = """
import atexit, fcntl, gc, json, os, runpy, select, signal, socket, sys, termios, threading, traceback

def become(asked, files):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run behind a shell, and ignore it
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(len(files), 1024)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    sys.path[0] = asked["folder"]
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        by_lines = number == 2 or os.isatty(number) or "PYTHONUNBUFFERED" in os.environ
        setattr(sys, name, open(number, mode, 1 if by_lines else -1, encoding="utf-8", closefd=False))
    kind, *arguments = asked["arguments"]
    if kind == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = [kind, *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [kind, *arguments]
        runpy.run_path(kind, run_name="__main__")

def run(asked, files):
    status = 0
    try:
        become(asked, files)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
        if isinstance(ended.code, str):
            sys.stderr.write(ended.code + chr(10))
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # the end of any Python, but for taking the modules apart
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

def serve(server):
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1, "a fork would lack threads"
    server.send(b"ready")
    gc.freeze()  # what is there stays shared
    running = {}  # the file that tells the end of a process: its number, and who is to know
    while True:
        for ready in select.select([server, *running], [], [])[0]:
            if ready is server:
                message, files, _, _ = socket.recv_fds(server, 1 << 20, 4)
                if not message:
                    return
                pid = os.fork()
                if pid == 0:
                    run(json.loads(message), files[:3])
                for file in files[:3]:
                    os.close(file)
                told = socket.socket(fileno=files[3])
                told.send(str(pid).encode())
                running[os.pidfd_open(pid)] = pid, told
            else:
                pid, told = running.pop(ready)
                os.close(ready)
                with told:
                    told.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode(), socket.MSG_NOSIGNAL)

serve(socket.socket(fileno=0))
"""


class Fork:
    """A process that was forked, with what `subprocess.Popen` has of the same names."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = self._next(60)
        self.returncode: int | None = None

    def _next(self, timeout: float | None) -> int:
        self._told.settimeout(timeout)
        told = self._told.recv(100)
        assert told, "who forks has ended"
        return int(told)

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = self._next(timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("python", timeout or 0) from None
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = Fork | subprocess.Popen[bytes]


class WarmPython:
    """A Python that has imported something, of which processes are forked."""

    def __init__(self, server: socket.socket | None, environ: Mapping[str, str]) -> None:
        self._server = server
        self._environ = read_at_start(environ)

    def begin(
        self, arguments: Sequence[str], environ: Mapping[str, str], files: Sequence[int], folder: Path = ROOT
    ) -> Process:
        """Begin `python ARGUMENTS` in a folder; they are `-m MODULE ...`, `-c PROGRAM ...` or `SCRIPT ...`.

        Its first three files are `files`; if they are a terminal, that is its own and not the tests'.
        """
        if self._server is None or read_at_start(environ) != self._environ:
            return begin_anew(arguments, environ, files, folder)
        asked = {"arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            socket.send_fds(self._server, [json.dumps(asked).encode()], [*files, there.fileno()])
        return Fork(here)

    def run(
        self, arguments: Sequence[str], environ: Mapping[str, str], folder: Path = ROOT, typed: str = ""
    ) -> tuple[int, str]:
        """Run it to its end; return its exit status and all that it wrote."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
            given.write(typed.encode())
            given.seek(0)
            process = self.begin(arguments, environ, [given.fileno(), written.fileno(), written.fileno()], folder)
            try:
                status = process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            written.seek(0)
            return status, written.read().decode()


def begin_anew(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    files: Sequence[int],
    folder: Path = ROOT,
    before: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Begin the same in a Python that imports all by itself; `before` are words before its command."""
    stdin, stdout, stderr = files
    return subprocess.Popen(
        [*before, sys.executable, *arguments],
        cwd=folder,
        env=environ,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=own_terminal if os.isatty(stdin) else None,
    )


def read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a fork can't be given."""
    at_start = (name for name in environ if name.startswith(READ_AT_START) and name not in GIVEN_TO_FORKS)
    return {name: environ[name] for name in at_start}


def own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def warm_python(
    imports: str, environ: Mapping[str, str], begin: Callable[..., Process] | None = None
) -> Iterator[WarmPython]:
    """Import what takes long, by a program, in an environment; it is there while the context lasts."""
    if sys.platform != "linux":
        yield WarmPython(None, environ)
        return
    begin = begin or the_warm_python().begin
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        with there:
            server = begin(["-c", imports + SERVER], environ, [there.fileno(), 1, 2])
        here.settimeout(200)
        assert here.recv(100) == b"ready"
        yield WarmPython(here, environ)
    server.wait(60)


@cache
def the_warm_python() -> WarmPython:
    """Return the one of this run of the tests, which has imported what no environment changes."""
    lasting = ExitStack()
    atexit.register(lasting.close)
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # NumPy begins them when it is imported, and a fork would lack them
    return lasting.enter_context(warm_python(IMPORTS, os.environ | one_thread, begin_anew))
