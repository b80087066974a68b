"""Start the chat: `python app.py`, here and on a Space. The only place that puts the parts together."""

import logging
import os
import signal
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # private by default; read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the page and the log tell the progress
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain downloads can be cancelled, and go on where they were cut

from hfdemo.engines.local import LocalEngine
from hfdemo.errors import SettingsError
from hfdemo.models.catalog import Catalog
from hfdemo.page.page import create_page, launch
from hfdemo.settings import SIGN_IN_NAME, from_env


def main() -> None:
    """Serve the page while the model loads."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = from_env(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    engine = LocalEngine(settings)
    engine.load()
    # Ctrl-C ends at once: the compute thread may be in the midst of torch, which nothing interrupts cleanly.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    sign_in = (SIGN_IN_NAME, settings.password) if settings.password else None
    launch(create_page(engine, settings, Catalog(settings, engine.machine)), auth=sign_in)


if __name__ == "__main__":
    main()
