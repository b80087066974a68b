"""Can weights that are stored quantized be loaded here? The loader's own code decides, before any are downloaded."""

import importlib.util
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from packaging.utils import canonicalize_name

from hfdemo.errors import ModelLoadError, install_command
from hfdemo.models.plan import Machine

PACKAGES: Mapping[str, Mapping[str, str]] = {
    "aqlm": {"aqlm": "aqlm[gpu,cpu]"},
    "auto-round": {"auto_round": "auto-round"},
    "awq": {"gptqmodel": "gptqmodel"},
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "eetq": {"kernels": "kernels"},
    "fbgemm_fp8": {"fbgemm_gpu": "fbgemm-gpu"},
    "fp_quant": {"fp_quant": "fp_quant"},
    "gptq": {"gptqmodel": "gptqmodel", "optimum": "optimum"},
    "higgs": {"flute": "flute-kernel", "fast_hadamard_transform": "fast_hadamard_transform"},
    "hqq": {"hqq": "hqq"},
    "quanto": {"optimum.quanto": "optimum-quanto"},
    "quark": {"quark": "amd-quark"},
    "sinq": {"sinq": "sinq"},
    "spqr": {"spqr_quant": "spqr_quant[gpu]"},
    "torchao": {"torchao": "torchao"},
    "vptq": {"vptq": "vptq"},
}
"""What transformers imports for each way to store weights, and the package that has it.
Source: transformers 5.24, `quantizers/quantizer_*.py`, `validate_environment`."""


def stored_quantization(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a config.json says about how the weights are quantized, or None if they aren't."""
    text = config.get("text_config")
    parts = (config, text if isinstance(text, dict) else {})
    names = ("quantization_config", "compression_config", "quantization")  # the last one is MLX's
    found = (part.get(name) for name in names for part in parts)
    value = next((value for value in found if value), None)
    return value if value is None or isinstance(value, dict) else {"quant_method": str(value)}


def quantization_method(config: Mapping[str, Any]) -> str | None:
    """Return how the stored weights are quantized, such as `awq`; None if they aren't."""
    found = stored_quantization(config)
    if found is None:
        return None
    if found.get("load_in_4bit") or found.get("load_in_8bit"):
        return "bitsandbytes"
    method = found.get("quant_method")
    return str(method) if method else "MLX" if {"bits", "group_size"} <= found.keys() else "?"


def check_quantization(name: str, config: Mapping[str, Any], machine: Machine) -> None:
    """Refuse a model whose weights are stored in a way that can't be read here.

    Raises:
        ModelLoadError: the text names the packages to install, or says why none helps.
    """
    method, found = quantization_method(config), stored_quantization(config)
    if method is None or found is None:
        return
    if missing := _missing_packages(name, config, lambda module, _: _is_installed(module)):
        packages, command = ", ".join(missing), install_command(*missing)
        raise ModelLoadError("quantizer_package", model=name, method=method, packages=packages, command=command)
    from transformers.quantizers import AutoHfQuantizer  # which imports much that most models don't need

    try:
        quantizer = AutoHfQuantizer.from_config(dict(found), pre_quantized=True)
        quantizer.validate_environment(device_map={"": "cuda:0"} if machine.gpu_name else None, weights_only=True)
        if method == "metal" and not torch.backends.mps.is_available():  # which only its kernels would find out
            raise RuntimeError("it is made for Apple's GPUs")
    except Exception as error:  # whatever it is, loading would end with it
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ModelLoadError("quantizer_refused", model=name, method=method, problem=problem) from None


def check_quantization_for_space(name: str, config: Mapping[str, Any], packages: Collection[str]) -> None:
    """Refuse a model whose weights a Space with these packages couldn't read.

    Args:
        name: the model's name.
        config: its config.json.
        packages: the canonical names of the packages that the Space's requirements name.

    Raises:
        ModelLoadError: the text names the packages to add, or says why none helps.
    """
    missing = _missing_packages(
        name, config, lambda _, package: canonicalize_name(package.partition("[")[0]) in packages
    )
    if missing:
        method = quantization_method(config)
        raise ModelLoadError("quantizer_requirement", model=name, method=method, packages=", ".join(missing))


def _missing_packages(name: str, config: Mapping[str, Any], is_there: Callable[[str, str], bool]) -> list[str]:
    """Return the packages that are missing to read a model's weights, by how these are stored.

    Args:
        name: the model's name.
        config: its config.json.
        is_there: tells, given a module and its package, whether it is installed where the model is to run.

    Raises:
        ModelLoadError: transformers can't read them at all.
    """
    method, found = quantization_method(config), stored_quantization(config)
    if method is None or found is None:
        return []
    from transformers.quantizers import AutoHfQuantizer

    says_how = isinstance(found.get("quant_method"), str) or found.get("load_in_4bit") or found.get("load_in_8bit")
    if not says_how or not AutoHfQuantizer.supports_quant_method(found):
        raise ModelLoadError("quantizer_unknown", model=name, method=method)
    return [package for module, package in PACKAGES.get(method, {}).items() if not is_there(module, package)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it isn't there
        return False
