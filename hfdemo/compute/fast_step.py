"""The step of a Llama-like model on a CPU (`decoder.py`), with the places and the caches of the chats.

`make_fast_step` compares it with the model's own forward before anyone uses it.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute.architectures import FAST_ARCHITECTURES
from hfdemo.compute.chat_cache import ChatCache
from hfdemo.compute.cpu_weights import InMemory, Weight, WeightSource
from hfdemo.compute.decoder import (
    ACTIVATIONS,
    ANGLES,
    Decoder,
    activation_name,
    has_own_angles,
    kinds_of_layers,
    linear_parts,
)
from hfdemo.compute.packed_weights import PackedWeights
from hfdemo.compute.recording import Operation, record
from hfdemo.compute.step import LONGEST_DRAFT, TOLERANCE, agrees
from hfdemo.compute.torch_private import forget_recorded_modules, multiplies_tiles, with_parts
from hfdemo.settings import CpuWeights

logger = logging.getLogger(__name__)

STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Types of rotary embeddings whose angles don't depend on the length of the conversation."""

_steps: "WeakSet[FastStep]" = WeakSet()
"""All steps in this process: at most one, as long as it has one model."""


class FastStep:
    """The step of one model. Use `make_fast_step`.

    Args:
        model: of one of the `FAST_ARCHITECTURES`, on the CPU.
        weights: in how many bits the weights are packed.
        source: of the weights that aren't in memory yet.
        packed: those of an earlier start, or where those of this one are kept.
    """

    def __init__(
        self,
        model: Any,
        weights: CpuWeights,
        source: WeightSource | None = None,
        packed: PackedWeights | None = None,
    ) -> None:
        config = model.config
        self._rotary = model.model.rotary_emb
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_size = model.model.layers[0].self_attn.head_dim
        self._own_angles = has_own_angles(config)
        self._vocabulary, self._dtype = len(model.model.embed_tokens.weight), model.dtype
        rotated = self._rotate(1, 0)[0].shape[1]
        self._decoder = Decoder(model, weights, rotated, source or InMemory(), packed or PackedWeights())
        self._kinds = max(self._decoder.angles_of) + 1
        self._cos = self._sin = torch.empty(0, 0)
        self.tokens_ahead = 0
        self._is_recorded = False
        self._recorded: dict[int, Operation] = {}
        limits = {weight.few_rows for weight in self._decoder.modules() if isinstance(weight, Weight)}
        self._few_rows = sorted(limits - {0})
        _steps.add(self)

    def new_cache(self) -> ChatCache:
        """Return an empty cache for the keys and values of a chat."""
        return ChatCache(len(self._decoder.layers))

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The decoder's layers, between whose modules `read` can be left by an exception."""
        return tuple(self._decoder.layers)

    def read(self, tokens: Tensor, cache: ChatCache) -> Tensor:
        """Read the next tokens of a chat; see `step.Step`."""
        held, end = cache.tokens, cache.tokens + len(tokens)
        filled = end
        if len(tokens) > max(self._few_rows, default=0):
            filled += -end % lengths_apart(self._dtype)
        cache.room_for(filled, like=torch.empty(1, self._kv_heads, 0, self._head_size, dtype=self._dtype))
        self._extend_angles(filled)
        angles = self._angles(slice(held, filled))
        logits = self._decoder.read(F.pad(tokens, (0, filled - end)), *angles, cache.buffer[:, :, :filled], end - held)
        cache.set_tokens(end)
        return logits

    def __call__(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        """Read one token of each chat; see `step.Step`."""
        ends = _ends(caches)
        for cache, end in zip(caches, ends, strict=True):
            cache.room_for(end)
        self._extend_angles(max(cache.buffer.shape[2] for cache in caches))
        cos, sin = self._angles([end - 1 for end in ends])
        views = [cache.buffer[:, :, :end] for cache, end in zip(caches, ends, strict=True)]
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # see `recording.py`
            logits: Tensor = self._operation(tokens, cos, sin, views)(tokens, cos, sin, views)
        for cache, end in zip(caches, ends, strict=True):
            cache.set_tokens(end)
        return logits

    def _operation(self, tokens: Tensor, cos: Tensor, sin: Tensor, views: list[Tensor]) -> Operation:
        """Return what reads so many tokens; it is recorded when first needed, if at all.

        It is the same for all numbers of tokens for which weights are multiplied in the same way.
        """
        if not self._is_recorded:
            return self._decoder
        way = sum(len(tokens) > few for few in self._few_rows)
        if way not in self._recorded:
            self._recorded[way] = record(self._decoder, tokens, cos, sin, views)
        return self._recorded[way]

    def record(self, cache: ChatCache, most: int) -> None:
        """Record the operations as TorchScript, so that Python takes no time between them; see `recording.py`.

        Args:
            cache: of any conversation; it holds some more tokens afterwards.
            most: how many chats there will be at once.
        """
        self._is_recorded = True
        token = torch.zeros(1, dtype=torch.long)
        for chats in (1, *(few + 1 for few in self._few_rows)):
            if chats > most:
                break
            self(token.expand(chats), [cache, *(cache.copy() for _ in range(1, chats))])

    def look_ahead(self, cache: ChatCache) -> int:
        """Return how many tokens of one chat may be read ahead; products of more rows may round in another way.

        Args:
            cache: of any conversation; it holds some more tokens afterwards.
        """
        ids = torch.arange(LONGEST_DRAFT + 1) * 7919 % self._vocabulary
        held = cache.tokens
        one_by_one = torch.cat([self(token[None], [cache]) for token in ids])
        read = cache.buffer[:, :, held : cache.tokens].clone()
        ahead = 0
        for rows in range(2, len(ids) + 1):
            cache.set_tokens(held)
            logits = self(ids[:rows], [cache] * rows)
            found = cache.buffer[:, :, held : cache.tokens]
            if not torch.equal(logits, one_by_one[:rows]) or not torch.equal(found, read[:, :, :rows]):
                break
            ahead = rows - 1
        return ahead

    @property
    def rows_alike(self) -> int:
        """Up to how many tokens every weight is multiplied as it is for one."""
        return min(self._few_rows, default=LONGEST_DRAFT + 1)

    def _angles(self, positions: list[int] | slice) -> tuple[Tensor, Tensor]:
        """Return cosines and sines for queries, keys and values, of shape [kinds, tokens, all heads, head size]."""
        rotated, size = self._heads + self._kv_heads, self._head_size
        cos, sin = (table[:, positions, None].expand(-1, -1, rotated, size) for table in (self._cos, self._sin))
        values = cos.new_zeros(*cos.shape[:2], self._kv_heads, size)
        return torch.cat([cos, values + 1], 2), torch.cat([sin, values], 2)

    def _extend_angles(self, positions: int) -> None:
        """Extend the tables of the rotary embedding to so many positions, of shape [kinds, positions, head size]."""
        if positions <= self._cos.shape[1]:
            return
        tables = [self._rotate(positions, kind) for kind in range(self._kinds)]
        self._cos, self._sin = (torch.stack(each) for each in zip(*map(self._to_heads, tables), strict=True))

    def _rotate(self, positions: int, kind: int) -> tuple[Tensor, Tensor]:
        """Return the model's own cosines and sines of one kind, of shape [positions, rotated numbers]."""
        kinds = {"layer_type": ANGLES[min(kind, 1)]} if self._own_angles else {}
        angles = self._rotary(torch.empty(1, dtype=self._dtype), torch.arange(positions)[None], **kinds)
        cos, sin = (angle.to(self._dtype) for angle in angles)  # OLMo 2 has them in 32 bit
        if ANGLES[kind] == "none":
            return torch.ones_like(cos[0]), torch.zeros_like(sin[0])
        return cos[0], sin[0]

    def _to_heads(self, table: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return cosines and sines for whole heads, whose rest isn't rotated, with the sines' signs in them."""
        cos, sin = table
        half, rest = sin.shape[1] // 2, self._head_size - sin.shape[1]
        return F.pad(cos, (0, rest), value=1.0), F.pad(torch.cat([-sin[:, :half], sin[:, half:]], 1), (0, rest))

    @property
    def nbytes(self) -> int:
        """The bytes of the weights."""
        return sum(module.nbytes for module in self._decoder.modules() if isinstance(module, Weight))


def lengths_apart(dtype: torch.dtype) -> int:
    """Return the number to whose multiples prompts are filled up when they are read in a type of numbers.

    Where a CPU multiplies tiles (AMX), PyTorch's attention makes a program of 256 KB for each shape it meets and keeps
    it forever: with a prompt of every length, that is hundreds of MB. Rows of a tile that are filled up cost little.
    Source: `KernelCache` in aten/src/ATen/native/CPUBlas.cpp.
    """
    return 32 if dtype is torch.bfloat16 and multiplies_tiles() else 1


def _ends(caches: Sequence[ChatCache]) -> list[int]:
    """Return how many tokens each cache will hold with its token; one that comes again has one more then."""
    held = {id(cache): cache.tokens for cache in caches}
    ends = []
    for cache in caches:
        held[id(cache)] += 1
        ends.append(held[id(cache)])
    return ends


def forget_records() -> None:
    """Free what TorchScript keeps forever of recorded modules, 3 MB for each model, unless a step still uses it."""
    if not _steps:
        forget_recorded_modules()


def make_fast_step(
    model: Any,
    weights: CpuWeights,
    chats: int = 1,
    source: WeightSource | None = None,
    packed: PackedWeights | None = None,
) -> FastStep | None:
    """Return the fast step of a model, or None if it isn't covered or computes something else.

    Args:
        model: a causal language model.
        weights: in how many bits to pack the weights.
        chats: how many there will be at once.
        source: of the weights that aren't in memory yet.
        packed: those of an earlier start, or where those of this one are kept.
    """
    if not _is_covered(model):
        return None
    forget_records()  # those of a model that someone still held when it was unloaded
    packed = packed or PackedWeights()
    if packed.tokens_ahead is None and not _agrees(model, source):
        return None
    step = FastStep(model, weights, source, packed)  # from here on, the model has no weights of its own
    cache = step.new_cache()
    step.read(torch.zeros(2, dtype=torch.long), cache)
    step.record(cache, chats)
    known = packed.tokens_ahead  # when they were packed, more rows may have been multiplied as they are
    ahead = step.look_ahead(cache) if known is None else min(known, step.rows_alike - 1)
    packed.tokens_ahead = step.tokens_ahead = ahead
    return step


def _agrees(model: Any, source: WeightSource | None) -> bool:
    """Tell whether the step computes what the model computes."""
    try:
        short = _short(model)
        if source:
            source.read(short)
        if agrees(FastStep(short, "bf16"), short):
            return True
        logger.warning("the fast step differs from this model's own forward, so it isn't used")
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        logger.warning("the fast step doesn't work for this model: %s", type(error).__name__)
    return False


def _short(model: Any) -> Any:
    """Return a model of the same modules that ends with the first layers, two and one of each kind.

    If the step computes these as the model does, it computes all of them so; and only their weights are read for it.
    """
    kinds = kinds_of_layers(model)
    layers = max(2, *(1 + kinds.index(kind) for kind in kinds))
    return with_parts(model, model=with_parts(model.model, layers=nn.ModuleList(model.model.layers[:layers])))


def _is_covered(model: Any) -> bool:
    config = model.config
    built = FAST_ARCHITECTURES.get(config.model_type)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    covered = (
        built is not None
        and built.class_name == type(model).__name__
        and model.device.type in ("cpu", "meta")  # the latter are still to be read
        and model.dtype in TOLERANCE
        and kinds <= {"full_attention", "sliding_attention"}
        and activation_name(config) in ACTIVATIONS
        and not getattr(config, "final_logit_softcapping", None)
        and not getattr(config, "attn_logit_softcapping", None)
        and _rope_types(config) <= set(STATIC_ROPE)
        and all(type(module) is nn.Linear for module in _linears_of(model))
    )
    if not covered:
        logger.info("the fast step doesn't cover this model, so its own forward computes each token")
    return covered


def _rope_types(config: Any) -> set[str]:
    """Return the types of rotary embeddings, which some models have for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    each = [value for value in found.values() if isinstance(value, dict)] or [found]
    return {str(parameters.get("rope_type", "default")) for parameters in each}


def _linears_of(model: Any) -> Iterator[nn.Module]:
    yield model.lm_head
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield from (*linear_parts(attention, "qkv_proj", "q_proj", "k_proj", "v_proj"), attention.o_proj)
        yield from (*linear_parts(mlp, "gate_up_proj", "gate_proj", "up_proj"), mlp.down_proj)
