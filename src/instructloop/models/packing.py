"""Hidden states of a ragged batch without computing its padding, nor a shared prompt more than once.

The real tokens of all rows are laid end to end as one row of N tokens, so that every matrix product sees N rows. Only attention knows
about rows: the batch's layout travels to it as a keyword argument, it gathers queries, keys and values into a few right-padded blocks
of rows of similar length, attends causally, and takes each token's result back. Rows with the same prompt point to one copy of it:
its tokens are computed once, and every row's completion attends to them.

Whether a model can be run so is found by experiment, once. Models that cannot are run right-padded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.integrations import sdpa_attention

from instructloop.data import TokenBatch, TokenSequence, collate
from instructloop.models.compiling import last_hidden
from instructloop.models.device import device_of, evaluating

Packing = Literal["auto", "off"]

LEAST_SAVING = 0.08
"""Share of the padded area that must be saved: gathering and scattering around attention costs about 4 % of a small model's pass."""
_KEY = "instructloop_layout"
_library_attention: Callable[..., tuple[Tensor, None]] = sdpa_attention.sdpa_attention_forward
_settings: WeakKeyDictionary[nn.Module, Packing] = WeakKeyDictionary()
_able: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_dropouts: WeakKeyDictionary[nn.Module, list[nn.Dropout]] = WeakKeyDictionary()


class Block(NamedTuple):
    """Rows that attend together: ``source[r * width + c]`` is the token in row r, column c (any token where there is none)."""

    source: Int[Tensor, "rows*width"]
    rows: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """B ragged rows as one row of N tokens.

    Attributes:
        tokens: ids.
        positions: each token's column in its row.
        index: where row b's token of column t lies; 0 where there is none.
        blocks: what attends together.
        source: of all blocks, one behind the other.
        home: each token's place in ``source``.
        holder: the token whose home a place is; N where it is none's.
        shared: whether rows share tokens.
    """

    tokens: Int[Tensor, "1 N"]
    positions: Int[Tensor, "1 N"]
    index: Int[Tensor, "B T"]
    blocks: tuple[Block, ...]
    source: Int[Tensor, "places"]
    home: Int[Tensor, "N"]
    holder: Int[Tensor, "places"]
    shared: bool


def set_packing(model: nn.Module, packing: Packing) -> None:
    """Remember whether this model's ragged batches may be packed."""
    _settings[model] = packing


def packing_of(model: nn.Module) -> Packing:
    """What ``set_packing`` said, else ``auto``."""
    return _settings.get(model, "auto")


def hidden_at(
    model: nn.Module, trunk: nn.Module, batch: TokenBatch, rows: Int[Tensor, "n"], columns: Int[Tensor, "n"]
) -> Float[Tensor, "n h"]:
    """The trunk's last hidden states at some places of a batch.

    Args:
        model: the model whose setting counts.
        trunk: its transformer, called with ids and giving ``last_hidden_state``.
        batch: B right-padded rows on the model's device.
        rows: row of each place.
        columns: its column, inside the row.
    """
    # asked first and always: where parameters are sharded, all processes must run the experiment together
    able = packing_of(model) == "auto" and can_pack(trunk)
    layout = (
        lay_out(batch, share=not _drops(trunk), least_saving=LEAST_SAVING) if able and batch.tokens.shape[1] <= _window(trunk) else None
    )
    if layout is None:
        hidden = last_hidden(trunk, batch.tokens)
        place = rows * batch.tokens.shape[1] + columns
    else:
        hidden = packed_forward(trunk, layout)
        place = layout.index[rows, columns]
    result: Tensor = hidden.reshape(-1, hidden.shape[-1]).index_select(0, place)
    return result


def packed_forward(trunk: nn.Module, layout: Layout) -> Float[Tensor, "1 N h"]:
    """Last hidden states of all tokens of a layout."""
    # a mask of four dimensions is taken as it is: the library builds none, and attention knows the rows from the layout
    mask = torch.zeros((1, 1, 1, 1), device=layout.tokens.device)
    result: Tensor = trunk(
        input_ids=layout.tokens, position_ids=layout.positions, attention_mask=mask, use_cache=False, **{_KEY: layout}
    ).last_hidden_state
    return result


def lay_out(batch: TokenBatch, *, share: bool = True, least_saving: float = LEAST_SAVING) -> Layout | None:
    """The layout of a batch, or None if packing saves less than ``least_saving`` of its padded area.

    Args:
        batch: B right-padded rows.
        share: rows whose prompts have the same ids share its tokens.
        least_saving: share of rows x longest row.
    """
    lengths, prompts = batch.lengths.tolist(), batch.prompt_lengths.tolist()
    owners = _owners(batch, prompts) if share else list(range(len(lengths)))
    saved_by_sharing = sum(prompt for row, prompt in enumerate(prompts) if owners[row] != row)
    tokens = sum(lengths) - saved_by_sharing
    if tokens > (1 - least_saving) * batch.tokens.numel() or tokens == batch.tokens.numel():
        return None
    device, width = batch.tokens.device, batch.tokens.shape[1]
    columns = torch.arange(width, device=device)
    owner = torch.tensor(owners, device=device)
    real = columns < batch.lengths[:, None]
    borrowed = (owner != torch.arange(len(lengths), device=device))[:, None] & (columns < batch.prompt_lengths[:, None])
    own = real & ~borrowed
    index = own.flatten().cumsum(0).view_as(own) - 1
    if saved_by_sharing:
        index = torch.where(borrowed, index[owner], index)
    index = index.masked_fill(~real, 0)
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    blocks, places, start = [], torch.empty(tokens, dtype=torch.long, device=device), 0
    for members in _blocks(order, lengths):
        chosen, wide = torch.tensor(members, device=device), lengths[members[0]]
        source = index[chosen, :wide]
        blocks.append(Block(source.flatten(), len(members), wide))
        mine = own[chosen, :wide]
        places[source[mine]] = start + mine.flatten().nonzero()[:, 0]
        start += len(members) * wide
    holder = torch.full((start,), tokens, device=device)
    holder[places] = torch.arange(tokens, device=device)
    source = torch.cat([block.source for block in blocks])
    tokens_in_a_row, positions = batch.tokens[own][None], columns.expand_as(own)[own][None]
    return Layout(tokens_in_a_row, positions, index, tuple(blocks), source, places, holder, bool(saved_by_sharing))


def can_pack(trunk: nn.Module) -> bool:
    """Whether a trunk gives packed rows the hidden states of padded ones; tried once, with a shared prompt among them."""
    if trunk not in _able:
        _able[trunk] = _try(trunk)
    return _able[trunk]


def _try(trunk: nn.Module) -> bool:
    if getattr(getattr(trunk, "config", None), "_attn_implementation", None) != "sdpa":
        return False
    rows = [((1, 2, 3, 0, 2), 3), ((1, 2, 3, 1), 3), ((0, 3), 1), ((2, 1, 0, 3, 3, 1, 0, 2, 1), 2)]
    batch = collate([TokenSequence(*row) for row in rows], 0).to(device_of(trunk))
    layout = lay_out(batch)
    assert layout is not None
    real = batch.attention_mask
    with evaluating(trunk):
        padded = trunk(input_ids=batch.tokens, use_cache=False).last_hidden_state[real]
        try:
            packed = packed_forward(trunk, layout)[0][layout.index[real]]
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return False
    tolerance = 1e-4 if padded.dtype == torch.float32 else 3e-2
    return bool(torch.allclose(packed, padded, rtol=tolerance, atol=tolerance * float(padded.abs().max())))


def _owners(batch: TokenBatch, prompts: list[int]) -> list[int]:
    """For each row the first row that has the same prompt."""
    if not any(prompts):
        return list(range(len(prompts)))
    first: dict[tuple[int, ...], int] = {}
    return [
        first.setdefault(tuple(ids[:length]), row) if length else row
        for row, (ids, length) in enumerate(zip(batch.tokens.tolist(), prompts, strict=True))
    ]


def _blocks(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Cut rows, longest first, in two wherever that saves attention a quarter of its padded area."""
    best, cut = 0.75 * len(order) * lengths[order[0]] ** 2, 0
    for place in range(1, len(order)):
        area = place * lengths[order[0]] ** 2 + (len(order) - place) * lengths[order[place]] ** 2
        if area < best:
            best, cut = area, place
    return [order] if cut == 0 else _blocks(order[:cut], lengths) + _blocks(order[cut:], lengths)


def _window(trunk: nn.Module) -> int:
    """The longest row whose attention sees all of it; local attention is left to the library."""
    config: Any = trunk.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    limits = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size", "local_attention", "window_size")]
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=1 << 62)


def _drops(trunk: nn.Module) -> bool:
    """Whether dropout is on: rows must then draw their own, also for a prompt they share."""
    if not trunk.training:
        return False
    config: Any = trunk.config
    if any(isinstance(value, float) and value > 0 for name, value in vars(config).items() if "dropout" in name or name.endswith("pdrop")):
        return True
    if trunk not in _dropouts:
        # looked up once: walking through the modules takes longer than a small layer
        _dropouts[trunk] = [module for module in trunk.modules() if isinstance(module, nn.Dropout)]
    return any(module.p > 0 for module in _dropouts[trunk])


class _Gather(torch.autograd.Function):
    """Tokens [N, d] -> the blocks' places [sum of rows x width, d]."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, source: Tensor, home: Tensor, shared: bool) -> Tensor:
        ctx.save_for_backward(source if shared else home)
        ctx.shared, ctx.tokens = shared, len(flat)
        return flat.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        # places without a token have no gradient: no real token attends to them, and nothing reads their result
        if ctx.shared:
            return upstream.new_zeros((ctx.tokens, upstream.shape[1])).index_add_(0, index, upstream), None, None, None
        return upstream.index_select(0, index), None, None, None


class _Scatter(torch.autograd.Function):
    """The blocks' places -> tokens; a place that is no token's home gets gradient 0."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, home: Tensor, holder: Tensor) -> Tensor:
        ctx.save_for_backward(holder)
        return places.index_select(0, home)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (holder,) = ctx.saved_tensors
        # zeros and a scatter would take twice as long
        return torch.cat([upstream, upstream.new_zeros((1, upstream.shape[1]))]).index_select(0, holder), None, None


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, Tensor | None]:
    """The library's ``sdpa``, which with our keyword works on the rows of a layout: [1, heads, N, d] -> [1, N, heads, d]."""
    layout: Layout | None = settings.pop(_KEY, None)
    if layout is None:
        return _library_attention(module, query, key, value, attention_mask, **settings)
    flat = [one.transpose(1, 2).reshape(one.shape[2], -1) for one in (query, key, value)]
    heads = [one.shape[1] for one in (query, key, value)]
    spread = [_Gather.apply(one, layout.source, layout.home, layout.shared) for one in flat]
    results, start = [], 0
    for block in layout.blocks:
        size = block.rows * block.width
        parts = [
            one[start : start + size].view(block.rows, block.width, count, -1).transpose(1, 2)
            for one, count in zip(spread, heads, strict=True)
        ]
        attended, _ = _library_attention(module, *parts, None, **settings)
        results.append(attended.reshape(size, -1))
        start += size
    together = results[0] if len(results) == 1 else torch.cat(results)
    tokens = _Scatter.apply(together, layout.home, layout.holder)
    return tokens.view(1, len(tokens), heads[0], -1), None


AttentionInterface.register("sdpa", _attention)
