"""The chat inside the test's own process, so that a test can reach into it; and a machine with an empty cache."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hfdemo.chat.messages import Message
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from tests.hub import Hub, serve
from tests.integration.local import Local, loaded, save_tiny_model
from tests.integration.story import run, story
from tests.warm import Process, begin_anew, the_warm_python


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
class Tiny:
    """A model that loads at once and writes on and on, the same words wherever it runs."""

    folder: Path
    reply: str
    """What it answers, in 24 tokens, to the question for the capital of Korea."""

    @classmethod
    def at(cls, folder: Path) -> "Tiny":
        question = Message("user", "What is the capital of Korea?")
        text, _ = run(loaded(Settings(model=str(folder))), story(24, messages=(question,)))
        return cls(folder, text)


@pytest.fixture(scope="session")
def tiny(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Tiny.at(save_tiny_model(folder, "llama", embedded_model, certain=True, max_position_embeddings=8192))


@dataclass
class Started:
    """A program that runs, and what it writes."""

    process: Process
    output: Path
    errors: Path

    def lines(self) -> list[str]:
        """Wait for its end, which must be a good one, and return what it printed."""
        assert self.process.wait(250) == 0, self.errors.read_text("utf-8")[-2000:]
        return self.output.read_text("utf-8").splitlines()


@dataclass
class Machine:
    """A machine with an empty cache, and the Hub that it reaches, which has the small model as org/tiny."""

    hub: Hub
    folder: Path
    environ: dict[str, str]
    begun: list[Started] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return Path(self.environ["HF_HOME"])

    def begin(self, program: str, *before: str, **environ: str) -> Started:
        """Run a Python program; `before` are words before its command."""
        output, errors = (self.folder / f"{kind}-{len(self.begun)}" for kind in ("output", "errors"))
        with open(os.devnull) as nothing, output.open("wb") as out, errors.open("wb") as err:
            asked = ["-c", program], self.environ | environ, [nothing.fileno(), out.fileno(), err.fileno()]
            process = begin_anew(*asked, before=before) if before else the_warm_python().begin(*asked)
        self.begun.append(Started(process, output, errors))
        return self.begun[-1]

    def run(self, program: str, *before: str, **environ: str) -> list[str]:
        """Run a Python program to its end, and return what it printed."""
        return self.begin(program, *before, **environ).lines()


@pytest.fixture
def machine(embedded_model: Path, tmp_path: Path) -> Iterator[Machine]:
    with serve(Hub({"org/tiny": embedded_model})) as hub:
        home = str(tmp_path / "home")
        switches = {"HF_HOME": home, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        machine = Machine(hub, tmp_path, os.environ | hub.environ | switches)
        yield machine
        for started in machine.begun:
            started.process.kill()
            started.process.wait()


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
