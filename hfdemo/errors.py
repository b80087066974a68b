"""Errors with a text for people: what happened and what to do next, in each language.

No other module builds such a sentence: an error names its text in `words/` and supplies the facts.
"""

import logging
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import partial

from hfdemo.words import Language, say

logger = logging.getLogger(__name__)

_ACCESS_TOKEN = re.compile(r"hf_(?!oauth_(?:scopes|expiration_minutes|authorized_org)\b)[A-Za-z0-9_]{8,}")
"""Anything that may be an access token; a Space has settings with similar names, which are not."""

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder that holds `app.py`; of an installed package, where packages are."""


class HfdemoError(Exception):
    """Something a person can act on.

    Args:
        key: the name of the text in `words/`, without the leading `error.`.
        advice: the name of a second text, without the leading `advice.`: what to do, if that depends on the platform.
        fields: the values for the gaps in the text. Access tokens in them are masked, and bytes of a file's name that
            are no UTF-8, which can't be written anywhere, are spelled out.
    """

    def __init__(self, key: str, advice: str | None = None, **fields: object) -> None:
        self.key = key
        self.advice = advice
        self.fields = {name: hide_tokens(_writable(str(value))) for name, value in fields.items()}
        super().__init__(self.text("en"))

    def text(self, language: Language) -> str:
        """Return the sentence in a language."""
        text = say(f"error.{self.key}", language, **self.fields)
        return f"{text} {say(f'advice.{self.advice}', language, **self.fields)}" if self.advice else text

    def __reduce__(self) -> tuple[Callable[[], "HfdemoError"], tuple[()]]:
        """Rebuild the same error in another process; by default, Python would pass the text as the key."""
        return partial(type(self), self.key, self.advice, **self.fields), ()


class SettingsError(HfdemoError):
    """A setting of the host has a value that can't be used."""


class InvalidInput(HfdemoError):
    """A visitor sent a value that can't be used."""


class ModelLoadError(HfdemoError):
    """The model could not be found, downloaded or loaded."""


class PublishError(HfdemoError):
    """The Space can't be created like this, or doesn't answer."""


class Busy(HfdemoError):
    """Too many visitors are waiting already."""


class NoGpu(HfdemoError):
    """ZeroGPU has no GPU for a reply, or took it back before the reply was finished."""


class GenerationFailed(HfdemoError):
    """The model could not finish a reply."""


def install_command(*packages: str) -> str:
    """Return the command that installs packages for the Python that runs: a bare `pip` may be another's.

    `start` runs one that isn't active, in `.venv` in the project's folder. It is named from there: pages show the
    command, and a whole path is nobody else's concern.
    """
    python = _as_called("python", sys.executable)
    wanted = (f'"{package}"' if "[" in package else package for package in packages)  # some shells expand [...]
    return f"{python} -m pip install {' '.join(wanted)}"


def hub_command() -> str:
    """Return how people call the Hub's command line, `hf`: that of the Python that runs, if it has one."""
    program = os.path.join(os.path.dirname(sys.executable), "hf.exe" if os.name == "nt" else "hf")
    return _as_called("hf", program) if os.path.exists(program) else "hf"


def _as_called(name: str, program: str) -> str:
    """Return a program's name if the shell finds it by that, else its path, from the project's folder on."""
    if shutil.which(name) == program:
        return name
    if program.startswith(_PROJECT + os.sep):
        program = os.path.relpath(program, _PROJECT)
    return f'"{program}"' if " " in program else program


def own_command() -> str:
    """Return how people call this program: by the script of the installed package, or by a Python of their system."""
    if not os.path.exists(os.path.join(_PROJECT, "app.py")):
        return "hfdemo"
    return "py -m hfdemo" if os.name == "nt" else "python3 -m hfdemo"


_OUT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory")
"""What PyTorch says on a CPU and on Apple's GPUs, where it has no error of its own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; torch's own error is matched by name, to avoid the import."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


_DEVICE_LOST = (
    "device-side assert",
    "unspecified launch failure",
    "illegal memory access",
    "misaligned address",
    "illegal instruction",
    "hardware stack error",
    "uncorrectable ECC error",
    "context is destroyed",
    "GPU is lost",
    "unrecoverable",
)
"""In what torch says when a GPU can't be used any more by this process: CUDA's errors that stay until it ends.
Source: cudaError_t in the CUDA Runtime API, "this leaves the process in an inconsistent state"."""


def is_device_lost(error: BaseException) -> bool:
    """Tell whether this process can't compute on its device any more, however often it tries."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE_LOST)


def hide_tokens(text: str) -> str:
    """Return `text` with Hugging Face access tokens masked."""
    return _ACCESS_TOKEN.sub("hf_***", text)


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def explain_failure(error: Exception) -> GenerationFailed:
    """Log an unexpected error during a reply, and return what to tell the person."""
    log_failure("a reply", error)
    if is_device_lost(error):
        return GenerationFailed("device_lost")
    return GenerationFailed("out_of_memory" if is_out_of_memory(error) else "generation")


def log_failure(what: str, error: Exception) -> None:
    """Log where an error happened, without its text, which may quote a visitor; free the memory its frames hold."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.warning("%s failed: %s\n%s", what, type(error).__name__, hide_tokens(where))
    traceback.clear_frames(error.__traceback__)
