"""A key-value cache that is allocated once and written in place, behind transformers' cache interface.

The library's growing cache copies everything at every token; its static one makes attention run over the whole capacity.
This one hands attention a view of what is filled.
"""

from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_PLAIN_LAYERS = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


class PreallocatedLayer(DynamicLayer):
    """Keys and values [rows, heads, capacity, width] of one layer, filled up to a common column."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0
        self._stored: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write new columns and return views of all filled ones."""
        start, end = self.length, self.length + key_states.shape[-2]
        if self._stored is None:
            self._stored = self._room(key_states, len(key_states)), self._room(value_states, len(value_states))
            self.is_initialized = True
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, start:end] = new
        self.length = end
        self.keys, self.values = (stored[:, :, :end] for stored in self._stored)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Filled columns."""
        return self.length

    def rearrange(self, index: Tensor, capacity: int) -> None:
        """Keep copies of the rows in ``index`` (repeats allowed). Fewer rows are moved in place, more get new room."""
        if self._stored is None:
            return
        filled = [stored[index, :, : self.length] for stored in self._stored]
        if len(index) > len(self._stored[0]) or capacity != self.capacity:
            self.capacity = capacity
            self._stored = self._room(filled[0], len(index)), self._room(filled[1], len(index))
        else:
            self._stored = self._stored[0][: len(index)], self._stored[1][: len(index)]
        for stored, rows in zip(self._stored, filled, strict=True):
            stored[:, :, : self.length] = rows
        self.keys, self.values = (stored[:, :, : self.length] for stored in self._stored)

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return torch.empty((rows, like.shape[1], self.capacity, like.shape[3]), dtype=like.dtype, device=like.device)


class RolloutCache(Cache):
    """One ``PreallocatedLayer`` per layer of the model."""

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[PreallocatedLayer(capacity) for _ in range(layers)])


def is_attention_only(config: PreTrainedConfig) -> bool:
    """Whether every layer is attention. Recurrent layers cannot skip padding, and keep states of another kind."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return kinds <= _PLAIN_LAYERS and bool(getattr(text, "num_attention_heads", 0))


def new_cache(config: PreTrainedConfig, capacity: int) -> Cache:
    """A cache for this architecture; those with recurrent layers get the library's own."""
    text = config.get_text_config()
    return RolloutCache(int(text.num_hidden_layers), capacity) if is_attention_only(config) else DynamicCache(config=text)


def rearrange(cache: Cache, index: Tensor, capacity: int) -> None:
    """Make row i of the cache a copy of its old row ``index[i]``."""
    if isinstance(cache, RolloutCache):
        for layer in cache.layers:
            assert isinstance(layer, PreallocatedLayer)
            layer.rearrange(index, capacity)
    else:
        cache.reorder_cache(cast("torch.LongTensor", index))  # the library's name for it; repeats are fine
