"""`python -m hfdemo doctor [MODEL]`: checks everything that a chat needs, and names the first problem."""

import os
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hfdemo.commands.check import table, try_template
from hfdemo.commands.cpu import cpu_line
from hfdemo.commands.endpoint import endpoint_lines
from hfdemo.commands.login import run_with_token
from hfdemo.commands.terminal import exit_status, prepare_terminal, warn_of_variables
from hfdemo.errors import HfdemoError, ModelLoadError, own_command
from hfdemo.models.plan import Machine
from hfdemo.models.plan_text import gigabytes_text, size_text
from hfdemo.settings import Settings, from_env
from hfdemo.words import Language, language_of_terminal, say

PACKAGES = ("gradio", "transformers", "torch", "huggingface_hub", "accelerate", "bitsandbytes", "spaces")


def run(named: str | None, language: Language | None) -> int:
    """Print the findings, and return the exit status: 0 if a chat with the model can start.

    Args:
        named: the model, as in `HFDEMO_MODEL`; None is the host's, or the default.
        language: language of the output; None is the terminal's.
    """
    prepare_terminal()
    language = language or language_of_terminal(os.environ)
    warn_of_variables(language)
    try:
        settings = from_env(os.environ)
        model = named or settings.model
        run_with_token(lambda: _examine(model, settings, language), settings.platform, language)
    except HfdemoError as error:
        _say(f"✗ {error.text(language)}")
        return exit_status(error)
    _say(f"✓ {say('doctor.all_well', language)}")
    return 0


def _examine(named: str | None, settings: Settings, language: Language) -> None:
    """Check versions, machine, disk, token and model, in this order.

    Raises:
        HfdemoError: the first problem.
    """
    _say(f"✓ {_versions()}")
    elsewhere = settings if named is None else replace(settings, model=named)
    if elsewhere.is_remote:
        _say("\n".join(f"✓ {line}" for line in endpoint_lines(named, elsewhere, language)))
        return
    from hfdemo.models.check import check_model, refuse_misfit
    from hfdemo.models.choose import EmbeddedModel, choose_model
    from hfdemo.models.machine import look_at_machine

    machine = look_at_machine(settings.platform)
    _say(f"✓ {_machine(machine, settings, language)}")
    _say(f"✓ {cpu_line(machine, language)}")
    _say(f"✓ {_disk(machine, language)}")
    _say(f"✓ {_packed(settings, language)}")
    source = _choose_with_disk(named, settings, machine, language)
    _say(f"✓ {_account(settings, language)}")
    source = source or choose_model(named, machine.has_gpu)
    if isinstance(source, EmbeddedModel):
        advice = "demo_instead_offline" if source.reason.key == "hub_offline_mode" else "demo_instead"
        raise ModelLoadError(source.reason.key, advice, command=own_command(), **source.reason.fields)
    checked = check_model(source, settings, machine)
    _say(f"✓ {say('doctor.model', language, model=source.name)}")
    _say(table(checked.plan, language))
    refuse_misfit(checked.plan, settings)
    for note in checked.notes:
        _say(f"! {note.text(language)}")
    if checked.files:
        _say("\n".join(f"✓ {line}" for line in try_template(named, settings, language)))


def _choose_with_disk(named: str | None, settings: Settings, machine: Machine, language: Language) -> Any:
    """Check that models can be downloaded; return the model if they can't, but this one is here already.

    Raises:
        HfdemoError: the disk can't be written, and the model isn't here.
    """
    from hfdemo.models.check import check_disk
    from hfdemo.models.choose import EmbeddedModel, choose_model
    from hfdemo.models.disk import find_model

    try:
        check_disk(settings)
    except HfdemoError as error:
        source = choose_model(named, machine.has_gpu)
        if isinstance(source, EmbeddedModel) or find_model(source) is None:
            raise
        _say(f"! {error.text(language)}")
        return source
    return None


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _machine(machine: Machine, settings: Settings, language: Language) -> str:
    gpu = say("doctor.no_gpu", language)
    if machine.gpu_name:
        gpu = say("doctor.gpu", language, name=machine.gpu_name, free=gigabytes_text(machine.gpu_free))
    ram = say(
        "doctor.memory", language, free=gigabytes_text(machine.ram_free), total=gigabytes_text(machine.ram_total)
    )
    return f"{say(f'doctor.platform_{settings.platform}', language)} · {ram} · {gpu}"


def _disk(machine: Machine, language: Language) -> str:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from hfdemo.models.hub_private import constants

    try:
        used = scan_cache_dir().size_on_disk
    except (CacheNotFound, OSError):  # what is wrong with it is checked next
        used = 0
    facts = {"folder": constants.HF_HUB_CACHE, "free": gigabytes_text(machine.disk_free), "used": gigabytes_text(used)}
    return say("doctor.disk", language, **facts)


def _packed(settings: Settings, language: Language) -> str:
    """Return which models' packed weights are kept on this disk."""
    from hfdemo.models.packed_cache import kept_models, packed_folder

    if not settings.packed_cache_bytes:
        return say("doctor.packed_off", language)
    facts = {"folder": packed_folder(), "most": size_text(settings.packed_cache_bytes)}
    kept = ", ".join(f"{model.name} ({size_text(model.size_bytes)})" for model in kept_models())
    return say("doctor.packed" if kept else "doctor.packed_none", language, models=kept, **facts)


def _account(settings: Settings, language: Language) -> str:
    """Return whose the access token is, never the token itself."""
    from hfdemo.models.explain import UNREACHABLE, explain_load_error
    from hfdemo.models.saved_token import token_source
    from hfdemo.models.tokens import check_token

    source = token_source(settings.platform)
    if source is None:
        return say("doctor.no_token", language)
    try:
        account = check_token(settings.platform)
    except HfdemoError:
        raise
    except UNREACHABLE:
        account = None
    except Exception as error:
        raise explain_load_error(error, None, settings.platform) from None
    if account is None:
        return say("doctor.token_unknown", language, source=source)
    return say("doctor.token", language, source=source, name=account.name, role=account.role)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
