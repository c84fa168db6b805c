"""One decoding step of a Llama-type model straight over its own modules, without the library's bookkeeping around them.

Projections and MLPs are called as modules, so that adapters and replaced linear layers keep working. Whether a model is of
this type is decided by experiment (``stepping``), not here: construction fails with AttributeError where a part is missing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from instructloop.generation.slots import SlotCache
from instructloop.models.logprobs import TrunkAndHead

_FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings whose table does not depend on the lengths in the batch."""

Norm = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    before_attention: Norm
    before_mlp: Norm
    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    query_norm: Norm | None
    key_norm: Norm | None
    mlp: nn.Module
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
        rotary = trunk.rotary_emb
        if rotary.rope_type not in _FIXED_ROTARY:
            raise AttributeError(f"rotary embedding of type {rotary.rope_type}")
        self._head, self._embed, self._norm = parts.head, trunk.embed_tokens, _norm_of(trunk.norm)
        self._layers = [_layer(layer) for layer in trunk.layers]
        weight = self._embed.weight
        positions = torch.arange(capacity, device=weight.device)[None]
        cosines, sines = rotary(torch.zeros(1, device=weight.device, dtype=torch.float32), positions)
        half = cosines.shape[-1] // 2
        self._cosines: Float[Tensor, "capacity 1 width"] = cosines[0][:, None].to(weight.dtype)
        # x * cos + (-x2, x1) * sin, with the sign in the table instead of in the states
        signed = torch.cat((-sines[0][:, :half], sines[0][:, half:]), -1)
        self._sines: Float[Tensor, "capacity 1 width"] = signed[:, None].to(weight.dtype)

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Logits after one more token a row."""
        rows, columns = len(tokens), cache.columns
        cosines, sines = self._cosines[columns], self._sines[columns]
        hidden = self._embed(tokens)
        for index, layer in enumerate(self._layers):
            normed = layer.before_attention(hidden)
            query = layer.query(normed).view(rows, -1, layer.width)
            key = layer.key(normed).view(rows, -1, layer.width)
            if layer.query_norm is not None and layer.key_norm is not None:
                query, key = layer.query_norm(query), layer.key_norm(key)
            query, key = _rotate(query, cosines, sines), _rotate(key, cosines, sines)
            seen = cache.layer(index).write(key, layer.value(normed))
            hidden = hidden + layer.output(cache.attend(query.to(cache.dtype), seen, layer.scale))
            hidden = hidden + layer.mlp(layer.before_mlp(hidden))
        return self._head(self._norm(hidden))


def _rotate(states: Float[Tensor, "rows heads width"], cosines: Tensor, sines: Tensor) -> Float[Tensor, "rows heads width"]:
    half = states.shape[-1] // 2
    turned = torch.cat((states[..., half:], states[..., :half]), -1)
    return torch.addcmul(states * cosines, turned, sines)


def _layer(layer: Any) -> _Layer:
    attention = layer.self_attn
    if not getattr(attention, "use_rope", True):
        raise AttributeError("a layer without rotary embedding")
    normed = hasattr(attention, "q_norm")
    return _Layer(
        before_attention=_norm_of(layer.input_layernorm),
        before_mlp=_norm_of(layer.post_attention_layernorm),
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        output=attention.o_proj,
        query_norm=_norm_of(attention.q_norm) if normed else None,
        key_norm=_norm_of(attention.k_norm) if normed else None,
        mlp=layer.mlp,
        width=int(attention.head_dim),
        scale=float(attention.scaling),
    )


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
