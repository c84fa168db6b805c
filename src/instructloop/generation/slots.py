"""A key-value cache of slots: each row has its own next column, so that a finished row's place can go to a waiting prompt.

A row's tokens lie in columns 0..length-1 of its slot. One decoding step writes one column a row and lets attention see the
columns up to the longest row; what lies beyond a row's own length is masked. Slots may be told apart in zones, each with a
longest row of its own, so that short rows need not be read as far as the longest of all. The library's models reach the cache
through transformers' cache interface.
"""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class KeysValues(NamedTuple):
    """What one layer keeps of some prompts, [prompts, heads, columns, width] each; right-padded."""

    keys: Tensor
    values: Tensor


class Zone(NamedTuple):
    """Slots start..end-1, of which the longest row has ``longest`` columns."""

    start: int
    end: int
    longest: int
    even: bool = False
    """Known to hold rows of one length, so that nothing needs a mask."""


class PromptLayer(DynamicLayer):
    """Keeps the keys and values of one pass over whole prompts as they come."""

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Remember and hand back."""
        self.keys, self.values = key_states, value_states
        self.is_initialized = True
        return key_states, value_states


class SlotLayer(DynamicLayer):
    """Keys and values [slots, heads, capacity, width] of one layer."""

    def __init__(self, cache: "SlotCache") -> None:
        super().__init__()
        # not a strong reference: in a cycle the storages would outlive the rollout until Python looks for cycles
        self._cache: SlotCache = weakref.proxy(cache)
        self.stored: KeysValues | None = None

    def fill(self, slots: Tensor, prompts: KeysValues, which: Tensor) -> None:
        """Put prompt ``which[i]`` into slot ``slots[i]``."""
        if self.stored is None:
            self.stored = KeysValues(self._room(prompts.keys), self._room(prompts.values))
            self.is_initialized = True
        for stored, new in zip(self.stored, prompts, strict=True):
            stored[slots, :, : new.shape[2]] = new[which].to(stored.dtype)

    def move(self, source: Tensor, target: Tensor, columns: int) -> None:
        """Copy the first columns of some slots to others."""
        assert self.stored is not None
        for stored in self.stored:
            stored[target, :, :columns] = stored[source, :, :columns]

    def write(self, keys: Tensor, values: Tensor) -> KeysValues:
        """Write a column of each active row; [rows, heads, width] or with a column dimension of 1, contiguous or not.

        Returns:
            Views [rows, heads, columns up to the longest row, width].
        """
        assert self.stored is not None
        rows, longest = self._cache.rows, self._cache.longest
        seen = []
        for stored, new in zip(self.stored, (keys, values), strict=True):
            width = stored.shape[3]
            stored.view(-1, width).index_copy_(0, self._cache.places(stored.shape[1]), new.reshape(-1, width).to(stored.dtype))
            seen.append(stored[:rows, :, :longest])
        return KeysValues(*seen)

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """The library's call of ``write``."""
        return self.write(key_states, value_states)

    def get_seq_length(self) -> int:
        """Columns before the one that is written: those of the longest row."""
        return self._cache.longest - 1

    def _room(self, like: Tensor) -> Tensor:
        # zeros, not empty: what is masked is multiplied by 0, which must not meet a NaN
        shape = (self._cache.slots, like.shape[1], self._cache.capacity, like.shape[3])
        return torch.zeros(shape, dtype=self._cache.dtype, device=like.device)


class SlotCache(Cache):
    """One ``SlotLayer`` for each layer of the model.

    Args:
        layers: layers of the model.
        slots: rows that can be decoded together.
        capacity: columns of a slot.
        dtype: what keys and values are stored in.
    """

    def __init__(self, layers: int, slots: int, capacity: int, dtype: torch.dtype) -> None:
        self.slots, self.capacity, self.dtype = slots, capacity, dtype
        self.rows, self.longest = slots, 1
        self.columns: Tensor = torch.zeros(slots, dtype=torch.long)
        self.zones: tuple[Zone, ...] = (Zone(0, slots, 1),)
        self._places: dict[int, Tensor] = {}
        self._bias: dict[tuple[int, Zone], Tensor] = {}
        self._slot_layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def fill(self, slots: Tensor, prompts: Sequence[KeysValues], which: Tensor) -> None:
        """Put prompt ``which[i]`` into slot ``slots[i]``, in every layer."""
        for layer, one in zip(self._slot_layers, prompts, strict=True):
            layer.fill(slots, one, which)

    def move(self, source: Tensor, target: Tensor, columns: int) -> None:
        """Copy slots, in every layer."""
        for layer in self._slot_layers:
            layer.move(source, target, columns)

    def begin(self, columns: Int[Tensor, "rows"], zones: Sequence[Zone]) -> None:
        """Announce a step: slot r < rows writes column ``columns[r]``; zones cover these slots in order."""
        self.columns, self.rows, self.zones = columns, len(columns), tuple(zones)
        self.longest = max(zone.longest for zone in zones)
        self._places.clear()
        self._bias.clear()

    def layer(self, index: int) -> SlotLayer:
        """One layer."""
        return self._slot_layers[index]

    def places(self, heads: int) -> Int[Tensor, "rows_heads"]:
        """Where this step's columns lie in a layer seen as [slots * heads * capacity, width]."""
        if heads not in self._places:
            first = torch.arange(self.rows * heads, device=self.columns.device).view(self.rows, heads) * self.capacity
            self._places[heads] = (first + self.columns[:, None]).view(-1)
        return self._places[heads]

    def visible(self) -> Bool[Tensor, "rows longest"]:
        """True at the columns that a row holds, the one of this step included."""
        return torch.arange(self.longest, device=self.columns.device) <= self.columns[:, None]

    def bias(self, heads: int, zone: Zone) -> Float[Tensor, "zone_heads 1 columns"]:
        """The same for attention scores of a zone, [slots * heads, 1, columns]: 0, or the lowest number to be added."""
        if (heads, zone) not in self._bias:
            rows = zone.end - zone.start
            bias = torch.zeros((rows, heads, zone.longest), dtype=self.dtype, device=self.columns.device)
            beyond = torch.arange(zone.longest, device=bias.device) > self.columns[zone.start : zone.end, None]
            bias.masked_fill_(beyond[:, None], torch.finfo(self.dtype).min)
            self._bias[heads, zone] = bias.view(rows * heads, 1, zone.longest)
        return self._bias[heads, zone]

    def attend(self, query: Float[Tensor, "rows heads width"], seen: KeysValues, scale: float) -> Float[Tensor, "rows heads_width"]:
        """Attention of one query a row over what ``SlotLayer.write`` returned.

        It is two batched matrix products; on a CPU they beat the fused kernel, which is made for many queries.

        Args:
            query: query heads of one key head lie together.
            seen: keys and values [rows, key heads, columns, width].
            scale: of the scores.
        """
        heads, width = seen.keys.shape[1], seen.keys.shape[3]
        mixed = []
        for zone in self.zones:
            keys, values = (one[zone.start : zone.end, :, : zone.longest].flatten(0, 1) for one in seen)
            grouped = query[zone.start : zone.end].reshape(len(keys), -1, width)
            bias, use = (grouped[:1, :1, :1], 0) if zone.even else (self.bias(heads, zone), 1)  # a bias times 0 is not read
            weights = torch.baddbmm(bias, grouped, keys.transpose(1, 2), alpha=scale, beta=use).softmax(-1)
            mixed.append(torch.bmm(weights, values).view(zone.end - zone.start, -1))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)
