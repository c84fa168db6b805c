"""Masked sums, means and whitening: what stands in a padded slot never reaches a result or a gradient.

A mask is always built from lengths (``t < completion_length``), never from token ids, because PAD may equal EOS in somebody's tokenizer.
Every function first overwrites the padded slots (``hide``); multiplying by the mask would not do, since ``0 * inf`` is NaN.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Count = Tensor | float | int
"""How many tokens, rows, pairs or prompts a mean is taken over."""


def length_mask(lengths: Int[Tensor, "batch"], width: int) -> Bool[Tensor, "batch width"]:
    """``mask[b, t] = t < lengths[b]``: the first ``lengths[b]`` slots of row b are real."""
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


def last_index(mask: Bool[Tensor, "batch time"]) -> Int[Tensor, "batch"]:
    """Slot of the last real token of each right-padded row; 0 for an empty row (T10: never -1, which would index the far end)."""
    return (mask.sum(dim=-1) - 1).clamp(min=0)


def one_longer(mask: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """The mask with one more real slot per row where the row has room (the value mask when the score sits after EOS: T9)."""
    return torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)


def hide(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], value: float = 0.0) -> Float[Tensor, "*shape"]:
    """The values with ``value`` in the padded slots; their gradient is zero whatever stood there (NaN and infinities included)."""
    return x.masked_fill(~mask, value)


def masked_sum(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum over the real slots."""
    return hide(x, mask).sum()


def masked_mean(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, denominator: Count | None = None) -> Float[Tensor, ""]:
    """Sum over the real slots, divided by their number or by ``denominator``.

    Args:
        x: values.
        mask: which slots are real.
        denominator: number of real slots of the whole batch, when x is one micro-batch of it: the micro-batch results (and gradients)
            then add up to those of the batch, however it was split (PPO-29).

    Returns:
        A scalar; 0 if there is no real slot.
    """
    total = masked_sum(x, mask)
    return total / (mask.sum().clamp(min=1) if denominator is None else denominator)


def masked_row_mean(x: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch"]:
    """Mean over the real slots of each row; 0 for an empty row."""
    return hide(x, mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)


def masked_variance(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Biased variance (divided by n) over the real slots."""
    return masked_mean((hide(x, mask) - masked_mean(x, mask)).square(), mask)


def masked_whiten(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, shift_mean: bool = True, epsilon: float = 1e-8
) -> Float[Tensor, "*shape"]:
    """(x - mean) * rsqrt(var + epsilon) over the real slots, with the biased variance (PPO-19); 0 in padded slots.

    Args:
        x: advantages or token rewards.
        mask: which slots are real. The statistics are those of the tensor passed in: pass the whole rollout batch (PPO-30).
        shift_mean: False keeps the mean, as for rewards (Ziegler et al. 2019).
        epsilon: added to the variance.
    """
    mean = masked_mean(x, mask)
    white = (hide(x, mask) - mean) * torch.rsqrt(masked_variance(x, mask) + epsilon)
    return hide(white if shift_mean else white + mean, mask)
