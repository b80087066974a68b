"""The first start on machines as they are: behind a company's proxy, with a port that is taken, stopped at once."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, free_port, start_app, wait_until
from tests.warm import the_warm_python

CLOSED = "http://127.0.0.1:9"


@pytest.mark.parametrize("names", [("http_proxy",), ("ALL_PROXY", "HTTPS_PROXY")], ids=str)
def test_behind_a_proxy_the_page_is_up(names, tiny, tmp_path):
    app = start_app(tmp_path, HFDEMO_MODEL=str(tiny.folder), **dict.fromkeys(names, CLOSED))
    app.wait_for_log("CPU")
    assert "Traceback" not in app.log()
    app.stop()


def test_a_port_that_is_taken_is_one_sentence(tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_NUM_PORTS": "1", "LC_ALL": "C"}
        environ |= {"HFDEMO_MODEL": str(tiny.folder), "GRADIO_SERVER_NAME": "127.0.0.1"}
        status, text = the_warm_python().run(["app.py"], environ)
    assert status == 1
    assert f"The page can't be served at 127.0.0.1, port {port}" in text
    assert "Traceback" not in text


def heeds(pid: int, number: int) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    [caught] = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text("utf-8"), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it isn't known whether Python itself has started")
@pytest.mark.parametrize("after_s", [0, 1.2])
def test_ctrl_c_while_it_starts_shows_no_traceback(after_s, embedded_model):
    environ = os.environ | {"GRADIO_SERVER_PORT": str(free_port()), "HFDEMO_MODEL": str(embedded_model)}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_until(lambda: heeds(process.pid, signal.SIGTERM), 20, "the program, which heeds SIGINT first")
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in text
