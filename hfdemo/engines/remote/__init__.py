"""The engine of a model that answers elsewhere.

vLLM, TGI, SGLang, llama.cpp's server, Inference Endpoints and providers all speak the protocol of OpenAI's chat
completions. `huggingface_hub.AsyncInferenceClient` speaks it, too, but splits a stream at U+2028 and its like, which
servers write as they are into their JSON; loses an error that comes with status 200 or in chunks; and keeps each
connection until the client is closed. So this package reads the stream itself, over the HTTP library that
huggingface_hub brings. Nothing here needs torch or transformers.
"""

from collections.abc import Callable

from hfdemo.engines.protocol import Setup
from hfdemo.settings import Settings


def set_up(settings: Settings, _: Callable[[], None]) -> Setup:
    """Return the engine of the endpoint that the settings name; it begins to find out what that has."""
    from hfdemo.engines.remote.address import find_address
    from hfdemo.engines.remote.engine import RemoteEngine
    from hfdemo.engines.remote.host import RemoteHost
    from hfdemo.models.saved_token import saved_token

    if settings.platform == "zerogpu":  # such a Space has to have a function for a GPU
        import spaces

        spaces.GPU(_compute_nothing)
    host = RemoteHost(settings, find_address(settings, saved_token()))
    host.load()
    return Setup(RemoteEngine(settings, host), host, catalog=host)


def _compute_nothing() -> None:
    """Do what a GPU has to do for a model that runs elsewhere; nobody calls it."""
