"""The chat inside the test's own process, so that a test can reach into it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hfdemo.engines.local import LocalEngine
from hfdemo.page.page import create_page, launch
from hfdemo.settings import Settings
from tests.conftest import free_port, wait_until


@dataclass
class Served:
    """A page with the real engine and the real small model."""

    engine: LocalEngine
    url: str


@pytest.fixture(scope="module")
def served(embedded_model: Path) -> Iterator[Served]:
    engine = LocalEngine(Settings(model=str(embedded_model)))
    engine.load()
    page = create_page(engine, Settings())
    port = free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    wait_until(lambda: engine.status().stage == "ready", 60)
    yield Served(engine, f"http://127.0.0.1:{port}")
    page.close()
