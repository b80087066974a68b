"""Start the chat: `python app.py`, here and on a Space. The only place that puts the parts together."""

import gc
import logging
import multiprocessing
import os
import signal
import sys
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # private by default; read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the page and the log tell the progress
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain downloads can be cancelled, and go on where they were cut

# Libraries and the model bring hundreds of thousands of objects that stay. Looking through all of them for cycles,
# again and again, takes a second and a half of the start.
gc.set_threshold(50_000, 20, 100)

from hfdemo.answering import Answering
from hfdemo.compute.thread import ComputeThread
from hfdemo.engines.local import LocalEngine
from hfdemo.engines.model_host import LocalModelHost
from hfdemo.errors import SettingsError
from hfdemo.models.catalog import Catalog
from hfdemo.page.page import create_page, launch
from hfdemo.settings import SIGN_IN_NAME, Settings, from_env


def make_page(settings: Settings) -> Any:
    """Begin to load the model; return the page that answers with it."""
    if settings.is_remote:
        from huggingface_hub import get_token

        from hfdemo.engines.remote.address import find_address
        from hfdemo.engines.remote.engine import RemoteEngine
        from hfdemo.engines.remote.host import RemoteHost

        endpoint = RemoteHost(settings, find_address(settings, get_token()))
        endpoint.load()
        asking = Answering(RemoteEngine(settings, endpoint), settings.max_waiting)
        return create_page(asking, settings, endpoint, catalog=endpoint)
    if settings.platform == "zerogpu":
        import spaces  # before torch, which it makes believe that there is a GPU

        from hfdemo.engines.zerogpu.engine import ZeroGpuEngine

        lending = ZeroGpuEngine(settings, spaces.GPU)
        lending.load()
        return create_page(Answering(lending, settings.max_waiting), settings, viewer=lending)
    host = LocalModelHost(settings, ComputeThread())
    engine = LocalEngine(settings, host)
    host.load()
    answering = Answering(engine, settings.max_waiting)
    return create_page(answering, settings, host, viewer=engine, catalog=Catalog(settings, host.machine))


def end(number: int, _: object) -> None:
    """End at once, with ZeroGPU's workers: a thread may be inside torch, which nothing interrupts cleanly."""
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(128 + number)


def main() -> None:
    """Serve the page while the model loads."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = from_env(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    sign_in = (SIGN_IN_NAME, settings.password) if settings.password else None
    launch(make_page(settings), auth=sign_in)


if __name__ == "__main__":
    main()
