"""Which model an endpoint is asked for, which can be chosen, and what is known of them.

There is nothing to load, so a change of models takes effect with the next message.
"""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Lock

import httpx2

from hfdemo.background import in_thread
from hfdemo.chat.notes import Note, make_note
from hfdemo.engines.protocol import Status
from hfdemo.engines.remote.address import Address
from hfdemo.engines.remote.refusal import Refusal, explain_endpoint_refusal, explain_unreachable
from hfdemo.engines.remote.server import Served, ServedModel, Server, find_served
from hfdemo.engines.remote.untaken import ALL_TAKEN, Untaken
from hfdemo.errors import GenerationFailed, HfdemoError, ModelLoadError, explain_failure
from hfdemo.models.choice import ModelChoice
from hfdemo.models.tokens import usable_token_source
from hfdemo.settings import Settings

ANY_MODEL = "default"
"""What is asked for where neither the host nor the endpoint names a model; servers with one model don't look."""

MAX_FOUND = 50
NEEDS_THE_HOST = (
    *("endpoint_no_key", "endpoint_bad_key", "endpoint_no_credit", "endpoint_moved"),
    *("provider_no_token", "bad_token"),
)
"""The errors that do not go away by themselves."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint is waited for, in seconds."""

    list_s: float = 20
    """For its list of models."""
    loading_s: float = 120
    """While it says that it is loading."""
    stalled_s: float = 60
    """In the midst of a reply, without a byte; not where there are tools: some servers tell only whole calls."""
    usage_s: float = 2
    """Behind the end of a reply, for what it took."""
    retries: int = 2
    """How often a request is sent again that met nobody, or was cut off before its first token."""
    pause_s: float = 0.5
    """Before the first time; then twice as long."""


class RemoteHost:
    """Knows the models of one endpoint: host and catalog in one.

    Args:
        settings: the host's.
        address: where the endpoint is.
        patience: how long it is waited for.
    """

    def __init__(self, settings: Settings, address: Address, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.server = Server(address)
        self.loop = asyncio.new_event_loop()
        """Where all requests run, so that Stop closes a connection at once, also one that is silent."""
        self._settings = settings
        self._address = address
        self._chosen = settings.model or ""
        self._served: Served | None = None
        self._untaken: dict[str, Untaken] = {}
        self._told: dict[str, frozenset[str]] = {}
        self._lock = Lock()
        self._finding: Future[None] | None = None
        self._status = Status("resolving", model=self._chosen, device=address.host, recommended=None)
        in_thread(self.loop.run_forever, "endpoint")

    @property
    def status(self) -> Status:
        """The model that is asked for, or what is known of the endpoint so far."""
        return self._status

    @property
    def address(self) -> Address:
        """Where the endpoint is, as far as that is known."""
        return self._served.address if self._served else self._address

    @property
    def program(self) -> str:
        """Which program the server is, where it tells."""
        return self._served.program if self._served else ""

    def load(self) -> None:
        """Begin to ask the endpoint what it has, and return at once; it is asked until it tells."""
        with self._lock:
            if self._finding:
                self._finding.cancel()
            if self._served is None:
                self._status = replace(self._status, stage="resolving", error=None)
                self._finding = asyncio.run_coroutine_threadsafe(self._keep_finding(), self.loop)

    def choose(self, model: str) -> None:
        """Ask for another model from now on; replies under way go on."""
        self._chosen = model
        if self._served:
            self.show_ready()
        else:
            self._status = replace(self._status, model=model)
            self.load()

    def cancel(self) -> None:
        """Stop asking what the endpoint has."""
        with self._lock:
            if self._finding:
                self._finding.cancel()
        if self._served is None:
            self._status = replace(self._status, stage="cancelled")

    def choices(self) -> list[ModelChoice]:
        """Return the models of the host's list, or else those of the endpoint."""
        return _choices(self._settings.models or tuple(model.name for model in self._models))

    def plan(self, name: str) -> None:
        """Return nothing: what a model needs is the endpoint's concern.

        Raises:
            GenerationFailed: the endpoint says which models it has, and this is none of them.
        """
        if self._models and not {name, name.partition(":")[0]} & {model.name for model in self._models}:
            raise GenerationFailed("endpoint_no_model", host=self.address.host, model=name)

    def search(self, words: str) -> list[ModelChoice]:
        """Return the endpoint's models that match some words."""
        wanted = words.lower().split()
        names = [model.name for model in self._models]
        return _choices([name for name in names if all(word in name.lower() for word in wanted)][:MAX_FOUND])

    def swap_bases(self) -> bool:
        """Let requests go where else the operations may be, if no list of models told where; tell whether they do."""
        if not (self._served and self._served.address.other_base):
            return False
        self._served = replace(self._served, address=self._served.address.swapped())
        return True

    def forget_models(self) -> bool:
        """Let the endpoint be asked again what it has, if the model is the first of its list; tell whether it is.

        A server that is started again may have another one.
        """
        if self._chosen or not self._models:
            return False
        self._served = None
        return True

    def untaken(self, model: str) -> Untaken:
        """Return which parameters the endpoint doesn't take for a model, as far as that is known."""
        return self._untaken.get(model, ALL_TAKEN)

    def learn(self, model: str, untaken: Untaken, told: frozenset[str], taken: frozenset[str]) -> None:
        """Remember what the endpoint doesn't take for a model.

        Args:
            model: its name.
            untaken: what led to a reply when it was left out.
            told: which parameters among it people are told of.
            taken: the parameters that were sent with it.
        """
        before = self._told.get(model, frozenset())
        self._untaken[model] = self.untaken(model).joined(untaken)
        self._told[model] = (before | told) - taken
        if self._told[model] != before:
            self.show_ready()

    def show_loading(self) -> None:
        """Show that the endpoint is loading the model."""
        self._status = replace(self._status, stage="loading")

    def end_loading(self) -> None:
        """Show that it isn't loading any more, or isn't waited for."""
        if self._status.stage == "loading" and self._served:
            self.show_ready()

    def show_ready(self) -> None:
        """Show the model that is asked for."""
        served = self._served or Served(self._address)
        first = next((model.name for model in served.models), ANY_MODEL)
        model = served.model(self._chosen or first)
        limits = [limit for limit in (model.context_limit, self._settings.context) if limit]
        told = ", ".join(sorted(self._told.get(model.name, ())))
        notes = (*self._credit_notes(), *((make_note("endpoint_leaves_out", names=told),) if told else ()))
        self._status = Status(
            "ready",
            model=model.name,
            device=self.address.host,
            context_limit=min(limits, default=None),
            thinking_modes=model.modes,
            recommended=None,
            notes=notes,
        )

    def _credit_notes(self) -> tuple[Note, ...]:
        """Say whose credit pays, where others than the host may read it."""
        if self._address.of_visitor:
            return (make_note("credit_of_visitor"),)
        return (make_note("credit_of_host"),) if self._address.is_router and not self._settings.private else ()

    async def find(self) -> None:
        """Ask the endpoint what it has, if that isn't known; called in the event loop.

        Raises:
            HfdemoError: it doesn't tell; the text says why.
        """
        if self._served:
            return
        if self._address.is_router and not self._address.key and not self._address.of_visitor:
            usable_token_source(self._settings.platform)  # there may be one, which no header can hold
            raise ModelLoadError("provider_no_token", model=self._chosen)
        for pause_s in (*[self.patience.pause_s] * self.patience.retries, None):
            try:
                self._served = await find_served(self.server, self._address, self.patience.list_s)
                break
            except Refusal as refusal:
                if self._may_answer_all_the_same(refusal.status):
                    self._served = Served(self._address)
                    break
                raise explain_endpoint_refusal(refusal, self._address, self._chosen) from None
            except httpx2.HTTPError as error:
                if pause_s is None:
                    raise explain_unreachable(error, self._address) from None
            await asyncio.sleep(pause_s)
        self.show_ready()

    def _may_answer_all_the_same(self, status: int) -> bool:
        """Tell whether an endpoint that refuses its list may answer a message: some have no list for this key."""
        if self._address.of_visitor:  # only they have a token for it
            return status in (401, 403)
        return bool(self._chosen) and status not in (401, 402, 429, 503)

    @property
    def _models(self) -> tuple[ServedModel, ...]:
        return self._served.models if self._served else ()

    async def _keep_finding(self) -> None:
        """Ask the endpoint what it has, until it tells."""
        pause_s = FIRST_PAUSE_S
        while self._served is None:
            try:
                await self.find()
            except HfdemoError as error:
                if error.key == "endpoint_loading":
                    self.show_loading()
                else:
                    self._status = replace(self._status, stage="failed", error=error)
                if error.key in NEEDS_THE_HOST:
                    return
            except Exception as error:
                self._status = replace(self._status, stage="failed", error=explain_failure(error))
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


def _choices(names: "list[str] | tuple[str, ...]") -> list[ModelChoice]:
    return [ModelChoice(name, stored_bytes=None, on_disk=None, fits=None) for name in names]
