"""Shared by the commands: exit statuses, what is said before their output, and what is asked for unseen."""

import getpass
import os
import sys

from hfdemo.errors import HfdemoError
from hfdemo.settings import notes_on_variables
from hfdemo.variables import sanitize_variables
from hfdemo.words import Language

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
    "cant_load": 26,
    "config_number": 26,
    "config_value": 26,
    "config_padding": 26,
    "config_no_number": 26,
    "file_pointer": 26,
    "file_empty": 26,
    "file_link_broken": 26,
    "file_is_folder": 26,
    "architecture_unknown": 26,
    "path_no_utf8": 26,
    "file_cut": 26,
    "file_damaged": 26,
    "file_no_json": 26,
    "file_no_object": 26,
    "index_empty": 26,
    "gguf_unreadable": 26,
    "gguf_parts_missing": 26,
    "gguf_parts": 26,
    "gguf_architecture": 26,
    "gguf_misfit": 26,
    "folder_empty": 26,
    "no_config": 26,
    "no_weights": 26,
    "no_weights_on_hub": 26,
    "shards_missing": 26,
    "no_tokenizer": 26,
    "no_tokenizer_on_hub": 26,
    "tokenizer_package": 26,
    "tokenizer_unreadable": 26,
    "tensors_missing": 26,
    "tensors_misfit": 26,
    "tensors_hollow": 26,
    "adapter_needs_peft": 26,
    "adapter_kind": 26,
    "adapter_without_base": 26,
    "adapter_base_missing": 26,
    "adapter_without_weights": 26,
    "adapter_misfit": 26,
    "adapter_of_adapter": 26,
    "adapter_unreadable": 26,
    "quantizer_unknown": 26,
    "quantizer_package": 26,
    "quantizer_requirement": 26,
    "quantizer_refused": 26,
    "no_quantizer": 26,
    "not_text_generation": 26,
    "pickled": 26,
    "too_big": 27,
    "template_fails": 28,
    "template_token_beyond": 28,
    "no_such_template": 28,
    "publish_offline": 23,
    "publish_refused": 24,
    "publish_no_token": 31,
    "publish_read_token": 32,
    "publish_fine_grained": 32,
    "publish_not_yours": 33,
    "publish_forbidden": 33,
    "bad_hardware": 34,
    "plan_zero_gpu_only": 34,
    "plan_no_zero_gpu": 34,
    "plan_no_payment": 34,
    "bad_space_name": 35,
    "space_name_taken": 35,
    "space_of_another": 35,
    "publish_lint": 36,
    "publish_no_project": 36,
    "front_missing": 36,
    "front_refused": 36,
    "folder_lacks": 36,
    "folder_unreadable": 36,
    "folder_link_outside": 36,
    "publish_leak": 37,
    "bad_secret_name": 38,
    "secret_shown": 38,
    "secret_missing": 38,
    "space_failed": 39,
    "space_too_slow": 40,
    "space_silent": 41,
}
"""The exit status for each error key, so that scripts can tell the cases apart: docs/troubleshooting.en.md."""

OTHER_ERROR = 2


def exit_status(error: HfdemoError) -> int:
    """Return the exit status for an error."""
    return EXIT_STATUS.get(error.key, OTHER_ERROR)


def prepare_terminal() -> None:
    """Silence other libraries."""
    sanitize_variables(os.environ)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def ask_unseen(question: str) -> str:
    """Return what is typed without being shown; empty for nothing, and for Ctrl-D."""
    try:
        return getpass.getpass(question).strip()
    except EOFError:
        return ""


def warn_of_variables(language: Language) -> None:
    """Name on standard error the variables that have no effect, or an old name."""
    for sentence in notes_on_variables(os.environ, language):
        print(sentence, file=sys.stderr)  # noqa: T201
