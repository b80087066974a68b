"""The one model of this process: loaded, changed for another, and unloaded when idle.

Whatever computes runs in the compute thread. While another model is checked and downloaded, the old one goes on
answering, and it stays if the other one can't be used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Protocol

from hfdemo.compute.thread import Compute
from hfdemo.engines.protocol import Status
from hfdemo.errors import HfdemoError, ModelLoadError, log_failure
from hfdemo.settings import Settings
from hfdemo.words import say

if TYPE_CHECKING:
    from hfdemo.models.check import Checked
    from hfdemo.models.choose import ModelSource
    from hfdemo.models.load import LoadedModel
    from hfdemo.models.plan import Machine
    from hfdemo.models.progress import LoadStage

logger = logging.getLogger(__name__)


class ModelUser(Protocol):
    """What answers with a host's model."""

    def in_use(self) -> bool:
        """Tell whether somebody gets a reply, or waits for one."""
        ...

    def end_replies(self) -> None:
        """Let the replies under way end, because the model is changed."""
        ...

    def release(self) -> None:
        """Let go of all that belongs to the model; called in the compute thread."""
        ...


class LocalModelHost:
    """Finds, loads, changes and unloads the model, and tells how far it is; see `protocol.ModelHost`.

    Args:
        settings: the host's.
        compute: the thread in which torch works.
    """

    def __init__(self, settings: Settings, compute: Compute) -> None:
        self.compute = compute
        self.lock = RLock()
        """Held while it is decided whether the model is in use."""
        self.model: LoadedModel | None = None
        self.status = Status("resolving", model=settings.model or "", named=settings.model or "")
        self.last_used = time.monotonic()
        self.on_device_lost: Callable[[], None] = lambda: None
        """Called, perhaps several times, when the device can't be used again; whoever runs the program ends it."""
        self._settings = settings
        self._user: ModelUser | None = None
        self._wanted = settings.model
        self._cancel = Event()
        self._measured = Event()  # set when the compute thread has found out how fast this machine is
        self._loading: Future[None] | None = None
        self._loaded_name: str | None = None  # how the model that is there was asked for
        self._ready = self.status  # what was said of it
        self._good: tuple[str | None] | None = None  # what to go back to: the last that was there, or else that came
        if settings.idle_unload_s:
            Thread(target=self._watch_idleness, name="idle-unload", daemon=True).start()

    def attach(self, user: ModelUser) -> None:
        """Let an engine answer with the model; there is one."""
        self._user = user

    def give_up_device(self) -> None:
        """Stop answering: the device can't be used again before the program starts anew."""
        with self.lock:
            self.model = None
            self.status = replace(self.status, stage="failed", error=ModelLoadError("device_lost"))
        self.on_device_lost()

    def load(self) -> None:
        """Begin to load the model and return at once. Does nothing while it loads or when it is there."""
        with self.lock:
            if self.model is None and (self._loading is None or self._loading.done()):
                self._begin(self._wanted)

    def choose(self, named: str) -> None:
        """Begin to change to another model and return at once."""
        with self.lock:
            self._cancel.set()  # of a change that is under way
            if self.model is None:
                if self._good is None and self.status.stage not in ("failed", "cancelled"):
                    self._good = (self._wanted,)
                self._begin(named)
                return
            self._cancel = Event()
            self._wanted = named
            Thread(target=self._change, args=(named, self._cancel), name="model-change", daemon=True).start()

    def goes_back(self) -> bool:
        """Tell whether what was chosen last failed, and `load` brings the model again that was wanted before."""
        with self.lock:
            return self.status.stage == "failed" and (self._wanted or "") != self.status.named

    def cancel(self) -> None:
        """Stop whatever brings a model here."""
        self._cancel.set()

    def machine(self) -> Machine:
        """Return what this machine has for a model, once the compute thread has found out how fast it is."""
        self._measured.wait()
        return _machine(self._settings)

    def _begin(self, named: str | None) -> None:
        self._wanted = named
        self._cancel = Event()
        self.status = Status("resolving", model=named or "", named=named or "")
        self._loading = self.compute.submit(self._load, named, self._cancel)

    def _load(self, named: str | None, cancel: Event) -> None:
        """Bring a model here where there is none; runs in the compute thread."""
        work = _Loading(self, cancel)
        try:
            machine = _machine(self._settings)
            self._measured.set()
            work.prepare(named, self._settings, machine)
            self._take(work)
        except Exception as error:
            self._fail(work, error)

    def _change(self, named: str, cancel: Event) -> None:
        """Check and fetch another model while the old one goes on, then let the two change places."""
        work = _Loading(self, cancel)
        try:
            work.prepare(named, self._settings, self.machine())
            work.try_prompts()
        except Exception as error:
            if work.is_wanted():
                self._stay(work, error)
            return
        with self.lock:
            if cancel.is_set():
                return
            self.model = None  # from now on messages wait for the new model
            if self._user:
                self._user.end_replies()
            self._loading = self.compute.submit(self._swap, work)

    def _swap(self, work: _Loading) -> None:
        """Let the old model go and load the other, or else the old one again; runs in the compute thread."""
        old = self._loaded_name
        try:
            self._unload()
            self._take(work)
        except Exception as error:
            if not work.is_wanted() or work.cancelled_by(error):
                self._fail(work, error)
            else:
                self._go_back(old, work.explain(error))

    def _go_back(self, old: str | None, reason: HfdemoError) -> None:
        """Load the model again that was there before, and say why; runs in the compute thread."""
        with self.lock:
            self._wanted = old
            self._cancel = Event()
            work = _Loading(self, self._cancel)
        try:
            work.prepare(old, self._settings, _machine(self._settings))
            self._take(work)
        except Exception as error:
            self._fail(work, error)
            return
        with self.lock:
            if work.is_wanted():
                self.status = replace(self._ready, error=reason)

    def _take(self, work: _Loading) -> None:
        """Load what was prepared."""
        from hfdemo.models.embedded import GREEDY
        from hfdemo.models.load import load_model
        from hfdemo.models.source import EmbeddedModel

        source, plan = work.checked.source, work.checked.plan
        model = load_model(work.files, source.name, plan, work.progress, self._settings)
        if isinstance(source, EmbeddedModel):
            model = replace(model, defaults=replace(model.defaults, recommended=GREEDY))
        with self.lock:  # another model may have been chosen while the last steps ran, which look at no cancel
            work.progress.raise_if_cancelled()
            self.last_used = time.monotonic()
            self.model, self._loaded_name, self._good = model, work.named, (work.named,)
            self.status = self._ready = _ready(self.status, model)
        logger.info("%s", self._say("status.ready", model=source.name, device=model.device))
        for note in self.status.notes:
            logger.warning("%s", note.text(self._settings.language))

    def _fail(self, work: _Loading, error: Exception) -> None:
        """Say why there is no model now."""
        if not work.is_wanted():
            return
        if work.cancelled_by(error):
            self.status = replace(self.status, stage="cancelled", error=None)
            logger.info("%s", self._say("status.cancelled", model=self.status.model))
            return
        explained = work.explain(error)
        with self.lock:
            if not work.is_wanted():
                return
            if self._good:
                self._wanted = self._good[0]
            self.status = replace(self.status, stage="failed", error=explained)

    def _stay(self, work: _Loading, error: Exception) -> None:
        """Say why the old model stays."""
        with self.lock:
            self._wanted = self._loaded_name
            self.status = replace(self._ready, error=None if work.cancelled_by(error) else work.explain(error))

    def _unload(self) -> None:
        """Let the model go and give its memory back to the system; runs in the compute thread."""
        from hfdemo.compute.allocator import give_memory_back

        self.model = None
        if self._user:
            self._user.release()
        give_memory_back()

    def _say(self, key: str, **fields: object) -> str:
        """Return a text for the log, which whoever started the program reads."""
        return say(key, self._settings.language, **fields)

    def _unload_if_idle(self) -> None:
        with self.lock:
            if not self._is_idle():
                return
            self.model = None
            self.status = replace(self.status, stage="unloaded", device="", error=None)
        self._unload()
        logger.info("%s", self._say("status.unloaded", model=self.status.model))

    def _watch_idleness(self) -> None:
        while True:
            time.sleep(min(1.0, self._settings.idle_unload_s / 4))
            if self._is_idle():
                self.compute.submit(self._unload_if_idle).exception()

    def _is_idle(self) -> bool:
        idle_s = time.monotonic() - self.last_used
        ready = self.model is not None and self.status.stage == "ready"
        in_use = self._user is not None and self._user.in_use()
        return ready and not in_use and idle_s >= self._settings.idle_unload_s


class _Loading:
    """One model on its way: what was found out, and where it is."""

    def __init__(self, host: LocalModelHost, cancel: Event) -> None:
        from hfdemo.models.progress import Progress

        self._host = host
        self._cancel = cancel
        self.progress = Progress(self._show, cancel)
        self.named: str | None = None
        self._source: ModelSource | None = None

    def is_wanted(self) -> bool:
        """Tell whether no other model was asked for meanwhile; if so, the status is about that one."""
        return self._cancel is self._host._cancel

    def prepare(self, named: str | None, settings: Settings, machine: Machine) -> None:
        """Find, check and fetch the model; nothing is loaded.

        Raises:
            Exception: see `explain`.
        """
        from hfdemo.models.check import check_download, check_model, refuse_misfit
        from hfdemo.models.choose import EmbeddedModel, choose_model
        from hfdemo.models.download import fetch_model

        self.named = named
        source: ModelSource = choose_model(named, machine.has_gpu)
        self._source = source
        fallback = source.reason if isinstance(source, EmbeddedModel) else None
        host = self._host
        host.status = replace(
            host.status, model=source.name, named=named or "", fallback=fallback, plan=None, error=None
        )
        if fallback:
            logger.warning("%s", host._say("status.embedded", reason=fallback.text(settings.language)))
        self.progress.report("checking")
        self.checked: Checked = check_model(source, settings, machine)
        self._source = source = self.checked.source  # an adapter now has its base
        host.status = replace(host.status, plan=self.checked.plan)
        self.progress.raise_if_cancelled()
        refuse_misfit(self.checked.plan, settings)
        if self.checked.files:
            self.files = self.checked.files
            return
        self.files = fetch_model(source, self.progress, self.checked.missing, allow_pickle=settings.allow_pickle)
        if not fallback:
            check_download(self.files, source, settings, machine)

    def try_prompts(self) -> None:
        """Read the tokenizer and try the template, which takes no more than a moment.

        Raises:
            Exception: see `explain`.
        """
        from hfdemo.models.load import open_prompts

        open_prompts(self.files, self.checked.source.name, self._host._settings)

    def cancelled_by(self, error: Exception) -> bool:
        """Tell whether an error says that somebody cancelled the work."""
        from hfdemo.models.progress import Cancelled

        return isinstance(error, Cancelled)

    def explain(self, error: Exception) -> HfdemoError:
        """Return what to tell people of an error, and log it."""
        from hfdemo.models.explain import explain_load_error

        explained = explain_load_error(error, self._source, self._host._settings.platform)
        if explained.key == "load_failed":  # for any other, its sentence is enough
            log_failure("loading the model", error)
        logger.error("%s", explained.text(self._host._settings.language))
        return explained

    def _show(self, step: LoadStage, done_bytes: int, total_bytes: int, file: str, bytes_per_s: float) -> None:
        status = self._host.status
        if not self.is_wanted():
            return
        if step != status.stage:
            logger.info("%s", self._host._say(f"status.{step}", model=status.model))
        self._host.status = replace(
            status, stage=step, file=file, done_bytes=done_bytes, total_bytes=total_bytes, bytes_per_s=bytes_per_s
        )


def not_there_error(status: Status) -> HfdemoError:
    """Return why no model answers."""
    if status.error:
        return status.error
    return ModelLoadError("cancelled" if status.stage == "cancelled" else "not_ready")


def _machine(settings: Settings) -> Machine:
    from hfdemo.models.machine import look_at_machine

    return look_at_machine(settings.platform)


def _ready(status: Status, model: LoadedModel) -> Status:
    """Return the status of a model that is there, with what people should know of it."""
    from hfdemo.models.siblings import instruct_sibling

    prompts, defaults = model.prompts, model.defaults
    return replace(
        status,
        stage="ready",
        device=model.device,
        context_limit=prompts.context_limit,
        thinking_modes=prompts.thinking_modes,
        base_model=prompts.base_model and not prompts.template.is_put_aside,
        takes_system_prompt=prompts.template.takes_system,
        recommended=defaults.recommended,
        notes=(*prompts.notes, *defaults.notes, *model.notes),
        instruct_sibling=instruct_sibling(model.name) if prompts.base_model else None,
        error=None,
    )
