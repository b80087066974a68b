"""`python -m hfdemo doctor [MODEL]`: checks everything that a chat needs, and names the first problem."""

import os
import platform
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hfdemo.commands.check import table, try_template
from hfdemo.commands.cpu import cpu_line
from hfdemo.commands.endpoint import endpoint_lines
from hfdemo.commands.terminal import ask_unseen, exit_status, prepare_terminal, warn_of_variables
from hfdemo.errors import HfdemoError, ModelLoadError, own_command
from hfdemo.interrupt import raise_on_interrupt
from hfdemo.models.plan import Machine
from hfdemo.models.plan_text import gigabytes_text, size_text
from hfdemo.settings import Platform, Settings, from_env
from hfdemo.words import Language, language_of_terminal, say

PACKAGES = ("gradio", "transformers", "torch", "huggingface_hub", "accelerate", "bitsandbytes", "spaces")

ADVICE_TO_COME_HERE = ("set_token_local", "new_token_local", "other_token_local")
"""What errors advise when they send people to the doctor with another token."""


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
        try:
            _examine(named or settings.model, settings, language)
        except HfdemoError as error:
            if not _may_ask(error, settings.platform) or not _ask_for_token(error, settings.platform, language):
                raise
            _examine(named or settings.model, settings, language)
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
        raise ModelLoadError(source.reason.key, "demo_instead", command=own_command(), **source.reason.fields)
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
    from hfdemo.models.explain import explain_load_error
    from hfdemo.models.tokens import check_token, token_source

    source = token_source(settings.platform)
    if source is None:
        return say("doctor.no_token", language)
    try:
        account = check_token(settings.platform)
    except HfdemoError:
        raise
    except Exception as error:
        if not _is_offline(error):
            raise explain_load_error(error, None, settings.platform) from None
        account = None
    if account is None:
        return say("doctor.token_unknown", language, source=source)
    return say("doctor.token", language, source=source, name=account.name, role=account.role)


def _is_offline(error: Exception) -> bool:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error, httpx2.TransportError | OfflineModeIsEnabled)


def _may_ask(error: HfdemoError, platform: Platform) -> bool:
    """Tell whether the error's own advice is to type a token here, and it would be used."""
    from hfdemo.models.tokens import token_source

    from_environment = token_source(platform) in ("HF_TOKEN", "Space")  # it would take precedence over a typed one
    return error.advice in ADVICE_TO_COME_HERE and not from_environment and sys.stdin.isatty()


def _ask_for_token(error: HfdemoError, platform: Platform, language: Language) -> bool:
    """Ask for an access token without showing it, and store it as `hf auth login` does; False if none was given.

    Raises:
        HfdemoError: the Hub doesn't know it, or can't be reached.
    """
    from huggingface_hub import login

    _say(f"✗ {error.text(language)}")
    raise_on_interrupt()  # so that the terminal shows again what is typed
    token = ask_unseen(say("doctor.ask_token", language))
    if not token:
        return False
    try:
        login(token=token, add_to_git_credential=False)
    except Exception as problem:
        raise _login_error(problem, platform) from None
    return True


def _login_error(problem: Exception, platform: Platform) -> HfdemoError:
    """Return the error to show for a token that was not accepted."""
    from huggingface_hub.errors import HfHubHTTPError

    from hfdemo.models.explain import bad_token_error, explain_load_error, explain_search_error

    refused = isinstance(problem, HfHubHTTPError) and problem.response.status_code == 401
    if refused or isinstance(problem, ValueError):  # not the form of a token, or an organisation's token
        return bad_token_error(None, platform)
    if isinstance(problem, HfHubHTTPError) or _is_offline(problem):
        return explain_search_error(problem)
    return explain_load_error(problem, None, platform)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
