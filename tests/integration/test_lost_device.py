"""A GPU that fails for good ends the program with an error, after whoever waits was told."""

import os

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app import DEVICE_LOST
from hfdemo.errors import is_device_lost
from hfdemo.words import say
from tests.conftest import free_port, is_up, wait_until
from tests.warm import the_warm_python

PROGRAM = """
import app
from hfdemo.decoding.running import RunningReply

def fail(*_):
    raise RuntimeError("CUDA error: device-side assert triggered; hf_ABCDEFGHIJKLMNOP")

RunningReply.choose = fail
app.main()
"""


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: unspecified launch failure", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA out of memory. Tried to allocate 2 GiB", False),
        ("shape '[2]' is invalid for input of size 3", False),
    ],
)
def test_which_errors_only_a_new_process_gets_over(text, lost):
    assert is_device_lost(RuntimeError(text)) == lost
    assert not is_device_lost(ValueError(text))


def test_the_program_ends_with_an_error_after_it_told_the_visitor(tiny, tmp_path):
    port = free_port()
    environ = os.environ | {"GRADIO_SERVER_PORT": str(port), "HFDEMO_MODEL": str(tiny.folder)}
    with open(os.devnull) as nothing, (tmp_path / "log").open("wb") as log:
        files = [nothing.fileno(), log.fileno(), log.fileno()]
        process = the_warm_python().begin(["-c", PROGRAM], environ, files)
    url = f"http://127.0.0.1:{port}"

    try:
        wait_until(lambda: is_up(f"{url}/readyz"), 60)
        with pytest.raises(AppError) as caught:
            Client(url, verbose=False).predict(message="Hi", api_name="/chat")
        assert str(caught.value) == say("error.device_lost")
        assert process.wait(10) == DEVICE_LOST
    finally:
        process.kill()
    log_text = (tmp_path / "log").read_text("utf-8")
    assert "the GPU can't be used any more" in log_text and "ABCDEFGH" not in log_text
