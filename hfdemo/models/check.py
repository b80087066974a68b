"""What is checked before a download starts: is the model accessible, is it of the right kind, will it fit?"""

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfdemo.background import in_thread
from hfdemo.errors import HfdemoError, ModelLoadError
from hfdemo.models.access import ask_hub, check_kind, read_config, read_json
from hfdemo.models.choose import HUB_TIMEOUT_S
from hfdemo.models.disk import ModelFiles, RemoteFile, find_model, has_file, local_files, partial_bytes, wanted_files
from hfdemo.models.embedded import PARAMETERS, WHEEL_BYTES
from hfdemo.models.explain import NO_ROOM, advice, explain_load_error
from hfdemo.models.facts import facts_from_folder, facts_from_hub
from hfdemo.models.hub_private import constants
from hfdemo.models.machine import look_at_machine
from hfdemo.models.plan import Machine, ModelFacts, Plan, make_plan, usual_facts
from hfdemo.models.plan_text import gigabytes_text
from hfdemo.models.source import EmbeddedModel, HubModel, LocalModel, ModelSource
from hfdemo.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """A model that may be loaded here."""

    source: ModelSource
    plan: Plan
    missing: tuple[RemoteFile, ...] = ()
    """The files that must be downloaded first."""
    files: ModelFiles | None = None
    """Where the model is, if nothing must be downloaded."""


def check_model(source: ModelSource, settings: Settings, machine: Machine | None = None) -> Checked:
    """Find out what a model needs, and check that it is accessible and of the right kind.

    A model that is complete on this disk needs no Hub; if the Hub answers soon, it is asked for a newer revision.
    Whether the model fits is in the plan, and not an error here: see `refuse_misfit`.

    Raises:
        ModelLoadError: the model can't be used; the text says why and what to do.
    """
    machine = machine or look_at_machine(settings.platform)
    try:
        facts, missing, files = _find_facts(source, settings)
        plan = make_plan(
            facts,
            machine,
            settings.context,
            settings.quantize,
            settings.cpu_weights,
            settings.prefix_cache_bytes,
            settings.batched,
        )
        return Checked(source, plan, missing, files)
    except Exception as error:
        raise explain_load_error(error, source, settings.platform) from None


def refuse_misfit(plan: Plan, settings: Settings) -> None:
    """Refuse a model that can't be run as planned, before it is downloaded.

    Raises:
        ModelLoadError: disk or memory is too small, the disk isn't writable, or the weights can't be quantized here.
    """
    if plan.quantize and not plan.machine.can_quantize:
        raise ModelLoadError("no_quantizer", bits=plan.quantize)
    if plan.download_bytes:
        check_disk(settings)
    if not plan.disk_fits:
        needed = gigabytes_text(plan.download_bytes)
        raise ModelLoadError(
            "disk_full", advice("disk", settings.platform), folder=constants.HF_HUB_CACHE, needed=needed
        )
    if plan.way == "none":
        needed, free = gigabytes_text(plan.needed_bytes), gigabytes_text(plan.free_bytes)
        raise ModelLoadError(
            "too_big", model=plan.facts.name, needed=needed, free=free, instead=", ".join(plan.instead) or "?"
        )


def check_disk(settings: Settings) -> None:
    """Check that the download folder is writable, by writing to it.

    Raises:
        ModelLoadError: it isn't.
    """
    folder = Path(constants.HF_HUB_CACHE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise explain_load_error(error, None, settings.platform) from None
        raise ModelLoadError("no_permission", folder=folder) from None


def _find_facts(
    source: ModelSource, settings: Settings
) -> tuple[ModelFacts, tuple[RemoteFile, ...], ModelFiles | None]:
    if isinstance(source, EmbeddedModel):
        return replace(usual_facts(source.name, PARAMETERS), download_bytes=WHEEL_BYTES), (), None
    if isinstance(source, LocalModel):
        files = local_files(source)
        return _facts_on_disk(files, source.name, settings), (), files
    files_here = find_model(source)
    if files_here is None:
        return *_facts_on_hub(source, settings), None
    try:
        # Looking up a host name can't be given a time limit, so the question has a thread of its own.
        question = in_thread(lambda: _facts_on_hub(source, settings), "hub-question")
        facts, missing = question.result(timeout=HUB_TIMEOUT_S)
        return facts, missing, None if missing else files_here
    except (HfdemoError, TimeoutError) as error:
        logger.info("%s: %s", source.name, error or f"{constants.ENDPOINT} does not answer")
    return _facts_on_disk(files_here, source.name, settings), (), files_here


def _facts_on_hub(source: HubModel, settings: Settings) -> tuple[ModelFacts, tuple[RemoteFile, ...]]:
    info = ask_hub(source, settings.platform)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
    wanted = wanted_files(list(sizes), source.gguf_file, settings.allow_pickle)
    config: dict[str, Any] = {}
    if source.gguf_file:
        if not wanted:
            raise ModelLoadError("no_such_file", model=source.name, page=f"{constants.ENDPOINT}/{source.repo_id}")
    else:
        config = read_config(source) if "config.json" in sizes else {}
        check_kind(source.name, list(sizes), config, settings.allow_pickle, info.pipeline_tag or "")
    hashes = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs and info.sha}
    missing = tuple(
        RemoteFile(name, sizes[name], info.sha or "", hashes.get(name, ""))
        for name in wanted
        if not has_file(source.repo_id, name, info.sha)
    )
    have = sum(sizes[name] for name in wanted) - sum(file.size_bytes - partial_bytes(source, file) for file in missing)
    return facts_from_hub(info, config, source.name, source.gguf_file, have_bytes=have), missing


def _facts_on_disk(files: ModelFiles, name: str, settings: Settings) -> ModelFacts:
    if not files.gguf_file:
        names = [path.name for path in files.folder.iterdir()]
        check_kind(name, names, read_json(files.folder / "config.json"), settings.allow_pickle)
    return facts_from_folder(files.folder, name, files.gguf_file)
