"""One decoding step of a Llama-type model straight over its own modules, without the library's bookkeeping around them.

Projections and MLPs are called as modules, so that adapters and replaced linear layers keep working; small plain ones that read
the same input are joined. Whether a model is of this type is decided by experiment (``stepping``), not here: construction fails
with AttributeError where a part is missing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from instructloop.generation.slots import SlotCache
from instructloop.models.logprobs import TrunkAndHead

_FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings whose table does not depend on the lengths in the batch."""

_PLAIN_LINEAR = {"Linear", "FastLinear"}
JOIN_BELOW = 1 << 18
"""Weights of modules that are joined."""

Norm = Callable[[Tensor], Tensor]


class RotaryTable:
    """Rotary embeddings of all columns, computed once.

    Args:
        rotary: the library's module.
        capacity: columns.
        like: gives device and dtype.

    Raises:
        AttributeError: the embedding depends on more than the position.
    """

    def __init__(self, rotary: Any, capacity: int, like: Tensor) -> None:
        if rotary.rope_type not in _FIXED_ROTARY:
            raise AttributeError(f"rotary embedding of type {rotary.rope_type}")
        positions = torch.arange(capacity, device=like.device)[None]
        cosines, sines = rotary(torch.zeros(1, device=like.device, dtype=torch.float32), positions)
        self._width = cosines.shape[-1]
        half = self._width // 2
        self._cosines: Float[Tensor, "capacity 1 width"] = cosines[0][:, None].to(like.dtype)
        # x * cos + (-x2, x1) * sin, with the sign in the table instead of in the states
        signed = torch.cat((-sines[0][:, :half], sines[0][:, half:]), -1)
        self._sines: Float[Tensor, "capacity 1 width"] = signed[:, None].to(like.dtype)

    def at(self, columns: Int[Tensor, "rows"]) -> Callable[[Tensor], Tensor]:
        """What turns states [rows, heads, width] of these columns; a table narrower than they are leaves the rest alone."""
        cosines, sines, width = self._cosines[columns], self._sines[columns], self._width

        def turn(states: Tensor) -> Tensor:
            part = states[..., :width]
            swapped = torch.cat((part[..., width // 2 :], part[..., : width // 2]), -1)
            turned = torch.addcmul(part * cosines, swapped, sines)
            return turned if states.shape[-1] == width else torch.cat((turned, states[..., width:]), -1)

        return turn


class _Layer(NamedTuple):
    before_attention: Norm
    before_mlp: Norm
    projections: tuple[nn.Module, ...]
    """Query, key and value, or one module that gives all three side by side."""
    output: nn.Module
    query_norm: Norm | None
    key_norm: Norm | None
    mlp: Callable[[Tensor], Tensor]
    heads: int
    key_heads: int
    width: int
    scale: float


class LeanStep:
    """``StepFunction`` of Llama, Mistral, Qwen2, Qwen3 and what is built like them.

    Args:
        parts: the model taken apart.
        capacity: columns of the cache, for the rotary table.

    Raises:
        AttributeError: the trunk is built otherwise.
    """

    def __init__(self, parts: TrunkAndHead, capacity: int) -> None:
        trunk: Any = parts.trunk
        self._head, self._embed, self._norm = parts.head, trunk.embed_tokens, _norm_of(trunk.norm)
        self._layers = [_layer(layer) for layer in trunk.layers]
        self._rotary = RotaryTable(trunk.rotary_emb, capacity, self._embed.weight)

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Logits after one more token a row."""
        rows, turn = len(tokens), self._rotary.at(cache.columns)
        hidden = self._embed(tokens)
        for index, layer in enumerate(self._layers):
            normed = layer.before_attention(hidden)
            projected = [one(normed) for one in layer.projections]
            states = (projected[0] if len(projected) == 1 else torch.cat(projected, -1)).view(rows, -1, layer.width)
            turning, value = states[:, : layer.heads + layer.key_heads], states[:, layer.heads + layer.key_heads :]
            if layer.query_norm is not None and layer.key_norm is not None:
                turning = torch.cat((layer.query_norm(turning[:, : layer.heads]), layer.key_norm(turning[:, layer.heads :])), 1)
            turned = turn(turning)
            query, key = turned[:, : layer.heads], turned[:, layer.heads :]
            seen = cache.layer(index).write(key, value)
            hidden = hidden + layer.output(cache.attend(query.to(cache.dtype), seen, layer.scale))
            hidden = hidden + layer.mlp(layer.before_mlp(hidden))
        return self._head(self._norm(hidden))


def _layer(layer: Any) -> _Layer:
    attention = layer.self_attn
    if not getattr(attention, "use_rope", True):
        raise AttributeError("a layer without rotary embedding")
    normed = hasattr(attention, "q_norm")
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    joined = _joined(projections)
    width = int(attention.head_dim)
    return _Layer(
        before_attention=_norm_of(layer.input_layernorm),
        before_mlp=_norm_of(layer.post_attention_layernorm),
        projections=projections if joined is None else (joined,),
        output=attention.o_proj,
        query_norm=_norm_of(attention.q_norm) if normed else None,
        key_norm=_norm_of(attention.k_norm) if normed else None,
        mlp=_mlp(layer.mlp),
        heads=int(attention.q_proj.out_features) // width,
        key_heads=int(attention.k_proj.out_features) // width,
        width=width,
        scale=float(attention.scaling),
    )


def _mlp(mlp: Any) -> Callable[[Tensor], Tensor]:
    """The MLP; a small gated one with its first two products in one."""
    parts = [getattr(mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    joined = None if None in parts else _joined((mlp.gate_proj, mlp.up_proj))
    if joined is None:
        whole: Callable[[Tensor], Tensor] = mlp
        return whole
    down, activation, width = mlp.down_proj, mlp.act_fn, mlp.gate_proj.out_features

    def gated(states: Tensor) -> Tensor:
        both = joined(states)
        result: Tensor = down(activation(both[:, :width]) * both[:, width:])
        return result

    return gated


def _joined(modules: Sequence[nn.Module]) -> nn.Linear | None:
    """One linear module for several that read the same input, or None where they are not plain, or large.

    It holds a copy of their weights, so it lives no longer than the step: one call of ``generate``. A small product costs less
    than calling it does; a large one would cost its copy.
    """
    kind = type(modules[0])
    plain = [module for module in modules if isinstance(module, nn.Linear) and type(module) is kind and kind.__name__ in _PLAIN_LINEAR]
    biased = {module.bias is not None for module in plain}
    if len(plain) < len(modules) or len(biased) > 1 or sum(module.weight.numel() for module in plain) > JOIN_BELOW:
        return None
    weight = torch.cat([module.weight for module in plain])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=biased == {True}, device=torch.device("meta"))
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if biased == {True}:
        joined.bias = nn.Parameter(torch.cat([module.bias for module in plain]), requires_grad=False)
    joined.__class__ = type(plain[0])
    return joined


def _norm_of(module: nn.Module) -> Norm:
    """A root-mean-square norm in one call; any other norm as it is."""
    epsilon = getattr(module, "variance_epsilon", None)
    if epsilon is None:
        return module

    def norm(states: Tensor) -> Tensor:
        weight = module.weight
        assert isinstance(weight, Tensor)
        return F.rms_norm(states, weight.shape, weight, epsilon)

    return norm
