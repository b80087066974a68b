"""A Space on the Hub: restarting it, waiting for it through its stages, and reading its log."""

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
"""The stages that the Hub reports; the client's own list lacks SLEEPING."""

FAILED_IN_BUILD = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR")

POLL_S = 1.0
SETTLE_S = 20.0
"""How long the Hub may take to notice a commit: until then, a final stage may be the previous version's."""

MAX_FAILED_POLLS = 5
"""How many polls in a row may fail before waiting is given up."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class WaitResult(NamedTuple):
    """A Space's stage when the wait for it is over."""

    stage: str
    message: str
    """The Hub's message about it; usually empty."""
    in_time: bool


def wait_for_end(
    api: HfApi, repo_id: str, commit: str | None, patience_s: float, tell: Callable[[str], None]
) -> WaitResult:
    """Wait until a Space runs, or can't run.

    Args:
        api: the Hub.
        repo_id: the Space.
        commit: the commit sent to it; "" if it only restarts, None if it isn't about to change.
        patience_s: how long to wait.
        tell: called with each new stage.

    Raises:
        PublishError: the Hub can't be reached.
    """
    started = time.monotonic()
    settled = commit is None
    last = ""
    while True:
        stage, message, sha = _ask(api, repo_id)
        waited_s = time.monotonic() - started
        if stage != last:
            tell(stage)
            last = stage
        settled = settled or stage in WORKING or sha == commit or waited_s > SETTLE_S
        if settled and stage in (RUNNING, *FAILED, *RESTING):
            return WaitResult(stage, message, in_time=True)
        if waited_s > patience_s:
            return WaitResult(stage, message, in_time=False)
        time.sleep(POLL_S)


def wake(api: HfApi, repo_id: str, stage: str) -> None:
    """Restart a Space that is stopped or failed, rebuilding it if its build failed.

    Raises:
        PublishError: the Hub refuses.
    """
    with explained(repo_id):
        api.restart_space(repo_id, factory_reboot=stage in FAILED_IN_BUILD)


def last_log_lines(api: HfApi, repo_id: str, stage: str, secrets: Mapping[str, str], lines: int = 20) -> list[str]:
    """Return the end of the build's log or, once the program has started, the program's; secrets are masked.

    It is empty if the Hub doesn't provide it.
    """
    build = stage in (*FAILED_IN_BUILD, "BUILDING", "RUNNING_BUILDING")
    try:
        text = "".join(api.fetch_space_logs(repo_id, build=build))
    except (HfHubHTTPError, httpx2.TransportError):
        return []
    return shown_lines(text, secrets)[-lines:]


def shown_lines(text: str, secrets: Mapping[str, str]) -> list[str]:
    """Return the lines of what a Space says, without secrets, and without what a terminal obeys."""
    shown = (_CONTROL.sub("", mask(line, secrets)).rstrip() for line in text.splitlines())
    return [line for line in shown if line]


def _ask(api: HfApi, repo_id: str) -> tuple[str, str, str | None]:
    """Return a Space's stage, the Hub's message about it, and the commit it is about."""
    for attempt in range(MAX_FAILED_POLLS):
        with explained(repo_id):
            try:
                runtime = api.get_space_runtime(repo_id)
                return stage_name(runtime), str(runtime.raw.get("errorMessage") or ""), runtime.raw.get("sha")
            except (HfHubHTTPError, httpx2.TransportError) as error:
                passes = not isinstance(error, HfHubHTTPError) or status_of(error) in (429, 500, 502, 503, 504)
                if not passes or attempt == MAX_FAILED_POLLS - 1:
                    raise
        time.sleep(POLL_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
