"""`doctor` and `check` of a model that runs elsewhere: its server is asked, and this machine isn't."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import free_port
from tests.endpoint import Endpoint, json_answer, serve_endpoint
from tests.warm import the_warm_python


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serve_endpoint() as endpoint:
        yield endpoint


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    return the_warm_python().run(["-m", "hfdemo", *arguments], os.environ | environ)


@pytest.mark.parametrize("command", [("doctor", "--language", "en"), ("check", "org/model", "--language", "en")])
def test_the_endpoint_is_asked(endpoint, command):
    endpoint.reset()
    status, text = run(*command, HFDEMO_ENDPOINT=endpoint.url)
    assert status == 0, text
    host = endpoint.url.removeprefix("http://")
    assert f"The model's server {host} answers; models in its list: 1" in text
    assert "org/model runs there; its context holds 4,096 tokens" in text
    assert "memory" not in text.lower()


@pytest.mark.parametrize("command", ["doctor", "check"])
def test_what_the_endpoint_lacks_or_refuses_is_told(endpoint, command):
    endpoint.reset()
    status, text = run(command, "org/other", "--language", "en", HFDEMO_ENDPOINT=endpoint.url)
    assert status == 2 and "does not have org/other" in text
    endpoint.pages["/v1/models"] = json_answer({"error": "no"}, 401)
    status, text = run(command, "org/model", "--language", "ko", HFDEMO_ENDPOINT=endpoint.url)
    assert status == 2 and "HFDEMO_ENDPOINT_KEY" in text


def test_an_endpoint_that_is_not_there_is_told():
    status, text = run("doctor", "--language", "en", HFDEMO_ENDPOINT=f"127.0.0.1:{free_port()}")
    assert status == 2 and "can't be reached" in text
