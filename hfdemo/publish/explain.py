"""Why the Hub rejects a step of publishing, in sentences that say what to do next.

They quote the Hub where only it knows the details, such as those of an account and its plan.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from hfdemo.errors import HfdemoError, ModelLoadError, PublishError
from hfdemo.models.explain import SIGN_IN, UNREACHABLE, seconds_to_wait
from hfdemo.models.hub_private import constants

TOKENS_PAGE = f"{SIGN_IN}/settings/tokens"
BILLING = f"{SIGN_IN}/settings/billing"
ZERO_GPU = "zero-a10g"
FREE_CPU = "cpu-basic"

MAX_MESSAGE_CHARS = 300


@contextmanager
def explained(repo_id: str, hardware: str = "") -> Iterator[None]:
    """Turn the exceptions of the Hub's client into errors that say what to do.

    Args:
        repo_id: the Space being published.
        hardware: the requested hardware, if the Hub may refuse it.

    Raises:
        PublishError, ModelLoadError: instead.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise explain_hub_refusal(error, repo_id, hardware) from None
    except UNREACHABLE as error:
        raise _unreachable(error) from None


def explain_hub_refusal(error: HfHubHTTPError, repo_id: str, hardware: str = "") -> HfdemoError:
    """Return the error to show for a request that the Hub rejected."""
    status = status_of(error)
    said = hub_message(error)
    facts = {"space": repo_id, "namespace": repo_id.split("/")[0], "said": said, "tokens": TOKENS_PAGE}
    if status == 402 or (status == 403 and hardware and _is_about_money(said)):
        return _explain_plan(said, repo_id, hardware)
    if status in (401, 403):
        return PublishError("publish_forbidden", **facts)
    if status == 409:
        return PublishError("space_name_taken", **facts)
    if status == 429:
        return ModelLoadError("rate_limited", seconds=seconds_to_wait(error))
    return PublishError("publish_refused", status=status, **facts)


def status_of(error: HfHubHTTPError) -> int:
    """Return the HTTP status of the Hub's answer."""
    return error.response.status_code if error.response is not None else 0


def hub_message(error: HfHubHTTPError) -> str:
    """Return the Hub's message, on one line."""
    header = error.response.headers.get("X-Error-Message", "") if error.response is not None else ""
    return " ".join((error.server_message or header or str(error)).split())[:MAX_MESSAGE_CHARS]


def _explain_plan(said: str, repo_id: str, hardware: str) -> PublishError:
    """Explain that the account's plan doesn't include the hardware."""
    facts = {"space": repo_id, "hardware": hardware, "said": said}
    if hardware == ZERO_GPU:
        return PublishError("plan_no_zero_gpu", **facts)
    if hardware in ("", FREE_CPU):
        return PublishError("plan_zero_gpu_only", zero_gpu=ZERO_GPU, **facts)
    return PublishError("plan_no_payment", zero_gpu=ZERO_GPU, billing=BILLING, **facts)


def _is_about_money(said: str) -> bool:
    return any(word in said.lower() for word in ("payment", "billing", "credit", "subscription"))


def _unreachable(error: Exception) -> PublishError:
    if isinstance(error, OfflineModeIsEnabled):
        return PublishError("publish_offline")
    return PublishError("hub_unreachable", endpoint=constants.ENDPOINT, problem=type(error).__name__)
