"""What ZeroGPU says when there is no GPU for a reply, in our own words.

Its errors are Gradio's, all of one class. They are told apart by their title, and where that isn't enough by the
numbers and words in their text. Source: spaces 0.51, `zero/client.py` and `zero/wrappers.py`.
"""

import logging
import re

from hfdemo.errors import GenerationFailed, HfdemoError, NoGpu, hide_tokens, log_failure

QUOTA = re.compile(
    r"(?P<asked>\d+)s requested vs\. (?P<left>-?\d+)s left\)\. "
    r"Try again in (?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"
)
TOO_LONG = re.compile(r"\((?P<asked>\d+)s\)")

logger = logging.getLogger(__name__)


def explain_gpu_refusal(error: Exception) -> HfdemoError:
    """Return what to tell a visitor of an error that came from `spaces` in place of a reply."""
    if isinstance(error, HfdemoError):
        return error
    title, text = str(getattr(error, "title", "")), str(getattr(error, "message", ""))
    if not title.startswith("ZeroGPU "):
        log_failure("asking ZeroGPU for a GPU", error)
        return NoGpu("gpu_trouble")
    logger.warning("no GPU for a reply: %s: %s", title, hide_tokens(text))
    if title == "ZeroGPU quota exceeded":
        return _quota(text)
    if title == "ZeroGPU illegal duration":
        asked = TOO_LONG.search(text)
        return NoGpu("gpu_too_long", asked=asked["asked"] if asked else "?")
    if title == "ZeroGPU pending credits exceeded":
        return NoGpu("gpu_pending")
    if title == "ZeroGPU queue timeout":
        return NoGpu("gpu_none_free")
    if title == "ZeroGPU worker error":
        return _worker(text)
    if title == "ZeroGPU client error" and text.startswith("No GPU"):
        return NoGpu("gpu_none_free")
    if title == "ZeroGPU client error" and text.startswith("Expired"):
        return NoGpu("gpu_expired")
    return NoGpu("gpu_trouble")


def _quota(text: str) -> NoGpu:
    if found := QUOTA.search(text):
        days, hours, minutes, seconds = (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        in_all = 60 * (24 * days + hours) + minutes + (seconds > 0)  # in minutes, rounded up
        left = max(0, int(found["left"]))
        facts = {"asked": found["asked"], "left": left, "hours": in_all // 60, "minutes": in_all % 60}
        facts["seconds"] = 60 * in_all  # for programs
        return NoGpu("gpu_quota", _more_quota(text), **facts)
    if "runs limit" in text:
        return NoGpu("gpu_runs")
    if text.startswith("No GPU"):  # what anonymous visitors get after a minute in the queue
        return NoGpu("gpu_none_free")
    return NoGpu("gpu_stranger")


def _more_quota(text: str) -> str:
    """Return the advice for a visitor whose kind the text names."""
    if "Pro ZeroGPU quota" in text:
        return "gpu_credits"
    return "gpu_pro" if "free ZeroGPU quota" in text else "gpu_sign_in"


def _worker(text: str) -> HfdemoError:
    """Explain the end of a worker: it was ended from outside, or all that is said is the class of its error."""
    if text == "GPU task aborted":
        return NoGpu("gpu_aborted")
    if text == "OutOfMemoryError":
        return GenerationFailed("out_of_memory")
    return GenerationFailed("generation")
