"""The chat inside the test's own process, so that a test can reach into it; and a machine with an empty cache."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hfdemo.page.page import launch
from hfdemo.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from tests.hub import Hub, serve
from tests.integration.local import Local, save_tiny_model


@dataclass
class Served:
    """A page with the real engine."""

    local: Local
    url: str


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The page with a tiny model of random weights; the fixture's parameter is the kind of engine.

    The kind `detour` is a model that hfdemo has no step for: transformers' `generate` writes its replies.
    """
    kind, model_type = ("single", "mamba") if request.param == "detour" else (request.param, "llama")
    model = save_tiny_model(tmp_path_factory.mktemp("model"), model_type, embedded_model)
    local = Local(Settings(model=str(model), scheduling=kind))
    local.load()
    page = local.page()
    port = free_port()
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    wait_until(lambda: local.status().stage == "ready", 60)
    yield Served(local, f"http://127.0.0.1:{port}")
    page.close()


@dataclass
class Machine:
    """A machine with an empty cache, and the Hub that it reaches, which has the small model as org/tiny."""

    hub: Hub
    home: Path
    environ: dict[str, str]
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def begin(self, program: str, *before: str, **environ: str) -> subprocess.Popen[str]:
        """Run a Python program; `before` are words before its command."""
        process = subprocess.Popen(
            [*before, sys.executable, "-c", program],
            cwd=ROOT,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun.append(process)
        return process

    def run(self, program: str, *before: str, **environ: str) -> list[str]:
        """Run a Python program to its end, and return what it printed."""
        return lines_of(self.begin(program, *before, **environ))


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors[-2000:]
    return output.splitlines()


@pytest.fixture
def machine(embedded_model: Path, tmp_path: Path) -> Iterator[Machine]:
    with serve(Hub({"org/tiny": embedded_model})) as hub:
        home = tmp_path / "home"
        switches = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        machine = Machine(hub, home, os.environ | hub.environ | switches)
        yield machine
        for process in machine.begun:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def project_repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a git repository that holds the program as it is here now."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("app.py", "README.md", "requirements.txt", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "hfdemo", folder / "hfdemo", ignore=shutil.ignore_patterns("__pycache__"))
    author = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder.as_uri()


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "home"


@pytest.fixture
def home(shared_home: Path) -> Path:
    """The folder of the Hub's client, where nothing is; the client knows it since it was imported."""
    shutil.rmtree(shared_home, ignore_errors=True)
    return shared_home
