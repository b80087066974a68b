"""Python processes that need not import what takes long: forks of one process that has imported it.

A command of hfdemo spends all but a moment of its time on importing torch and transformers. Where it's started again
and again, a fork spares that, and still is a process with an environment, arguments, files and memory of its own.
What libraries read from the environment when they are imported, all forks have from the first process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import ROOT

SERVER = """
import fcntl, gc, json, os, runpy, socket, sys, termios, traceback

def become(asked, files):
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    sys.path[0] = asked["folder"]
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        buffering = 1 if os.isatty(number) else -1
        setattr(sys, name, open(number, mode, buffering, encoding="utf-8", closefd=False))
    kind, program, *arguments = asked["arguments"]
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})

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
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

def serve(server):
    server.send(b"ready")
    gc.freeze()  # what is there stays shared
    while True:
        message, files, _, _ = socket.recv_fds(server, 1 << 20, 3)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            server.close()
            run(json.loads(message), files)
        for file in files:
            os.close(file)
        server.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        server.send(str(os.waitstatus_to_exitcode(status)).encode())

serve(socket.socket(fileno=int(sys.argv[1])))
"""


class WarmProcess:
    """A fork that runs, with what `subprocess.Popen` has of the same names."""

    def __init__(self, server: socket.socket) -> None:
        server.settimeout(60)
        self._server = server
        self.pid = int(server.recv(100))
        self.returncode: int | None = None

    def wait(self, timeout: float = 60) -> int:
        if self.returncode is None:
            self._server.settimeout(timeout)
            self.returncode = int(self._server.recv(100))
        return self.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, signal.SIGKILL)


class WarmPython:
    """A Python that has imported something: one process at a time is forked of it, or started anew without Linux."""

    def __init__(self, server: socket.socket | None) -> None:
        self._server = server

    def begin(
        self, arguments: Sequence[str], environ: Mapping[str, str], files: Sequence[int], folder: Path = ROOT
    ) -> WarmProcess | subprocess.Popen[bytes]:
        """Begin `python ARGUMENTS` in a folder; they are `-m MODULE ...` or `-c PROGRAM ...`.

        Its first three files are `files`; if they are a terminal, that is its own and not the tests'.
        """
        if self._server is None:
            stdin, stdout, stderr = files
            command = [sys.executable, *arguments]
            own = own_terminal if os.isatty(stdin) else None
            return subprocess.Popen(
                command,
                cwd=folder,
                env=environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=own,
            )
        asked = {"arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}
        socket.send_fds(self._server, [json.dumps(asked).encode()], files)
        return WarmProcess(self._server)

    def run(self, arguments: Sequence[str], environ: Mapping[str, str], folder: Path = ROOT) -> tuple[int, str]:
        """Run it to its end; return its exit status and all that it wrote."""
        with open(os.devnull) as nothing, tempfile.TemporaryFile() as written:
            process = self.begin(arguments, environ, [nothing.fileno(), written.fileno(), written.fileno()], folder)
            status = process.wait(60)
            written.seek(0)
            return status, written.read().decode()


def own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def warm_python(imports: str, environ: Mapping[str, str]) -> Iterator[WarmPython]:
    """Import what takes long, by a program, in an environment; it is there while the context lasts."""
    if sys.platform != "linux":
        yield WarmPython(None)
        return
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", imports + SERVER, str(there.fileno())]
    with here, subprocess.Popen(command, cwd=ROOT, env=environ, pass_fds=[there.fileno()]) as server:
        there.close()
        here.settimeout(60)
        assert here.recv(100) == b"ready"
        yield WarmPython(here)
        here.close()
        server.wait(60)
