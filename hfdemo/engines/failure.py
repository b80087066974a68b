"""What is logged, and said, of an error that nobody foresaw: where it happened, and nothing that a visitor wrote."""

import logging
import traceback

from hfdemo.errors import GenerationFailed, hide_tokens, is_out_of_memory

logger = logging.getLogger(__name__)


def explain_failure(error: Exception) -> GenerationFailed:
    """Return what to tell a person of an error in the midst of a reply."""
    log_failure("a reply", error)
    return GenerationFailed("out_of_memory" if is_out_of_memory(error) else "generation")


def log_failure(what: str, error: Exception) -> None:
    """Log where an error happened, without its text, which may quote a visitor; free what its frames hold."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.warning("%s failed: %s\n%s", what, type(error).__name__, hide_tokens(where))
    traceback.clear_frames(error.__traceback__)
