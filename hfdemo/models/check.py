"""What is checked before a model is loaded, and before a byte of its weights is downloaded.

Is it accessible, of the right kind, stored in a form that can be loaded here, whole; and will it fit? The commands,
the menu and loading all ask `check_model`.
"""

import logging
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfdemo.background import in_thread
from hfdemo.chat.notes import Note
from hfdemo.errors import HfdemoError, ModelLoadError, install_command
from hfdemo.models.access import ask_hub, check_kind, read_config
from hfdemo.models.adapter import (
    CONFIG,
    AdapterRepository,
    adapter_config,
    base_name,
    check_adapter,
    download_config,
    fetch_adapter,
    is_adapter,
    is_adapter_here,
)
from hfdemo.models.choose import HUB_TIMEOUT_S, parse_model
from hfdemo.models.config_faults import refuse_impossible_numbers
from hfdemo.models.disk import ModelFiles, RemoteFile, bytes_here, find_model, has_file, local_files, wanted_files
from hfdemo.models.embedded import PARAMETERS, WHEEL_BYTES
from hfdemo.models.explain import NO_ROOM, advice, explain_load_error
from hfdemo.models.facts import facts_from_folder, facts_from_gguf, facts_from_hub
from hfdemo.models.generation_config import read_generation_defaults
from hfdemo.models.headers import shown_path
from hfdemo.models.hub_private import constants
from hfdemo.models.integrity import (
    TOKENIZER_CONFIG,
    check_folder,
    check_gguf,
    check_gguf_architecture,
    named_weights,
    names_tokenizer,
    open_folder,
    refuse_gguf_part,
    weight_files,
)
from hfdemo.models.machine import look_at_machine
from hfdemo.models.plan import Machine, ModelFacts, Plan, make_plan, usual_facts
from hfdemo.models.plan_text import gigabytes_text
from hfdemo.models.pretrained import load_config
from hfdemo.models.quantizers import check_quantization, check_quantization_for_space, quantization_method
from hfdemo.models.source import AdapterModel, EmbeddedModel, HubModel, LocalModel, ModelSource
from hfdemo.models.tensors import check_tensors, refuse_missing_modules, refuse_unmakeable
from hfdemo.settings import Platform, Settings

logger = logging.getLogger(__name__)


NOT_ON_HUB = ("no_such_model", "no_such_revision", "disabled")
"""Why a model can't be had with an access token, by another one neither."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A model that may be loaded here."""

    source: ModelSource
    plan: Plan
    missing: tuple[RemoteFile, ...] = ()
    """The files that must be downloaded first."""
    files: ModelFiles | None = None
    """Where the model is, if nothing must be downloaded."""
    notes: tuple[Note, ...] = ()
    """What there is to say of a model that can be loaded."""


def check_model(source: ModelSource, settings: Settings, machine: Machine | None = None) -> Checked:
    """Find out what a model needs, and check that it can be loaded.

    A model that is complete on this disk needs no Hub; if the Hub answers soon, it is asked for a newer revision.
    Whether the model fits is in the plan, and not an error here: see `refuse_misfit`.

    Raises:
        ModelLoadError: the model can't be used; the text says why and what to do.
    """
    machine = machine or look_at_machine(settings.platform)
    try:
        if isinstance(source, HubModel | LocalModel) and (config := adapter_config(source)):
            return _check_with_base(source, config, settings, machine)
        facts, missing, files = _find_facts(source, settings, machine)
        plan = _make_plan(facts, settings, machine)
        notes = _check_whole(files, source.name, settings) if files and plan.fits else ()
        return Checked(source, plan, missing, files, notes)
    except AdapterRepository:
        assert isinstance(source, HubModel)
        return _check_with_base(source, download_config(source), settings, machine)
    except Exception as error:
        raise explain_load_error(error, source, settings.platform) from None


def find_base(adapter: HubModel | LocalModel, config: Mapping[str, Any]) -> AdapterModel:
    """Return an adapter together with the base model that its configuration names.

    Raises:
        ModelLoadError: it names none that can be used.
    """
    base, source = base_name(adapter.name, config), None
    with suppress(ModelLoadError):  # a folder on the machine where the adapter was trained, as a rule
        source = parse_model(base)
    if source is None:
        raise ModelLoadError("adapter_base_missing", model=adapter.name, base=base, file=CONFIG)
    if isinstance(source, HubModel) and config.get("revision") and source.revision is None:
        source = replace(source, revision=str(config["revision"]))
    return AdapterModel(adapter, source)


def _make_plan(facts: ModelFacts, settings: Settings, machine: Machine) -> Plan:
    return make_plan(
        facts,
        machine,
        settings.context,
        settings.quantize,
        settings.cpu_weights,
        settings.prefix_cache_bytes,
        settings.batched,
    )


def _check_with_base(
    adapter: HubModel | LocalModel, config: Mapping[str, Any], settings: Settings, machine: Machine
) -> Checked:
    """Check an adapter and the model that it is merged into."""
    source = find_base(adapter, config)
    if adapter_config(source.base):  # also of one that names itself
        raise ModelLoadError("adapter_of_adapter", model=adapter.name, base=source.base.name, file=CONFIG)
    base = check_model(source.base, settings, machine)
    if isinstance(base.source, AdapterModel):  # known only now, of a base that isn't here
        raise ModelLoadError("adapter_of_adapter", model=adapter.name, base=source.base.name, file=CONFIG)
    facts = replace(base.plan.facts, name=adapter.name)
    plan = _make_plan(facts, settings, machine)
    files = None
    if base.files and is_adapter_here(adapter):
        files = replace(base.files, adapter=fetch_adapter(adapter))
        _check_adapter(files, adapter.name)
    return Checked(source, plan, base.missing, files, base.notes)


def _check_adapter(files: ModelFiles, name: str) -> None:
    if files.adapter:
        config = load_config(files).to_dict() if files.gguf_file else open_folder(files.folder)
        check_adapter(files.adapter, name, config)


def check_download(files: ModelFiles, source: ModelSource, settings: Settings, machine: Machine) -> None:
    """Check that what was downloaded is whole, before it is loaded.

    Raises:
        ModelLoadError: it isn't; the text says what is wrong.
    """
    try:
        _facts_on_disk(files, source.name, settings, machine)
        _check_whole(files, source.name, settings)
        _check_adapter(files, source.name)
    except Exception as error:
        raise explain_load_error(error, source, settings.platform) from None


def check_for_space(source: HubModel, packages: Collection[str], platform: Platform) -> bool:
    """Check that a model of the Hub is of a kind that a Space can load, and tell whether it is an adapter.

    What can't be found out about it passes: the Space may have another access token that opens it.

    Args:
        source: the model.
        packages: the canonical names of the packages that the Space will have.
        platform: where this runs.

    Raises:
        ModelLoadError: it isn't; the text says why.
    """
    try:
        info = ask_hub(source, platform)
        names = [file.rfilename for file in info.siblings or []]
        config = read_config(source) if "config.json" in names and not source.gguf_file else {}
    except (HfdemoError, OSError) as error:
        if isinstance(error, HfdemoError) and error.key in NOT_ON_HUB:
            raise
        logger.info("%s: %s", source.name, error)
        return False
    if source.gguf_file:
        refuse_gguf_part(source.gguf_file, names, source.repo_id)
        check_gguf_architecture(source.name, str((info.gguf or {}).get("architecture", "")))
        return False
    if is_adapter(names):
        return True
    check_kind(source.name, names, config, allow_pickle=False, task=info.pipeline_tag or "", place=source.place)
    refuse_impossible_numbers(config, "config.json", source.name)
    _refuse_without_tokenizer(source.name, names)
    try:
        refuse_unmakeable(source.name, config)
    except Exception as error:
        raise explain_load_error(error, source, platform) from None
    check_quantization_for_space(source.name, config, packages)
    return False


def refuse_misfit(plan: Plan, settings: Settings) -> None:
    """Refuse a model that can't be run as planned, before it is downloaded.

    Raises:
        ModelLoadError: disk or memory is too small, the disk isn't writable, or the weights can't be quantized here.
    """
    if plan.quantize and not plan.machine.can_quantize:
        raise ModelLoadError("no_quantizer", bits=plan.quantize, command=install_command("bitsandbytes"))
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
    source: ModelSource, settings: Settings, machine: Machine
) -> tuple[ModelFacts, tuple[RemoteFile, ...], ModelFiles | None]:
    if isinstance(source, EmbeddedModel):
        return replace(usual_facts(source.name, PARAMETERS), download_bytes=WHEEL_BYTES), (), None
    if isinstance(source, LocalModel):
        files = local_files(source)
        return _facts_on_disk(files, source.name, settings, machine), (), files
    assert isinstance(source, HubModel)  # an adapter is checked by its base
    files_here = find_model(source)
    if files_here is None:
        return *_facts_on_hub(source, settings, machine), None
    try:
        # Looking up a host name can't be given a time limit, so the question has a thread of its own.
        question = in_thread(lambda: _facts_on_hub(source, settings, machine), "hub-question")
        facts, missing = question.result(timeout=HUB_TIMEOUT_S)
        return facts, missing, None if missing else files_here
    except (HfdemoError, TimeoutError) as error:
        logger.info("%s: %s", source.name, error or f"{constants.ENDPOINT} does not answer")
    return _facts_on_disk(files_here, source.name, settings, machine), (), files_here


def _facts_on_hub(source: HubModel, settings: Settings, machine: Machine) -> tuple[ModelFacts, tuple[RemoteFile, ...]]:
    info = ask_hub(source, settings.platform)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
    wanted = wanted_files(list(sizes), source.gguf_file, settings.allow_pickle)
    config: dict[str, Any] = {}
    if source.gguf_file:
        if not wanted:
            raise ModelLoadError("no_such_file", model=source.name, page=f"{constants.ENDPOINT}/{source.repo_id}")
        refuse_gguf_part(source.gguf_file, sizes, source.repo_id)
        check_gguf_architecture(source.name, str((info.gguf or {}).get("architecture", "")))
    else:
        if is_adapter(sizes):
            raise AdapterRepository
        config = read_config(source) if "config.json" in sizes else {}
        check_kind(source.name, list(sizes), config, settings.allow_pickle, info.pipeline_tag or "", source.place)
        refuse_impossible_numbers(config, "config.json", source.name)
        check_quantization(source.name, config, machine)
        if weight_files(sizes, settings.allow_pickle, named_weights(config)) is None:
            raise ModelLoadError("no_weights_on_hub", model=source.name)
        _refuse_without_tokenizer(source.name, sizes)
    hashes = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs and info.sha}
    missing = tuple(
        RemoteFile(name, sizes[name], info.sha or "", hashes.get(name, ""))
        for name in wanted
        if not has_file(source.repo_id, name, info.sha)
    )
    if missing and config:
        refuse_unmakeable(source.name, config)
    have = sum(sizes[name] for name in wanted) - sum(file.size_bytes - bytes_here(source, file) for file in missing)
    return facts_from_hub(info, config, source.name, source.gguf_file, have_bytes=have), missing


def _refuse_without_tokenizer(name: str, files: Iterable[str]) -> None:
    """Refuse a repository that has nothing that a tokenizer can be made of; a tokenizer of bytes needs no words.

    Raises:
        ModelLoadError: it is one.
    """
    at_top = [file for file in files if "/" not in file]
    if TOKENIZER_CONFIG not in at_top and not names_tokenizer(at_top):
        raise ModelLoadError("no_tokenizer_on_hub", model=name)


def _facts_on_disk(files: ModelFiles, name: str, settings: Settings, machine: Machine) -> ModelFacts:
    """Return what the files of a model say, if they are whole and can be loaded.

    Raises:
        ModelLoadError: they aren't; the text names what is wrong.
    """
    if files.gguf_file:
        path = files.folder / files.gguf_file
        return facts_from_gguf(name, path, check_gguf(path))
    config = open_folder(files.folder)
    names = sorted(path.name for path in files.folder.iterdir())
    check_kind(name, names, config, settings.allow_pickle, place=shown_path(files.folder))
    check_quantization(name, config, machine)
    return facts_from_folder(files.folder, name)


def _check_whole(files: ModelFiles, name: str, settings: Settings) -> tuple[Note, ...]:
    """Check that the files of a model on this disk are whole, with all the tensors that the model needs.

    Return what there is to say of one that is.

    Raises:
        ModelLoadError: the text names those that are missing.
    """
    if files.gguf_file:
        from hfdemo.models.gguf_weights import check_gguf_weights  # which imports accelerate

        path = files.folder / files.gguf_file
        check_gguf(path)
        return check_gguf_weights(name, path, load_config(files))
    config = open_folder(files.folder)
    tensors = check_folder(files.folder, config, settings.allow_pickle)
    notes = read_generation_defaults(files.folder).notes
    if tensors is None:
        return notes
    if quantization_method(config) is None:
        return check_tensors(name, config, tensors) + notes
    refuse_missing_modules(name, config, tensors)
    return notes
