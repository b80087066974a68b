"""The packed weights of a model by name, with what else a start finds out about its step."""

import time
from collections.abc import Callable

import torch

from hfdemo.compute.cpu_weights import PackedWeight, Weight


class PackedWeights:
    """Packed weights that are made when they are asked for; `models/packed_file.py` has some from an earlier start."""

    def __init__(self) -> None:
        self.tokens_ahead: int | None = None
        """How many tokens of one chat the step may read ahead; None until somebody looked. Once it is known, the step
        is known to agree with the model, too."""
        self.made: dict[str, PackedWeight] = {}
        self.made_s = 0.0
        """How long it took to make them."""

    def weight(self, name: str, dtype: torch.dtype, make: Callable[[], Weight]) -> Weight:
        """Return a weight.

        Args:
            name: of the layer that has it.
            dtype: of its products.
            make: packs it, if it can be packed.
        """
        began = time.perf_counter()
        weight = make()
        self.made_s += time.perf_counter() - began
        if isinstance(weight, PackedWeight):
            self.made[name] = weight
        return weight

    @property
    def made_bytes(self) -> int:
        """The bytes of all that was made."""
        return sum(weight.nbytes for weight in self.made.values())
