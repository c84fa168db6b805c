"""Kullback-Leibler estimators on sampled tokens, and the adaptive controller (Schulman 2020; Ziegler et al. 2019).

With d = log ref - log pi on a token sampled from pi: k1 = -d, k2 = d^2 / 2, k3 = e^d - 1 - d. k1 and k3 are unbiased for KL(pi || ref),
k2 is not (PPO-31). As *loss terms* on fresh samples they differ (PPO-32): the gradient of k2 is that of KL(pi || ref), k1's has
expectation zero, and k3's is that of the forward KL(ref || pi). This program puts k1 into the reward and logs k3.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import hide

Estimator = Literal["k1", "k2", "k3"]


def k1(logprob: Float[Tensor, "*shape"], ref_logprob: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Difference log pi - log ref per token: unbiased, may be negative (spec I1)."""
    return logprob - ref_logprob


def k2(logprob: Float[Tensor, "*shape"], ref_logprob: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """(log pi - log ref)^2 / 2 per token: biased, never negative."""
    return 0.5 * (logprob - ref_logprob).square()


def k3(logprob: Float[Tensor, "*shape"], ref_logprob: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """e^d - 1 - d with d = log ref - log pi: unbiased, never negative, low variance."""
    d = ref_logprob - logprob
    return torch.expm1(d) - d


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def sequence_kl(
    logprob: Float[Tensor, "batch time"],
    ref_logprob: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    estimator: Estimator = "k1",
) -> Float[Tensor, "batch"]:
    """Sum over the completion's tokens of the estimator, in nats per sequence (PPO-38: a sum, not a mean).

    Args:
        logprob: log pi of the sampled tokens.
        ref_logprob: log ref of the same tokens.
        mask: which slots are completion tokens.
        estimator: k1 (spec E2), k2 or k3.
    """
    return hide(ESTIMATORS[estimator](hide(logprob, mask), hide(ref_logprob, mask)), mask).sum(dim=-1)


def categorical_kl(logits: Float[Tensor, "*shape vocabulary"], ref_logits: Float[Tensor, "*shape vocabulary"]) -> Float[Tensor, "*shape"]:
    """Exact KL(pi || ref) per position from both distributions' logits, in nats; tokens pi never takes add nothing."""
    logprobs, ref_logprobs = logits.log_softmax(dim=-1), ref_logits.log_softmax(dim=-1)
    impossible = logprobs.isneginf()
    difference = logprobs.masked_fill(impossible, 0.0) - ref_logprobs.masked_fill(impossible, 0.0)
    return (logprobs.exp() * difference).sum(dim=-1)


def adapt_beta(beta: float, kl: float, target: float, horizon: int, episodes: int, *, limit: float = 0.2) -> float:
    """Next beta: beta * (1 + clip(kl / target - 1, -limit, limit) * episodes / horizon) (Ziegler et al. 2019, section 2.2; PPO-21).

    Args:
        beta: the coefficient so far.
        kl: mean sequence KL of the last rollout batch, in nats.
        target: sequence KL to steer towards, in nats.
        horizon: episodes over which a full error would change beta by ``limit``.
        episodes: episodes of the last rollout batch.
        limit: bound of the proportional error.
    """
    error = max(-limit, min(limit, kl / target - 1.0))
    return beta * (1.0 + error * episodes / horizon)
