"""What the tutorials say is true: their commands and programs run as written, their links lead where they should."""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hfdemo.engines.remote.address import ROUTER, Address, find_address
from hfdemo.page.page import launch
from hfdemo.settings import from_env
from hfdemo.words import texts
from tests.conftest import ROOT, free_port, wait_until
from tests.fakes import ScriptedEngine, scripted_page
from tests.hub import GOOD_TOKEN, Hub, serve
from tests.written import in_english, in_korean, links

ENGLISH, KOREAN = in_english("tutorial"), in_korean("tutorial")
HUB_PAGES = {
    "https://huggingface.co/join",
    "https://huggingface.co/models",
    "https://huggingface.co/datasets",
    "https://huggingface.co/spaces",
    "https://huggingface.co/docs",
    "https://huggingface.co/pricing",
    "https://huggingface.co/docs/inference-providers",
    "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct",
    "https://huggingface.co/settings/gated-repos",
    "https://huggingface.co/settings/tokens",
    "https://huggingface.co/docs/hub/spaces-zerogpu",
}

both = pytest.mark.parametrize("tutorial", [ENGLISH, KOREAN], ids=lambda path: path.name)


def blocks(tutorial: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", tutorial.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(tutorial: Path) -> list[str]:
    return "".join(blocks(tutorial, "sh")).splitlines()


def environ_for(hub: Hub | None, home: Path, **settings: str) -> dict[str, str]:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFDEMO_", "GRADIO_"))}
    return cleared | (hub.environ if hub else {}) | {"HF_HOME": str(home), "PYTHONIOENCODING": "utf-8"} | settings


def run(command: str, environ: dict[str, str], folder: Path = ROOT, typed: str = "") -> str:
    """Run a command of the tutorial with this Python, and return what it printed."""
    command = command.replace("python3", f'"{sys.executable}"')
    ended = subprocess.run(
        command, shell=True, cwd=folder, env=environ, input=typed, capture_output=True, encoding="utf-8", timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_both_tutorials_have_the_same_commands_programs_links_and_parts():
    assert commands(ENGLISH) == commands(KOREAN)
    assert blocks(ENGLISH, "python") == blocks(KOREAN, "python")
    english, korean = ENGLISH.read_text("utf-8"), KOREAN.read_text("utf-8")
    for pattern in (
        r"https?://[\w./-]*[\w/]",
        r"\]\(\.\./[^)]*(?:py|txt|ipynb)\)",
        r"`[^`\n]*[A-Za-z][^`\n]*`",
        r"(?m)^## \d",
        r"(?m)^\| `[^|]*`",
    ):
        assert re.findall(pattern, english) and sorted(re.findall(pattern, english)) == sorted(
            re.findall(pattern, korean)
        ), pattern


@both
def test_links_to_the_hub_are_the_pages_that_are_meant(tutorial):
    assert set(re.findall(r"https://huggingface\.co[\w./-]*\w", tutorial.read_text("utf-8"))) == HUB_PAGES


@both
def test_local_links_and_pictures_exist(tutorial):
    text = tutorial.read_text("utf-8")
    targets = links(text)
    local = [target for target in targets if "://" not in target]
    assert sum(target.endswith(".png") for target in local) == 2
    for target in local:
        assert (tutorial.parent / target.partition("#")[0]).is_file(), target


@pytest.mark.parametrize(("tutorial", "language"), [(ENGLISH, "en"), (KOREAN, "ko")])
def test_what_the_page_is_said_to_have_is_on_it(tutorial, language):
    """Bold words in the table are the page's own."""
    rows = [line for line in tutorial.read_text("utf-8").splitlines() if line.startswith("| `")]
    named = set(re.findall(r"\*\*([^*]+)\*\*", "\n".join(rows)))
    on_page = {text.partition(" (")[0] for key, text in texts(language).items() if key.startswith("page.")}
    assert len(named) >= 7 and named <= on_page


@both
def test_each_line_of_the_program_is_in_the_table(tutorial):
    script, *_ = blocks(tutorial, "python")
    assert len(script.splitlines()) <= 30
    rows = re.findall(r"^\| `([^`]*)` \|", tutorial.read_text("utf-8"), re.M)
    assert len(rows) == 16
    for row in rows:
        assert row.replace("…", "") in script or all(part in script for part in row.split("…")), row


def test_the_program_runs_as_it_is_but_for_the_model(embedded_model, tmp_path):
    script, _, _ = blocks(ENGLISH, "python")
    program = script.replace("kakaocorp/kanana-1.5-2.1b-instruct-2505", str(embedded_model))
    program = program.replace("max_new_tokens=256", "max_new_tokens=24").replace("float16", "float32")
    (tmp_path / "first.py").write_text(program, "utf-8")
    said = run("python3 first.py", environ_for(None, tmp_path), tmp_path, "token\nHello!\nHow are you?\n\n")
    assert said.count("User: Assistant: ") == 2


def test_both_prompt_forms_are_answered(embedded_model, tmp_path):
    _, program, _ = blocks(ENGLISH, "python")
    program = program.replace("kakaocorp/kanana-1.5-2.1b-instruct-2505", str(embedded_model))
    (tmp_path / "forms.py").write_text(program.replace("float16", "float32"), "utf-8")
    said = run("python3 forms.py", environ_for(None, tmp_path), tmp_path)
    prompts, replies = (
        [ast.literal_eval(text) for text in re.findall(rf"^{name}: +(.*)$", said, re.M)]
        for name in ("Prompt", "Reply")
    )
    assert prompts[0] == "User: What is the capital of Korea?\nAssistant:"
    assert prompts[1].endswith("<|im_start|>user\nWhat is the capital of Korea?<|im_end|>\n<|im_start|>assistant\n")
    answer, goes_on = replies[0][:40].partition("Seoul.")[:2], len(replies[0]) > 60
    assert answer == (" The capital of Korea is ", "Seoul.") and goes_on, "as the tutorial says of such prompts"
    assert replies[1] == "The capital of Korea is Seoul."


def test_the_client_gets_an_answer(app, tmp_path):
    _, _, program = blocks(ENGLISH, "python")
    (tmp_path / "client.py").write_text(program.replace("http://127.0.0.1:7860", app.url), "utf-8")
    *_, reply = run("python3 client.py", environ_for(None, tmp_path), tmp_path).strip().splitlines()
    assert reply and not reply.startswith("Loaded as API")


def test_the_commands_are_these():
    assert commands(ENGLISH) == [
        "git clone ADDRESS hfdemo",
        "cd hfdemo",
        "python3 -m hfdemo doctor",
        "python3 -m hfdemo start",
        "HF_TOKEN=hf_... HFDEMO_MODEL=Qwen/Qwen3-32B:cheapest python3 -m hfdemo start",
        "python3 -m hfdemo publish my-chat --dry-run",
        "python3 -m hfdemo publish my-chat",
    ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, project_repository: str) -> Path:
    """The folder that the first two commands end in."""
    folder = tmp_path_factory.mktemp("clone")
    git, cd = commands(ENGLISH)[:2]
    run(git.replace("ADDRESS", project_repository), dict(os.environ), folder)
    return Path(run(f"{cd} && pwd", dict(os.environ), folder).strip())


def test_the_doctor_finds_all_well(clone, embedded_model, tmp_path):
    environ = environ_for(None, tmp_path, HFDEMO_MODEL=str(embedded_model), LANG="C.UTF-8")
    assert "All is well" in run(commands(ENGLISH)[2], environ, clone)


def test_start_shows_the_address(clone, tiny, tmp_path):
    environ = environ_for(None, tmp_path, HFDEMO_MODEL=str(tiny.folder), GRADIO_SERVER_PORT=str(free_port()))
    command = commands(ENGLISH)[3].replace("python3", f'exec "{sys.executable}"')
    with (tmp_path / "log").open("w+b") as log:
        started = subprocess.Popen(
            command, shell=True, cwd=clone, env=environ, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = re.compile(r"Running on local URL: +(\S+)")
            wait_until(lambda: address.search((tmp_path / "log").read_text("utf-8")), 120, "the address")
            shown = address.search((tmp_path / "log").read_text("utf-8"))[1]
            assert httpx.get(shown).status_code == 200
        finally:
            os.killpg(started.pid, signal.SIGINT)
            started.wait(20)


def test_the_larger_model_is_asked_of_hugging_face_s_router_with_the_token():
    *variables, _, _, _, _ = shlex.split(commands(ENGLISH)[4])
    environ = dict(variable.split("=", 1) for variable in variables)
    settings = from_env(environ)
    assert settings.is_remote and settings.model == "Qwen/Qwen3-32B:cheapest"
    assert find_address(settings, environ["HF_TOKEN"]) == Address(ROUTER, key="hf_...", key_name="HF_TOKEN")


@both
def test_prices_are_only_behind_a_link(tutorial):
    text = tutorial.read_text("utf-8")
    assert "https://huggingface.co/pricing" in text
    assert not re.search(r"[$€₩]\s?\d|\d\s?(?:dollars|USD|달러|원\b)", text)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub whose Spaces answer."""
    engine, port = ScriptedEngine(), free_port()
    page = scripted_page(engine)
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    engine.enqueue("Hello!")
    with serve(Hub({})) as hub:
        hub.spaces.page_url = f"http://127.0.0.1:{port}"
        hub.spaces.script = ["RUNNING"]
        yield hub
    page.close()


def test_publish_ends_with_the_address_of_the_space(clone, hub, tmp_path):
    environ = environ_for(hub, tmp_path, HF_TOKEN=GOOD_TOKEN, LANG="C.UTF-8")
    dry, true = commands(ENGLISH)[5:]
    assert "nothing was sent" in run(dry, environ, clone)
    *_, last = run(true, environ, clone).strip().splitlines()
    assert last.endswith("/spaces/someone/my-chat")
