"""One step of a Llama-like decoder, for one token of each of several chats, with few and large operations.

On a CPU, transformers' own forward spends a third of a step in Python, and reads 16 bit for each weight. This one does
the same arithmetic with about 20 operations a layer:

- queries, keys and values are one product, and so are gate and up;
- queries and keys are rotated together: `x * cos + roll(x) * (-sin, sin)`, with cos 1 and sin 0 for the values behind
  them, and for layers that don't rotate (RoFormer, https://arxiv.org/abs/2104.09864);
- keys and values are never repeated for the queries that share them (grouped-query attention,
  https://arxiv.org/abs/2305.13245): either these queries are rows of one product, or each is a head of its own, so
  that the cores get equal shares even of an odd number of key heads. Which is faster is measured on each CPU;
- keys and values are written into a buffer with space for more (`ChatCache`), not into a copy one token longer;
- weights may be packed into fewer bits (`cpu_weights.py`).

It covers the models in `architectures.py`. Layers with a sliding window keep all their keys and values, and see the
last of them. `make_fast_step` compares it with the model's own forward before anyone uses it.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute.architectures import FAST_ARCHITECTURES, Architecture
from hfdemo.compute.chat_cache import ChatCache
from hfdemo.compute.cpu_weights import PackedWeight, pack
from hfdemo.compute.faster import faster
from hfdemo.compute.step import LONGEST_DRAFT, SHORTEST_DRAFT, TOLERANCE, agrees
from hfdemo.compute.torch_private import forget_recorded_modules
from hfdemo.settings import CpuWeights

logger = logging.getLogger(__name__)

STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Types of rotary embeddings whose angles don't depend on the length of the conversation."""

SEEN_TOKENS = (64, 512, 2048)
"""After how many tokens the ways of attention are compared."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}
"""By their names in configurations."""

Operation = Callable[..., Any]

_steps: "WeakSet[FastStep]" = WeakSet()
"""All steps in this process: at most one, as long as it has one model."""


class _Layer(nn.Module):
    """One layer: its weights, and what it computes before and after its attention.

    Args:
        layer: of the model.
        built: how the architecture is built.
        weights: in how many bits the weights are packed.
        config: of the model.
        rotated: how many numbers of each head are rotated.
    """

    head_norms: Tensor | None

    def __init__(self, layer: Any, built: Architecture, weights: CpuWeights, config: Any, rotated: int) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.eps, self.head_size, self.rotated = config.rms_norm_eps, attention.head_dim, rotated
        self.added = float(getattr(config, "residual_multiplier", 1.0))
        self.activation = ACTIVATIONS[_activation(config)]

        def norm(name: str) -> nn.Module:
            return _Norm(getattr(layer, name), self.eps, built.norm_offset) if name else nn.Identity()

        self.norm = norm(built.before_attention)
        self.attended_norm = norm(built.after_attention)
        self.feed_norm = norm(built.before_feed_forward)
        self.fed_norm = norm(built.after_feed_forward)
        self.qkv = _fused(_parts(attention, "qkv_proj", "q_proj", "k_proj", "v_proj"), weights)
        self.register_buffer("head_norms", _head_norms(attention, built.norm_offset), persistent=False)
        self.norms_all_heads = hasattr(attention, "q_norm") and attention.q_norm.weight.numel() > self.head_size
        self.output = _fused([attention.o_proj], weights)
        self.gate_up = _fused(_parts(mlp, "gate_up_proj", "gate_proj", "up_proj"), weights)
        self.down = _fused([mlp.down_proj], weights)
        self.query_heads = config.num_attention_heads

    def before(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return queries, keys and values, of shape [chats, all heads, head size].

        `states` has the shape [chats, hidden size], `cos` and `sin` have that of the result.
        """
        qkv: Tensor = self.qkv(self.norm(states)).unflatten(1, (-1, self.head_size))
        if self.head_norms is not None:
            qk, values = qkv[:, : len(self.head_norms)], qkv[:, len(self.head_norms) :]
            qkv = torch.cat([self._normed(qk) * self.head_norms, values], 1)
        return torch.addcmul(qkv * cos, _halves_changed(qkv, self.rotated), sin)

    def after(self, states: Tensor, attended: Tensor) -> Tensor:
        """Return the states for the next layer."""
        states = self._plus(states, self.attended_norm(self.output(attended)))
        gate, up = self.gate_up(self.feed_norm(states)).chunk(2, 1)
        return self._plus(states, self.fed_norm(self.down(self.activation(gate) * up)))

    def _normed(self, qk: Tensor) -> Tensor:
        """Return queries and keys, normed by each head, or by all heads together of the queries, and of the keys."""
        if not self.norms_all_heads:
            return F.rms_norm(qk, (self.head_size,), None, self.eps)
        parts = (qk[:, : self.query_heads], qk[:, self.query_heads :])
        return torch.cat([F.rms_norm(part, part.shape[1:], None, self.eps) for part in parts], 1)

    def _plus(self, states: Tensor, new: Tensor) -> Tensor:
        return states + new if self.added == 1 else torch.add(states, new, alpha=self.added)


def _halves_changed(qkv: Tensor, rotated: int) -> Tensor:
    """Return heads with the two halves of their rotated part in each other's place."""
    if rotated == qkv.shape[2]:
        return qkv.roll(rotated // 2, 2)
    half = rotated // 2
    return torch.cat([qkv[..., half:rotated], qkv[..., :half], qkv[..., rotated:]], 2)


def _attend(qkv: Tensor, views: list[Tensor], layer: int, apart: bool, window: int, scale: float) -> Tensor:
    """Return the attention of each chat's token to its own conversation, of shape [chats, heads * head size].

    The tokens' keys and values are written to the last position of their chats' views.

    Args:
        qkv: queries, keys and values of the tokens, of shape [chats, all heads, head size].
        views: for each chat, of shape [layers, 2 * key heads, tokens including the new one, head size].
        layer: which of the layers.
        apart: whether each query is a head of its own, or those that share keys are rows of one product.
        window: how many tokens it sees, the new one included; 0 is all.
        scale: of the products of queries and keys.
    """
    kept, size = views[0].shape[1], qkv.shape[2]
    heads, kv_heads = qkv.shape[1] - kept, kept // 2
    queries = qkv[:, :heads].view(len(qkv), 1, heads if apart else kv_heads, -1, size)
    seen = []
    for chat, view in enumerate(views):
        mine = view[layer]
        mine[:, -1] = qkv[chat, heads:]
        if window:
            mine = mine[:, -window:]
        attended = F.scaled_dot_product_attention(
            queries[chat], mine[None, :kv_heads], mine[None, kv_heads:], enable_gqa=apart, scale=scale
        )
        seen.append(attended.view(1, -1))
    return torch.cat(seen) if len(seen) > 1 else seen[0]


def _are_faster_apart(heads: int, kv_heads: int, size: int, dtype: torch.dtype) -> bool:
    """Tell whether attention is faster on this CPU if each query is a head of its own; see `_attend`."""
    if heads == kv_heads:
        return False  # there it is the same
    qkv = torch.ones(1, heads + 2 * kv_heads, size, dtype=dtype)
    views = [[torch.ones(1, 2 * kv_heads, tokens, size, dtype=dtype)] for tokens in SEEN_TOKENS]

    def attend(apart: bool) -> None:
        for view in views:
            _attend(qkv, view, 0, apart, 0, size**-0.5)

    question = f"attention of {heads} heads of size {size} to {kv_heads}, {str(dtype).removeprefix('torch.')}"
    return faster(question, {"rows": lambda: attend(False), "heads": lambda: attend(True)}) == "heads"


class _Norm(nn.Module):
    """A root mean square norm of states of shape [chats, hidden size].

    It is the layer norm of `x` and `-x` side by side, whose mean is 0. On a CPU, PyTorch computes a layer norm in one
    operation, and this norm in ten.

    Args:
        norm: the model's.
        eps: added to the mean square.
        offset: added to its weights.
    """

    twice: Tensor

    def __init__(self, norm: Any, eps: float, offset: float) -> None:
        super().__init__()
        self._eps = eps
        self.register_buffer("twice", torch.cat([_weights_of(norm, offset)] * 2), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Return the norm."""
        both = torch.cat([states, -states], 1)
        return F.layer_norm(both, both.shape[1:], self.twice, None, self._eps)[:, : states.shape[1]].contiguous()


class _Decoder(nn.Module):
    """The whole model, as the step computes it; see `_Layer` and `_attend` for the shapes."""

    embedding: Tensor

    def __init__(self, model: Any, weights: CpuWeights, rotated: int) -> None:
        super().__init__()
        config, layers = model.config, model.model.layers
        built = FAST_ARCHITECTURES[config.model_type]
        first = layers[0].self_attn
        self.register_buffer("embedding", model.model.embed_tokens.weight.detach(), persistent=False)
        self.embedded_times = _embedding_scale(model)
        self.divided_by = float(getattr(config, "logits_scaling", 1.0))
        self.scale = float(first.scaling)
        self.apart = _are_faster_apart(
            config.num_attention_heads, config.num_key_value_heads, first.head_dim, model.dtype
        )
        self.windows = _windows(config)
        self.layers = nn.ModuleList(_Layer(layer, built, weights, config, rotated) for layer in layers)
        self.angles_of = [_angles_kind(layer.self_attn, config) for layer in layers]
        """For each layer, which cosines and sines it is given; see `ANGLES`."""
        self.norm = _Norm(model.model.norm, config.rms_norm_eps, built.norm_offset)
        self.head = pack([model.lm_head.weight.data], weights if weights == "bf16" else "int8", model.lm_head.bias)

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor, *views: Tensor) -> Tensor:
        """Return the logits of the next tokens, and write keys and values to the last position of each view."""
        states = self.embed(tokens)
        coss, sins = cos.unbind(), sin.unbind()
        layer: Any
        for index, layer in enumerate(self.layers):
            kind = self.angles_of[index]
            attended = _attend(
                *(layer.before(states, coss[kind], sins[kind]), list(views), index),
                *(self.apart, self.windows[index], self.scale),
            )
            states = layer.after(states, attended)
        return self.logits(states)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the states that the first layer reads."""
        states = self.embedding[tokens]
        return states if self.embedded_times == 1 else states * self.embedded_times

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits for the states that the last layer returned."""
        logits: Tensor = self.head(self.norm(states))
        return logits if self.divided_by == 1 else logits / self.divided_by


ANGLES = ("full_attention", "sliding_attention", "none")
"""The kinds of angles: some models have others in their layers with a window, and some layers don't rotate at all."""


def _angles_kind(attention: Any, config: Any) -> int:
    """Return the index in `ANGLES` of what a layer's attention is rotated by."""
    sliding = bool(getattr(attention, "is_sliding", False))
    if not getattr(attention, "use_rope", True):  # SmolLM3
        return ANGLES.index("none")
    if config.model_type == "exaone4" and config.sliding_window and not sliding:
        return ANGLES.index("none")
    return ANGLES.index("sliding_attention") if sliding and _has_own_angles(config) else 0


def _has_own_angles(config: Any) -> bool:
    """Tell whether layers with a window rotate by angles of their own, as Gemma 3's do."""
    return isinstance(config.rope_parameters.get("sliding_attention"), dict)


def _windows(config: Any) -> list[int]:
    """Return how many tokens each layer sees, the new one included; 0 is all."""
    window, kinds = getattr(config, "sliding_window", None) or 0, getattr(config, "layer_types", None)
    if not kinds:
        return [window] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else 0 for kind in kinds]


def _embedding_scale(model: Any) -> float:
    """Return what the embeddings are multiplied by, as the model rounds it."""
    scale = getattr(model.model.embed_tokens, "scalar_embed_scale", None)  # Gemma 3
    if scale is not None:
        return float(torch.tensor(scale).to(model.dtype))
    return float(getattr(model.config, "embedding_multiplier", 1.0))  # Granite


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_activation", None) or config.hidden_act)


class FastStep:
    """The step of one model. Use `make_fast_step`.

    Args:
        model: of one of the `FAST_ARCHITECTURES`, on the CPU.
        weights: in how many bits the weights are packed.
    """

    def __init__(self, model: Any, weights: CpuWeights) -> None:
        config = model.config
        self._rotary = model.model.rotary_emb
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_size = model.model.layers[0].self_attn.head_dim
        self._own_angles = _has_own_angles(config)
        rotated = self._rotate(model.model.embed_tokens.weight, 1, 0)[0].shape[1]
        self._decoder = _Decoder(model, weights, rotated)
        self._kinds = max(self._decoder.angles_of) + 1
        self._cos = self._sin = torch.empty(0, 0)
        self.tokens_ahead = 0
        self._is_recorded = False
        self._attend: Operation = _attend
        self._whole: dict[int, Operation] = {}
        """Recordings of the step of one chat, by how many of its tokens are read."""
        self._records: dict[int, list[tuple[Operation, Operation]]] = {}
        packed = [module for module in self._decoder.layers.modules() if isinstance(module, PackedWeight)]
        self._few_rows = sorted({weight.few_rows for weight in packed if weight.few_rows})
        _steps.add(self)

    def new_cache(self) -> ChatCache:
        """Return an empty cache for the keys and values of a chat."""
        return ChatCache(len(self._decoder.layers))

    def __call__(self, tokens: Tensor, caches: Sequence[ChatCache]) -> Tensor:
        """Read one token of each chat; see `step.Step`."""
        return self._step(tokens, caches)

    def _step(self, tokens: Tensor, caches: Sequence[ChatCache], operation: Operation | None = None) -> Tensor:
        """Read tokens; by default with the operation that is fastest for these chats."""
        ends = _ends(caches)
        for cache, end in zip(caches, ends, strict=True):
            cache.room_for(end)
        self._extend_angles(max(cache.buffer.shape[2] for cache in caches))
        cos, sin = self._angles([end - 1 for end in ends])
        inputs = (tokens, cos, sin, *(cache.buffer[:, :, :end] for cache, end in zip(caches, ends, strict=True)))
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # see `record`
            logits: Tensor = (operation or self._operation(caches, inputs))(*inputs)
        for cache, end in zip(caches, ends, strict=True):
            cache.set_tokens(end)
        return logits

    def _operation(self, caches: Sequence[ChatCache], inputs: tuple[Tensor, ...]) -> Operation:
        """Return what reads a token of each of some chats, or several of one, which is recorded when first needed."""
        if not self._is_recorded:
            return self._decoder
        if any(cache is not caches[0] for cache in caches):
            return self._by_layer
        if len(caches) not in self._whole:
            self._whole[len(caches)] = _record(self._decoder, forward=inputs)
        return self._whole[len(caches)]

    def record(self, cache: ChatCache, most: int) -> None:
        """Record the operations as TorchScript, so that Python takes no time between them.

        The step of one chat becomes one recording, for each number of its tokens that are read at once. For several
        chats, each layer has two, and attention loops over the chats. TorchScript's own optimizations would make the
        first two steps as long as 20 (measured with PyTorch 2.13 and a model of 30 layers), and those after them not
        shorter: there is nothing left to fuse.

        Args:
            cache: of any conversation; it holds some more tokens afterwards.
            most: how many chats there will be at once.
        """
        self._attend = _script(_attend)
        self._is_recorded = True
        token = torch.zeros(1, dtype=torch.long)
        for chats in (1, 2, *(few + 1 for few in self._few_rows)):
            if chats > most:
                break
            self(token.expand(chats), [cache, *(cache.copy() for _ in range(1, chats))])

    def look_ahead(self, cache: ChatCache) -> None:
        """Find out how many tokens of one chat may be read ahead; products of more rows may round in another way.

        Args:
            cache: of any conversation; it holds some more tokens afterwards.
        """
        ids = torch.arange(LONGEST_DRAFT + 1) * 7919 % len(self._decoder.embedding)
        held = cache.tokens
        one_by_one = torch.cat([self(token[None], [cache]) for token in ids])
        read = cache.buffer[:, :, held : cache.tokens].clone()
        self.tokens_ahead = 0
        for rows in range(2, len(ids) + 1):
            cache.set_tokens(held)
            logits = self._step(ids[:rows], [cache] * rows, self._decoder)
            found = cache.buffer[:, :, held : cache.tokens]
            if not torch.equal(logits, one_by_one[:rows]) or not torch.equal(found, read[:, :, :rows]):
                break
            self.tokens_ahead = rows - 1
        for rows in range(
            SHORTEST_DRAFT + 1, self.tokens_ahead + 2
        ):  # else the first draft would wait for a recording
            cache.set_tokens(held)
            self(ids[:rows], [cache] * rows)

    def _by_layer(self, tokens: Tensor, cos: Tensor, sin: Tensor, *views: Tensor) -> Tensor:
        """Do what `_Decoder` does for several chats, with the recordings."""
        decoder = self._decoder
        states, coss, sins = decoder.embed(tokens), cos.unbind(), sin.unbind()
        for index, (before, after) in enumerate(self._recorded(states, coss[0], sins[0])):
            kind = decoder.angles_of[index]
            attended = self._attend(
                *(before(states, coss[kind], sins[kind]), list(views), index),
                *(decoder.apart, decoder.windows[index], decoder.scale),
            )
            states = after(states, attended)
        return decoder.logits(states)

    def _recorded(self, states: Tensor, cos: Tensor, sin: Tensor) -> list[tuple[Operation, Operation]]:
        """Return the recordings of what each layer does before and after its attention.

        They are the same for any numbers of chats for which the same weights, packed or original, are used.
        """
        key = sum(len(states) > few for few in self._few_rows)
        if key not in self._records:
            attended = states.new_zeros(len(states), self._heads * self._head_size)
            layers = [
                _record(layer, before=(states, cos, sin), after=(states, attended)) for layer in self._decoder.layers
            ]
            self._records[key] = [(layer.before, layer.after) for layer in layers]
        return self._records[key]

    def _angles(self, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines for queries, keys and values, of shape [kinds, chats, all heads, head size]."""
        rotated, size = self._heads + self._kv_heads, self._head_size
        cos, sin = (table[:, list(positions), None].expand(-1, -1, rotated, size) for table in (self._cos, self._sin))
        values = cos.new_zeros(len(cos), len(positions), self._kv_heads, size)
        return torch.cat([cos, values + 1], 2), torch.cat([sin, values], 2)

    def _extend_angles(self, positions: int) -> None:
        """Extend the tables of the rotary embedding to so many positions, of shape [kinds, positions, head size]."""
        if positions <= self._cos.shape[1]:
            return
        tables = [self._rotate(self._decoder.embedding, positions, kind) for kind in range(self._kinds)]
        self._cos, self._sin = (torch.stack(each) for each in zip(*map(self._to_heads, tables), strict=True))

    def _rotate(self, like: Tensor, positions: int, kind: int) -> tuple[Tensor, Tensor]:
        """Return the model's own cosines and sines of one kind, of shape [positions, rotated numbers]."""
        kinds = {"layer_type": ANGLES[min(kind, 1)]} if self._own_angles else {}
        angles = self._rotary(like[:1, None], torch.arange(positions)[None], **kinds)
        cos, sin = (angle.to(like.dtype) for angle in angles)  # OLMo 2 has them in 32 bit
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
        """The bytes of the packed weights."""
        return sum(module.nbytes for module in self._decoder.modules() if isinstance(module, PackedWeight))


def _ends(caches: Sequence[ChatCache]) -> list[int]:
    """Return how many tokens each cache will hold with its token; one that comes again has one more then."""
    held = {id(cache): cache.tokens for cache in caches}
    ends = []
    for cache in caches:
        held[id(cache)] += 1
        ends.append(held[id(cache)])
    return ends


def _record(module: nn.Module, **examples: tuple[Tensor, ...]) -> Any:
    """Record what methods of a module do with example tensors, to repeat it with others.

    It must be a module, because TorchScript never frees what a recorded function refers to. All tensors lie side by
    side in one: for each module within another, TorchScript takes milliseconds.
    """
    flat = nn.Module()
    for index, tensor in enumerate(module.buffers()):
        flat.register_buffer(f"tensor{index}", tensor, persistent=False)
    for name in examples:
        setattr(flat, name, getattr(module, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but its replacement needs a compiler
        return torch.jit.trace_module(flat, examples, check_trace=False)  # type: ignore[no-untyped-call]


def forget_records() -> None:
    """Free what TorchScript keeps forever of recorded modules, 35 MB for each model, unless a step still uses it."""
    if not _steps:
        forget_recorded_modules()


def _script(operation: Operation) -> Operation:
    """Compile a function with a loop, which can't be recorded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: Operation = torch.jit.script(operation)
    return scripted


def _fused(linears: Sequence[nn.Linear], weights: CpuWeights) -> PackedWeight:
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    return pack([linear.weight.data for linear in linears], weights, torch.cat(biases) if biases else None)


def _parts(module: Any, fused: str, *names: str) -> list[nn.Linear]:
    """Return linear layers that read the same, as one where the model has them so (Phi-3)."""
    return [getattr(module, fused)] if hasattr(module, fused) else [getattr(module, name) for name in names]


def _weights_of(norm: Any, offset: float) -> Tensor:
    weight: Tensor = norm.weight.detach()
    return weight + offset if offset else weight


def _head_norms(attention: Any, offset: float) -> Tensor | None:
    """Return the weights of the norms of queries and then of keys, of shape [heads, head size], if there are any."""
    if not hasattr(attention, "q_norm"):
        return None
    size = attention.head_dim
    queries, keys = attention.q_proj.out_features // size, attention.k_proj.out_features // size
    of_queries, of_keys = (_weights_of(norm, offset).view(-1, size) for norm in (attention.q_norm, attention.k_norm))
    return torch.cat([of_queries.expand(queries, -1), of_keys.expand(keys, -1)])


def make_fast_step(model: Any, weights: CpuWeights, chats: int = 1) -> FastStep | None:
    """Return the fast step of a model, or None if it isn't covered or computes something else.

    Args:
        model: a causal language model.
        weights: in how many bits to pack the weights.
        chats: how many there will be at once.
    """
    if not _is_covered(model):
        return None
    forget_records()  # those of a model that someone still held when it was unloaded
    try:
        if not agrees(FastStep(model, "bf16"), model):
            logger.warning("the fast step differs from this model's own forward, so it isn't used")
            return None
        step = FastStep(model, weights)
        cache = step.new_cache()
        model(torch.zeros(1, 2, dtype=torch.long), cache=cache, use_cache=True)
        step.record(cache, chats)
        step.look_ahead(cache)
        return step
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        logger.warning("the fast step doesn't work for this model: %s", type(error).__name__)
        return None


def _is_covered(model: Any) -> bool:
    config = model.config
    built = FAST_ARCHITECTURES.get(config.model_type)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    covered = (
        built is not None
        and built.class_name == type(model).__name__
        and model.device.type == "cpu"
        and model.dtype in TOLERANCE
        and kinds <= {"full_attention", "sliding_attention"}
        and _activation(config) in ACTIVATIONS
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
        yield from (*_parts(attention, "qkv_proj", "q_proj", "k_proj", "v_proj"), attention.o_proj)
        yield from (*_parts(mlp, "gate_up_proj", "gate_proj", "up_proj"), mlp.down_proj)
