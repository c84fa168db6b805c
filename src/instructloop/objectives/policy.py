"""The clipped surrogate of PPO (Schulman et al. 2017, eq. 7), with the options later work added."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import Count, hide, masked_mean


class ClippedLoss(NamedTuple):
    """The policy loss, and what to log about it (only ``loss`` carries gradient)."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    """Share of tokens in which a clip, not the plain ratio, decides the loss."""
    approx_kl: Float[Tensor, ""]
    """Mean of (log pi - log old)^2 / 2: how far the update has moved, nats per token (k2)."""
    ratio_mean: Float[Tensor, ""]
    ratio_min: Float[Tensor, ""]
    ratio_max: Float[Tensor, ""]


def clipped_surrogate(
    ratio: Float[Tensor, "*shape"],
    advantage: Float[Tensor, "*shape"],
    *,
    clip: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> Float[Tensor, "*shape"]:
    """min(r A, clip(r, 1 - clip, 1 + clip_high) A), and at least dual_clip * A where A < 0: what each term adds to the objective."""
    held = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high)) * advantage
    chosen = torch.minimum(ratio * advantage, held)
    return chosen if dual_clip is None else torch.where(advantage < 0, torch.maximum(chosen, dual_clip * advantage), chosen)


def clipped_policy_loss(
    logprob: Float[Tensor, "batch time"],
    old_logprob: Float[Tensor, "batch time"],
    advantage: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    clip: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    denominator: Count | None = None,
) -> ClippedLoss:
    """-mean over tokens of min(r A, clip(r, 1 - clip, 1 + clip) A), r = exp(logprob - old).

    Args:
        logprob: log pi(token) under the policy being trained.
        old_logprob: the same under the policy that sampled.
        advantage: advantage per token.
        mask: which slots are completion tokens; in the others r counts as 1 whatever they hold (PPO-24).
        clip: half-width c of the trust interval; the paper uses 0.2 (spec E9).
        clip_high: upper half-width where it differs (DAPO: 0.28).
        dual_clip: bound c > 1 that keeps the loss of a negative advantage at most c |A| (Ye et al. 2020; PPO-28).
        denominator: token count of the whole batch, when this is a micro-batch; every mean is then this micro-batch's share, and shares add up.
    """
    logratio = hide(logprob, mask) - hide(old_logprob, mask).detach()
    advantage = hide(advantage, mask).detach()
    ratio = logratio.exp()
    chosen = clipped_surrogate(ratio, advantage, clip=clip, clip_high=clip_high, dual_clip=dual_clip)
    loss = -masked_mean(chosen, mask, denominator=denominator)
    with torch.no_grad():
        one = torch.ones((), dtype=ratio.dtype, device=ratio.device)
        present = mask.any()
        return ClippedLoss(
            loss,
            clip_fraction=masked_mean((chosen != ratio * advantage).to(ratio.dtype), mask, denominator=denominator),
            approx_kl=masked_mean(0.5 * logratio.square(), mask, denominator=denominator),
            ratio_mean=masked_mean(ratio, mask, denominator=denominator),
            ratio_min=torch.where(present, hide(ratio, mask, float("inf")).amin(), one),
            ratio_max=torch.where(present, hide(ratio, mask, float("-inf")).amax(), one),
        )
