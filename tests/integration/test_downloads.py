"""A download can be cancelled, cut, killed or begun twice: the next start goes on with it, and the file is right."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.conftest import wait_until
from tests.hub import Model
from tests.integration.conftest import Machine, Tiny
from tests.integration.local import save_tiny_model

WEIGHTS = "model.safetensors"

FETCH = """
from hfdemo.models.check import check_model
from hfdemo.models.choose import parse_model
from hfdemo.models.download import fetch_model
from hfdemo.models.explain import explain_load_error
from hfdemo.settings import Settings

source = parse_model("org/tiny")
checked = check_model(source, Settings())
print(checked.plan.download_bytes)
try:
    print(fetch_model(checked.source, missing=checked.missing).folder)
except Exception as error:
    raise SystemExit(explain_load_error(error, source).key)
"""

ENGINE = """
import json, sys, time
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.settings import Settings
from tests.integration.local import Local

engine = Local(Settings(model="org/tiny"))
engine.load()

def wait_for(stage):
    while engine.status().stage != stage:
        assert engine.status().stage != "failed", engine.status()
        time.sleep(0.02)

def reply():
    message = Message("user", "What is the capital of Korea?")
    asked = ChatRequest((message,), "", Options(temperature=0, max_new_tokens=24), cache_key="chat")
    return "".join(delta.text for delta in engine.stream(asked, StopSignal()))
"""


@dataclass
class Downloads:
    """What a machine has of the weights."""

    machine: Machine
    content: bytes
    """The weights as they should be."""

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def partial(self) -> Path:
        return self.machine.home / "hub" / "models--org--tiny" / "blobs" / f"{self.sha256}.incomplete"

    def partial_bytes(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def leave(self, content: bytes) -> None:
        """Leave what a download leaves that was killed."""
        self.partial.parent.mkdir(parents=True)
        self.partial.write_bytes(content)

    def assert_whole(self, folder: str) -> None:
        """See that the weights are there as they should be, and that nothing else is left."""
        assert (Path(folder) / WEIGHTS).read_bytes() == self.content
        assert list(self.partial.parent.glob("*.incomplete")) == []

    def resumed_at(self) -> list[int]:
        """Return where the parts began that were asked for; the Hub is asked, and then its CDN."""
        return [int(part.removeprefix("bytes=").split("-")[0]) for part in dict.fromkeys(self.machine.hub.ranges)]

    def count(self) -> int:
        return self.machine.hub.requests.count(f"GET /cdn/org/tiny/{WEIGHTS}")


@pytest.fixture(scope="module")
def light(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A model of which there is something to fetch, some 60 MB, and what it answers."""
    folder = save_tiny_model(tmp_path_factory.mktemp("light"), "llama", embedded_model, certain=True, hidden_size=160)
    return Tiny.at(folder)


@pytest.fixture
def downloads(machine: Machine, light: Tiny) -> Downloads:
    """The machine, whose Hub has the light model as org/tiny."""
    machine.hub.models["org/tiny"] = Model(light.folder)
    return Downloads(machine, (light.folder / WEIGHTS).read_bytes())


def test_a_download_that_is_cut_goes_on_within_the_same_start(machine, downloads):
    machine.hub.cut_after(50_000_000)
    downloads.assert_whole(machine.run(FETCH)[-1])
    assert [40_000_000 < start <= 50_000_000 for start in downloads.resumed_at()] == [True]
    assert machine.hub.cdn_saw_authorization == [False, False]


def test_a_download_that_was_killed_goes_on_at_the_next_start_and_less_is_to_come(machine, downloads):
    machine.hub.bytes_per_s = 20e6
    started = machine.begin(FETCH)
    wait_until(lambda: downloads.partial_bytes() > 30_000_000 or started.process.poll() is not None, 120)
    started.process.kill()
    assert started.process.wait() < 0, started.errors.read_text("utf-8")
    machine.hub.bytes_per_s = None
    machine.hub.ranges.clear()
    had = downloads.partial_bytes()
    to_come, folder = machine.run(FETCH)
    downloads.assert_whole(folder)
    assert downloads.resumed_at() == [had]
    assert had > 30_000_000
    small_bytes = 10_000_000  # the tokenizer's files
    assert 0 < int(to_come) - (downloads.size - had) < small_bytes


def test_a_download_goes_on_after_the_network_was_gone_for_longer_than_the_client_tries(machine, downloads):
    machine.hub.bytes_per_s = 20e6
    machine.hub.cut_after(20_000_000)
    started = machine.begin(FETCH)
    wait_until(lambda: downloads.partial_bytes() > 2_000_000, 120)
    machine.hub.down = "hangs up"
    status = started.process.wait(120)
    assert (status, started.errors.read_text("utf-8").splitlines()[-1]) == (1, "hub_unreachable_for")
    machine.hub.down, machine.hub.bytes_per_s = False, None
    machine.hub.ranges.clear()
    downloads.assert_whole(machine.run(FETCH)[-1])
    assert [10_000_000 < start <= 20_000_000 for start in downloads.resumed_at()] == [True]


CANCEL_AND_TRY_AGAIN = (
    ENGINE
    + """
while not (engine.status().stage == "downloading" and engine.status().done_bytes > 20_000_000):
    assert engine.status().stage in ("resolving", "checking", "downloading"), engine.status()
    time.sleep(0.02)
while not engine.status().bytes_per_s:
    time.sleep(0.02)
now = engine.status()
begun = time.monotonic()
engine.cancel()
wait_for("cancelled")
print(now.file, now.total_bytes, now.plan.fits, time.monotonic() - begun < 2)
engine.load()
wait_for("downloading")
while not engine.status().total_bytes:
    time.sleep(0.001)
print(engine.status().done_bytes >= 19_000_000)
wait_for("ready")
print(reply())
"""
)


def test_a_download_shows_its_progress_and_goes_on_after_it_was_cancelled(machine, downloads, light):
    machine.hub.bytes_per_s = 40e6
    progress, has_what_came, answer = machine.run(CANCEL_AND_TRY_AGAIN)
    file, total, fits, soon = progress.split()
    assert (file, fits, soon) == (WEIGHTS, "True", "True")
    assert int(total) > downloads.size
    assert has_what_came == "True"
    assert [start >= 19_000_000 for start in downloads.resumed_at()] == [True]
    assert answer == light.reply


def test_an_adapter_is_fetched_with_its_base(machine, downloads, light, tmp_path):
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(light.folder), LoraConfig(target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = "org/tiny"
    model.save_pretrained(tmp_path / "lora")  # its second matrix is all zeros, so it changes nothing yet
    machine.hub.models["org/lora"] = Model(tmp_path / "lora")
    for adapter in ("org/lora", str(tmp_path / "lora")):
        shutil.rmtree(machine.home / "hub", ignore_errors=True)
        program = ENGINE.replace('"org/tiny"', repr(adapter)) + "print(reply())"
        assert machine.run(program) == [light.reply]


def test_a_new_commit_with_the_same_weights_needs_no_room_for_them(machine, downloads):
    machine.run(FETCH)
    snapshots = machine.home / "hub" / "models--org--tiny" / "snapshots"
    (folder,) = snapshots.iterdir()
    folder.rename(snapshots / ("b" * 40))
    (snapshots.parent / "refs" / "main").write_text("b" * 40)
    to_come, folder = machine.run(FETCH)
    assert int(to_come) < 10_000_000 < downloads.size
    assert downloads.count() == 1
    downloads.assert_whole(folder)


def test_two_starts_at_once_go_on_with_one_download(machine, downloads):
    downloads.leave(downloads.content[:30_000_000])
    machine.hub.bytes_per_s = 60e6
    starts = [machine.begin(FETCH) for _ in range(2)]
    folders = {start.lines()[-1] for start in starts}
    assert len(folders) == 1
    downloads.assert_whole(folders.pop())
    assert (downloads.resumed_at(), downloads.count()) == ([30_000_000], 1)


def test_two_first_starts_at_once_both_answer(machine, downloads, light):
    machine.hub.bytes_per_s = 60e6
    starts = [machine.begin(ENGINE + "print(reply())") for _ in range(2)]
    assert [start.lines() for start in starts] == [[light.reply], [light.reply]]
    assert downloads.count() == 1
    downloads.assert_whole(str(next((machine.home / "hub" / "models--org--tiny" / "snapshots").iterdir())))


@pytest.mark.parametrize("damage", ["in part", "whole", "too long"])
def test_what_is_left_of_a_download_and_damaged_is_fetched_anew(machine, downloads, damage):
    size = {"in part": 5_000_000, "whole": downloads.size, "too long": downloads.size + 1}[damage]
    downloads.leave(b"damaged".ljust(size, b"\0"))
    downloads.assert_whole(machine.run(FETCH)[-1])


def test_without_links_the_file_is_there_once(machine, downloads):
    downloads.leave(downloads.content[:5_000_000])
    _, folder = machine.run(FETCH, HF_HUB_DISABLE_SYMLINKS="1")
    downloads.assert_whole(folder)
    assert not (Path(folder) / WEIGHTS).is_symlink()
    large = [path for path in machine.home.rglob("*") if path.is_file() and path.stat().st_size > 50_000_000]
    assert large == [Path(folder) / WEIGHTS]
    assert downloads.resumed_at() == [5_000_000]


FULL_DISK = (
    ENGINE
    + """
import errno, os, pathlib
home = pathlib.Path(os.environ["HF_HOME"])
while not (engine.status().stage == "downloading" and engine.status().done_bytes > 10_000_000):
    assert engine.status().stage in ("resolving", "checking", "downloading"), engine.status()
    time.sleep(0.02)
junk = home / "junk"
with junk.open("wb", buffering=0) as file:  # whoever of the two meets the full disk first, the download does, too
    try:
        while engine.status().stage == "downloading":
            file.write(bytes(1_000_000))
    except OSError as full:
        assert full.errno == errno.ENOSPC
while engine.status().stage != "failed":
    assert engine.status().stage == "downloading", engine.status()
    time.sleep(0.02)
from hfdemo.commands.terminal import exit_status
error = engine.status().error
print(json.dumps([error.key, exit_status(error), error.text("en"), error.text("ko")]))
print([path.name for path in home.rglob("*.incomplete")])
junk.unlink()
engine.load()
wait_for("ready")
print(reply())
"""
)


def in_own_disk(size_mb: int, folder: Path) -> list[str]:
    """Return the words before a command that give it a disk of its own at a folder; others see nothing of it."""
    mount = f'mount -t tmpfs -o size={size_mb}m none "{folder}" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]


def can_have_own_disk(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*in_own_disk(1, folder), "true"], capture_output=True, check=False).returncode == 0


def test_a_disk_that_fills_up_meanwhile_is_told_and_is_no_trouble_for_the_next_start(machine, downloads, light):
    machine.home.mkdir()
    if not can_have_own_disk(machine.home):
        pytest.skip("this system lets nobody mount a disk of their own")
    size_mb = downloads.size // 1_000_000 + 600  # the check before the download wants some to spare
    machine.hub.bytes_per_s = 5e6  # the disk is full long before all has come
    started = machine.begin(FULL_DISK, *in_own_disk(size_mb, machine.home))
    wait_until(lambda: downloads.count() == 2 or started.process.poll() is not None, 120, "the next start's download")
    machine.hub.bytes_per_s = None
    told, left, answer = started.lines()
    key, status, english, korean = json.loads(told)
    assert (key, status) == ("disk_ran_full", 25)
    assert str(machine.home) in english and "no space left" in english and "HF_HOME" in english
    assert str(machine.home) in korean and "남은 공간이 없습니다" in korean
    assert left == "[]", "what had come takes no room any more"
    assert answer == light.reply
