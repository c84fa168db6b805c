"""Lean decoding steps of GPT-2 and GPT-NeoX, as ``lean`` has them for Llama-type models."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from instructloop.generation.lean import RotaryTable
from instructloop.generation.slots import SlotCache
from instructloop.models.logprobs import TrunkAndHead


class LeanGPT2Step:
    """``StepFunction`` of GPT-2: learned positions, one module for queries, keys and values.

    Args:
        parts: the model taken apart.
        capacity: columns of the cache.

    Raises:
        AttributeError: the trunk is built otherwise, or has fewer positions.
    """

    def __init__(self, parts: TrunkAndHead, capacity: int) -> None:
        trunk: Any = parts.trunk
        if capacity > trunk.wpe.num_embeddings:
            raise AttributeError("fewer positions than columns")
        self._head, self._norm = parts.head, trunk.ln_f
        self._tokens, self._positions = trunk.wte, trunk.wpe
        if any(hasattr(block, "crossattention") for block in trunk.h):
            raise AttributeError("cross-attention")
        self._blocks = [(block, block.attn, _mlp(block.mlp), float(block.attn.scaling)) for block in trunk.h]
        self._heads = int(trunk.h[0].attn.num_heads)

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Logits after one more token a row."""
        hidden = self._tokens(tokens) + self._positions(cache.columns)
        for index, (block, attention, mlp, scale) in enumerate(self._blocks):
            states = attention.c_attn(block.ln_1(hidden)).view(len(tokens), 3 * self._heads, -1)
            query, key, value = states.chunk(3, 1)
            seen = cache.layer(index).write(key, value)
            hidden = hidden + attention.c_proj(cache.attend(query.to(cache.dtype), seen, scale))
            hidden = hidden + mlp(block.ln_2(hidden))
        return self._head(self._norm(hidden))


class LeanNeoXStep:
    """``StepFunction`` of GPT-NeoX and Pythia: part of a head turns with the position, attention and MLP may run side by side.

    Args:
        parts: the model taken apart.
        capacity: columns of the cache, for the rotary table.

    Raises:
        AttributeError: the trunk is built otherwise.
    """

    def __init__(self, parts: TrunkAndHead, capacity: int) -> None:
        trunk: Any = parts.trunk
        self._head, self._norm, self._embed = parts.head, trunk.final_layer_norm, trunk.embed_in
        self._rotary = RotaryTable(trunk.rotary_emb, capacity, trunk.embed_in.weight)
        self._layers = [
            (layer, layer.attention, bool(layer.use_parallel_residual), float(layer.attention.scaling)) for layer in trunk.layers
        ]
        self._width = int(trunk.layers[0].attention.head_size)

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Logits after one more token a row."""
        hidden = self._embed(tokens)
        turn = self._rotary.at(cache.columns)
        for index, (layer, attention, parallel, scale) in enumerate(self._layers):
            # each head has its query, key and value side by side
            states = attention.query_key_value(layer.input_layernorm(hidden)).view(len(tokens), -1, 3 * self._width)
            query, key = turn(states[..., : self._width]), turn(states[..., self._width : 2 * self._width])
            seen = cache.layer(index).write(key, states[..., 2 * self._width :])
            mixed = attention.dense(cache.attend(query.to(cache.dtype), seen, scale))
            if parallel:
                hidden = layer.mlp(layer.post_attention_layernorm(hidden)) + mixed + hidden
            else:
                hidden = mixed + hidden
                hidden = layer.mlp(layer.post_attention_layernorm(hidden)) + hidden
        return self._head(self._norm(hidden))


def _mlp(mlp: Any) -> Callable[[Tensor], Tensor]:
    """GPT-2's MLP; the library writes its activation as seven operations, torch has it in one."""
    whole: Callable[[Tensor], Tensor] = mlp
    if type(mlp.act).__name__ != "NewGELUActivation":
        return whole

    def fused(states: Tensor) -> Tensor:
        result: Tensor = mlp.c_proj(F.gelu(mlp.c_fc(states), approximate="tanh"))
        return result

    return fused
