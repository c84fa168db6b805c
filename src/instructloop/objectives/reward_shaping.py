"""From a score per completion to a reward per token: KL penalty, EOS rule, length rule (spec E2; PPO-15, PPO-18, T5, T16)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from instructloop.objectives.kl import k1
from instructloop.objectives.masking import hide, last_index

EosMode = Literal["keep", "replace", "subtract"]
ScoreSlot = Literal["last", "after"]


def apply_eos_rule(
    scores: Float[Tensor, "batch"], ended: Bool[Tensor, "batch"], *, mode: EosMode, value: float = -1.0
) -> Float[Tensor, "batch"]:
    """What a completion that did not end by itself scores (PPO-15, T5).

    Args:
        scores: reward of each completion.
        ended: whether it produced a stop token itself (the finish reason, never a search for EOS in the text: T6, T14).
        mode: ``replace`` the score by ``value`` (Ziegler et al.; the default), ``subtract`` |value| from it, or ``keep`` it.
        value: the fixed score, or the size of the penalty.
    """
    if mode == "keep":
        return scores
    penalized = torch.full_like(scores, value) if mode == "replace" else scores - abs(value)
    return torch.where(ended, scores, penalized)


def overlong_penalty(lengths: Int[Tensor, "batch"], *, limit: int, buffer: int) -> Float[Tensor, "batch"]:
    """-min(len - (L - B), B) / B for completions longer than L - B tokens, else 0 (DAPO's soft length rule; T16).

    Args:
        lengths: completion tokens.
        limit: L, the cap on completion tokens.
        buffer: B, tokens below the cap over which the penalty grows from 0 to -1.
    """
    excess = (lengths - (limit - buffer)).clamp(min=0, max=buffer)
    return -excess.to(torch.get_default_dtype()) / buffer


def kl_shaped_rewards(
    scores: Float[Tensor, "batch"],
    logprobs: Float[Tensor, "batch time"],
    ref_logprobs: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    beta: float,
    slot: ScoreSlot = "last",
) -> Float[Tensor, "batch time"]:
    """r_t = -beta (log pi_t - log ref_t) on every token, plus the score on exactly one (spec E2; PPO-18). No gradient.

    The row sum is score - beta * sequence KL, whatever the slot.

    Args:
        scores: reward of each completion.
        logprobs: log pi of the sampled tokens, from the policy that sampled.
        ref_logprobs: log ref of the same tokens.
        mask: which slots are completion tokens.
        beta: KL coefficient; the paper uses 0.02 (spec E4).
        slot: ``last``, this program's choice, puts the score on the last completion token, so that its advantage does not depend on
            lambda. ``after`` is the older codes' slot behind it where the row has one (T9, T15); ``gae`` then needs ``one_longer(mask)``.
            A row without tokens gets its score in slot 0.
    """
    with torch.no_grad():
        rewards = -beta * k1(hide(logprobs, mask), hide(ref_logprobs, mask))
        index = last_index(mask) if slot == "last" else mask.sum(dim=-1).clamp(max=mask.shape[1] - 1)
        return rewards.scatter_add(1, index[:, None], scores[:, None].to(rewards.dtype))
