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
    proxies = dict.fromkeys(names, CLOSED)
    app = start_app(tmp_path, HFDEMO_MODEL=str(tiny.folder), LC_ALL="ko_KR.UTF-8", **proxies)
    app.wait_for_log("CPU")
    assert "Traceback" not in app.log()
    assert app.log().startswith(
        f"* Running on local URL:  {app.url}\n"
        "* 다른 사람도 어디서나 최대 일주일 동안 쓸 수 있게 하려면: python3 -m hfdemo start --share\n"
    )
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


@pytest.mark.parametrize("arguments", [["org/name", "--port", "80"], ["--help"]])
def test_the_program_takes_no_arguments_and_says_what_does(arguments):
    status, text = the_warm_python().run(["app.py", *arguments], os.environ | {"LC_ALL": "C"})
    assert (status, "Traceback" in text) == (1, False)
    assert text.strip().endswith(f"python3 -m hfdemo start {' '.join(arguments)}"), text


def test_a_folder_that_gradio_cant_write_to_is_named_and_no_port(tiny):
    environ = os.environ | {"GRADIO_TEMP_DIR": "/dev/null/x", "LC_ALL": "C", "HFDEMO_MODEL": str(tiny.folder)}
    status, text = the_warm_python().run(["app.py"], environ)
    assert status == 1
    assert "can't be written to /dev/null" in text and "GRADIO_TEMP_DIR" in text
    assert "Traceback" not in text and "port" not in text


@pytest.mark.parametrize(("language", "told"), [("C", "Did you mean HFDEMO_TITLE?"), ("ko_KR", "HFDEMO_TITLE을")])
def test_a_mistyped_variable_is_told_once_in_the_terminals_language(language, told, tiny, tmp_path):
    mistyped = {"HFDEMO_TITEL": "x", "LC_ALL": language, "HFDEMO_LANGUAGE": "", "PYTHONIOENCODING": "utf-8"}
    app = start_app(tmp_path, HFDEMO_MODEL=str(tiny.folder), **mistyped)
    app.stop()
    [line] = [line for line in app.log().splitlines() if "HFDEMO_TITEL" in line]
    assert told in line


def heeds(pid: int, number: int) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    [caught] = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text("utf-8"), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it isn't known whether Python itself has started")
@pytest.mark.parametrize("after_s", [0, 1.2])
def test_ctrl_c_while_it_starts_is_one_line(after_s, embedded_model):
    environ = os.environ | {"GRADIO_SERVER_PORT": str(free_port()), "HFDEMO_MODEL": str(embedded_model), "LC_ALL": "C"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_until(lambda: heeds(process.pid, signal.SIGTERM), 20, "the program, which heeds SIGINT first")
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert text.endswith("\nStopped.\n") and "Traceback" not in text
