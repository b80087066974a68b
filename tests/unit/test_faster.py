"""What is faster is measured once for each CPU, also beside other work, and kept."""

import json
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import cached_assets_path

from hfdemo.commands.cpu import cpu_line
from hfdemo.compute import faster as module
from hfdemo.compute.decoder import _are_faster_apart, attend
from hfdemo.compute.faster import Choice, faster, read_choices
from hfdemo.models.plan import Machine
from hfdemo.words import say
from tests.conftest import quickest


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(module, "cached_assets_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(module, "_found", {})
    return tmp_path / "choices.json"


class Ways:
    """Two ways of which one takes longer."""

    def __init__(self, slow_s: float = 0.004) -> None:
        self.calls = 0
        self.both = {"slow": lambda: self._work(slow_s), "quick": lambda: self._work(0.001)}

    def _work(self, seconds: float) -> None:
        self.calls += 1
        time.sleep(seconds)


def test_the_way_that_takes_the_least_time_is_found_and_kept(file, monkeypatch):
    ways = Ways()
    assert faster("which?", ways.both) == "quick"
    assert json.loads(file.read_text()) == {module._place(): {"which?": "quick"}}
    assert read_choices() == [Choice("which?", {}, "quick")]
    before = ways.calls
    assert faster("which?", ways.both) == "quick"
    monkeypatch.setattr(module, "_found", {})  # another start
    assert faster("which?", ways.both) == "quick"
    assert ways.calls == before


def test_another_cpu_is_measured_for_itself(file, monkeypatch):
    faster("which?", Ways().both)
    monkeypatch.setattr(module, "_found", {})
    monkeypatch.setattr(module, "this_cpu", lambda: "another")
    assert read_choices() == []
    ways = Ways()
    assert faster("which?", ways.both) == "quick" and ways.calls
    assert len(json.loads(file.read_text())) == 2


@pytest.mark.parametrize(
    "change", [{"amx_tile": False}, {"avx512_bf16": None}, {"l2_cache_size": 1}, {"cpu_name": "Other"}, {"new": True}]
)
def test_a_cpu_of_the_same_name_with_other_features_is_another(monkeypatch, change):
    features = {"cpu_name": "Intel Xeon", "amx_tile": True, "avx512_bf16": True, "l2_cache_size": 2**21}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    before = module.this_cpu()
    assert module.this_cpu() == before and before.startswith("Intel Xeon ")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features | change)
    assert module.this_cpu() != before


def test_other_kernels_on_the_same_cpu_are_another(monkeypatch):
    before = module.this_cpu()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    assert module.this_cpu() != before


@pytest.mark.parametrize("content", ["", "[1]", '{"x": 3}', "{broken"])
def test_a_broken_file_is_measured_over(file, content):
    file.write_text(content.replace('"x"', json.dumps(module._place())))
    assert faster("which?", Ways().both) == "quick"
    assert read_choices() == [Choice("which?", {}, "quick")]


def test_a_way_that_there_is_no_more_is_measured_anew(file):
    file.write_text(json.dumps({module._place(): {"which?": "gone"}}))
    assert faster("which?", Ways().both) == "quick"


@pytest.mark.parametrize("home", ["/proc/no/such/folder", __file__])
def test_without_a_disk_it_is_measured_all_the_same(home, monkeypatch):
    monkeypatch.setattr(module, "_found", {})
    monkeypatch.setattr(module, "cached_assets_path", partial(cached_assets_path, assets_dir=home))
    assert faster("which?", Ways().both) == "quick"
    assert read_choices() == []


def test_one_question_takes_little_time(file):
    questions = count()

    def ask_s() -> float:
        began = time.monotonic()
        faster(f"which {next(questions)}?", Ways(slow_s=0.02).both)
        return time.monotonic() - began

    assert quickest(ask_s, 1) < 1


def test_in_one_thread_the_time_that_it_computes_counts(file):
    def compute() -> None:
        for _ in range(100_000):
            pass

    threads = torch.get_num_threads()
    ways = {"computes": compute, "waits": lambda: time.sleep(0.02)}
    assert faster("which?", ways, in_one_thread=True) == "waits"
    assert faster("which, by the clock?", ways) == "computes"
    assert torch.get_num_threads() == threads


def test_work_beside_it_changes_nothing(file, monkeypatch):
    """Twenty starts beside a busy core find the same."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            found = set()
            for _ in range(20):
                file.unlink(missing_ok=True)
                monkeypatch.setattr(module, "_found", {})
                found.add(faster("which?", Ways(slow_s=0.003).both))
        finally:
            busy.kill()
    assert found == {"quick"}


@pytest.mark.parametrize("shape", [(9, 3), (8, 4), (16, 8), (32, 4)])
def test_both_ways_of_attention_are_the_same(file, shape):
    heads, kv_heads = shape
    torch.manual_seed(0)
    qkv, view = torch.randn(1, heads + 2 * kv_heads, 16), torch.randn(1, 2 * kv_heads, 20, 16)
    found: list[Any] = [attend(qkv, [view.clone()], 0, apart, 0, 0.25) for apart in (False, True)]
    torch.testing.assert_close(*found)
    assert isinstance(_are_faster_apart(heads, kv_heads, 16, torch.float32), bool)
    facts = {"heads": str(heads), "kv_heads": str(kv_heads), "size": "16", "dtype": "float32"}
    [choice] = read_choices()
    assert (choice.question, choice.facts) == ("attention", facts) and choice.way in ("together", "apart")


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "Measured here as faster:\n    16 rows of float32 by a weight of int8: by the unpacked weight"),
        ("ko", "이 CPU에서 더 빠르다고 측정된 방식:\n    int8 가중치와 float32 행 16개의 곱: 되돌린 가중치로"),
    ],
)
def test_what_was_found_is_told_in_each_language(file, language, told):
    ways = Ways().both
    faster("rows", {"packed": ways["slow"], "unpacked": ways["quick"]}, rows=16, weight="int8", dtype="float32")
    faster("of an earlier version: which?", ways)
    line = cpu_line(Machine(ram_free=10**10, disk_free=10**10), language)
    assert line == f"{say('doctor.cpu', language, dtype='bfloat16')} {told}"


def test_another_version_of_what_is_measured_measures_anew(file, monkeypatch):
    faster("which?", Ways().both)
    monkeypatch.setattr(module, "_program", lambda: "another")
    assert read_choices() == []
    monkeypatch.setattr(module, "_found", {})
    faster("which?", Ways().both)
    assert len(json.loads(file.read_text())) == 2
