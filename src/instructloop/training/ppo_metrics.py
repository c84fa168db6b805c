"""Numbers about one rollout batch, for ``metrics.jsonl`` and the table of samples (spec E19)."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from instructloop.core.records import prompt_json
from instructloop.generation.rollouts import Rollouts
from instructloop.objectives.kl import k3, sequence_kl
from instructloop.objectives.masking import masked_mean
from instructloop.objectives.value import explained_variance
from instructloop.rewards import RewardOutput
from instructloop.training.ppo_update import Targets


def rollout_metrics(
    rollouts: Rollouts,
    output: RewardOutput,
    scores: Float[Tensor, "batch"],
    ref_logprobs: Float[Tensor, "batch response"],
    targets: Targets,
    *,
    beta: float,
) -> dict[str, float]:
    """Rewards, divergence from the reference, shape of the replies, and how well the value network foresaw the returns.

    ``reward`` is what the reward function said; ``score`` what PPO maximizes (shifted, scaled, after the EOS rule); ``objective`` is
    the batch mean of score - beta * sequence KL (PPO-38), and ``kl`` the mean of token *sums*.
    """
    kl = sequence_kl(targets.old_logprobs, ref_logprobs, targets.mask)
    k3_sums = (k3(targets.old_logprobs, ref_logprobs) * targets.mask).sum(dim=1)
    metrics = {
        "reward": output.scores.mean(),
        "reward_std": output.scores.std(correction=0),
        "score": scores.mean(),
        "objective": (scores - beta * kl).mean(),
        "kl": kl.mean(),
        "kl_se": kl.std(correction=0) / len(kl) ** 0.5,
        "kl_k3": k3_sums.mean(),
        "length": rollouts.batch.completion_lengths.float().mean(),
        "eos_rate": rollouts.ended.float().mean(),
        "distinct_2": distinct_2(rollouts.batch.completion_tokens, rollouts.mask),
        "explained_variance": explained_variance(targets.old_values, targets.returns, targets.mask),
        "value_mean": masked_mean(targets.old_values, targets.mask),
        "return_mean": masked_mean(targets.returns, targets.mask),
    }
    if rollouts.entropies is not None:
        metrics["entropy"] = masked_mean(rollouts.entropies, rollouts.mask)
    metrics |= {f"part/{name}": values.mean() for name, values in output.parts.items()}
    return {name: float(value) for name, value in metrics.items()}


def distinct_2(tokens: Int[Tensor, "batch response"], mask: Bool[Tensor, "batch response"]) -> float:
    """Different pairs of neighbouring completion tokens over all such pairs in the batch; 1 if there is no pair."""
    both = mask[:, 1:] & mask[:, :-1]
    pairs = torch.stack([tokens[:, :-1][both], tokens[:, 1:][both]], dim=1)
    if len(pairs) == 0:
        return 1.0
    return len(torch.unique(pairs, dim=0)) / len(pairs)


def sample_rows(
    rollouts: Rollouts, output: RewardOutput, scores: Tensor, ref_logprobs: Tensor, targets: Targets, *, count: int
) -> list[Mapping[str, Any]]:
    """The first ``count`` rollouts as rows of a table: prompt, completion, reward and its parts, KL (the order of prompts is shuffled already)."""
    kl = sequence_kl(targets.old_logprobs, ref_logprobs, targets.mask).tolist()
    rewards, final = output.scores.tolist(), scores.tolist()
    lengths, ended = rollouts.batch.completion_lengths.tolist(), rollouts.ended.tolist()
    parts = {name: values.tolist() for name, values in output.parts.items()}
    return [
        {
            "prompt": prompt_json(rollouts.prompts[row].prompt),
            "completion": rollouts.completions[row],
            "reward": rewards[row],
            "score": final[row],
            "parts": {name: values[row] for name, values in parts.items()},
            "kl": kl[row],
            "tokens": lengths[row],
            "ended": bool(ended[row]),
        }
        for row in range(min(count, len(rewards)))
    ]
