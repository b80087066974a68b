"""The functions behind the cells of `notebooks/hfdemo.ipynb`: the chat in a notebook, on Google Colab or elsewhere.

The chat runs in its own process: it doesn't see what the notebook has imported before, and it frees the GPU when the
cell is stopped. A third process holds the share link.
"""

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import IO
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit

import psutil  # type: ignore[import-untyped]

from hfdemo.background import in_thread
from hfdemo.commands.terminal import EXIT_STATUS
from hfdemo.environment import ROOT
from hfdemo.models.plan_text import gigabytes_text
from hfdemo.settings import SIGN_IN_NAME
from hfdemo.words import LANGUAGES, Language, say

STATUSES_A_TOKEN_HELPS = {EXIT_STATUS[key] for key in ("gated_no_token", "no_such_model_anonymous", "rate_limited")}
"""The doctor's exit statuses for which an access token may help; only then is Colab's vault asked for one."""

LINK_TIMEOUT_S = 60.0
"""How long the share link may take."""

FIRST_OPTIONS = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 256}
"""With what the page below the cell opens: replies that differ, and end soon, are the ones to learn from."""

HEIGHT_PX = 800
"""The height of the page below the cell."""


class NotReady(Exception):
    """The chat can't start; the output above says why."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows instead of a traceback."""
        return [str(self)]


class Chat:
    """A chat with one model, checked by one cell and started by another.

    Args:
        model: as in `HFDEMO_MODEL`.
        language: language of the doctor's output.
        environ: environment of the chat's process; some variables are overridden.
    """

    def __init__(self, model: str, language: Language = "en", environ: Mapping[str, str] = os.environ) -> None:
        self._language = language
        self._environ = {
            **environ,
            "HFDEMO_MODEL": model,
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SHARE": "False",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        }

    def check(self) -> None:
        """Let the doctor check the machine, the model and, only if the model needs one, the access token.

        Raises:
            NotReady: the doctor found a problem.
        """
        status, report = self._doctor()
        if status in STATUSES_A_TOKEN_HELPS and (token := _token_of_vault()):
            self._environ["HF_TOKEN"] = token
            status, report = self._doctor()
        _print(report)
        if status:
            raise NotReady(_in_both_languages("not_ready"))

    def _doctor(self) -> tuple[int, str]:
        command = [sys.executable, "-m", "hfdemo", "doctor", "--language", self._language]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        return ended.returncode, ended.stdout

    def start(self, share: bool = False, system_prompt: str = "") -> None:
        """Show the chat below the cell, and its log, until the cell is stopped.

        Args:
            share: whether to create a share link, protected by a password.
            system_prompt: of a new chat.

        Raises:
            NotReady: the chat ended unexpectedly.
        """
        port = _free_port()
        environ = self._environ | {"GRADIO_SERVER_PORT": str(port), "HFDEMO_SYSTEM_PROMPT": system_prompt}
        try:
            with ExitStack() as running:
                if share and (link := _share(port, running)):
                    environ |= _reached_by(link, environ)
                    environ["HFDEMO_PASSWORD"] = password = secrets.token_urlsafe(9)
                    _print(_in_both_languages("link", link=link, name=SIGN_IN_NAME, password=password))
                chat = running.enter_context(_process(["app.py"], environ))
                log = in_thread(lambda: _pass_on(_output(chat)), "log")
                if _answers(port, chat):
                    _show(port)
                status = chat.wait()
                log.result()
        except KeyboardInterrupt:  # the cell was stopped
            _print(_in_both_languages("stopped"))
        else:
            raise NotReady(_in_both_languages("ended", status=status))


def show_machine() -> None:
    """Print this machine's GPU, memory and free disk space."""
    facts = {
        "gpu": (gpu := _gpu()) or "-",
        "memory": gigabytes_text(psutil.virtual_memory().total),
        "disk": gigabytes_text(shutil.disk_usage(ROOT).free),
    }
    _print(_in_both_languages("machine", **facts))
    if gpu is None:
        _print(_in_both_languages("no_gpu"))


def _gpu() -> str | None:
    """Return name and memory of the first NVIDIA GPU, if any; without torch, whose import takes seconds."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, encoding="utf-8", check=False)
    return answer.stdout.splitlines()[0] if answer.returncode == 0 and answer.stdout else None


def _token_of_vault() -> str | None:
    """Return the access token from Colab's vault; None if there is none or this notebook has no access to it."""
    try:
        from google.colab import errors, userdata
    except ImportError:  # not Colab
        return None
    try:
        return str(userdata.get("HF_TOKEN")).strip() or None
    except (userdata.SecretNotFoundError, userdata.NotebookAccessError, errors.Error):
        return None


def _share(port: int, running: ExitStack) -> str | None:
    """Create a share link to a port and return it; if that fails, print why."""
    _print(_in_both_languages("rule"))
    command = ["-c", f"from hfdemo.page.share import hold_link; hold_link({port})"]
    process = running.enter_context(_process(command, os.environ))
    first_line: Future[str] = in_thread(_output(process).readline, "share link")
    try:
        answer = first_line.result(timeout=LINK_TIMEOUT_S).strip()
    except TimeoutError:
        answer = f"{LINK_TIMEOUT_S:.0f} s"
    if answer.startswith("http"):
        return answer
    _print(_in_both_languages("no_link", problem=answer))
    return None


def _reached_by(link: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which the chat answers under a share link, and believes the tunnel on this machine."""
    more = {"HFDEMO_ALLOWED_HOSTS": str(urlsplit(link).hostname), "HFDEMO_TRUSTED_PROXIES": "127.0.0.1"}
    return {name: f"{environ.get(name, '')} {value}" for name, value in more.items()}


@contextmanager
def _process(arguments: Sequence[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run Python in this project's folder while the context lasts."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        preexec_fn=_end_with_parent(),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _end_with_parent() -> Callable[[], object] | None:
    """Return a hook that ends a process together with its parent: restarting a notebook kills its kernel.

    Only Linux, which Colab runs on, supports this. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork; little is safe after it
    return lambda: prctl(1, signal.SIGTERM)


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None  # it is a pipe
    return process.stdout


def _pass_on(lines: IO[str]) -> None:
    for line in lines:
        _print(line.rstrip("\n"))


def _answers(port: int, process: subprocess.Popen[str]) -> bool:
    """Wait until the page answers; False if its process ends first."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    while process.poll() is None:
        try:
            with opener.open(f"http://127.0.0.1:{port}/", timeout=5):
                return True
        except (URLError, OSError):
            time.sleep(0.2)
    return False


def _show(port: int) -> None:
    """Show the page below the cell."""
    path = f"/?{urlencode(FIRST_OPTIONS)}"
    try:
        from google.colab import output
    except ImportError:
        from IPython.display import IFrame, display

        display(IFrame(f"http://127.0.0.1:{port}{path}", "100%", HEIGHT_PX))
    else:
        output.serve_kernel_port_as_iframe(port, path=path, height=str(HEIGHT_PX))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _in_both_languages(key: str, **facts: object) -> str:
    return "\n".join(say(f"colab.{key}", language, **facts) for language in reversed(LANGUAGES))


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201
