"""Why a model can't be had is told apart case by case, by the running commands against a Hub that says no."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from tests import hub as stand_in
from tests.conftest import wait_until
from tests.hub import Hub, Model, serve
from tests.warm import Process, WarmPython, the_warm_python, warm_python

LLAMA_8B = json.dumps(
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    }
).encode()
BERT = json.dumps({"architectures": ["BertForMaskedLM"], "model_type": "bert"}).encode()
OWN_CODE = json.dumps(
    {"architectures": ["NewForCausalLM"], "model_type": "new", "auto_map": {"AutoModelForCausalLM": "new.New"}}
).encode()
SIGN_IN = "https://huggingface.co"


def config(**changes: object) -> bytes:
    return (
        LlamaConfig(
            architectures=["LlamaForCausalLM"],
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=64,
            **changes,
        )
        .to_json_string()
        .encode()
    )


@pytest.fixture(scope="module")
def hub(embedded_model: Path) -> Iterator[Hub]:
    tiny = {"config.json": config(), "model.safetensors": b"\2\0\0\0\0\0\0\0{}", "tokenizer.json": b""}
    big = {"config.json": LLAMA_8B, "tokenizer.json": b""}
    total = 8_030_261_248
    llama = {"parameters": {"BF16": total}, "total": total}
    models = {
        "org/open": Model(embedded_model),
        "org/gated": Model(tiny, gated="manual"),
        "org/disabled": Model(tiny, disabled=True),
        "org/hidden": Model(tiny, disabled=True, hides_info=False),
        "org/llama-8b": Model(big, sizes={"model.safetensors": 2 * total}, safetensors=llama),
        "org/huge": Model(big, sizes={"model.safetensors": 10**15}, safetensors=llama),
        "org/bert": Model({"config.json": BERT, "model.safetensors": b""}, pipeline_tag="fill-mask"),
        "org/code": Model({"config.json": OWN_CODE, "model.safetensors": b""}),
        "org/pickled": Model({"config.json": config(), "pytorch_model.bin": b""}),
        "org/ggufs": Model({"a-Q4_K_M.gguf": b"GGUF", "b.gguf": b"GGUF"}),
        "org/picture": Model({"model_index.json": b"{}"}, pipeline_tag="text-to-image"),
    }
    with serve(Hub(models)) as hub:
        yield hub


@dataclass
class Answer:
    status: int
    text: str


def environ_of(hub: Hub, home: Path) -> dict[str, str]:
    """Return the environment of a machine with nothing in its cache and no access token."""
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFDEMO_"))}
    return cleared | hub.environ | {"HF_HOME": str(home), "LANG": "C.UTF-8"}


IMPORTS = "from hfdemo.commands.terminal import prepare_terminal; prepare_terminal(); import hfdemo.models.check\n"


@pytest.fixture(scope="module")
def python(hub: Hub, shared_home: Path) -> Iterator[WarmPython]:
    with warm_python(IMPORTS, environ_of(hub, shared_home)) as warm:
        yield warm


def answer_of(status: int, text: str, secret: str | None) -> Answer:
    """Return what a command said, which must not hold the secret."""
    assert "Traceback" not in text, text
    assert secret is None or secret not in text
    return Answer(status, text)


@pytest.fixture
def ask(hub: Hub, python: WarmPython, home: Path) -> Iterator:
    """Run a command as nobody's terminal would."""

    def run(command: str, *arguments: str, token: str | None = None) -> Answer:
        environ = environ_of(hub, home) | ({"HF_TOKEN": token} if token else {})
        return answer_of(*python.run(["-m", "hfdemo", command, *arguments], environ), token)

    yield run
    hub.down = False
    hub.rate_limit(None)


@pytest.fixture
def ask_anew(hub: Hub, home: Path) -> Iterator:
    """The same where libraries read the environment as they are imported."""

    def run(command: str, *arguments: str, **environ: str) -> Answer:
        asked = ["-m", "hfdemo", command, *arguments]
        return answer_of(*the_warm_python().run(asked, environ_of(hub, home) | environ), None)

    return run


TOKENS = f"{SIGN_IN}/settings/tokens"
CASES = {
    "1 gated, no token": ("org/gated", None, 11, [f"{SIGN_IN}/org/gated", TOKENS, "doctor org/gated"]),
    "2 gated, not asked": ("org/gated", stand_in.NOT_ASKED_TOKEN, 12, [f"{SIGN_IN}/org/gated"]),
    "3 gated, pending": ("org/gated", stand_in.PENDING_TOKEN, 13, [f"{SIGN_IN}/settings/gated-repos"]),
    "4 gated, rejected": ("org/gated", stand_in.REJECTED_TOKEN, 14, [f"{SIGN_IN}/settings/gated-repos"]),
    "5 gated, reset": ("org/gated", stand_in.RESET_TOKEN, 15, [f"{SIGN_IN}/org/gated"]),
    "6 fine-grained token": ("org/gated", stand_in.FINE_GRAINED_TOKEN, 16, [TOKENS]),
    "7 bad token": ("org/open", stand_in.BAD_TOKEN, 17, [TOKENS, "HF_TOKEN"]),
    "8 missing, no token": ("org/missing", None, 18, [f"{SIGN_IN}/org/missing", TOKENS]),
    "9 missing, good token": ("org/missing", stand_in.GOOD_TOKEN, 19, [f"{SIGN_IN}/org/missing"]),
    "10 no such revision": ("org/open@nope", None, 20, ["'nope'", f"{SIGN_IN}/org/open/refs"]),
    "10 no such file": ("org/open/no.gguf", None, 20, ["org/open"]),
    "11 disabled": ("org/disabled", stand_in.GOOD_TOKEN, 21, [f"{SIGN_IN}/org/disabled"]),
    "11 disabled, description open": ("org/hidden", None, 21, [f"{SIGN_IN}/org/hidden"]),
    "15 disk full": ("org/huge", None, 25, ["1000000.0 GB", "HF_HOME"]),
    "not made for text": ("org/bert", None, 26, ["fill-mask", f"{SIGN_IN}/models?pipeline_tag=text-generation"]),
    "a picture model": ("org/picture", None, 26, ["org/picture"]),
    "own code": ("org/code", None, 26, ["code of its own"]),
    "pickled": ("org/pickled", None, 26, ["HFDEMO_ALLOW_PICKLE=1"]),
    "GGUF files": ("org/ggufs", None, 26, ["org/ggufs/a-Q4_K_M.gguf", "b.gguf"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_told_with_its_next_step(ask, case):
    model, token, status, parts = CASES[case]
    answer = ask("doctor", model, token=token)
    assert answer.status == status, answer.text
    assert [part for part in parts if part not in answer.text] == [], answer.text


@pytest.mark.parametrize("case", ["1 gated, no token", "4 gated, rejected", "7 bad token", "9 missing, good token"])
def test_each_case_is_told_in_korean_too(ask, case):
    model, token, status, parts = CASES[case]
    answer = ask("doctor", model, "--language", "ko", token=token)
    assert answer.status == status
    assert [part for part in parts if part not in answer.text] == [], answer.text
    assert any("\uac00" <= letter <= "\ud7a3" for letter in answer.text.splitlines()[-1])


def test_each_case_has_a_text_of_its_own(ask):
    texts = {case: ask("check", CASES[case][0], token=CASES[case][1]).text for case in list(CASES)[:9]}
    assert len(set(texts.values())) == 9, texts


def test_a_rate_limit_is_told_with_the_seconds(ask, hub):
    hub.rate_limit(55)
    answer = ask("doctor", "org/open")
    assert (answer.status, "55 seconds" in answer.text, TOKENS in answer.text) == (22, True, True), answer.text


@pytest.mark.parametrize("down", ["503", "hangs up"])
def test_a_hub_that_is_down_is_told(ask, hub, down):
    hub.down = down
    assert ask("doctor", "org/open").status == (24 if down == "503" else 23)


def test_no_network_and_offline_mode_are_told(ask_anew):
    assert ask_anew("check", "org/open", HF_ENDPOINT="https://127.0.0.1:9").status == 23
    assert ask_anew("check", "org/open", HF_HUB_OFFLINE="1").status == 23


def test_a_question_that_is_refused_once_is_asked_again(ask, hub):
    hub.refuse_once("/api/models/org/open")
    answer = ask("doctor", "org/open")
    assert answer.status == 0, answer.text
    assert hub.requests.count("GET /api/models/org/open") >= 2


def test_a_disk_that_cant_be_written_is_told(ask_anew, tmp_path):
    (tmp_path / "file").write_text("no folder")
    answer = ask_anew("doctor", "org/open", HF_HOME=str(tmp_path / "file"))
    assert answer.status == 25, answer.text
    assert "can't write to" in answer.text


def test_the_packed_weights_that_are_kept_are_listed(ask_anew, tmp_path, embedded_model):
    shelf = tmp_path / "assets" / "hfdemo" / "packed"
    home = {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    answer = ask_anew("doctor", str(embedded_model), **home)
    assert f"✓ Packed weights at {shelf}, so that the next start is quicker: none yet; at most 10.0 GB" in answer.text
    shelf.mkdir(parents=True)
    for number, name in enumerate(("org/older", "org/newer")):
        save_file(
            {"weight": torch.zeros(25_000_000, dtype=torch.uint8)}, shelf / f"{number}.safetensors", {"model": name}
        )
        os.utime(shelf / f"{number}.safetensors", (number, number))
    answer = ask_anew("doctor", str(embedded_model), HFDEMO_PACKED_CACHE_GB="3", HFDEMO_LANGUAGE="ko", **home)
    assert f"{shelf}에 보관한" in answer.text
    assert re.search(r"org/newer \(25 MB\), org/older \(25 MB\)\. 모두 합쳐 최대 3\.0 GB", answer.text), answer.text
    answer = ask_anew("doctor", str(embedded_model), HFDEMO_PACKED_CACHE_GB="0", **home)
    assert "HFDEMO_PACKED_CACHE_GB is 0" in answer.text and "org/newer" not in answer.text


def test_without_the_hub_the_doctor_says_what_start_would_do(ask_anew):
    answer = ask_anew("doctor", HF_ENDPOINT="https://127.0.0.1:9", PATH=os.environ["PATH"])
    assert answer.status == 23, answer.text
    for part in ("can't be reached", "small demo model", "doctor FOLDER"):
        assert part in answer.text


def test_in_offline_mode_the_doctor_says_what_start_would_do_and_sends_nobody_to_the_network(ask_anew):
    answer = ask_anew("doctor", HF_HUB_OFFLINE="1")
    assert answer.status == 23, answer.text
    for part in ("So start would chat with a small demo model", "Unset HF_HUB_OFFLINE", "doctor FOLDER"):
        assert part in answer.text
    assert "internet" not in answer.text


def test_a_model_that_is_here_needs_no_disk_to_write_on(ask_anew, tmp_path, embedded_model):
    (tmp_path / "file").write_text("no folder")
    answer = ask_anew("doctor", str(embedded_model), HF_HOME=str(tmp_path / "file"))
    assert answer.status == 0, answer.text
    assert "! hfdemo can't write to" in answer.text and "All is well" in answer.text


def test_a_token_is_taken_without_what_is_around_it_and_one_that_cant_be_is_told(ask, embedded_model):
    answer = ask("doctor", str(embedded_model), token=f"\ufeff{stand_in.READ_TOKEN}\u200b")
    assert (answer.status, "belongs to someone" in answer.text) == (0, True), answer.text
    answer = ask("doctor", str(embedded_model), token="토큰")
    assert (answer.status, "The access token from HF_TOKEN is not valid" in answer.text) == (17, True), answer.text


def test_no_name_is_refused_and_an_address_is_taken(ask):
    assert ask("check", "").status == 2
    assert ask("check", "https://huggingface.co/org/open/tree/main").status == 0


def test_the_commands_and_the_menu_say_the_same_of_a_broken_folder(ask, tmp_path, embedded_model):
    folder = Path(shutil.copytree(embedded_model, tmp_path / "broken"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4096])
    check, doctor = (ask(command, str(folder)) for command in ("check", "doctor"))
    assert (check.status, doctor.status) == (26, 26)
    assert "model.safetensors in " in check.text and "is cut off" in check.text
    assert check.text.splitlines()[-1] in doctor.text
    assert "All is well" not in doctor.text


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_never_run_not_even_at_a_terminal(
    at_terminal_with, embedded_model, tmp_path, file
):
    folder = Path(shutil.copytree(embedded_model, tmp_path / "evil"))
    content = json.loads((folder / file).read_text())
    changes = {
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    }
    changes |= {"model_type": "evil"} if file == "config.json" else {"tokenizer_class": "EvilTokenizer"}
    (folder / file).write_text(json.dumps(content | changes))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nC = M = T = object\n")
    (tmp_path / "messages.json").write_text('[{"role": "user", "content": "Hi"}]')
    terminal = at_terminal_with("prompt", "--model", str(folder), str(tmp_path / "messages.json"))
    shown = terminal.read_until("\0 never")
    assert "[y/N]" not in shown and "evil needs code of its own" in shown
    assert not (tmp_path / "marker").exists()


def test_all_is_well_with_an_open_model_and_says_whose_the_token_is(ask):
    answer = ask("doctor", "org/open", token=stand_in.READ_TOKEN)
    assert answer.status == 0, answer.text
    for part in ("transformers ", "someone", "read", "HF_TOKEN", "free", "All is well"):
        assert part in answer.text
    assert ask("doctor", "org/gated", token=stand_in.GOOD_TOKEN).status == 0


@pytest.mark.parametrize(("language", "line"), [("en", "✓ Model: "), ("ko", "✓ 모델: ")])
def test_the_doctor_says_which_model_would_run(ask_anew, embedded_model, language, line):
    answer = ask_anew("doctor", HFDEMO_MODEL=str(embedded_model), HFDEMO_LANGUAGE=language)
    assert f"{line}{embedded_model.name}\n" in answer.text and answer.status == 0, answer.text


def test_a_template_that_there_is_not_is_one_that_cant_be_used(ask_anew, embedded_model):
    answer = ask_anew("check", str(embedded_model), HFDEMO_CHAT_TEMPLATE="nonesuch")
    assert (answer.status, "'nonesuch'" in answer.text) == (28, True), answer.text


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is here")
def test_a_package_that_is_missing_for_fewer_bits_has_its_status(ask_anew, embedded_model):
    answer = ask_anew("check", str(embedded_model), "--quantize", "4bit")
    assert (answer.status, "needs the bitsandbytes package" in answer.text) == (26, True), answer.text


def bytes_of_8b(linears: float, head_and_embedding: float) -> int:
    """Return the bytes of Llama 8B's weights, if one takes so many in its linear layers, and in head and embedding."""
    tables = 2 * 128_256 * 4096
    norms = 65 * 4096
    return int(linears * (8_030_261_248 - tables - norms)) + int(head_and_embedding * tables) + 2 * norms


def test_a_check_downloads_no_weights_and_tells_the_plan(ask, hub):
    hub.requests.clear()
    answer = ask("check", "org/llama-8b", "--json", "--context", "8192", "--quantize", "off")
    plan = json.loads(answer.text.splitlines()[0])
    assert plan["facts"]["parameters"] == 8_030_261_248
    assert plan["weights_bytes"] in (
        bytes_of_8b(1.125, 1.125),
        bytes_of_8b(0.625, 1.125),
        bytes_of_8b(2, 2),
        4 * 8_030_261_248,
    )
    assert plan["cache_bytes"] == 8192 * 131_072 * (2 if plan["dtype"] == "float32" else 1)
    assert plan["download_bytes"] == 2 * 8_030_261_248  # the configuration was read, so that it is here already
    assert not [request for request in hub.requests if "safetensors" in request]
    assert answer.status == (0 if plan["fits"] else 25 if not plan["disk_fits"] else 27)


def test_a_model_too_big_is_told_before_the_download_with_what_would_fit(ask, tmp_path):
    big = json.loads(LLAMA_8B) | {"num_hidden_layers": 800}
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(big))
    import torch

    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    answer = ask("check", str(folder), "--quantize", "off")
    assert answer.status == 27, answer.text
    assert re.search("Models that fit: .*(Qwen/Qwen3|SmolLM2)", answer.text)


@dataclass
class Terminal:
    """The doctor at a terminal, where somebody types."""

    process: Process
    screen: int
    """The other end of the terminal: what is read is shown, what is written is typed."""

    def read_until(self, text: str) -> str:
        """Return what is shown up to some text, or to the end if it doesn't come."""
        shown, deadline = b"", time.monotonic() + 60
        while text.encode() not in shown and time.monotonic() < deadline:
            try:
                shown += os.read(self.screen, 4096)
            except OSError:  # the doctor has ended
                break
        return shown.decode()

    def type(self, text: str) -> str:
        """Type a line, and return all that is shown from then on."""
        os.write(self.screen, f"{text}\n".encode())
        shown = self.read_until("\0 never")
        self.process.wait(60)
        return shown


@pytest.fixture
def at_terminal(at_terminal_with) -> Iterator:
    yield lambda *arguments: at_terminal_with("doctor", *arguments)


@pytest.fixture
def at_terminal_with(hub: Hub, python: WarmPython, home: Path) -> Iterator:
    pty = pytest.importorskip("pty", reason="Windows has other terminals")
    opened: list[Terminal] = []

    def begin(*arguments: str) -> Terminal:
        screen, terminal = pty.openpty()
        process = python.begin(["-m", "hfdemo", *arguments], environ_of(hub, home), [terminal] * 3)
        os.close(terminal)
        opened.append(Terminal(process, screen))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait(60)
        os.close(terminal.screen)


@pytest.mark.parametrize(("language", "prompt"), [("en", "Access token (not shown"), ("ko", "액세스 토큰(")])
def test_a_token_that_is_typed_is_not_shown_and_is_kept_and_used(at_terminal, ask, home, language, prompt):
    terminal = at_terminal("org/gated", "--language", language)
    before = terminal.read_until(prompt)
    assert f"{SIGN_IN}/org/gated" in before and TOKENS in before
    assert prompt in before
    after = terminal.type(stand_in.GOOD_TOKEN)
    assert terminal.process.returncode == 0, after
    assert "someone" in after and "hf auth login" in after
    assert stand_in.GOOD_TOKEN not in before + after
    kept = home / "token"
    assert kept.read_text() == stand_in.GOOD_TOKEN
    assert kept.stat().st_mode & 0o077 == 0
    again = ask("doctor", "org/gated")
    assert (again.status, "hf auth login" in again.text) == (0, True), again.text


def test_a_token_without_the_right_is_replaced_by_one_that_is_typed(at_terminal, ask, home):
    home.mkdir()
    (home / "token").write_text(stand_in.FINE_GRAINED_TOKEN)
    terminal = at_terminal("org/gated", "--language", "en")
    before = terminal.read_until("Access token (not shown")
    assert "doctor org/gated to enter it" in before, before
    after = terminal.type(stand_in.GOOD_TOKEN)
    assert terminal.process.returncode == 0, after
    assert (home / "token").read_text() == stand_in.GOOD_TOKEN


@pytest.mark.parametrize(
    ("typed", "status", "part"),
    [
        (stand_in.BAD_TOKEN, 17, "that you typed is not valid"),
        ("토큰", 17, "not valid"),
        ("", 11, "accept its licence"),
    ],
    ids=["bad token", "no token at all", "nothing"],
)
def test_what_is_typed_and_is_no_token_is_told_and_not_kept(at_terminal, home, typed, status, part):
    terminal = at_terminal("org/gated", "--language", "en")
    before = terminal.read_until("Access token (not shown")
    after = terminal.type(typed)
    assert (terminal.process.returncode, part in after) == (status, True), after
    assert "Traceback" not in after
    assert not typed or typed not in before + after
    assert not (home / "token").exists()


def test_ctrl_c_at_the_question_lets_the_terminal_show_again_what_is_typed(at_terminal):
    termios = pytest.importorskip("termios", reason="Windows has other terminals")
    terminal = at_terminal("org/gated", "--language", "en")
    echo = termios.tcgetattr(terminal.screen)[3] & termios.ECHO
    terminal.read_until("Access token (not shown")
    wait_until(lambda: not termios.tcgetattr(terminal.screen)[3] & termios.ECHO, 10, "the question")
    os.kill(terminal.process.pid, signal.SIGINT)
    after = terminal.read_until("Stopped.")
    assert "Stopped." in after and "Traceback" not in after
    assert terminal.process.wait(60) == 130
    assert echo and termios.tcgetattr(terminal.screen)[3] & termios.ECHO


COLAB = """
import builtins, sys, types
from importlib.machinery import ModuleSpec

class Shell:
    def __str__(self):
        return "<google.colab._shell.Shell object>"

class NotebookAccessError(Exception):
    pass

class SecretNotFoundError(Exception):
    pass

def get(name):
    assert name == "HF_TOKEN"
    if sys.argv[1] == "denied":
        raise NotebookAccessError
    if sys.argv[1] == "none":
        raise SecretNotFoundError
    return sys.argv[1]

builtins.get_ipython = Shell
google, colab = types.ModuleType("google"), types.ModuleType("google.colab")
colab.userdata = types.SimpleNamespace(
    get=get, NotebookAccessError=NotebookAccessError, SecretNotFoundError=SecretNotFoundError
)
google.__spec__, colab.__spec__ = (ModuleSpec(name, None) for name in ("google", "google.colab"))  # others look
errors = types.ModuleType("google.colab.errors")
errors.Error = type("Error", (Exception,), {})
sys.modules |= {"google": google, "google.colab": colab, "google.colab.errors": errors}
"""
"""What a notebook on Colab is to huggingface_hub; the vault's answer is an argument."""

DOCTOR = """
import sys
from hfdemo.commands import doctor
sys.exit(doctor.run("org/gated", sys.argv[2]))
"""


@pytest.fixture(scope="module")
def ask_on_colab(hub: Hub, shared_home: Path) -> Iterator:
    environ = environ_of(hub, shared_home) | {"COLAB_RELEASE_TAG": "release-colab-2026"}
    with warm_python(COLAB + IMPORTS, environ) as python:

        def ask(answer: str, language: str = "en") -> Answer:
            secret = answer if answer.startswith("hf_") else None
            return answer_of(*python.run(["-c", DOCTOR, answer, language], environ), secret)

        yield ask


def test_the_token_in_the_vault_of_colab_is_taken_and_named_so(ask_on_colab, home):
    answer = ask_on_colab(stand_in.GOOD_TOKEN)
    assert answer.status == 0, answer.text
    assert "Access token from Colab: belongs to someone" in answer.text
    bad = ask_on_colab(stand_in.BAD_TOKEN)
    assert (bad.status, "The access token from Colab is not valid" in bad.text) == (17, True), bad.text
    assert "click the key icon in Colab's left sidebar" in bad.text


@pytest.mark.parametrize("vault", ["denied", "none"])
@pytest.mark.parametrize(
    ("language", "part"), [("en", "allow this notebook to use it"), ("ko", "이 노트북의 접근을 허용한 뒤")]
)
def test_a_vault_of_colab_that_gives_no_token_is_told_kindly(ask_on_colab, home, vault, language, part):
    answer = ask_on_colab(vault, language)
    assert answer.status == 11, answer.text
    assert part in answer.text and TOKENS in answer.text
    assert ("restart the session" if language == "en" else "세션을 다시 시작") in answer.text
