"""The first start on machines as they are: behind a company's proxy, with a port that is taken, stopped at once."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, free_port, start_app

CLOSED = "http://127.0.0.1:9"


@pytest.mark.parametrize("names", [("http_proxy",), ("ALL_PROXY", "HTTPS_PROXY")], ids=str)
def test_behind_a_proxy_the_page_is_up(names, embedded_model, tmp_path):
    proxies = dict.fromkeys(names, CLOSED)
    app = start_app(tmp_path, HFDEMO_MODEL=str(embedded_model), LC_ALL="ko_KR.UTF-8", **proxies)
    app.wait_for_log("CPU")
    assert "Traceback" not in app.log()
    assert app.log().startswith(
        f"* Running on local URL:  {app.url}\n"
        "* 다른 사람도 어디서나 최대 일주일 동안 쓸 수 있게 하려면: python -m hfdemo start --share\n"
    )
    app.stop()


def test_a_port_that_is_taken_is_one_sentence(embedded_model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_NUM_PORTS": "1", "LC_ALL": "C"}
        environ |= {"HFDEMO_MODEL": str(embedded_model), "GRADIO_SERVER_NAME": "127.0.0.1"}
        ended = subprocess.run(
            [sys.executable, "app.py"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert f"The page can't be served at 127.0.0.1, port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("language", "told"), [("C", "Did you mean HFDEMO_TITLE?"), ("ko_KR", "HFDEMO_TITLE을")])
def test_a_mistyped_variable_is_told_once_in_the_terminals_language(language, told, embedded_model, tmp_path):
    mistyped = {"HFDEMO_TITEL": "x", "LC_ALL": language, "HFDEMO_LANGUAGE": "", "PYTHONIOENCODING": "utf-8"}
    app = start_app(tmp_path, HFDEMO_MODEL=str(embedded_model), **mistyped)
    app.stop()
    [line] = [line for line in app.log().splitlines() if "HFDEMO_TITEL" in line]
    assert told in line


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
@pytest.mark.parametrize("after_s", [0.3, 1.5])
def test_ctrl_c_while_it_starts_shows_no_traceback(after_s, embedded_model):
    environ = os.environ | {"GRADIO_SERVER_PORT": str(free_port()), "HFDEMO_MODEL": str(embedded_model)}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in text
