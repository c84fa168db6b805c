"""Generalized advantage estimation over completions (Schulman et al. 2016; PPO-16)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import hide


class Advantages(NamedTuple):
    """GAE's two results, without gradient; 0 in padded slots."""

    advantages: Float[Tensor, "batch time"]
    returns: Float[Tensor, "batch time"]
    """Advantages before whitening plus values: the target of the value network (PPO-26)."""


def gae(
    rewards: Float[Tensor, "batch time"],
    values: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    gamma: float,
    lam: float,
) -> Advantages:
    """A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t, and V = 0 after the last token.

    Args:
        rewards: token rewards.
        values: V(s_t), read before token t.
        mask: which slots are completion tokens, right-padded.
        gamma: discount; the paper uses 1 (spec E8).
        lam: lambda; 1 is the Monte Carlo return minus V, 0 the one-step error.
    """
    with torch.no_grad():
        rewards, values = hide(rewards, mask), hide(values, mask)
        next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
        deltas = rewards + gamma * next_values - values
        advantages = torch.zeros_like(deltas)
        running = torch.zeros_like(deltas[:, 0])
        for t in reversed(range(deltas.shape[1])):
            running = deltas[:, t] + gamma * lam * running
            advantages[:, t] = running
        return Advantages(advantages, advantages + values)
