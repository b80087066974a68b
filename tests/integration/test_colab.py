"""The notebook's three cells run as on Google Colab, with stand-ins for its vault, its proxy and Gradio's tunnel."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nbformat
import pytest
from gradio import tunneling
from gradio_client import Client
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from hfdemo import colab
from hfdemo.words import say
from tests.conftest import ROOT, free_port, is_up, wait_until
from tests.hub import BAD_TOKEN, GOOD_TOKEN, Hub, Model, serve
from tests.integration.conftest import Tiny

STAND_INS = ROOT / "tests" / "colab"
QUESTION = "What is the capital of Korea?"


@pytest.fixture(scope="module")
def hub(tiny: Tiny) -> Iterator[Hub]:
    gated = {name: Model(tiny.folder, gated="manual") for name in ("org/gated", "org/gated-too")}
    with serve(Hub({"org/open": Model(tiny.folder), **gated})) as hub:
        yield hub


@dataclass
class Notebook:
    """The notebook with a running kernel. Its cells are run one at a time, and can be watched and stopped."""

    client: NotebookClient
    folder: Path
    problems: list[CellExecutionError | DeadKernelError] = field(default_factory=list)

    def run(self, number: int, **fields: object) -> None:
        """Run the cell of a number to its end, with what a person put into the fields of its form."""
        self.begin(number, **fields)
        self.wait(200)

    def run_code(self, code: str) -> None:
        """Run a cell that somebody adds."""
        self.client.nb.cells.append(nbformat.v4.new_code_cell(code))
        self.run(4)
        self.client.nb.cells.pop()

    def begin(self, number: int, **fields: object) -> None:
        index = [index for index, cell in enumerate(self.client.nb.cells) if cell.cell_type == "code"][number - 1]
        self.cell = self.client.nb.cells[index]
        for name, value in fields.items():
            self.cell.source, count = re.subn(
                rf"^{name} = .*?(?=  # @)", f"{name} = {value!r}", self.cell.source, flags=re.M
            )
            assert count == 1, name
        self.problems.clear()
        self.cell.outputs = []
        self._running = threading.Thread(target=self._execute, args=(self.cell, index), daemon=True)
        self._running.start()

    def _execute(self, cell: nbformat.NotebookNode, index: int) -> None:
        try:
            self.client.execute_cell(cell, index)
        except (CellExecutionError, DeadKernelError) as error:
            self.problems.append(error)

    def wait(self, timeout_s: float) -> None:
        self._running.join(timeout_s)
        assert not self._running.is_alive(), self.text()

    def page(self) -> str:
        """Wait for the page below the cell, and return its address."""
        wait_until(lambda: self._page() or not self._running.is_alive(), 120, "the page below the cell")
        assert self._page(), self.text()
        address, _, options = str(self._page()).partition("?")
        assert options == "temperature=1.0&top_p=0.9&max_new_tokens=256"
        return address

    def _page(self) -> str | None:
        found = re.search(r'<iframe src="([^"]+)"', self.text())
        return found[1] if found else None

    def stop(self) -> None:
        """Stop the running cell, as its button does."""
        self.client.km.interrupt_kernel()
        self.wait(20)
        assert self.problems == []

    def text(self) -> str:
        """All that stands below the cell."""
        return "".join(
            output.get("text") or "\n".join(output.get("traceback", [])) or output.get("data", {}).get("text/html", "")
            for output in self.cell.outputs
        )

    def put_into_vault(self, token: str, allowed: bool = True) -> None:
        (self.folder / "vault.json").write_text(json.dumps({"HF_TOKEN": [token, allowed]}), "utf-8")

    def asked_vault(self) -> int:
        note = self.folder / "vault.asked"
        return len(note.read_text().splitlines()) if note.exists() else 0

    def children(self) -> list[str]:
        """The commands of all processes that the kernel has started and that run still."""
        kernel = self.client.km.provisioner.process.pid
        answer = subprocess.run(["ps", "-o", "args=", "--ppid", str(kernel)], capture_output=True, text=True)
        return [line for line in answer.stdout.splitlines() if "defunct" not in line]


def make_cache(folder: Path) -> Path:
    """Return a cache of Hugging Face's libraries that holds the stand-in of Gradio's tunnel."""
    frpc = folder / "gradio" / "frpc" / Path(tunneling.BINARY_PATH).name
    frpc.parent.mkdir(parents=True)
    frpc.write_text(f"#!{sys.executable}\n{(STAND_INS / 'frpc.py').read_text('utf-8')}", "utf-8")
    frpc.chmod(0o755)
    return folder


def make_kernel(folder: Path) -> KernelManager:
    spec = {"argv": [sys.executable, str(STAND_INS / "colab_kernel_launcher.py"), "-f", "{connection_file}"]}
    (folder / "colab").mkdir(parents=True)
    (folder / "colab" / "kernel.json").write_text(
        json.dumps(spec | {"display_name": "Colab", "language": "python"}), "utf-8"
    )
    specs = KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False)
    return KernelManager(kernel_name="colab", kernel_spec_manager=specs)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Notebook]:
    """The notebook on a fresh machine, which has the packages already."""
    folder = tmp_path_factory.mktemp("colab")
    (folder / "home").mkdir()
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFDEMO_", "GRADIO_"))}
    environ = cleared | hub.environ
    environ |= {
        "HOME": str(folder / "home"),
        "HF_HOME": str(make_cache(folder / "cache")),
        "PYTHONPATH": str(STAND_INS),
        "IPYTHONDIR": str(folder / "ipython"),
        "COLAB_RELEASE_TAG": "release-colab_20261101",
        "COLAB_VAULT": str(folder / "vault.json"),
        "GRADIO_SHARE_SERVER_ADDRESS": "share.test:7000",
    }
    nb = nbformat.read(ROOT / "notebooks" / "hfdemo.ipynb", as_version=4)
    client = NotebookClient(nb, km=make_kernel(folder / "kernels"), resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=environ):
        yield Notebook(client, folder)


@pytest.fixture
def notebook(running: Notebook) -> Notebook:
    """The same notebook, with nothing in the vault."""
    (running.folder / "vault.json").write_text("{}", "utf-8")
    (running.folder / "vault.asked").unlink(missing_ok=True)
    return running


def ask(address: str, auth: tuple[str, str] | None = None, system_prompt: str = "") -> str:
    return Client(address, verbose=False, auth=auth).predict(
        message=QUESTION, system_prompt=system_prompt, temperature=0, max_new_tokens=24, api_name="/chat"
    )


def test_a_wrong_address_is_told(notebook):
    notebook.run(1, ADDRESS="file:///nowhere")
    assert len(notebook.problems) == 1
    assert "does not appear to be a git repository" in notebook.text()


def test_the_placeholder_of_the_address_stops_with_one_sentence_in_each_language(notebook):
    notebook.run(1)
    assert len(notebook.problems) == 1
    [sentence] = [line for line in notebook.text().splitlines() if "ADDRESS" in line]  # a kernel may warn of itself
    assert "Traceback" not in notebook.text()
    assert "ADDRESS에" in sentence and "Set ADDRESS to the address of this project" in sentence


def test_the_first_cell_installs_and_tells_what_the_machine_has(notebook, project_repository, tmp_path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    notebook.run(1, ADDRESS=f"file://{tmp_path}")  # of another project; the right one takes its place
    assert notebook.problems
    notebook.run(1, ADDRESS=project_repository)
    assert notebook.problems == [], notebook.text()
    assert "of free disk space" in notebook.text() and "남음" in notebook.text()
    assert "There is no GPU" in notebook.text() and "런타임 유형 변경" in notebook.text()


def test_the_page_answers_with_the_token_of_the_vault_which_is_never_shown(notebook, tiny):
    notebook.put_into_vault(GOOD_TOKEN)
    notebook.run(2, MODEL="org/gated", LANGUAGE="en")
    assert notebook.problems == [], notebook.text()
    checked = notebook.text()
    assert "belongs to someone" in checked and "All is well" in checked
    assert notebook.asked_vault() == 1

    notebook.begin(3, SHARE=False, SYSTEM_PROMPT="한 문장으로 답하세요.")
    page = notebook.page()
    assert '"한 문장으로 답하세요."' in httpx.get(page).text, "what a new chat begins with"
    assert ask(page) == tiny.reply
    assert len(notebook.children()) == 1
    notebook.stop()
    shown = notebook.text()
    assert "Running on local URL" in shown, "the log"
    assert "Password" not in shown and "Share link" not in shown
    assert say("colab.stopped", "en") in shown and say("colab.stopped", "ko") in shown
    assert notebook.children() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(page)
    assert GOOD_TOKEN not in checked + shown + json.dumps(notebook.client.nb)


def test_an_open_model_needs_no_vault_and_a_share_link_has_a_password(notebook, tiny):
    notebook.put_into_vault(GOOD_TOKEN)
    notebook.run(2, MODEL="org/open", LANGUAGE="ko")
    assert notebook.problems == [] and "모두 정상입니다" in notebook.text()
    assert notebook.asked_vault() == 0

    notebook.begin(3, SHARE=True)
    page = notebook.page()
    text = notebook.text()
    assert "Free Colab" in text and "무료 Colab" in text
    link, name, password = re.search(r"Share link: (\S+)\nUser name: (\S+) · Password: (\S+)", text).groups()
    assert link != page and len(password) >= 12
    with pytest.raises(ValueError, match="Could not login"):
        ask(link, auth=(name, "open sesame"))
    assert httpx.post(f"{link}/gradio_api/call/v2/chat", json={"message": QUESTION}).status_code == 401
    assert ask(link, auth=(name, password)) == tiny.reply
    notebook.stop()
    assert notebook.children() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(link)


def test_without_a_tunnel_the_page_below_the_cell_works_without_a_password(notebook, tiny):
    notebook.run(2, MODEL=str(tiny.folder))
    notebook.run_code("%env GRADIO_SHARE_SERVER_ADDRESS=refused.test:7000")
    notebook.begin(3, SHARE=True)
    assert ask(notebook.page()) == tiny.reply
    assert "There is no share link (login to server failed: connection refused)" in notebook.text()
    assert "공유 링크를 만들지 못했습니다(login to server failed: connection refused)" in notebook.text()
    assert "Password" not in notebook.text()
    notebook.stop()


@pytest.mark.parametrize(
    ("server", "timeout_s", "problem"),
    [("silent.test:7000", 2.0, "2 s"), ("nowhere", 60.0, "not enough values to unpack (expected 2, got 1)")],
)
def test_a_tunnel_that_comes_to_nothing_is_given_up(server, timeout_s, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HOME", str(make_cache(tmp_path)))
    monkeypatch.setenv("GRADIO_SHARE_SERVER_ADDRESS", server)
    monkeypatch.setattr(colab, "LINK_TIMEOUT_S", timeout_s)
    with ExitStack() as running:
        assert colab._share(free_port(), running) is None
    assert f"({problem})" in capsys.readouterr().out


def test_what_is_to_mend_ends_the_cell_without_a_traceback(notebook):
    notebook.put_into_vault(BAD_TOKEN)
    notebook.run(2, MODEL="org/gated-too", LANGUAGE="en")
    [problem] = notebook.problems
    assert problem.ename == "NotReady"
    assert "is not valid" in notebook.text() and "Colab's left sidebar" in notebook.text()
    assert "File " not in notebook.text() and BAD_TOKEN not in notebook.text()

    notebook.put_into_vault(GOOD_TOKEN, allowed=False)
    notebook.run(2, MODEL="org/gated-too", LANGUAGE="en")
    assert "save it there as HF_TOKEN, allow this notebook to use it" in notebook.text()
    assert len(notebook.problems) == 1


def test_a_kernel_that_is_killed_leaves_nothing_behind(notebook, tiny):
    notebook.run(2, MODEL=str(tiny.folder))
    notebook.run_code("%env GRADIO_SHARE_SERVER_ADDRESS=share.test:7000")
    notebook.begin(3, SHARE=True)
    page = notebook.page()
    link = re.search(r"Share link: (\S+)", notebook.text())[1]
    os.kill(notebook.client.km.provisioner.process.pid, signal.SIGKILL)
    for address in (page, link):
        wait_until(lambda address=address: not is_up(address), 20, f"the end of {address}")
