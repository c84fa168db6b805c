"""What is logged about a rollout batch (spec E19)."""

import pytest
import torch

from instructloop.objectives.reward_shaping import kl_shaped_rewards
from instructloop.rewards import RewardOutput
from instructloop.training.ppo_metrics import distinct_2, rollout_metrics, sample_rows


def test_the_objective_is_the_mean_of_score_minus_beta_times_sequence_kl(scene) -> None:
    """PPO-38 and PPO-18: the same number from token rewards summed over the batch; KL is a mean of sums, not of means."""
    one = scene()
    reference = (one.targets.old_logprobs - 0.1) * one.targets.mask
    scores = torch.linspace(-1, 1, 8)
    metrics = rollout_metrics(one.rollouts, RewardOutput(scores=scores * 10), scores, reference, one.targets, beta=0.5)
    shaped = kl_shaped_rewards(scores, one.targets.old_logprobs, reference, one.targets.mask, beta=0.5)
    assert metrics["objective"] == pytest.approx(shaped.sum().item() / 8, rel=1e-5)
    lengths = one.rollouts.batch.completion_lengths.float()
    assert metrics["kl"] == pytest.approx(0.1 * lengths.mean().item(), rel=1e-4)
    # k3 with d = -0.1 on every token: e^-0.1 - 1 + 0.1
    assert metrics["kl_k3"] == pytest.approx(0.0048374 * lengths.mean().item(), rel=1e-3)
    assert metrics["reward"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["reward_std"] == pytest.approx(10 * scores.std(correction=0).item())
    assert metrics["length"] == lengths.mean().item()


def test_parts_of_a_reward_are_logged_by_name(scene) -> None:
    one = scene()
    output = RewardOutput(scores=torch.zeros(8), parts={"helpful": torch.arange(8.0)})
    metrics = rollout_metrics(one.rollouts, output, output.scores, one.targets.old_logprobs, one.targets, beta=0.0)
    assert metrics["part/helpful"] == 3.5
    assert metrics["kl"] == 0.0


def test_distinct_2_counts_pairs_inside_completions_only() -> None:
    tokens = torch.tensor([[5, 6, 5, 6], [5, 6, 9, 9]])
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    # pairs: 56 65 56 | 56 -> two different ones among four
    assert distinct_2(tokens, mask) == 0.5
    assert distinct_2(tokens[:, :1], mask[:, :1]) == 1.0


def test_a_row_of_samples_says_what_was_asked_said_and_scored(scene) -> None:
    one = scene()
    output = RewardOutput(scores=torch.arange(8.0), parts={"length": torch.ones(8)})
    rows = sample_rows(one.rollouts, output, output.scores / 2, one.targets.old_logprobs, one.targets, count=3)
    assert len(rows) == 3
    assert rows[2]["prompt"] == "ababab"
    assert (rows[2]["reward"], rows[2]["score"], rows[2]["kl"], rows[2]["parts"]) == (2.0, 1.0, 0.0, {"length": 1.0})
    assert rows[2]["completion"] == one.rollouts.completions[2]
