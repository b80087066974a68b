"""The Dockerfile keeps its rules, and its commands do what they should, run as they are where no Docker engine is."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import yaml
from gradio_client import Client

from tests.conftest import ROOT, free_port, wait_until
from tests.integration.conftest import Tiny

PORT = 7860


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.M)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def all_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def only(name: str) -> str:
    [arguments] = all_of(name)
    return arguments


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


def test_it_holds_known_instructions_only():
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE"}
    assert {name for name, _ in instructions()} == known | {"HEALTHCHECK", "CMD"}


def test_its_base_is_a_small_image_of_a_python_that_is_tested():
    assert only("FROM") == "python:3.12-slim"


def test_the_device_is_a_build_argument():
    assert only("ARG") == "DEVICE=cpu"
    assert 'if [ "$DEVICE" = cpu ]' in all_of("RUN")[1]


def test_it_runs_as_user_1000_who_owns_only_the_folders_to_write_in():
    order = [name for name, _ in instructions()]
    assert only("USER") == "1000"
    assert "useradd --uid 1000" in all_of("RUN")[0]
    assert max(index for index, name in enumerate(order) if name in ("RUN", "COPY")) < order.index("USER")


def test_models_go_to_a_volume_that_the_user_may_write():
    assert only("VOLUME") == environment()["HF_HOME"]
    assert only("VOLUME") in all_of("RUN")[0].partition("install -d -o user -g user")[2]
    assert environment()["HF_HOME"].startswith(environment()["HOME"])


def test_it_listens_for_everybody_on_the_port_of_docker_spaces():
    assert environment()["GRADIO_SERVER_NAME"] == "0.0.0.0"
    assert only("EXPOSE") == environment()["GRADIO_SERVER_PORT"] == str(PORT)


def test_the_compose_file_is_for_this_machine_only_and_says_so():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    [service] = compose["services"].values()
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert service["environment"]["HFDEMO_PRIVATE"] == "1"
    assert service["volumes"] == [f"models:{environment()['HF_HOME']}"] and "models" in compose["volumes"]
    assert service["build"]["args"]["DEVICE"] == only("ARG").partition("=")[2]


def test_packages_are_installed_before_the_code_is_copied():
    """So that a change of the code installs nothing anew."""
    steps = instructions()
    assert steps.index(("COPY", "requirements.txt ./")) < steps.index(("RUN", all_of("RUN")[1]))
    assert steps.index(("RUN", all_of("RUN")[1])) < steps.index(("COPY", "hfdemo hfdemo"))
    assert all("--no-cache-dir" in part for part in re.findall(r"pip install[^;&]*", all_of("RUN")[1]))


def test_it_holds_no_secret():
    assert not re.search(r"(?i:token|secret|password)|hf_[A-Za-z0-9]", (ROOT / "Dockerfile").read_text("utf-8"))


def test_what_is_copied_is_all_that_docker_sees():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    copied = {source for arguments in all_of("COPY") for source in arguments.split()[:-1]}
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


class Healthy(BaseHTTPRequestHandler):
    """A page that is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def healthy(port: int) -> bool:
    """Run the command of the health check as it is, in a container with another port."""
    _, _, command = only("HEALTHCHECK").partition("CMD ")
    _, *arguments = json.loads(command)
    environ = os.environ | {"GRADIO_SERVER_PORT": str(port)}
    ended = subprocess.run([sys.executable, *arguments], env=environ, stderr=subprocess.DEVNULL, check=False)
    return ended.returncode == 0


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_health_check_asks_past_a_proxy(name, monkeypatch):
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert healthy(server.server_port)
        finally:
            server.shutdown()


def test_the_documents_start_it_as_the_compose_file_does():
    for file in ("docs/hosting.en.md", "docs/hosting.ko.md", "Dockerfile"):
        [command] = [line for line in (ROOT / file).read_text("utf-8").splitlines() if "docker run " in line]
        assert f"-p 127.0.0.1:{PORT}:{PORT} " in command and "-e HFDEMO_PRIVATE=1 " in command, file


def commands_on_path(folder: Path) -> dict[str, str]:
    """Return an environment in which `python` and `pip` are those of the tests, and the chat's as in the image."""
    for name, module in (("python", ""), ("pip", "-m pip")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', "utf-8")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_step_that_installs_asks_for_what_is_required(device, tmp_path):
    environ = commands_on_path(tmp_path) | {"DEVICE": device, "PIP_DRY_RUN": "1"}
    ended = subprocess.run(
        ["sh", "-c", all_of("RUN")[1]], cwd=ROOT, env=environ, capture_output=True, encoding="utf-8", timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    asked = [line for line in ended.stdout.splitlines() if line.startswith("Requirement already satisfied: torch")]
    assert len(asked) >= (2 if device == "cpu" else 1)
    assert ("download.pytorch.org/whl/cpu" in ended.stdout) == (device == "cpu")
    assert "Requirement already satisfied: gradio<6.32,>=6.31" in ended.stdout


@pytest.fixture(scope="module")
def container(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen, int]]:
    """The chat, started as the image starts it, but for the port, the folders and the model."""
    folder = tmp_path_factory.mktemp("docker")
    port = free_port()
    environ = commands_on_path(folder) | environment() | {"HOME": str(folder), "HF_HOME": str(folder / "cache")}
    environ |= {"GRADIO_SERVER_PORT": str(port), "HFDEMO_MODEL": str(tiny.folder)}
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(json.loads(only("CMD")), cwd=ROOT, env=environ, stdout=log, stderr=log)
    wait_until(lambda: healthy(port) or running.poll() is not None, 150, "a healthy page")
    assert running.poll() is None, (folder / "log").read_text("utf-8")
    yield running, port
    running.kill()
    running.wait()


def test_the_health_check_tells_a_running_page_from_nothing(container):
    assert healthy(container[1])
    assert not healthy(free_port())


def test_the_page_answers_at_every_address_of_the_machine(container, tiny):
    client = Client(f"http://127.0.0.1:{container[1]}", verbose=False)
    question = "What is the capital of Korea?"
    assert client.predict(message=question, temperature=0, max_new_tokens=24, api_name="/chat") == tiny.reply
    assert httpx.get(f"http://127.0.0.2:{container[1]}").status_code == 200, "it listens on 0.0.0.0"


def test_docker_stop_ends_a_chat_in_which_nobody_waits_at_once(container):
    container[0].send_signal(signal.SIGTERM)
    assert container[0].wait(timeout=5) == 143
