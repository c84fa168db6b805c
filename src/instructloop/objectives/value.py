"""The value network's loss and its usual measure."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import Count, hide, masked_mean, masked_variance


class ValueLoss(NamedTuple):
    """The value loss (carries gradient) and the share of tokens in which the clip decided (does not)."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def clipped_value_loss(
    values: Float[Tensor, "batch time"],
    old_values: Float[Tensor, "batch time"],
    returns: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    clip: float | None,
    denominator: Count | None = None,
) -> ValueLoss:
    """Mean over tokens of 0.5 max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2) (Ziegler et al. 2019; PPO-20).

    Args:
        values: V(s_t) of the network being trained.
        old_values: V(s_t) when the rollout was scored.
        returns: targets, no gradient.
        mask: which slots are completion tokens.
        clip: half-width c around the old value; None or 0 switches the clip off.
        denominator: token count of the whole batch, when this is a micro-batch.
    """
    values, old_values, returns = hide(values, mask), hide(old_values, mask).detach(), hide(returns, mask).detach()
    plain = (values - returns).square()
    if not clip:
        return ValueLoss(0.5 * masked_mean(plain, mask, denominator=denominator), torch.zeros_like(plain.sum().detach()))
    near = torch.maximum(torch.minimum(values, old_values + clip), old_values - clip)
    held = (near - returns).square()
    loss = 0.5 * masked_mean(torch.maximum(plain, held), mask, denominator=denominator)
    return ValueLoss(loss, masked_mean((held > plain).detach().to(plain.dtype), mask, denominator=denominator))


def explained_variance(
    values: Float[Tensor, "batch time"], returns: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, ""]:
    """1 - Var(R - V) / Var(R): 1 perfect, 0 as good as a constant, negative worse (KILL-7). 0 when the returns do not vary."""
    with torch.no_grad():
        returns, values = hide(returns, mask), hide(values, mask)
        spread = masked_variance(returns, mask)
        varies = spread > 0
        unexplained = masked_variance(returns - values, mask) / torch.where(varies, spread, torch.ones_like(spread))
        return torch.where(varies, 1.0 - unexplained, torch.zeros_like(spread))
