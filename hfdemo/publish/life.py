"""The life of a Space on the Hub: its stages, woken, waited for, and its log."""

import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hfdemo.publish.explain import explained, status_of
from hfdemo.publish.leaks import mask
from hfdemo.publish.space import stage_name

RUNNING = "RUNNING"
WORKING = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")
FAILED = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR", "DELETING")
RESTING = ("SLEEPING", "PAUSED", "STOPPED")
"""The stages that the Hub tells of; the client's list lacks SLEEPING."""

FAILED_IN_BUILD = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR")

POLL_S = 1.0
SETTLE_S = 20.0
"""How long the Hub may take to notice a commit: until then, an end may be that of what was there before."""

PATIENT_WITH_FAULTS = 5
"""After how many failed questions in a row waiting is given up."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Ended(NamedTuple):
    """Where a Space is when waiting for it ends."""

    stage: str
    message: str
    """What the Hub says of it; most of the time nothing."""
    in_time: bool


def wait_for_end(
    api: HfApi, repo_id: str, commit: str | None, patience_s: float, tell: Callable[[str], None]
) -> Ended:
    """Wait until a Space runs or can't run.

    Args:
        api: the Hub.
        repo_id: the Space.
        commit: what was sent to it; "" if it is only to start again, None if it isn't about to change.
        patience_s: how long to wait.
        tell: called with each stage that it comes to.

    Raises:
        PublishError: the Hub can't be asked.
    """
    begun = time.monotonic()
    settled = commit is None
    last = ""
    while True:
        stage, message, sha = _ask(api, repo_id)
        waited_s = time.monotonic() - begun
        if stage != last:
            tell(stage)
            last = stage
        settled = settled or stage in WORKING or sha == commit or waited_s > SETTLE_S
        if settled and stage in (RUNNING, *FAILED, *RESTING):
            return Ended(stage, message, in_time=True)
        if waited_s > patience_s:
            return Ended(stage, message, in_time=False)
        time.sleep(POLL_S)


def wake(api: HfApi, repo_id: str, stage: str) -> None:
    """Start a Space again that rests or failed, building it anew if its build failed.

    Raises:
        PublishError: the Hub refuses.
    """
    with explained(repo_id):
        api.restart_space(repo_id, factory_reboot=stage in FAILED_IN_BUILD)


def last_log_lines(api: HfApi, repo_id: str, stage: str, secrets: Mapping[str, str], lines: int = 20) -> list[str]:
    """Return the end of the log of the build or, once it has begun, the program; without any secret.

    There is none if the Hub doesn't give it.
    """
    build = stage in (*FAILED_IN_BUILD, "BUILDING", "RUNNING_BUILDING")
    try:
        text = "".join(api.fetch_space_logs(repo_id, build=build))
    except (HfHubHTTPError, httpx2.TransportError):
        return []
    shown = (_CONTROL.sub("", mask(line, secrets)).rstrip() for line in text.splitlines())
    return [line for line in shown if line][-lines:]


def _ask(api: HfApi, repo_id: str) -> tuple[str, str, str | None]:
    """Return a Space's stage, what the Hub says of it, and which commit that is about."""
    for attempt in range(PATIENT_WITH_FAULTS):
        with explained(repo_id):
            try:
                runtime = api.get_space_runtime(repo_id)
                return stage_name(runtime), str(runtime.raw.get("errorMessage") or ""), runtime.raw.get("sha")
            except (HfHubHTTPError, httpx2.TransportError) as error:
                passes = not isinstance(error, HfHubHTTPError) or status_of(error) in (429, 500, 502, 503, 504)
                if not passes or attempt == PATIENT_WITH_FAULTS - 1:
                    raise
        time.sleep(POLL_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
