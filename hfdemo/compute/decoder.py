"""A Llama-like decoder with few and large operations, for one token of each of several chats, or for a prompt.

On a CPU, transformers' own forward spends a third of a step in Python, and reads 16 bit for each weight. This one does
the same arithmetic with about 20 operations a layer:

- queries, keys and values are one product, and so are gate and up;
- queries and keys are rotated together: `x * cos + roll(x) * (-sin, sin)`, with cos 1 and sin 0 for the values behind
  them, and for layers that don't rotate (RoFormer, https://arxiv.org/abs/2104.09864);
- keys and values are never repeated for the queries that share them (grouped-query attention,
  https://arxiv.org/abs/2305.13245): either these queries are rows of one product, or each is a head of its own, so
  that the cores get equal shares even of an odd number of key heads. Which is faster is measured on each CPU;
- keys and values are written into a buffer with space for more (`ChatCache`), not into a copy one token longer;
- weights may be packed into fewer bits (`cpu_weights.py`); the model then lets its own go.

It covers the models in `architectures.py`. Layers with a sliding window keep all their keys and values, and see the
last of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfdemo.compute.architectures import FAST_ARCHITECTURES, Architecture
from hfdemo.compute.cpu_weights import PlainWeight, Weight, WeightSource, pack_as_stored, pack_weight
from hfdemo.compute.faster import faster
from hfdemo.compute.packed_weights import PackedWeights
from hfdemo.settings import CpuWeights

SEEN_TOKENS = (64, 512, 2048)
"""After how many tokens the ways of attention are compared."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}
"""By their names in configurations."""


class Decoder(nn.Module):
    """The whole model; see `BeforeAttention`, `AfterAttention` and `attend` for the shapes.

    Args:
        model: of one of the `FAST_ARCHITECTURES`, on the CPU; if its weights are packed, it has none any more.
        weights: in how many bits the weights are packed.
        rotated: how many numbers of each head are rotated.
        source: of the weights that aren't in memory yet.
        packed: those of an earlier start, or where those of this one are kept.
    """

    def __init__(
        self, model: Any, weights: CpuWeights, rotated: int, source: WeightSource, packed: PackedWeights
    ) -> None:
        super().__init__()
        config, layers = model.config, model.model.layers
        built = FAST_ARCHITECTURES[config.model_type]
        first = layers[0].self_attn
        self.scale = float(first.scaling)
        self.apart = _are_faster_apart(
            config.num_attention_heads, config.num_key_value_heads, first.head_dim, model.dtype
        )
        self.windows = _windows(config)
        self.angles_of = [_angles_kind(layer.self_attn, config) for layer in layers]
        """For each layer, which cosines and sines it is given; see `ANGLES`."""
        packer = _Packer(model, weights, source, packed)
        head, embedding = packer.head_and_embedding(model)
        self.embed = Embedding(embedding, _embedding_scale(model))
        self.layers = nn.ModuleList(_Layer(layer, built, packer, config, rotated) for layer in layers)
        source.read(model.model.norm)
        norm = _Norm(model.model.norm, config.rms_norm_eps, built.norm_offset)
        self.head = Head(norm, head, float(getattr(config, "logits_scaling", 1.0)))
        if weights != "bf16":
            _let_go(model)  # as long as any of its weights is there, so is the file that they lie in

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor, views: list[Tensor]) -> Tensor:
        """Return the logits of the next tokens, and write keys and values to the last position of each view.

        Args:
            tokens: one of each chat, of shape [chats].
            cos: of shape [kinds of angles, chats, all heads, head size].
            sin: of the same shape.
            views: of each chat, of shape [layers, 2 * key heads, tokens including the new one, head size].
        """

        def attention(qkv: Tensor, index: int) -> Tensor:
            return attend(qkv, views, index, self.apart, self.windows[index], self.scale)

        logits: Tensor = self.head(self._last_states(tokens, cos, sin, attention))
        return logits

    def read(self, tokens: Tensor, cos: Tensor, sin: Tensor, view: Tensor, count: int) -> Tensor:
        """Read the next tokens of one chat, and return the logits of the one behind them, of shape [vocabulary].

        Args:
            tokens: of shape [tokens].
            cos: of shape [kinds of angles, tokens, all heads, head size].
            sin: of the same shape.
            view: of shape [layers, 2 * key heads, tokens including the new ones, head size].
            count: how many of the tokens are the chat's; others fill up behind them.
        """
        held = view.shape[2] - len(tokens)

        def attention(qkv: Tensor, index: int) -> Tensor:
            return _read(qkv, view[index], held, self.windows[index], self.scale)

        logits: Tensor = self.head(self._last_states(tokens, cos, sin, attention)[count - 1 : count])[0]
        return logits

    def _last_states(
        self, tokens: Tensor, cos: Tensor, sin: Tensor, attention: Callable[[Tensor, int], Tensor]
    ) -> Tensor:
        """Return the states behind the last layer, given what attends in each layer."""
        states: Tensor = self.embed(tokens)
        layer: Any
        cosines, sines = cos.unbind(), sin.unbind()
        for index, layer in enumerate(self.layers):
            kind = self.angles_of[index]
            qkv = layer.before(states, cosines[kind], sines[kind])
            states = layer.after(states, attention(qkv, index))
        return states


class Embedding(nn.Module):
    """What the first layer reads.

    Args:
        weight: of shape [vocabulary, hidden size].
        times: what it is multiplied by.
    """

    def __init__(self, weight: Weight, times: float) -> None:
        super().__init__()
        self.weight, self._times = weight, times

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the states of tokens, of shape [tokens, hidden size]."""
        states = self.weight.rows(tokens)
        return states if self._times == 1 else states * self._times


class Head(nn.Module):
    """What comes behind the last layer.

    Args:
        norm: of its states.
        weight: of shape [vocabulary, hidden size].
        divided_by: what the logits are divided by.
    """

    def __init__(self, norm: nn.Module, weight: Weight, divided_by: float) -> None:
        super().__init__()
        self.norm, self.weight, self._divided_by = norm, weight, divided_by

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits, of shape [tokens, vocabulary]."""
        logits: Tensor = self.weight(self.norm(states))
        return logits if self._divided_by == 1 else logits / self._divided_by


class _Layer(nn.Module):
    """One layer: what it computes before and after its attention.

    Args:
        layer: of the model.
        built: how the architecture is built.
        packer: of its weights.
        config: of the model.
        rotated: how many numbers of each head are rotated.
    """

    def __init__(self, layer: Any, built: Architecture, packer: "_Packer", config: Any, rotated: int) -> None:
        super().__init__()
        packer.read_norms(layer)

        def norm(name: str) -> nn.Module:
            return _Norm(getattr(layer, name), config.rms_norm_eps, built.norm_offset) if name else nn.Identity()

        self.before = BeforeAttention(layer.self_attn, norm(built.before_attention), built, packer, config, rotated)
        self.after = AfterAttention(
            layer,
            norm(built.after_attention),
            norm(built.before_feed_forward),
            norm(built.after_feed_forward),
            packer,
            config,
        )


class BeforeAttention(nn.Module):
    """What a layer computes before its attention."""

    head_norms: Tensor | None

    def __init__(
        self, attention: Any, norm: nn.Module, built: Architecture, packer: "_Packer", config: Any, rotated: int
    ) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = packer.fused(linear_parts(attention, "qkv_proj", "q_proj", "k_proj", "v_proj"))
        self.register_buffer("head_norms", _head_norms(attention, built.norm_offset), persistent=False)
        self._eps, self._head_size, self._rotated = config.rms_norm_eps, attention.head_dim, rotated
        self._query_heads = config.num_attention_heads
        self._norms_all_heads = hasattr(attention, "q_norm") and attention.q_norm.weight.numel() > self._head_size

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return queries, keys and values, of shape [tokens, all heads, head size].

        `states` has the shape [tokens, hidden size], `cos` and `sin` have that of the result.
        """
        qkv: Tensor = self.qkv(self.norm(states)).unflatten(1, (-1, self._head_size))
        if self.head_norms is not None:
            qk, values = qkv[:, : len(self.head_norms)], qkv[:, len(self.head_norms) :]
            qkv = torch.cat([self._normed(qk) * self.head_norms, values], 1)
        return torch.addcmul(qkv * cos, _halves_changed(qkv, self._rotated), sin)

    def _normed(self, qk: Tensor) -> Tensor:
        """Return queries and keys, normed by each head, or by all heads together of the queries, and of the keys."""
        if not self._norms_all_heads:
            return F.rms_norm(qk, (self._head_size,), None, self._eps)
        parts = (qk[:, : self._query_heads], qk[:, self._query_heads :])
        return torch.cat([F.rms_norm(part, part.shape[1:], None, self._eps) for part in parts], 1)


class AfterAttention(nn.Module):
    """What a layer computes after its attention."""

    def __init__(
        self,
        layer: Any,
        attended_norm: nn.Module,
        feed_norm: nn.Module,
        fed_norm: nn.Module,
        packer: "_Packer",
        config: Any,
    ) -> None:
        super().__init__()
        self.attended_norm, self.feed_norm, self.fed_norm = attended_norm, feed_norm, fed_norm
        self.output = packer.fused([layer.self_attn.o_proj])
        self.gate_up = packer.fused(linear_parts(layer.mlp, "gate_up_proj", "gate_proj", "up_proj"))
        self.down = packer.fused([layer.mlp.down_proj])
        self._activation = ACTIVATIONS[activation_name(config)]
        self._added = float(getattr(config, "residual_multiplier", 1.0))

    def forward(self, states: Tensor, attended: Tensor) -> Tensor:
        """Return the states for the next layer, of shape [tokens, hidden size]."""
        states = self._plus(states, self.attended_norm(self.output(attended)))
        gate, up = self.gate_up(self.feed_norm(states)).chunk(2, 1)
        return self._plus(states, self.fed_norm(self.down(self._activation(gate).mul_(up))))

    def _plus(self, states: Tensor, new: Tensor) -> Tensor:
        return states + new if self._added == 1 else torch.add(states, new, alpha=self._added)


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
        weights = _weights_of(norm, offset)
        self._eps, self._size = eps, len(weights)
        self.register_buffer("twice", torch.cat([weights] * 2), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Return the norm."""
        both = torch.cat([states, -states], 1)
        return F.layer_norm(both, (2 * self._size,), self.twice, None, self._eps).narrow(1, 0, self._size).contiguous()


def _halves_changed(qkv: Tensor, rotated: int) -> Tensor:
    """Return heads with the two halves of their rotated part in each other's place."""
    if rotated == qkv.shape[2]:
        return qkv.roll(rotated // 2, 2)
    half = rotated // 2
    return torch.cat([qkv[..., half:rotated], qkv[..., :half], qkv[..., rotated:]], 2)


def attend(qkv: Tensor, views: list[Tensor], layer: int, apart: bool, window: int, scale: float) -> Tensor:
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
    queries = qkv.narrow(1, 0, heads).view(len(qkv), 1, heads if apart else kv_heads, -1, size)
    new = qkv.narrow(1, heads, kept)
    seen = []
    for chat, view in enumerate(views):
        mine = view[layer]
        mine.select(1, -1).copy_(new[chat])
        mine = (mine[:, -window:] if window else mine).unsqueeze(0)
        attended = F.scaled_dot_product_attention(
            queries[chat],
            mine.narrow(1, 0, kv_heads),
            mine.narrow(1, kv_heads, kv_heads),
            enable_gqa=apart,
            scale=scale,
        )
        seen.append(attended.view(1, -1))
    return torch.cat(seen) if len(seen) > 1 else seen[0]


def _read(qkv: Tensor, mine: Tensor, held: int, window: int, scale: float) -> Tensor:
    """Return the attention of a chat's next tokens to those before each, of shape [tokens, heads * head size].

    Their keys and values are written behind the others.

    Args:
        qkv: queries, keys and values of the tokens, of shape [tokens, all heads, head size].
        mine: the chat's keys and values in this layer, of shape [2 * key heads, all tokens, head size].
        held: how many tokens there were before.
        window: how many tokens each sees, itself included; 0 is all.
        scale: of the products of queries and keys.
    """
    kept, tokens = len(mine), len(qkv)
    heads, kv_heads = qkv.shape[1] - kept, kept // 2
    mine[:, held:] = qkv[:, heads:].transpose(0, 1)
    if window:
        forgotten = max(0, held + 1 - window)
        mine, held = mine[:, forgotten:], held - forgotten
    narrow = 0 < window < held + tokens
    attended = F.scaled_dot_product_attention(
        qkv[:, :heads].transpose(0, 1)[None],
        mine[None, :kv_heads],
        mine[None, kv_heads:],
        attn_mask=_seen(tokens, held, window) if held or narrow else None,
        is_causal=not (held or narrow),
        enable_gqa=heads != kv_heads,
        scale=scale,
    )
    return attended[0].transpose(0, 1).flatten(1)


def _seen(tokens: int, held: int, window: int) -> Tensor:
    """Return which tokens each of some new ones sees, of shape [tokens, held + tokens]."""
    seen = torch.ones(tokens, held + tokens, dtype=torch.bool).tril_(held)
    return seen.triu_(held + 1 - window) if window else seen


def _are_faster_apart(heads: int, kv_heads: int, size: int, dtype: torch.dtype) -> bool:
    """Tell whether attention is faster on this CPU if each query is a head of its own; see `attend`."""
    if heads == kv_heads:
        return False  # there it is the same
    qkv = torch.ones(1, heads + 2 * kv_heads, size, dtype=dtype)
    views = [[torch.ones(1, 2 * kv_heads, tokens, size, dtype=dtype)] for tokens in SEEN_TOKENS]

    def try_it(apart: bool) -> None:
        for view in views:
            attend(qkv, view, 0, apart, 0, size**-0.5)

    ways = {"together": lambda: try_it(False), "apart": lambda: try_it(True)}
    name = str(dtype).removeprefix("torch.")
    return faster("attention", ways, heads=heads, kv_heads=kv_heads, size=size, dtype=name) == "apart"


ANGLES = ("full_attention", "sliding_attention", "none")
"""The kinds of angles: some models have others in their layers with a window, and some layers don't rotate at all."""


def _angles_kind(attention: Any, config: Any) -> int:
    """Return the index in `ANGLES` of what a layer's attention is rotated by."""
    sliding = bool(getattr(attention, "is_sliding", False))
    if not getattr(attention, "use_rope", True):  # SmolLM3
        return ANGLES.index("none")
    in_windows_only = FAST_ARCHITECTURES[config.model_type].rotates_in_windows_only
    if in_windows_only and config.sliding_window and not sliding:
        return ANGLES.index("none")
    return ANGLES.index("sliding_attention") if sliding and has_own_angles(config) else 0


def has_own_angles(config: Any) -> bool:
    """Tell whether layers with a window rotate by angles of their own, as Gemma 3's do."""
    return isinstance(config.rope_parameters.get("sliding_attention"), dict)


def kinds_of_layers(model: Any) -> list[tuple[int, int]]:
    """Return the kind of each layer, its window and its angles. Layers of one kind compute in the same way."""
    angles = [_angles_kind(layer.self_attn, model.config) for layer in model.model.layers]
    return list(zip(_windows(model.config), angles, strict=True))


def _windows(config: Any) -> list[int]:
    """Return how many tokens each layer sees, the new one included; 0 is all."""
    knows = hasattr(type(config), "sliding_window")  # else the file brings a field that means nothing to the model
    window, kinds = (config.sliding_window or 0) if knows else 0, getattr(config, "layer_types", None)
    if not kinds:
        return [window] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else 0 for kind in kinds]


def _embedding_scale(model: Any) -> float:
    """Return what the embeddings are multiplied by, as the model rounds it."""
    scale = getattr(model.model.embed_tokens, "scalar_embed_scale", None)  # Gemma 3
    if scale is not None:
        return float(torch.tensor(scale).to(model.dtype))
    return float(getattr(model.config, "embedding_multiplier", 1.0))  # Granite


def activation_name(config: Any) -> str:
    """Return what a configuration calls the activation of the feed-forward."""
    return str(getattr(config, "hidden_activation", None) or config.hidden_act)


class _Packer:
    """Packs the weights of a model, which lets them go then.

    Args:
        model: whose weights they are.
        weights: in how many bits; with `bf16`, they stay as they are, and the model's.
        source: of the weights that aren't in memory yet.
        packed: those of an earlier start, or where those of this one are kept.
    """

    def __init__(self, model: nn.Module, weights: CpuWeights, source: WeightSource, packed: PackedWeights) -> None:
        self._weights, self._source, self._packed_weights = weights, source, packed
        self._names = {module: name for name, module in model.named_modules()}

    def fused(self, linears: Sequence[nn.Linear]) -> Weight:
        """Return the weights of linear layers, one below the other."""
        return self._packed(linears, self._weights)

    def head_and_embedding(self, model: Any) -> tuple[Weight, Weight]:
        """Return a model's head and embedding, which are one weight in many models.

        The head is never below 8 bit, where it would hurt most. The embedding is only where that loses nothing.
        """
        head, embedding = model.lm_head, model.model.embed_tokens
        if self._weights == "bf16":
            for module in (head, embedding):
                self._source.read(module)
            return PlainWeight([head.weight.data], head.bias), PlainWeight([embedding.weight.data], None)
        if head.weight is embedding.weight:
            packed = self._packed([head], "int8")
            return packed, packed
        return self._packed([head], "int8"), self._packed([embedding], "auto")

    def read_norms(self, layer: nn.Module) -> None:
        """Read what isn't packed of a layer."""
        for module in layer.modules():
            if not isinstance(module, nn.Linear) and not list(module.children()):
                self._source.read(module)

    def _packed(self, modules: Sequence[nn.Linear | nn.Embedding], wanted: CpuWeights) -> Weight:
        name = " ".join(self._names[module] for module in modules)
        packed = self._packed_weights.weight(name, modules[0].weight.dtype, partial(self._pack, modules, wanted))
        if wanted != "bf16":
            _let_go(*modules)
        return packed

    def _pack(self, modules: Sequence[nn.Linear | nn.Embedding], wanted: CpuWeights) -> Weight:
        packed = self._as_stored(modules) if wanted in ("auto", "int4") else None
        if packed:
            return packed
        for module in modules:
            self._source.read(module)
        return pack_weight([module.weight.data for module in modules], wanted, _bias_of(modules))

    def _as_stored(self, modules: Sequence[nn.Linear | nn.Embedding]) -> Weight | None:
        stored = [self._source.levels_of(module) for module in modules]
        known = [each for each in stored if each]
        if len(known) < len(stored):
            return None
        return pack_as_stored(known, modules[0].weight.dtype, _bias_of(modules))


def _bias_of(modules: Sequence[nn.Module]) -> Tensor | None:
    """Return the biases of some layers, one behind the other, if they have any."""
    biases = [bias.detach() for module in modules if isinstance(bias := getattr(module, "bias", None), Tensor)]
    return torch.cat(biases) if biases else None


def _let_go(*modules: nn.Module) -> None:
    """Let modules forget their numbers, which somebody else has by now."""
    for module in (each for whole in modules for each in whole.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.device.type == "meta":  # it was never read
                setattr(module, name, nn.Parameter(torch.empty(0, dtype=parameter.dtype), requires_grad=False))
            else:
                parameter.data = parameter.data.new_empty(0)


def linear_parts(module: Any, fused: str, *names: str) -> list[nn.Linear]:
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
