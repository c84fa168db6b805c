"""Critic-free policy gradients from several completions per prompt: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, REINFORCE++ (section 8.4).

Adding a constant to all rewards of a group changes no advantage here, so it changes no gradient.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.core.errors import ConfigError
from instructloop.objectives.kl import k3
from instructloop.objectives.masking import Count, hide, masked_row_mean, masked_whiten
from instructloop.objectives.policy import clipped_surrogate

Scale = Literal["sample", "population", "none"]
Aggregation = Literal["sequence", "token", "fixed"]


class GroupLoss(NamedTuple):
    """A critic-free loss and what to log about it (only ``loss`` carries gradient)."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    """Mean k3 to the reference, nats per token; 0 without a reference."""


def _at_least_two(rewards: Tensor) -> None:
    if rewards.shape[-1] < 2:
        raise ConfigError(
            f"a group needs at least 2 completions per prompt, got {rewards.shape[-1]}",
            hint="one completion has nothing to be compared with",
        )


def group_advantages(
    rewards: Float[Tensor, "groups size"], *, scale: Scale = "sample", epsilon: float = 1e-4
) -> Float[Tensor, "groups size"]:
    """A_i = (r_i - mean) / (std + epsilon) within each group (GRPO: Shao et al. 2024, section 4.1); an all-equal group gives exactly 0.

    Args:
        rewards: one row per prompt.
        scale: ``sample`` divides by the standard deviation with Bessel's correction, ``population`` by the one without it, ``none`` not at
            all (Dr. GRPO: Liu et al. 2025).
        epsilon: added to the standard deviation.

    Raises:
        ConfigError: fewer than 2 completions per prompt.
    """
    _at_least_two(rewards)
    centered = rewards - rewards.mean(dim=-1, keepdim=True)
    if scale != "none":
        centered = centered / (rewards.std(dim=-1, keepdim=True, correction=1 if scale == "sample" else 0) + epsilon)
    return centered.masked_fill((rewards == rewards[..., :1]).all(dim=-1, keepdim=True), 0.0)


def rloo_advantages(rewards: Float[Tensor, "groups size"]) -> Float[Tensor, "groups size"]:
    """A_i = R_i - mean of the others = K / (K - 1) (R_i - mean) (leave-one-out: Kool et al. 2019, Ahmadian et al. 2024).

    Raises:
        ConfigError: fewer than 2 completions per prompt.
    """
    _at_least_two(rewards)
    size = rewards.shape[-1]
    return (rewards - rewards.mean(dim=-1, keepdim=True)) * (size / (size - 1))


def reinforce_advantages(
    token_rewards: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"], *, gamma: float = 1.0
) -> Float[Tensor, "batch time"]:
    """A_t = discounted sum of later token rewards, whitened over the whole batch (REINFORCE++: Hu 2025). No gradient.

    For its baseline variant subtract each group's mean reward before shaping the token rewards.

    Args:
        token_rewards: from ``kl_shaped_rewards``.
        mask: which slots are completion tokens.
        gamma: discount.
    """
    with torch.no_grad():
        rewards = hide(token_rewards, mask)
        togo, running = torch.zeros_like(rewards), torch.zeros_like(rewards[:, 0])
        for t in reversed(range(rewards.shape[1])):
            running = rewards[:, t] + gamma * running
            togo[:, t] = running
        return masked_whiten(togo, mask)


def mask_truncated(mask: Bool[Tensor, "batch time"], ended: Bool[Tensor, "batch"]) -> Bool[Tensor, "batch time"]:
    """The mask without completions that hit the length cap: they then teach nothing (T16; the alternative is ``overlong_penalty``)."""
    return mask & ended[:, None]


def group_policy_loss(
    logprob: Float[Tensor, "batch time"],
    old_logprob: Float[Tensor, "batch time"],
    advantages: Float[Tensor, "batch"],
    mask: Bool[Tensor, "batch time"],
    *,
    clip: float,
    clip_high: float | None = None,
    aggregation: Aggregation = "token",
    fixed_length: int = 0,
    ref_logprob: Float[Tensor, "batch time"] | None = None,
    kl_coef: float = 0.0,
    denominator: Count | None = None,
) -> GroupLoss:
    """Clipped surrogate with one advantage per completion, plus kl_coef * k3 to the reference.

    The KL term is weighted by the ratio pi / old, so that samples of the old policy estimate the KL of the current one.

    Args:
        logprob: log pi(token) under the policy being trained.
        old_logprob: the same under the policy that sampled.
        advantages: one number per completion.
        mask: which slots are completion tokens.
        clip: lower half-width; also the upper one unless ``clip_high`` is given (DAPO: 0.2 and 0.28).
        clip_high: upper half-width.
        aggregation: ``sequence`` = mean per completion, then over completions (GRPO); ``token`` = mean over all tokens (DAPO); ``fixed`` =
            sum divided by completions * ``fixed_length`` (Dr. GRPO).
        fixed_length: the divisor of ``fixed``, usually the cap on completion tokens.
        ref_logprob: log-probabilities under the reference; needed for the KL term.
        kl_coef: weight of the KL term.
        denominator: tokens (``token``) or completions (otherwise) of the whole batch, when this is a micro-batch.

    Raises:
        ConfigError: ``fixed`` without a length, or a KL weight without reference log-probabilities.
    """
    if aggregation == "fixed" and fixed_length < 1:
        raise ConfigError(f"aggregation 'fixed' needs fixed_length >= 1, got {fixed_length}", hint="pass the cap on completion tokens")
    if kl_coef and ref_logprob is None:
        raise ConfigError(f"kl_coef {kl_coef} needs the reference's log-probabilities", hint="pass ref_logprob, or kl_coef=0")
    logprob, advantage = hide(logprob, mask), advantages.detach()[:, None].expand_as(logprob)
    ratio = (logprob - hide(old_logprob, mask).detach()).exp()
    surrogate = clipped_surrogate(ratio, advantage, clip=clip, clip_high=clip_high)
    divergence = torch.zeros_like(logprob) if ref_logprob is None else k3(logprob, hide(ref_logprob, mask).detach())
    terms = (kl_coef * ratio * divergence if kl_coef else 0.0) - surrogate
    tokens, rows = mask.sum().clamp(min=1), max(1, mask.shape[0])
    if aggregation == "token":
        loss = hide(terms, mask).sum() / (tokens if denominator is None else denominator)
    else:
        per_row = masked_row_mean(terms, mask) if aggregation == "sequence" else hide(terms, mask).sum(dim=-1) / fixed_length
        loss = per_row.sum() / (rows if denominator is None else denominator)
    with torch.no_grad():
        clipped = hide((surrogate != ratio * advantage).to(ratio.dtype), mask).sum() / tokens
        return GroupLoss(loss, clipped, hide(divergence, mask).sum() / tokens)


def sequence_policy_loss(
    logprob: Float[Tensor, "batch time"],
    old_logprob: Float[Tensor, "batch time"],
    advantages: Float[Tensor, "batch"],
    mask: Bool[Tensor, "batch time"],
    *,
    clip: float,
    ratio: Literal["sum", "mean"] = "sum",
    denominator: Count | None = None,
) -> GroupLoss:
    """-mean over completions of min(s A, clip(s) A), with one ratio s per completion.

    Args:
        logprob: log pi(token) under the policy being trained.
        old_logprob: the same under the policy that sampled.
        advantages: one number per completion.
        mask: which slots are completion tokens.
        clip: half-width of the trust interval of s.
        ratio: ``sum``: s = pi(y|x) / old(y|x) (RLOO); ``mean``: its geometric mean per token (GSPO: Zheng et al. 2025).
        denominator: completions of the whole batch, when this is a micro-batch.
    """
    difference = hide(logprob, mask) - hide(old_logprob, mask).detach()
    logratio = difference.sum(dim=-1) if ratio == "sum" else masked_row_mean(difference, mask)
    s, advantage = logratio.exp(), advantages.detach()
    surrogate = clipped_surrogate(s, advantage, clip=clip)
    rows = max(1, advantage.shape[0])
    clipped = (surrogate != s * advantage).detach().to(s.dtype).sum() / rows
    return GroupLoss(-surrogate.sum() / (rows if denominator is None else denominator), clipped, torch.zeros_like(clipped))
