"""What `doctor` and `check` tell of a model that runs elsewhere: whether its server answers and has it."""

import asyncio
from dataclasses import replace

from hfdemo.settings import Settings
from hfdemo.words import Language, say


def endpoint_lines(named: str | None, settings: Settings, language: Language) -> list[str]:
    """Ask the host's endpoint for a model, and return what there is to say of the two.

    Args:
        named: the model; None is the host's, or the endpoint's first.
        settings: the host's.
        language: of the lines.

    Raises:
        HfdemoError: the endpoint doesn't answer, or doesn't have the model.
    """
    from hfdemo.engines.remote.address import find_address
    from hfdemo.engines.remote.host import RemoteHost
    from hfdemo.models.saved_token import saved_token

    chosen = replace(settings, model=named or settings.model)
    host = RemoteHost(chosen, find_address(chosen, saved_token()))
    asyncio.run_coroutine_threadsafe(host.find(), host.loop).result()
    host.plan(host.status.model)
    limit = host.status.context_limit
    return [
        say("doctor.endpoint", language, host=host.address.host, count=len(host.choices())),
        say("doctor.endpoint_model", language, model=host.status.model, limit=f"{limit:,}")
        if limit
        else say("doctor.endpoint_model_only", language, model=host.status.model),
    ]
