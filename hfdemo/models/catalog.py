"""The models that can be chosen on the page: the host's list, and what a search of the Hub finds.

Importing this module imports nothing slow, so that the page appears first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hfdemo.background import in_thread
from hfdemo.errors import ModelLoadError
from hfdemo.models.choice import ModelChoice
from hfdemo.models.plan import Machine, Plan, estimate_fits
from hfdemo.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

FOUND_AT_MOST = 30
"""How many models a search returns: more than anyone reads."""

FRESH_S = 300
"""For how long the Hub is not asked again about a model of the list."""

SEARCH_TIMEOUT_S = 4.0
"""How long a search waits for the Hub."""

logger = logging.getLogger(__name__)


class Catalog:
    """Tells which models there are, and whether they fit.

    Args:
        settings: the host's, with its list of models.
        machine: returns what this machine has for a model.
    """

    def __init__(self, settings: Settings, machine: Callable[[], Machine]) -> None:
        self._settings = settings
        self._machine = machine
        self._cache: dict[str, tuple[float, ModelChoice]] = {}  # with the time of the answer

    def choices(self) -> list[ModelChoice]:
        """Return the host's list, in its order.

        Answers about a model are cached for a while, unless it appears on the disk or disappears from it.
        """
        return [self._cached_choice(name) for name in self._settings.models]

    def plan(self, name: str) -> Plan:
        """Return what a model needs and how it would run.

        Raises:
            ModelLoadError: it can't be used; the text says why.
        """
        from hfdemo.models.check import check_model
        from hfdemo.models.choose import parse_model

        # In a thread of its own, as what computes there would slow down what computes elsewhere as long as it lives.
        source, machine = parse_model(name), self._machine()
        return in_thread(lambda: check_model(source, self._settings, machine).plan, "model-check").result()

    def search(self, words: str) -> list[ModelChoice]:
        """Return the models on the Hub whose names contain the words: those that fit first, then by downloads.

        Raises:
            ModelLoadError: the Hub can't be asked.
        """
        from hfdemo.models.explain import explain_search_error

        try:
            # Looking up a host name can't be given a time limit, so the question has a thread of its own.
            found = in_thread(lambda: _ask_hub(words), "hub-search").result(timeout=SEARCH_TIMEOUT_S)
        except Exception as error:
            raise explain_search_error(error) from None
        machine = self._machine()
        choices = [_found(info, machine) for info in found]
        return sorted(choices, key=lambda choice: {True: 0, None: 1, False: 2}[choice.fits])

    def _cached_choice(self, name: str) -> ModelChoice:
        on_disk = _is_on_disk(name)
        found_at, choice = self._cache.get(name, (0.0, None))
        if choice is None or choice.on_disk != on_disk or time.monotonic() - found_at > FRESH_S:
            choice = self._choice(name, on_disk)
            self._cache[name] = time.monotonic(), choice
        return choice

    def _choice(self, name: str, on_disk: bool) -> ModelChoice:
        """Return a model of the list; what can't be found out about it stays open."""
        try:
            plan = self.plan(name)
        except ModelLoadError as error:
            logger.info("%s: %s", name, error)
            return ModelChoice(name, None, on_disk, fits=None)
        return ModelChoice(name, plan.facts.stored_bytes, on_disk, plan.fits)


def _ask_hub(words: str) -> list[ModelInfo]:
    from huggingface_hub import HfApi

    from hfdemo.models.saved_token import can_be_sent, saved_token

    token = saved_token()
    found = HfApi(token=token if token and can_be_sent(token) else False).list_models(
        search=words,
        pipeline_tag="text-generation",
        sort="downloads",
        limit=FOUND_AT_MOST,
        expand=["downloads", "gated", "safetensors"],
    )
    return list(found)


def _is_on_disk(name: str) -> bool:
    from hfdemo.models.choose import parse_model
    from hfdemo.models.disk import find_model

    try:
        return find_model(parse_model(name)) is not None
    except ModelLoadError:
        return False


def _found(info: ModelInfo, machine: Machine) -> ModelChoice:
    from hfdemo.models.disk import find_model
    from hfdemo.models.facts import stored_bytes
    from hfdemo.models.source import HubModel

    on_disk = find_model(HubModel(info.id)) is not None
    if not info.safetensors:
        return ModelChoice(info.id, None, on_disk, fits=None)
    parameters = int(info.safetensors.total)
    return ModelChoice(
        info.id, stored_bytes(dict(info.safetensors.parameters)), on_disk, estimate_fits(parameters, machine)
    )
