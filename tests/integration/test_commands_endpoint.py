"""`doctor` and `check` of a model that runs elsewhere: its server is asked, and this machine isn't."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, free_port
from tests.endpoint import Endpoint, json_answer, serve_endpoint


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serve_endpoint() as endpoint:
        yield endpoint


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hfdemo", *arguments],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [("doctor", "--language", "en"), ("check", "org/model", "--language", "en")])
def test_the_endpoint_is_asked(endpoint, command):
    endpoint.reset()
    ended = run(*command, HFDEMO_ENDPOINT=endpoint.url)
    assert ended.returncode == 0, ended.stderr
    host = endpoint.url.removeprefix("http://")
    assert f"The model's server {host} answers; models in its list: 1" in ended.stdout
    assert "org/model runs there; its context holds 4,096 tokens" in ended.stdout
    assert "memory" not in ended.stdout.lower()


@pytest.mark.parametrize("command", ["doctor", "check"])
def test_what_the_endpoint_lacks_or_refuses_is_told(endpoint, command):
    endpoint.reset()
    ended = run(command, "org/other", "--language", "en", HFDEMO_ENDPOINT=endpoint.url)
    assert ended.returncode == 2 and "does not have org/other" in ended.stdout + ended.stderr
    endpoint.pages["/v1/models"] = json_answer({"error": "no"}, 401)
    ended = run(command, "org/model", "--language", "ko", HFDEMO_ENDPOINT=endpoint.url)
    assert ended.returncode == 2 and "HFDEMO_ENDPOINT_KEY" in ended.stdout + ended.stderr


def test_an_endpoint_that_is_not_there_is_told():
    ended = run("doctor", "--language", "en", HFDEMO_ENDPOINT=f"127.0.0.1:{free_port()}")
    assert ended.returncode == 2 and "can't be reached" in ended.stdout
