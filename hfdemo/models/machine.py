"""What this machine has for a model: memory, disk, GPU, and how fast its memory is read."""

import importlib.util
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from hfdemo.compute.torch_private import multiplies_bfloat16
from hfdemo.models.hub_private import constants
from hfdemo.models.plan import Machine
from hfdemo.settings import Platform

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux lists how much memory a container may use."""

OWN_CGROUPS = Path("/proc/self/cgroup")
"""Where Linux lists the groups that this program is in, one on a line: `0::/user.slice/app.scope`."""

ZEROGPU_BYTES = 48_000_000_000
"""Half of an RTX Pro 6000, ZeroGPU's default size; when a Space starts, it has no GPU yet to ask.
Source: https://huggingface.co/docs/hub/spaces-zerogpu."""
ZEROGPU_BYTES_PER_S = 1.3e12

USUAL_GPU_BYTES_PER_S = 300e9
"""A T4's, where the driver doesn't say."""

SHARE_REACHED = 0.75
"""How much of its peak memory bandwidth a GPU reaches while it reads weights."""

PACKING_PAYS = ("AVX2", "AVX512")
"""PyTorch's kernel for packed weights is written for these CPUs; on others it takes one number at a time, ten times
slower.
Source: aten/src/ATen/native/cpu/int4mm_kernel.cpp."""

MPS_BYTES_PER_S = 100e9
"""An M2's."""


def look_at_machine(platform: Platform) -> Machine:
    """Return what is free now for this program and its model.

    What this program holds itself counts as free, because a new model replaces the loaded one. The first call measures
    the CPU's speed for about a tenth of a second. Make it in the thread that computes: PyTorch gets slower once it has
    computed in a second one.
    """
    cpu_dtype = "bfloat16" if bfloat16_pays() else "float32"
    memory = psutil.virtual_memory()
    limited = list(_cgroup_limits(CGROUPS, OWN_CGROUPS))
    machine = Machine(
        platform=platform,
        ram_free=min([memory.available, *(free for _, free in limited)]) + _own_bytes(),
        ram_total=min([memory.total, *(limit for limit, _ in limited)]),
        disk_free=shutil.disk_usage(_existing(Path(constants.HF_HUB_CACHE))).free,
        cpu_dtype=cpu_dtype,
        bytes_per_s=_cpu_bytes_per_s(cpu_dtype),
        packing_pays=torch.backends.cpu.get_cpu_capability() in PACKING_PAYS,
        can_quantize=can_quantize(),
    )
    return _with_gpu(machine)


def bfloat16_pays() -> bool:
    """Tell whether this CPU multiplies in bfloat16 without taking one number at a time.

    A token costs as much as reading all weights, and bfloat16 halves that; yet on a CPU that can't, it is many times
    slower than float32. PyTorch's library for products, oneDNN, says it: AVX-512 will do, also without instructions
    for bfloat16, as will ARM's extension. Source: `mkldnn_bf16_device_check` in aten/src/ATen/native/mkldnn/Utils.h.
    """
    try:
        return bool(multiplies_bfloat16())
    except (AttributeError, RuntimeError):  # a PyTorch without oneDNN
        return False


@cache
def _cpu_bytes_per_s(dtype: str) -> float:
    """Measure how fast this CPU reads weights, with more of them than fit into its cache."""
    row, weight = (torch.ones(rows, 4096, dtype=getattr(torch, dtype)) for rows in (1, 16384))
    return weight.nbytes / min(_seconds_of_product(row, weight) for _ in range(4))


def _seconds_of_product(row: torch.Tensor, weight: torch.Tensor) -> float:
    start = time.perf_counter()
    torch.nn.functional.linear(row, weight)
    return time.perf_counter() - start


def _with_gpu(machine: Machine) -> Machine:
    if machine.platform == "zerogpu":
        return replace(
            machine,
            gpu_name="ZeroGPU",
            gpu_free=ZEROGPU_BYTES,
            gpu_capability=(12, 0),
            bytes_per_s=ZEROGPU_BYTES_PER_S,
        )
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return replace(
            machine,
            gpu_name=gpu.name,
            gpu_free=torch.cuda.mem_get_info(0)[0] + torch.cuda.memory_reserved(0),
            gpu_capability=(gpu.major, gpu.minor),
            bytes_per_s=_gpu_bytes_per_s(gpu),
        )
    if torch.backends.mps.is_available():
        return replace(machine, mps=True, bytes_per_s=MPS_BYTES_PER_S)
    return machine


def _gpu_bytes_per_s(gpu: object) -> float:
    """Return how fast weights are read: the memory's clock in kHz, two transfers a tick, times its width in bits."""
    clock, width = (float(getattr(gpu, name, 0)) for name in ("memory_clock_rate", "memory_bus_width"))
    peak = 2 * clock * 1000 * width / 8
    return SHARE_REACHED * peak if peak else USUAL_GPU_BYTES_PER_S


@cache
def can_quantize() -> bool:
    """Tell whether bitsandbytes is installed and has a library for this machine."""
    if importlib.util.find_spec("bitsandbytes") is None or torch.backends.mps.is_available():
        return False
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about optional kernels on CPUs
    try:
        from bitsandbytes.cextension import BNBNativeLibrary, lib
    except Exception:  # it is broken, or not built for this system
        return False
    return isinstance(lib, BNBNativeLibrary)  # otherwise a placeholder for a missing library


def _own_bytes() -> int:
    """Return the memory that only this program holds; pages of files, such as weights, count as free anyway."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_full_info().uss)


def _cgroup_limits(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit and the free bytes of each group this program is in, if the group has a limit.

    A group's usage includes files that the system caches while there is space; these count as free.
    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/memory.html.
    """
    for folder, limit_file, used_file, prefix in _cgroup_folders(root, own):
        limit = _read_number(folder / limit_file)
        used = _read_number(folder / used_file)
        if limit is None or used is None or limit >= 2**60:  # v1 writes "no limit" as a huge number
            continue
        files = _read_file_bytes(folder / "memory.stat", prefix)
        yield limit, max(0, limit - max(0, used - files))


def _cgroup_folders(root: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Yield the folders of this program's groups and their parents, with the names of their files and fields."""
    try:
        lines = own.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = ["0::/", "1:memory:/"]
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, names = root, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        folder = top / path.strip("/")
        for group in (folder, *folder.parents):
            yield group, *names
            if group == top:
                break


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # it doesn't exist, or says "max"
        return None


def _read_file_bytes(stat: Path, prefix: str) -> int:
    """Return the bytes of files in a group's memory; shared memory is not among them."""
    try:
        pairs = (line.split() for line in stat.read_text("ascii").splitlines())
        return sum(int(value) for name, value in pairs if name in (f"{prefix}active_file", f"{prefix}inactive_file"))
    except (OSError, ValueError):
        return 0


def _existing(folder: Path) -> Path:
    """Return a folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
