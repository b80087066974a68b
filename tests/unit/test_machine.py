"""What this machine has: its own numbers, and those of containers and GPUs that it isn't."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from huggingface_hub import constants

from hfdemo.models import machine as machine_module
from hfdemo.models.machine import can_quantize, look_at_machine
from tests.conftest import run_program

GB = 10**9


def write_group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return the folder of the machine's groups, and a function that says which of them is this program's."""
    own = tmp_path / "own"
    monkeypatch.setattr(machine_module, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_module, "OWN_CGROUPS", own)
    monkeypatch.setattr(machine_module, "_own_bytes", lambda: 0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * GB, available=12 * GB))
    return tmp_path / "cgroup", own.write_text


@pytest.fixture
def on_gpu(monkeypatch):
    def have(name: str, capability: tuple[int, int], free: int, reserved: int = 0, **properties: int) -> None:
        gpu = SimpleNamespace(name=name, major=capability[0], minor=capability[1], **properties)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free, 2 * free))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: reserved)

    return have


def test_this_machine():
    found = look_at_machine("local")
    assert found.platform == "local"
    assert 0 < found.ram_free <= found.ram_total <= psutil.virtual_memory().total
    assert found.disk_free > 0
    assert found.cpu_dtype in ("bfloat16", "float32")
    assert 1e8 < found.bytes_per_s < 1e13


@pytest.mark.parametrize(("capability", "pays"), [("AVX512", True), ("AVX2", True), ("DEFAULT", False)])
def test_weights_are_packed_for_cpus_that_the_kernel_is_written_for(monkeypatch, capability, pays):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert look_at_machine("local").packing_pays == pays


def test_a_program_with_a_limit_of_its_own(groups):
    folder, say_own = groups
    say_own("0::/\n")
    write_group(
        folder,
        memory__max=8 * GB,
        memory__current=5 * GB,
        memory__stat=f"anon 1\nactive_file {GB}\ninactive_file {GB}",
    )
    found = look_at_machine("local")
    assert found.ram_total == 8 * GB
    assert found.ram_free == 5 * GB  # the files in memory give way


def test_the_narrowest_group_counts(groups):
    folder, say_own = groups
    say_own("1:name=systemd:/ignored\n0::/user.slice/app.scope\n")
    write_group(folder / "user.slice" / "app.scope", memory__max="max", memory__current=GB, memory__stat="")
    write_group(folder / "user.slice", memory__max=4 * GB, memory__current=3 * GB, memory__stat="")
    assert look_at_machine("local").ram_free == GB


def test_version_1_of_the_groups(groups):
    folder, say_own = groups
    say_own("5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n")
    write_group(
        folder / "memory",
        memory__limit_in_bytes=2 * GB,
        memory__usage_in_bytes=GB,
        memory__stat=f"inactive_file 1\ntotal_inactive_file {GB // 2}",
    )
    write_group(folder / "memory/docker/a", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=1)
    found = look_at_machine("local")
    assert (found.ram_total, found.ram_free) == (2 * GB, 3 * GB // 2)


def test_no_groups_at_all(groups):
    found = look_at_machine("local")
    assert (found.ram_total, found.ram_free) == (16 * GB, 12 * GB)


def test_a_group_that_is_over_its_limit(groups):
    folder, say_own = groups
    say_own("0::/\n")
    write_group(folder, memory__max=GB, memory__current=2 * GB)
    assert look_at_machine("local").ram_free == 0


def test_what_the_program_holds_counts_as_free():
    before = machine_module._own_bytes()
    held = torch.ones(300_000_000, dtype=torch.uint8)
    assert machine_module._own_bytes() - before == pytest.approx(held.nbytes, rel=0.2)


def test_a_gpu(on_gpu):
    on_gpu("Tesla T4", (7, 5), 15 * GB, memory_clock_rate=5_001_000, memory_bus_width=256)
    found = look_at_machine("colab")
    assert (found.gpu_name, found.gpu_capability, found.gpu_free) == ("Tesla T4", (7, 5), 15 * GB)
    assert found.bytes_per_s == pytest.approx(0.75 * 320e9, rel=0.01)


def test_the_model_on_the_gpu_gives_way_to_another(on_gpu):
    on_gpu("GPU", (8, 9), 10 * GB, reserved=9 * GB)
    assert look_at_machine("local").gpu_free == 19 * GB


def test_a_gpu_whose_speed_is_unknown(on_gpu):
    on_gpu("GPU", (8, 9), GB)
    assert look_at_machine("local").bytes_per_s == 300e9


def test_zerogpu_has_no_gpu_yet():
    found = look_at_machine("zerogpu")
    assert found.gpu_name == "ZeroGPU"
    assert found.gpu_free == 48 * GB


def test_an_apple_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert look_at_machine("local").mps


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "not" / "there"))
    assert look_at_machine("local").disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=GB)


def test_bitsandbytes_is_not_installed(monkeypatch):
    can_quantize.cache_clear()
    monkeypatch.setattr(machine_module.importlib.util, "find_spec", lambda name: None)
    assert not can_quantize()
    can_quantize.cache_clear()


@pytest.mark.parametrize("problem", [ImportError("x"), RuntimeError("no library"), OSError("libcudart")])
def test_bitsandbytes_is_broken(monkeypatch, problem):
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise problem

    can_quantize.cache_clear()
    monkeypatch.setattr(machine_module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "bitsandbytes.cextension", Broken())
    assert not can_quantize()
    can_quantize.cache_clear()


FREED = """
import psutil, torch
from hfdemo.compute.allocator import PROMPT_BLOCK_BYTES, free_at_once, reuse_freed

def held_after_use():
    before = psutil.Process().memory_info().rss
    blocks = [torch.ones(2_000_000) for _ in range(3)]
    assert sum(float(block.sum()) for block in blocks) == 6_000_000
    del blocks
    return psutil.Process().memory_info().rss - before

held_after_use()  # the first time, PyTorch makes its threads
free_at_once()
print(held_after_use())
reuse_freed(PROMPT_BLOCK_BYTES)
print(sum(held_after_use() for _ in range(5)))
"""


def test_what_is_freed_is_given_back_at_once_or_kept_for_the_next():
    at_once, kept = map(int, run_program(FREED).stdout.split())  # where no other test has left threads that allocate
    assert at_once < 1_000_000
    assert kept < 2**25 + 1_000_000, "no more is kept, however often it is used"
