"""A folder becomes a Space that answers: the running command, the unmodified clients, and a Hub that may refuse."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from compileall import compile_dir
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from starlette.applications import Starlette

from hfdemo.errors import GenerationFailed
from hfdemo.page.page import launch
from hfdemo.settings import Settings
from hfdemo.web.hub_sign_in import HubSignIn
from hfdemo.web.sign_in import SignIn
from tests import hub as stand_in
from tests.asgi import serve_app
from tests.conftest import ROOT, free_port, wait_until
from tests.fakes import ScriptedEngine, scripted_page
from tests.hub import Hub, Model, Space, serve
from tests.warm import Process, WarmPython, the_warm_python, warm_python

SIGN_IN = "https://huggingface.co"
TOKENS = f"{SIGN_IN}/settings/tokens"
SECRET = "geheim-und-lang"
ZERO_GPU = "zero-a10g"


@pytest.fixture(scope="module")
def program() -> Iterator[tuple[ScriptedEngine, str]]:
    """The page that runs in every Space, with an engine that says what it is told to."""
    engine, port = ScriptedEngine(), free_port()
    page = scripted_page(engine)
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    yield engine, f"http://127.0.0.1:{port}"
    page.close()


@pytest.fixture
def engine(program: tuple[ScriptedEngine, str]) -> ScriptedEngine:
    program[0].requests.clear()
    program[0]._replies.clear()
    return program[0]


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    files = {"config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'}
    model = Model(files | {"model.safetensors": b"\2\0\0\0\0\0\0\0{}", "tokenizer.json": b"{}"})
    with serve(Hub(dict.fromkeys(("org/base", "org/model", "org/other", "Qwen/Qwen3-1.7B"), model))) as hub:
        yield hub


@pytest.fixture
def hub(served: Hub, program: tuple[ScriptedEngine, str], engine: ScriptedEngine) -> Hub:
    """A Hub without a Space, at the address that its client knows since it was imported."""
    served.forget()
    served.spaces.page_url = program[1]
    served.spaces.script = ["RUNNING"]
    return served


IMPORTS = """
import gradio_client, httpx, huggingface_hub, yaml
from huggingface_hub import HfApi, constants, snapshot_download, hf_hub_download
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache, GenerationConfig
import functools, ssl, time
ssl.create_default_context = functools.cache(ssl.create_default_context)
httpx.create_ssl_context()
wait = time.sleep
time.sleep = lambda seconds: wait(seconds / 10)
"""
"""What a command imports of others and takes long. hfdemo itself is in the test's folder.

It reads the machine's certificates once for all commands, and looks for the Space ten times as often.
"""


@pytest.fixture(scope="module")
def python(served: Hub, shared_home: Path) -> Iterator[WarmPython]:
    compile_dir(ROOT / "hfdemo", quiet=1)  # copies of it needn't be compiled, then
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # which a command says before it imports anything
    with warm_python(IMPORTS, environ_of(served, shared_home, **quiet)) as warm:
        yield warm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project as it lies on somebody's disk, with what must never leave it."""
    copy = tmp_path / "project"
    for name in ("hfdemo", "docs"):
        shutil.copytree(ROOT / name, copy / name)  # with what Python compiled, which saves each command a second
    for name in ("app.py", "README.md", "README.ko.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, copy / name)
    for name in (".env", ".venv/lib/key.py", "chat.log", "hfdemo/.env", "hfdemo/page/chat.log", "hfdemo/.cache/a.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(f"HF_TOKEN={stand_in.READ_TOKEN}\n")
    (copy / "hfdemo" / "__pycache__").mkdir(exist_ok=True)
    (copy / "hfdemo" / "__pycache__" / "key.py").write_text("key = 1\n")
    return copy


def environ_of(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    prefixes = ("HF_", "HFDEMO_", "GRADIO_", "PYTHON")
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    settings = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return cleared | hub.environ | settings | more


@dataclass
class Command:
    """`python -m hfdemo publish` in a folder."""

    hub: Hub
    folder: Path
    home: Path
    python: WarmPython

    def begin(self, *arguments: str, files: Sequence[int], token: str | None = stand_in.GOOD_TOKEN) -> Process:
        environ = environ_of(self.hub, self.home, **({"HF_TOKEN": token} if token else {}))
        return self.python.begin(["-m", "hfdemo", "publish", *arguments], environ, files, self.folder)

    def __call__(
        self, *arguments: str, status: int = 0, token: str | None = stand_in.GOOD_TOKEN, **environ: str
    ) -> str:
        """Run it to its end, and return what it printed."""
        self.hub.requests.clear()
        read_by_client = any(name.startswith("HF_HUB_") for name in environ)  # when it is imported
        python = the_warm_python() if read_by_client else self.python
        whole = environ_of(self.hub, self.home, **({"HF_TOKEN": token} if token else {}), **environ)
        ended_with, text = python.run(["-m", "hfdemo", "publish", *arguments], whole, self.folder)
        assert ended_with == status, text
        assert "Traceback" not in text, text
        assert "Warning" not in text, text
        for secret in (stand_in.GOOD_TOKEN, stand_in.READ_TOKEN, token or SECRET, SECRET):
            assert secret not in text
        published = status == 0 and "--dry-run" not in arguments
        assert published == text.splitlines()[-1].startswith(("✓ The chat is at", "✓ 채팅 주소")), "only if it answers"
        return text


@pytest.fixture
def publish(hub: Hub, folder: Path, home: Path, python: WarmPython) -> Command:
    return Command(hub, folder, home, python)


def space(hub: Hub, name: str = "someone/my-chat") -> Space:
    return hub.spaces.by_id[name]


def changes(hub: Hub) -> list[str]:
    """Return the requests that could change something."""
    reads = ("GET ", "HEAD ", "POST /api/validate-yaml")
    return [request for request in hub.requests if not request.startswith(reads)]


def test_a_new_space_is_made_filled_waited_for_and_asked_before_its_address_is_told(publish, hub, engine):
    hub.spaces.script = ["BUILDING", "BUILDING", "APP_STARTING", "RUNNING"]
    engine.enqueue("Hello ", "there!")
    text = publish("my-chat", "--language", "en")
    made = space(hub).created
    assert (made["type"], made["sdk"], made["hardware"]) == ("space", "gradio", ZERO_GPU)
    assert (made["visibility"], made["secrets"], made["variables"]) == ("public", [], [])
    order = ["whoami", "validate-yaml", "repos/create", "preupload", "lfs/objects", "commit/main", "runtime"]
    positions = [next(at for at, asked in enumerate(hub.requests) if part in asked) for part in order]
    assert positions == sorted(positions), hub.requests
    told = ["someone, role write", "new Space", "Created someone/my-chat", "building: ", "starting", "running"]
    told += ["Hello there!", f"{hub.url}/spaces/someone/my-chat"]
    assert [part for part in told if part not in text] == [], text
    assert [text.find(part) for part in told] == sorted(text.find(part) for part in told), text
    assert text.count("building: ") == 1, "a stage is told when it begins"
    [asked] = engine.requests
    assert (asked.options.max_new_tokens, asked.options.temperature) == (16, 0)
    assert hub.spaces.host_saw_token and all(hub.spaces.host_saw_token)


def without_links(page: str) -> str:
    """Return a page with its words alone: where its links lead is adapted to the Space."""
    return re.sub(r'\bsrc="[^"]*"', "", re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", page))


def test_only_what_a_space_needs_is_sent_as_it_is_and_pictures_apart(publish, hub, folder):
    publish("my-chat")
    sent = space(hub).files
    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "app.py",
            "README*.md",
            "LICENSE",
            "requirements.txt",
            "hfdemo",
            "docs/images",
            "docs/*.??.md",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert set(tracked) <= set(sent) and (tracked or not (ROOT / ".git").exists())
    unwanted = {name for name in sent if name.startswith(".") or "/." in name or "__pycache__" in name}
    assert unwanted == {".gitattributes"}, "which the Hub made"
    assert not [name for name in sent if name.endswith((".log", ".pyc"))]
    assert not [name for name in sent if name.startswith("tests")]
    pages = {name for name in sent if name.endswith(".md")}
    assert {"README.md", "README.ko.md", "docs/api.en.md", "docs/api.ko.md"} <= pages
    assert not [name for name in sent if name.startswith("docs/") and not name.endswith((".png", ".en.md", ".ko.md"))]
    for name in set(sent) - pages - {".gitattributes", "requirements.txt"}:
        assert sent[name] == (folder / name).read_bytes(), name
    for name in pages - {"README.md"}:
        assert without_links(sent[name].decode()) == without_links((folder / name).read_text("utf-8")), name
    pictures = {name for name in sent if name.endswith(".png")}
    assert pictures and space(hub).stored_apart == pictures
    assert [commit["removed"] for commit in space(hub).commits] == [[]]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter as peft saves one, with what its training left beside it."""
    trained = tmp_path / "my-lora"
    (trained / "checkpoint-10").mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (trained / "adapter_config.json").write_text(json.dumps(config))
    save_file({"base_model.model.q_proj.lora_A.weight": torch.ones(4, 8)}, trained / "adapter_model.safetensors")
    for name in ("tokenizer.json", "README.md", "training_args.bin", ".env", "checkpoint-10/adapter_config.json"):
        (trained / name).write_text("{}")
    return trained


def test_an_adapter_on_this_machine_goes_with_the_program(publish, hub, adapter):
    text = publish("my-chat", "--model", str(adapter), "--language", "en")
    assert (
        "my-lora is an adapter: it is sent with the program, and the Space downloads its base model org/base" in text
    )
    assert space(hub).created["variables"] == [{"key": "HFDEMO_MODEL", "value": "./adapter/my-lora"}]
    sent = {name: content for name, content in space(hub).files.items() if name.startswith("adapter/")}
    names = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
    assert sent == {f"adapter/my-lora/{name}": (adapter / name).read_bytes() for name in names}
    assert "adapter/my-lora/adapter_model.safetensors" in space(hub).stored_apart
    assert "peft>=0.18,<1" in space(hub).files["requirements.txt"].decode().splitlines()
    text = publish("my-chat", "--language", "en")
    assert "Nothing has changed" in text
    publish("my-chat", "--model", str(adapter.rename(adapter.with_name("other"))))
    assert {name.split("/")[1] for name in space(hub).files if name.startswith("adapter/")} == {"other"}


def test_an_adapter_whose_base_is_only_here_is_refused(publish, hub, adapter):
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/home/me/base"}')
    text = publish("my-chat", "--model", str(adapter), "--language", "en", status=2)
    assert "my-lora is an adapter of /home/me/base, which is only on this machine" in text
    assert changes(hub) == []


@pytest.mark.parametrize(("hardware", "has_torch"), [(ZERO_GPU, False), ("t4-small", True)])
def test_the_requirements_leave_to_the_build_what_it_brings(publish, hub, hardware, has_torch):
    publish("my-chat", "--hardware", hardware, token=stand_in.PAYING_TOKEN)
    lines = space(hub).files["requirements.txt"].decode().splitlines()
    names = {line.split(">")[0] for line in lines if not line.startswith("#")}
    assert {"transformers", "accelerate", "huggingface_hub"} <= names
    assert names.isdisjoint({"gradio", "spaces"})
    assert ("torch" in names) == has_torch
    assert space(hub).hardware == hardware


def test_secrets_and_variables_are_there_from_the_first_moment(publish, hub):
    given = {"KEY": SECRET, "OTHER": "1"}
    arguments = ["--secret", "KEY", "--secret", "OTHER", "--secret", "KEY", "--model", "Qwen/Qwen3-1.7B"]
    text = publish("my-chat", *arguments, **given)
    made = space(hub).created
    assert {secret["key"]: secret["value"] for secret in made["secrets"]} == given
    assert made["variables"] == [{"key": "HFDEMO_MODEL", "value": "Qwen/Qwen3-1.7B"}]
    assert not [request for request in hub.requests if request.endswith(("/secrets", "/variables", "/hardware"))]
    assert "Read token is enough" not in text
    assert SECRET not in str([secret["description"] for secret in made["secrets"]])


def test_the_writing_token_as_a_secret_is_allowed_and_remarked(publish, hub):
    text = publish("my-chat", "--secret", "HF_TOKEN", "--language", "en")
    assert "a Read token is enough" in text
    assert space(hub).secrets["HF_TOKEN"]["value"] == stand_in.GOOD_TOKEN


def publish_at_terminal(publish: Command, question: str, typed: str, *arguments: str, **options: Any) -> str:
    """Publish where somebody types an answer, and return what was shown."""
    pty = pytest.importorskip("pty", reason="Windows has other terminals")
    screen, terminal = pty.openpty()
    process = publish.begin("my-chat", *arguments, "--language", "en", files=[terminal] * 3, **options)
    os.close(terminal)
    shown = b""
    while question.encode() not in shown:
        shown += os.read(screen, 4096)
    os.write(screen, f"{typed}\n".encode())
    with contextlib.suppress(OSError):  # the command has ended
        while piece := os.read(screen, 4096):
            shown += piece
    assert process.wait(60) == 0, shown.decode()
    os.close(screen)
    assert typed not in shown.decode()
    return shown.decode()


def test_a_secret_is_typed_unseen_where_somebody_sits_at_the_terminal(publish, hub):
    publish_at_terminal(publish, "Value of the secret KEY", SECRET, "--secret", "KEY")
    assert space(hub).secrets["KEY"]["value"] == SECRET


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "There is no access token here"),
        (stand_in.READ_TOKEN, "from hf auth login is a Read token"),
        (stand_in.FINE_GRAINED_TOKEN, "from hf auth login may not write to someone"),
    ],
)
def test_a_token_that_may_write_is_typed_unseen_in_place_of_the_stored_one(publish, hub, home, stored, said):
    home.mkdir(exist_ok=True)
    if stored:
        (home / "token").write_text(stored)
    shown = publish_at_terminal(publish, "Access token (not shown", stand_in.GOOD_TOKEN, token=None)
    assert said in shown and "publish asks for it" in shown
    assert (home / "token").read_text() == stand_in.GOOD_TOKEN
    assert space(hub).created["visibility"] == "public"


def test_run_again_changes_nothing_where_nothing_differs(publish, hub):
    arguments = ["my-chat", "--secret", "KEY", "--model", "Qwen/Qwen3-1.7B", "--language", "en"]
    publish(*arguments, KEY=SECRET)
    text = publish(*arguments, KEY=SECRET)
    assert changes(hub) == []
    assert len(space(hub).commits) == 1
    assert "Nothing has changed" in text and "already exists" in text


def test_run_again_sends_only_the_files_that_differ_and_removes_the_program_s_old_ones(publish, hub, folder):
    (folder / "hfdemo" / "old.py").write_text("")
    publish("my-chat")
    (folder / "hfdemo" / "old.py").unlink()
    (folder / "hfdemo" / "new.py").write_text("NEW = True\n")
    space(hub).files["notes.txt"] = b"the owner's own"
    hub.spaces.script = ["RUNNING_BUILDING", "RUNNING"]
    text = publish("my-chat", "--language", "en")
    assert space(hub).commits[1:] == [
        {"summary": "Bring the chat up to date", "added": ["hfdemo/new.py"], "removed": ["hfdemo/old.py"]}
    ]
    assert "Sent 1 files" in text and "the old version keeps running until then" in text
    assert "notes.txt" in space(hub).files
    assert not [request for request in changes(hub) if not request.endswith(("/preupload/main", "/commit/main"))]


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--model", "org/other"], ["variables"]),
        (["--secret", "KEY"], ["secrets"]),
        (["--secret", "ANOTHER"], ["secrets"]),
        (["--hardware", "l4x1"], ["hardware"]),
        (["--private"], ["settings"]),
        (["--model", "org/other", "--hardware", "l4x1"], ["variables", "hardware"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_run_again_changes_only_the_settings_that_differ(publish, hub, arguments, changed):
    before = ["my-chat", "--secret", "KEY", "--model", "org/model", "--hardware", "t4-small"]
    publish(*before, KEY=SECRET, token=stand_in.PAYING_TOKEN)
    hub.spaces.script = ["RUNNING", "APP_STARTING", "RUNNING"]
    text = publish("my-chat", *arguments, "--language", "en", token=stand_in.PAYING_TOKEN, KEY="new", ANOTHER="2")
    assert [request.rsplit("/", 1)[1] for request in changes(hub)] == changed
    assert "Settings changed" in text
    assert ("starting" in text) == (arguments != ["--private"]), "the old program must not be taken for the new one"
    if "--secret" in arguments:
        assert space(hub).secrets[arguments[-1]]["value"] == {"KEY": "new", "ANOTHER": "2"}[arguments[-1]]


def test_run_again_leaves_hardware_that_was_chosen_elsewhere(publish, hub):
    publish("my-chat", token=stand_in.PAYING_TOKEN)
    space(hub).hardware = "l4x1"
    publish("my-chat", token=stand_in.PAYING_TOKEN)
    assert space(hub).hardware == "l4x1"
    assert "torch" in space(hub).files["requirements.txt"].decode(), "this hardware's image has none"


REFUSED = {
    "no token": (None, [], 31, [TOKENS, "Write"]),
    "bad token": (stand_in.BAD_TOKEN, [], 17, [TOKENS, "HF_TOKEN"]),
    "token that reads": (stand_in.READ_TOKEN, [], 32, [TOKENS, "Read", "Write", "HF_TOKEN in place of the old one"]),
    "fine-grained token": (stand_in.FINE_GRAINED_TOKEN, [], 32, [TOKENS, "someone"]),
    "fine-grained token, other namespace": (stand_in.FINE_WRITE_TOKEN, ["team/my-chat"], 32, [TOKENS, "team"]),
    "somebody else's name": (stand_in.GOOD_TOKEN, ["strangers/my-chat"], 33, ["strangers", "someone, team"]),
    "an organisation that lets only read": (stand_in.GOOD_TOKEN, ["readers/my-chat"], 33, ["readers"]),
    "free CPU": (stand_in.GOOD_TOKEN, ["--hardware", "cpu-basic"], 34, ["--hardware zero-a10g", "PRO"]),
    "no way to pay": (stand_in.GOOD_TOKEN, ["--hardware", "t4-small"], 34, ["zero-a10g", "settings/billing"]),
    "no name": (stand_in.GOOD_TOKEN, ["..."], 35, ["..."]),
    "no value for a secret": (stand_in.GOOD_TOKEN, ["--secret", "KEY"], 38, ["KEY"]),
    "no name for a secret": (stand_in.GOOD_TOKEN, ["--secret", "a-b"], 38, ["a-b"]),
    "a folder as model": (stand_in.GOOD_TOKEN, ["--model", "hfdemo"], 2, ["hfdemo"]),
}


@pytest.mark.parametrize(
    ("case", "language"), [(case, "en") for case in REFUSED] + [(case, "ko") for case in list(REFUSED)[::3]]
)
def test_what_can_t_be_is_told_with_the_next_step_and_leaves_nothing_behind(publish, hub, case, language):
    token, arguments, status, parts = REFUSED[case]
    name = [] if arguments and not arguments[0].startswith("--") else ["my-chat"]
    text = publish(*name, *arguments, "--language", language, token=token, status=status)
    last = text.splitlines()[-1]
    assert [part for part in parts if part not in last] == [], last
    assert any("\uac00" <= letter <= "\ud7a3" for letter in last) == (language == "ko")
    assert hub.spaces.by_id == {}
    assert changes(hub) in ([], ["POST /api/repos/create"])


def test_an_organisation_and_a_fine_grained_token_with_the_right_will_do(publish, hub):
    publish("team/my-chat")
    publish("my-chat", token=stand_in.FINE_WRITE_TOKEN)
    assert set(hub.spaces.by_id) == {"team/my-chat", "someone/my-chat"}


@pytest.mark.parametrize(
    ("status", "words", "ends_with", "parts"),
    [
        (402, "You have 2 ZeroGPU Spaces already", 34, ["2 ZeroGPU Spaces already", "30 days"]),
        (403, "ZeroGPU needs a subscription", 34, ["needs a subscription", "30 days"]),
        (403, "You can't do that", 33, ["You can't do that", TOKENS]),
        (409, "You already created this space repo", 35, ["already"]),
        (429, "slow down", 22, ["seconds"]),
        (400, "That name is reserved", 24, ["That name is reserved", "400"]),
        (500, "Internal Error", 24, ["500"]),
    ],
)
def test_the_hub_s_own_refusals_are_told_in_its_words(publish, hub, status, words, ends_with, parts):
    hub.refuse_once("/api/repos/create", status, words)
    text = publish("my-chat", "--language", "en", status=ends_with)
    assert [part for part in parts if part not in text.splitlines()[-1]] == [], text
    assert hub.spaces.by_id == {}


def test_a_limit_and_a_hub_out_of_reach_are_told(publish, hub):
    hub.rate_limit(55)
    assert "55 seconds" in publish("my-chat", "--language", "en", status=22)
    hub.rate_limit(None)
    hub.down = "hangs up"
    assert hub.url in publish("my-chat", status=23)
    assert "HF_HUB_OFFLINE" in publish("my-chat", status=23, HF_HUB_OFFLINE="1")


def test_another_program_under_this_name_is_not_overwritten(publish, hub):
    hub.spaces.by_id["someone/my-chat"] = Space(files={"app.py": b"print('mine')"}, hardware="cpu-basic")
    text = publish("my-chat", "--language", "en", status=35)
    assert "another program" in text
    assert changes(hub) == []
    assert space(hub).files == {"app.py": b"print('mine')"}


def test_an_empty_space_that_was_made_before_is_filled(publish, hub):
    hub.spaces.by_id["someone/my-chat"] = Space(files={"README.md": b""}, hardware=ZERO_GPU)
    publish("my-chat")
    assert "app.py" in space(hub).files
    assert not [request for request in changes(hub) if "create" in request]


@pytest.mark.parametrize(
    ("file", "old", "new", "parts"),
    [
        ("README.md", "emoji: 💬", "emoji: chat", ["emoji: 💬"]),
        ("README.md", 'python_version: "3.12.12"', "python_version: 3.10", ['python_version: "3.12.12"']),
        ("README.md", "app_file: app.py", "app_file: main.py", ["main.py"]),
        ("requirements.txt", "torch>=2.8,<2.14", "torch>=2.12", ["2.8.0, 2.9.1, 2.10.0, 2.11.0"]),
        ("requirements.txt", "torch>=2.8,<2.14", "-r more.txt", ["more.txt"]),
    ],
)
def test_what_a_space_would_not_take_is_told_before_anything_is_sent(publish, hub, folder, file, old, new, parts):
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), "utf-8")
    told = publish("my-chat", "--language", "en", status=36)
    assert [part for part in parts if part not in told] == [], told
    assert "Problems to fix, listed above: 1." in told
    assert changes(hub) == []


def test_a_program_without_a_gpu_function_is_refused_for_zerogpu_only(publish, hub, folder):
    app = (folder / "app.py").read_text("utf-8").replace("spaces.GPU", "str")
    (folder / "app.py").write_text(app, "utf-8")
    for path in (folder / "hfdemo").rglob("*.py"):
        path.write_text(path.read_text("utf-8").replace("spaces.GPU", "str"), "utf-8")
    assert "@spaces.GPU" in publish("my-chat", "--language", "en", status=36)
    publish("my-chat", "--hardware", "t4-small", token=stand_in.PAYING_TOKEN)


def test_what_only_the_hub_knows_of_the_readme_is_told_before_the_space_is_made(publish, hub):
    hub.spaces.metadata_errors = ['"license" must be one of the known ones']
    text = publish("my-chat", status=36)
    assert '"license" must be one of the known ones' in text
    assert changes(hub) == []


def test_keys_in_the_files_are_refused_by_file_and_line_and_not_shown(publish, hub, folder):
    leaked = "hf_" + "leaked" * 5
    with (folder / "app.py").open("a", encoding="utf-8") as app:
        app.write(f"\nTOKEN = '{leaked}'\n")
    (folder / "hfdemo" / "words" / "key.toml").write_text(f"a = 1\nkey = '{SECRET}'\n")
    line = len((folder / "app.py").read_text("utf-8").splitlines())
    text = publish("my-chat", "--secret", "KEY", "--language", "en", status=37, KEY=SECRET)
    assert f"app.py, line {line}: a secret key (Hugging Face)" in text
    assert "hfdemo/words/key.toml, line 2: a secret key (KEY)" in text
    assert leaked not in text
    assert changes(hub) == []


def test_a_token_outside_of_what_is_sent_is_no_hindrance(publish, hub, folder):
    assert stand_in.READ_TOKEN in (folder / ".env").read_text()
    publish("my-chat")
    assert not [name for name, content in space(hub).files.items() if stand_in.READ_TOKEN.encode() in content]


@pytest.mark.parametrize(
    ("stage", "log", "other"),
    [
        ("BUILD_ERROR", "build", "run"),
        ("CONFIG_ERROR", "build", "run"),
        ("NO_APP_FILE", "build", "run"),
        ("RUNTIME_ERROR", "run", "build"),
        ("PAUSED", "run", "build"),
        ("STOPPED", "run", "build"),
        ("DELETING", "run", "build"),
    ],
)
def test_a_space_that_fails_is_told_with_the_end_of_its_log_without_keys(publish, hub, stage, log, other):
    hub.spaces.script = ["BUILDING", stage]
    hub.spaces.error_message = f"it was {stage} 🔥"
    hub.spaces.logs[log] = [f"line {number}\n" for number in range(30)]
    hub.spaces.logs[log] += [f"\x1b[31mERROR\x1b[0m: {stand_in.READ_TOKEN} {SECRET}\r\n", "the end\n"]
    hub.spaces.logs[other] = ["the other log\n"]
    text = publish("my-chat", "--secret", "KEY", "--language", "en", status=39, KEY=SECRET)
    assert "| ERROR: *** ***\n" in text and "\x1b" not in text
    assert "line 29\n" in text and "line 5\n" not in text
    assert "the other log" not in text
    assert (hub.spaces.error_message in text) == stage.endswith("_ERROR")
    assert stage in text.splitlines()[-1]
    assert f"{hub.url}/spaces/someone/my-chat?logs=" in text.splitlines()[-1]


def test_a_log_that_the_hub_doesn_t_give_is_done_without(publish, hub):
    hub.spaces.script = ["BUILDING", "BUILD_ERROR"]
    hub.refuse_once("/logs/build", 403, "Forbidden")
    publish("my-chat", status=39)


def test_a_space_that_takes_too_long_is_told_with_its_stage(publish, hub):
    hub.spaces.script = ["BUILDING"]
    hub.spaces.logs["build"] = ["Collecting torch\n"]
    text = publish("my-chat", "--wait", "2", "--language", "en", status=40)
    assert "Collecting torch" in text
    assert "after 2 seconds" in text and "BUILDING" in text.splitlines()[-1]


@pytest.mark.parametrize("old", ["BUILD_ERROR", "RUNNING", "NO_APP_FILE"])
def test_the_end_of_an_old_build_is_not_taken_for_that_of_the_new_one(publish, hub, folder, old, engine):
    publish("my-chat")
    space(hub).stages = [(old, "e" * 40)]
    hub.spaces.lag = 2
    hub.spaces.script = ["BUILDING", "RUNNING"]
    (folder / "hfdemo" / "new.py").write_text("")
    text = publish("my-chat", "--language", "en")
    assert text.index("building: ") < text.index("It answered")
    assert space(hub).restarts == []


@pytest.mark.parametrize(
    ("stage", "anew"),
    [("SLEEPING", False), ("PAUSED", False), ("STOPPED", False), ("RUNTIME_ERROR", False), ("BUILD_ERROR", True)],
)
def test_a_space_at_rest_is_started_again(publish, hub, stage, anew):
    publish("my-chat")
    space(hub).stages = [(stage, space(hub).sha)]
    hub.spaces.script = ["APP_STARTING", "RUNNING"]
    text = publish("my-chat", "--language", "en")
    assert space(hub).restarts == [anew]
    assert "is not running" in text
    assert len(space(hub).commits) == 1


def test_a_hub_that_stumbles_while_waiting_is_asked_again(publish, hub):
    hub.spaces.script = ["BUILDING", "RUNNING"]
    hub.refuse_once("/runtime", 503, "Service Unavailable")
    hub.refuse_once("/runtime", 429, "Too many requests")
    publish("my-chat")


def test_a_space_that_runs_and_says_what_is_wrong_is_told_in_its_own_words(publish, engine):
    engine.enqueue(GenerationFailed("generation"))
    text = publish("my-chat", "--language", "ko", status=41)
    assert "답변을 생성하는 중에 모델에서 오류가 났습니다" in text.splitlines()[-1]


def test_a_space_that_runs_and_answers_nothing_is_told(publish, engine):
    engine.enqueue(" ")
    publish("my-chat", status=41)


def test_a_space_that_runs_and_has_no_page_is_told(publish, hub):
    hub.spaces.page_url = ""
    text = publish("my-chat", "--wait", "2", "--language", "en", status=41)
    assert "is running, but doesn't answer" in text


def test_a_space_whose_answer_takes_too_long_is_told_at_once(publish, engine):
    engine.enqueue(60.0, "late")
    begun = time.monotonic()
    publish("my-chat", "--wait", "3", status=41)
    assert time.monotonic() - begun < 40


def test_a_private_space_is_made_and_talked_to_with_the_token(publish, hub, engine):
    text = publish("my-chat", "--private", "--language", "en")
    assert space(hub).created["visibility"] == "private"
    assert "private" in text
    assert len(engine.requests) == 1
    assert all(hub.spaces.host_saw_token)


def test_a_space_with_a_password_is_talked_to_with_it(publish, hub):
    engine, port = ScriptedEngine(), free_port()
    page = scripted_page(engine)
    settings = Settings(password=SECRET)
    launch(page, settings, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    hub.spaces.page_url = f"http://127.0.0.1:{port}"
    publish("my-chat", "--secret", "HFDEMO_PASSWORD", HFDEMO_PASSWORD=SECRET)
    assert len(engine.requests) == 1
    assert "asks visitors to sign in" in publish("my-chat", "--language", "en"), "nobody has said the password"
    publish("my-chat", HFDEMO_PASSWORD=SECRET)
    assert len(engine.requests) == 2
    page.close()


def test_the_password_of_a_chat_on_this_machine_is_none_of_a_spaces(publish, engine):
    publish("my-chat", HFDEMO_PASSWORD=SECRET)
    assert len(engine.requests) == 1


@pytest.fixture
def page_with_sign_in(hub) -> Iterator[None]:
    """In every Space, a page that only users of the Hub get into."""
    app = SignIn(Starlette(), {}, HubSignIn(Starlette(), ["anna"]))
    with serve_app(app) as hub.spaces.page_url:
        yield


def front_matter(hub: Hub) -> dict[str, Any]:
    return yaml.safe_load(space(hub).files["README.md"].decode().split("---")[1])


def test_a_space_that_lets_users_of_the_hub_in_has_its_sign_in(publish, hub, page_with_sign_in):
    text = publish("my-chat", "--secret", "HFDEMO_ALLOWED_USERS", "--language", "en", HFDEMO_ALLOWED_USERS="anna")
    assert front_matter(hub)["hf_oauth"] is True
    assert "HFDEMO_ALLOWED_USERS is set: README.md is sent with hf_oauth: true" in text
    assert "asks visitors to sign in" in text
    publish("my-chat")
    assert len(space(hub).commits) == 1, "the Space has the setting, so the README stays"


def test_a_setting_made_on_the_space_s_page_brings_the_sign_in(publish, hub, page_with_sign_in, program):
    hub.spaces.page_url, with_sign_in = program[1], hub.spaces.page_url
    publish("my-chat")
    assert "hf_oauth" not in front_matter(hub)
    space(hub).variables["HFDEMO_ALLOWED_USERS"] = "anna"
    hub.spaces.page_url = with_sign_in
    publish("my-chat")
    assert front_matter(hub)["hf_oauth"] is True
    publish("my-chat", "--dry-run")


def test_a_space_whose_visitors_pay_asks_them_to_allow_it(publish, hub, page_with_sign_in, program):
    hub.spaces.page_url, with_sign_in = program[1], hub.spaces.page_url
    publish("my-chat")
    space(hub).variables["HFDEMO_CREDIT"] = "host"
    publish("my-chat")
    assert len(space(hub).commits) == 1
    space(hub).variables["HFDEMO_CREDIT"] = "visitor"
    hub.spaces.page_url = with_sign_in
    assert "HFDEMO_CREDIT is set" in publish("my-chat", "--language", "en")
    assert (front_matter(hub)["hf_oauth"], front_matter(hub)["hf_oauth_scopes"]) == (True, ["inference-api"])


def test_a_page_that_should_ask_to_sign_in_and_does_not_is_told(publish, hub):
    publish("my-chat", "--secret", "HFDEMO_ALLOWED_USERS", "--wait", "2", status=41, HFDEMO_ALLOWED_USERS="anna")


@pytest.mark.parametrize(
    ("arguments", "name", "title"),
    [
        (["채팅 데모"], "someone/chaeting-demo", "채팅 데모"),
        (["team/나의 첫 챗봇!"], "team/naui-cheot-chaetbot", "나의 첫 챗봇!"),
        (["my-chat", "--title", '그녀의 "첫" 챗봇: 1'], "someone/my-chat", '그녀의 "첫" 챗봇: 1'),
        (["my-chat"], "someone/my-chat", "hfdemo"),
    ],
    ids=["Korean", "in an organisation", "with marks that YAML knows", "as in README.md"],
)
def test_titles_are_kept_and_names_are_made_of_them(publish, hub, arguments, name, title):
    publish(*arguments)
    assert list(hub.spaces.by_id) == [name]
    readme = space(hub, name).files["README.md"].decode()
    assert yaml.safe_load(readme.split("---")[1])["title"] == title
    publish(*arguments)
    assert len(space(hub, name).commits) == 1, "a title is no change the second time"


def test_a_dry_run_finds_out_that_the_hub_has_no_such_model(publish):
    text = publish("my-chat", "--dry-run", "--model", "org/modell", "--language", "en", status=19)
    assert "There is no model org/modell on the Hub" in text.splitlines()[-1], text


def test_a_dry_run_tells_exactly_what_would_be_sent_and_sends_nothing(publish, hub, folder):
    arguments = ["채팅", "--dry-run", "--verbose", "--secret", "KEY", "--model", "org/model", "--language", "en"]
    text = publish(*arguments)
    assert [request for request in hub.requests if not request.startswith(("GET ", "HEAD "))] == []
    assert hub.spaces.by_id == {}
    size = len((folder / "app.py").read_bytes())
    for part in (
        f"+ app.py ({size / 1000:.1f} kB)",
        "someone/chaeting",
        ZERO_GPU,
        "HFDEMO_MODEL = org/model",
        "* KEY",
    ):
        assert part in text
    predicted = [line.split(" ")[3] for line in text.splitlines() if line.startswith("  + ")]
    publish("채팅")
    assert sorted(space(hub, "someone/chaeting").commits[0]["added"]) == sorted(predicted)
    (folder / "LICENSE").write_text("changed\n")
    again = publish(*arguments)
    assert [line.split(" ")[3] for line in again.splitlines() if line.startswith("  + ")] == ["LICENSE"]


def test_a_dry_run_does_without_a_token_and_without_the_hub(publish, hub):
    hub.down = "hangs up"
    text = publish("my-chat", "--dry-run", "--verbose", "--language", "en", token=None, status=31)
    assert "+ app.py" in text and TOKENS in text
    assert TOKENS in text.splitlines()[-1], "the problem is what is read last"


def test_a_dry_run_sums_up_and_repeats_its_problems_last(publish, folder):
    (folder / "requirements.txt").write_text("gradio>=6.31,<6.32\ntransformers\na package\nnot-here-at-all>=1\n")
    text = publish("my-chat", "--dry-run", "--language", "en", status=36)
    assert "+ app.py" not in text and "Files to send: " in text
    assert "transformers has no upper limit; transformers==" in text
    assert "'a package' can't be read" in text and "not-here-at-all>=1 has no upper limit" in text
    assert text.splitlines()[-1].startswith("✗ A Space would reject this folder. Problems to fix, listed above: 2")
    listed = publish("my-chat", "--dry-run", "--verbose", "--language", "en", status=36).splitlines()
    assert "+ app.py" in " ".join(listed[:-3]) and [line[:3] for line in listed[-3:-1]] == ["  -", "  -"]


@pytest.mark.parametrize("content", ["", "# later\n", "numpy>=1,<3\n", "gradio>=6.31,<6.32\n"])
def test_requirements_without_what_the_program_needs_are_refused(publish, folder, content):
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "requirements.txt").write_text(content)
    text = publish("my-chat", "--dry-run", "--language", "en", status=36)
    assert "names none of the packages the program needs: accelerate, gguf, " in text


def test_the_name_of_a_secret_that_no_space_can_have_is_refused_in_a_dry_run_too(publish):
    text = publish("my-chat", "--dry-run", "--secret", "1 key", "--language", "en", status=38)
    assert "1 key" in text


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["for real", "dry run"])
def test_a_secret_that_is_given_with_its_name_is_not_shown(publish, options):
    text = publish("my-chat", *options, "--secret", f"KEY={SECRET}", "--language", "en", status=38)
    assert "Give only the name, --secret KEY:" in text


def test_a_dry_run_finds_a_secret_in_the_files(publish, folder):
    (folder / "hfdemo" / "extra.py").write_text(f'key = "{SECRET}"\n')
    text = publish("my-chat", "--dry-run", "--secret", "KEY", "--language", "en", status=37, KEY=SECRET)
    assert "hfdemo/extra.py" in text and "KEY" in text


def test_a_model_without_a_name_is_refused(publish, hub):
    assert "No model is named" in publish("my-chat", "--model", "", "--language", "en", status=2)
    assert not hub.spaces.by_id


def test_what_a_space_does_not_install_needs_no_limit(publish, hub, folder):
    lines = (folder / "requirements.txt").read_text()
    windows, limited = 'pywin32; sys_platform == "win32"', 'packaging; sys_platform != "win32"'
    (folder / "requirements.txt").write_text(f"{lines}{windows}\n{limited}\n")
    publish("my-chat")
    sent = space(hub).files["requirements.txt"].decode().splitlines()
    assert windows in sent
    assert f'packaging=={version("packaging")}; sys_platform != "win32"' in sent


def test_a_byte_order_mark_hides_nothing(publish, hub, folder):
    for name in ("README.md", "requirements.txt"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    publish("my-chat")
    sent = space(hub).files
    assert sent["README.md"].startswith(b"---\ntitle: ")
    assert not sent["requirements.txt"].startswith(b"\xef")


def test_links_in_the_readme_work_on_the_space(publish, hub, folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text('[remote "origin"]\n\turl = git@example.com:me/chat.git\n')
    publish("my-chat")
    readme = space(hub).files["README.md"].decode()
    page = f"{hub.url}/spaces/someone/my-chat"
    assert f'src="{page}/resolve/main/docs/images/chat-en.png"' in readme
    assert f"]({page}/blob/main/README.ko.md)" in readme
    assert f"]({page}/blob/main/docs/tutorial.en.md)" in readme
    assert "](https://example.com/me/chat/blob/HEAD/notebooks/hfdemo.ipynb)" in readme
    tutorial = space(hub).files["docs/tutorial.en.md"].decode()
    assert f"]({page}/blob/main/README.md)" in tutorial
    assert f'src="{page}/resolve/main/docs/images/tutorial-en.png"' in tutorial
    for file in (readme, tutorial):
        assert not re.search(r"\]\((?!https?://|#)", file)


def test_hardware_that_there_is_not_is_told_with_what_there_is(publish, hub):
    text = publish("my-chat", "--hardware", "t4", "--language", "en", status=34)
    assert "t4-small" in text and changes(hub) == []


def test_a_title_reaches_the_page(publish, hub):
    publish("my-chat", "--title", "Ask me")
    assert {"key": "HFDEMO_TITLE", "value": "Ask me"} in space(hub).created["variables"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_ends_the_waiting_kindly(publish, hub, tmp_path):
    hub.spaces.script = ["BUILDING"]
    with open(os.devnull) as nothing, (tmp_path / "written").open("wb") as written:
        files = [nothing.fileno(), written.fileno(), written.fileno()]
        process = publish.begin("my-chat", "--language", "en", files=files)
    wait_until(lambda: any("/runtime" in request for request in hub.requests), 60)
    process.send_signal(signal.SIGINT)
    status, text = process.wait(30), (tmp_path / "written").read_text("utf-8")
    assert status == 130, text
    assert "on the Hub continues" in text and "Traceback" not in text
