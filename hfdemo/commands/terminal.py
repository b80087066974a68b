"""What the commands have in common: the language, the exit statuses, and output that no terminal chokes on."""

import io
import os
import sys
from collections.abc import Mapping

from hfdemo.errors import HfdemoError
from hfdemo.words import Language, choose_language

EXIT_STATUS = {
    "gated_no_token": 11,
    "gated_not_asked": 12,
    "gated_pending": 13,
    "gated_rejected": 14,
    "gated_reset": 15,
    "token_lacks_right": 16,
    "bad_token": 17,
    "bad_typed_token": 17,
    "no_such_model_anonymous": 18,
    "no_such_model": 19,
    "no_such_revision": 20,
    "no_such_file": 20,
    "disabled": 21,
    "rate_limited": 22,
    "hub_unreachable": 23,
    "hub_unreachable_for": 23,
    "hub_no_answer": 23,
    "hub_offline_mode": 23,
    "offline_not_cached": 23,
    "hub_refused": 24,
    "disk_full": 25,
    "disk_ran_full": 25,
    "no_permission": 25,
    "gguf_repository": 26,
    "needs_code": 26,
    "not_a_language_model": 26,
    "not_text_generation": 26,
    "pickled": 26,
    "too_big": 27,
}
"""What a command ends with, by the error's key, so that a script can tell the cases apart; the README lists them."""

OTHER_ERROR = 2


def exit_status(error: HfdemoError) -> int:
    """Return the exit status that stands for an error."""
    return EXIT_STATUS.get(error.key, OTHER_ERROR)


def prepare_terminal() -> None:
    """Keep other libraries quiet, and let every character out."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # on Windows a redirected output knows few characters


def language_of_terminal(environ: Mapping[str, str]) -> Language:
    """Return the language that the terminal is set to."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    return choose_language(next((environ[name] for name in names if environ.get(name)), None))
