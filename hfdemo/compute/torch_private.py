"""The names of torch that are private or undocumented. Nothing else in hfdemo uses such names.

They are bound as they are, without wrappers, because some are called in every layer of every step.
`tests/unit/test_private_names.py` fails first when one of them changes.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

multiply_by_int4: Callable[[Tensor, Tensor, int, Tensor], Tensor] = torch.ops.aten._weight_int4pack_mm_for_cpu
"""Multiplies rows in bfloat16 by a packed weight, given how many weights share a scale, and the scales and zeros. No
public operation multiplies by 4-bit weights on a CPU without unpacking them first.
Source: https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/cpu/int4mm_kernel.cpp."""

pack_int4: Callable[[Tensor, int], Tensor] = torch.ops.aten._convert_weight_to_int4pack_for_cpu
"""Brings numbers from 0 to 15 into the layout that `multiply_by_int4` reads, which depends on the CPU. The second
argument is of use on GPUs only."""


def multiplies_tiles() -> bool:
    """Tell whether this CPU has instructions for tiles of bfloat16 (AMX), for which PyTorch makes programs."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def multiplies_bfloat16() -> bool:
    """Tell whether oneDNN multiplies in bfloat16 on this CPU. Nothing public tells that without trying.

    Raises:
        AttributeError, RuntimeError: PyTorch was built without oneDNN.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def with_parts(module: Any, **parts: nn.Module) -> Any:
    """Return a module like another, of which some parts are replaced; it shares the others."""
    other = copy.copy(module)
    other._modules = other._modules | parts
    return other


copy_each: Callable[[list[Tensor], list[Tensor]], None] = torch._foreach_copy_
"""Copies each tensor of the second list into its partner in the first; on a GPU in one operation, where a loop needs
one for each pair."""


def forget_recorded_modules() -> None:
    """Free what TorchScript keeps forever of every module it recorded; modules recorded before must not run again.

    Nothing public does it. Source: `clear_class_registry` in torch/testing/_internal/jit_utils.py.
    """
    jit: Any = torch.jit  # typed in some releases of torch only
    torch._C._jit_clear_class_registry()
    jit._recursive.concrete_type_store = jit._recursive.ConcreteTypeStore()
    jit._state._clear_class_state()
