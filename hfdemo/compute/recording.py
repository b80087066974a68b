"""A decoder's step recorded as TorchScript, so that Python takes no time between its operations.

What a layer computes is recorded once for all layers of its form, and their tensors are handed to it. A recording of
all layers, one behind the other, would take 40 MB and a second (measured with PyTorch 2.13 and 30 layers).
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hfdemo.compute.decoder import Decoder, attend

Operation = Callable[..., Any]


def record(decoder: Decoder, tokens: Tensor, cos: Tensor, sin: Tensor, views: list[Tensor]) -> Operation:
    """Return the step of a decoder, recorded: what `Decoder.forward` does.

    It serves any numbers of tokens for which weights are multiplied in the same way as for these.

    TorchScript's own optimizations would make the first two steps as long as 20, and those after them not shorter:
    there is nothing left to fuse. So it is to be called within `torch.jit.optimized_execution(False)`.

    Args:
        decoder: what is recorded.
        tokens: an example of what it reads.
        cos: of these.
        sin: of these.
        views: of these.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but its replacement needs a compiler
        scripted: Operation = torch.jit.script(_Step(decoder, tokens, cos, sin, views))
    return scripted


class _Step(nn.Module):
    """The loop over the layers, for TorchScript to read; see `record`."""

    before_tensors: list[list[Tensor]]
    after_tensors: list[list[Tensor]]
    embedding_tensors: list[Tensor]
    head_tensors: list[Tensor]
    forms: list[int]
    angles_of: list[int]
    windows: list[int]
    apart: bool
    scale: float

    def __init__(self, decoder: Decoder, tokens: Tensor, cos: Tensor, sin: Tensor, views: list[Tensor]) -> None:
        super().__init__()
        layers: list[Any] = list(decoder.layers)
        shapes = [[(tensor.shape, tensor.dtype) for tensor in layer.buffers()] for layer in layers]
        forms = [shape for index, shape in enumerate(shapes) if shapes.index(shape) == index]
        examples = [layers[shapes.index(form)] for form in forms]
        states = decoder.embed(tokens)
        qkv = examples[0].before(states, cos[0], sin[0])
        attended = qkv[:, : qkv.shape[1] - views[0].shape[1]].flatten(1).contiguous()
        self.before = nn.ModuleList(_record(layer.before, (states, cos[0], sin[0])) for layer in examples)
        self.after = nn.ModuleList(_record(layer.after, (states, attended)) for layer in examples)
        self.embed, self.head = _record(decoder.embed, (tokens,)), _record(decoder.head, (states,))
        self.forms = [forms.index(shape) for shape in shapes]
        self.before_tensors = [list(layer.before.buffers()) for layer in layers]
        self.after_tensors = [list(layer.after.buffers()) for layer in layers]
        self.embedding_tensors, self.head_tensors = list(decoder.embed.buffers()), list(decoder.head.buffers())
        self.angles_of, self.windows = decoder.angles_of, decoder.windows
        self.apart, self.scale = decoder.apart, decoder.scale

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor, views: list[Tensor]) -> Tensor:
        """Do what `Decoder.forward` does."""
        states = self.embed(self.embedding_tensors, (tokens,))
        cosines, sines = cos.unbind(), sin.unbind()
        for index in range(len(self.forms)):
            kind, qkv = self.angles_of[index], states
            for form, before in enumerate(self.before):
                if form == self.forms[index]:
                    qkv = before(self.before_tensors[index], (states, cosines[kind], sines[kind]))
            attended = attend(qkv, views, index, self.apart, self.windows[index], self.scale)
            for form, after in enumerate(self.after):
                if form == self.forms[index]:
                    states = after(self.after_tensors[index], (states, attended))
        logits: Tensor = self.head(self.head_tensors, (states,))
        return logits


def _record(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """Record what a module computes, as a function of its tensors and its inputs."""
    tensors = list(module.buffers())
    try:
        return torch.jit.trace(_OfTensors(module), (tensors, example), check_trace=False)  # type: ignore[no-untyped-call]
    finally:
        _set_tensors(module, tensors)


class _OfTensors(nn.Module):
    """A module as a function of its tensors and its inputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._of = (module,)  # a module of its own would be recorded with its tensors

    def forward(self, tensors: list[Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        """Return what the module computes if these are its tensors, which it then keeps."""
        (module,) = self._of
        _set_tensors(module, tensors)
        result: Tensor = module(*inputs)
        return result


def _set_tensors(module: nn.Module, tensors: list[Tensor]) -> None:
    """Give a module other tensors in place of its own; `functional_call` can't be recorded."""
    for (name, _), tensor in zip(list(module.named_buffers()), tensors, strict=True):
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, tensor)
