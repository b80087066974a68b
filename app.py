"""Start the chat: `python app.py`, here and on a Space. The only place that puts the parts together."""

from hfdemo.interrupt import stopped_line, tell_interrupts

tell_interrupts()

from hfdemo.python_version import require_python

require_python()

import gc
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from hfdemo.words import language_of_terminal


def end(number: int, _: object) -> None:
    """End at once, with ZeroGPU's workers: a thread may be inside torch, which nothing interrupts cleanly."""
    for worker in multiprocessing.active_children():
        worker.kill()
    if number == signal.SIGINT:
        with suppress(OSError):  # nobody reads it; `print` might have been interrupted by this signal
            os.write(2, stopped_line().encode())
    os._exit(128 + number)


for signal_number in (signal.SIGINT, signal.SIGTERM):  # also while the libraries are imported
    signal.signal(signal_number, end)

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # private by default; read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the page and the log tell the progress
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain downloads can be cancelled, and go on where they were cut
# How many programs for shapes of products oneDNN and PyTorch keep, 1024 if nobody says: each takes half a MB, and each
# length of a prompt needs some ten.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "64")

# Libraries and the model bring hundreds of thousands of objects that stay. Looking through all of them for cycles,
# again and again, takes a second and a half of the start.
gc.set_threshold(50_000, 20, 100)

from hfdemo.errors import SettingsError, install_command, own_command
from hfdemo.settings import Settings, from_env, notes_on_variables
from hfdemo.variables import sanitize_variables

logging.basicConfig(level=logging.INFO, format="%(message)s")
for library in ("httpx", "httpx2"):  # they log addresses, with what may stand in them that is secret
    logging.getLogger(library).setLevel(logging.WARNING)
sanitize_variables(os.environ)
if __name__ == "__main__" and sys.argv[1:]:
    refusal = SettingsError("app_takes_nothing", arguments=" ".join(sys.argv[1:]), command=own_command())
    sys.exit(refusal.text(language_of_terminal(os.environ)))
try:
    SETTINGS = from_env(os.environ)  # before gradio, which reads some of the variables when it is imported
except SettingsError as error:
    sys.exit(error.text(language_of_terminal(os.environ)))
for sentence in notes_on_variables(os.environ, SETTINGS.language):
    logging.warning("%s", sentence)

from hfdemo.answering import Answering
from hfdemo.background import in_thread
from hfdemo.door.door import make_door
from hfdemo.engines.protocol import Setup
from hfdemo.page.page import create_page, launch

ENGINES: tuple[tuple[Callable[[Settings], bool], str], ...] = (
    (lambda settings: settings.is_remote, "hfdemo.engines.remote"),
    (lambda settings: settings.platform == "zerogpu", "hfdemo.engines.zerogpu"),
    (lambda _: True, "hfdemo.engines.local"),
)
"""The engines, and when each answers: the first that does. Its module has `set_up`, and is imported only then: each
needs other libraries."""

DEVICE_LOST = 70
"""The exit status when the GPU can't be used again by this process; a supervisor such as a Space starts the next.
Source: EX_SOFTWARE of sysexits.h."""

LAST_REPLIES_S = 10.0
"""How long replies that come may take to end when the program is asked to: as long as Docker and Spaces wait."""


def make_page(settings: Settings) -> tuple[Any, Answering]:
    """Begin to load the model; return the page that answers with it, and what answers."""
    module = next(module for answers, module in ENGINES if answers(settings))
    setup: Setup = import_module(module).set_up(settings, lambda: end_for_lost_device(answering))
    answering: Answering = Answering(
        setup.engine,
        settings.max_waiting,
        settings.max_of_one_address,
        settings.rate_per_minute,
        settings.unread_s,
    )
    return create_page(answering, settings, setup.host, setup.viewer, setup.catalog), answering


def end_for_lost_device(answering: Answering) -> None:
    """End with an error, once those who wait were told."""

    def wait() -> None:
        logging.getLogger(__name__).critical("the GPU can't be used any more by this process: it ends")
        answering.close(1.0)
        os._exit(DEVICE_LOST)

    in_thread(wait, "end")


def end_when_answered(answering: Answering) -> Callable[[int, object], None]:
    """Return what ends the program after the replies that come; asked a second time, it ends at once."""

    def begin_to_end(number: int, _: object) -> None:
        signal.signal(number, end)

        def wait() -> None:
            answering.close(LAST_REPLIES_S)
            end(number, None)

        in_thread(wait, "end")

    return begin_to_end


def count(answering: Answering) -> Callable[[], bytes] | None:
    """Return the numbers for Prometheus; None where nobody asked for them and the package for them is missing.

    That package is not among what a page over an endpoint needs.
    """
    try:
        from hfdemo.web.metrics import Metrics
    except ModuleNotFoundError:
        if SETTINGS.metrics == "on":
            error = SettingsError("no_metrics_package", command=install_command("prometheus-client"))
            sys.stderr.write(f"{error.text(SETTINGS.language)}\n")
            os._exit(1)  # the thread that loads the model must not keep the program
        return None
    metrics = Metrics(answering.is_ready)
    answering.let_watch(metrics)
    return metrics.text


def explain_no_page(problem: OSError) -> SettingsError:
    """Return why Gradio can't serve the page: no port to listen at, or a folder of its own that it can't write to."""
    if problem.filename:
        return SettingsError("no_temporary_folder", folder=problem.filename)
    name = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    return SettingsError("port_in_use", name=name, port=os.environ.get("GRADIO_SERVER_PORT", "7860"))


def main() -> None:
    """Serve the page while the model loads."""
    page, answering = make_page(SETTINGS)
    signal.signal(signal.SIGTERM, end_when_answered(answering))
    numbers = count(answering) if SETTINGS.has_metrics else None
    try:
        launch(
            page,
            SETTINGS,
            make_door(answering),
            numbers,
            language=SETTINGS.language,
        )
    except OSError as problem:
        error = explain_no_page(problem)
        sys.stderr.write(f"{error.text(SETTINGS.language)}\n")
        os._exit(1)  # the thread that loads the model must not keep the program


if __name__ == "__main__":
    main()
