"""Generalized advantage estimation by hand and by a plain loop."""

import pytest
import torch

from instructloop.objectives.gae import gae
from instructloop.objectives.masking import length_mask, masked_whiten, one_longer
from instructloop.objectives.reward_shaping import kl_shaped_rewards

ALL = torch.ones(1, 3, dtype=torch.bool)
REWARDS, VALUES = torch.tensor([[0.0, 0.0, 1.0]]), torch.full((1, 3), 0.5)


def test_ppo_16_advantages_and_returns_at_lambda_095() -> None:
    result = gae(REWARDS, VALUES, ALL, gamma=1.0, lam=0.95)
    assert result.advantages[0].tolist() == pytest.approx([0.45125, 0.475, 0.5])
    assert result.returns[0].tolist() == pytest.approx([0.95125, 0.975, 1.0])


def test_ppo_16_lambda_one_is_return_minus_value() -> None:
    assert gae(REWARDS, VALUES, ALL, gamma=1.0, lam=1.0).advantages[0].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_lambda_zero_is_the_one_step_error() -> None:
    values = torch.tensor([[0.1, 0.4, 0.2]])
    result = gae(REWARDS, values, ALL, gamma=0.9, lam=0.0)
    assert result.advantages[0].tolist() == pytest.approx([0.9 * 0.4 - 0.1, 0.9 * 0.2 - 0.4, 1 - 0.2])


def test_ppo_26_returns_are_unwhitened_advantages_plus_values_without_gradient() -> None:
    values = torch.tensor([[0.3, -0.2, 0.9]], requires_grad=True)
    rewards = REWARDS.clone().requires_grad_(True)
    result = gae(rewards, values, ALL, gamma=1.0, lam=0.95)
    torch.testing.assert_close(result.returns, result.advantages + values.detach())
    assert not result.advantages.requires_grad
    assert not result.returns.requires_grad
    assert not torch.allclose(result.returns, masked_whiten(result.advantages, ALL) + values.detach(), atol=0.1)


def test_rows_of_different_length_do_not_see_each_other_or_their_padding() -> None:
    rewards = torch.tensor([[0.0, 1.0, float("nan")], [0.2, -0.1, 0.4]])
    values = torch.tensor([[0.5, 0.25, float("inf")], [0.1, 0.2, 0.3]])
    mask = length_mask(torch.tensor([2, 3]), 3)
    both = gae(rewards, values, mask, gamma=0.99, lam=0.9)
    alone = gae(rewards[:1, :2], values[:1, :2], mask[:1, :2], gamma=0.99, lam=0.9)
    torch.testing.assert_close(both.advantages[:1, :2], alone.advantages)
    assert both.advantages[0, 2].item() == 0.0
    assert both.returns[0, 2].item() == 0.0


def _advantage_at_eos(slot: str, lam: float) -> float:
    mask = length_mask(torch.tensor([3]), 5)
    zeros, values = torch.zeros(1, 5), torch.full((1, 5), 0.25)
    rewards = kl_shaped_rewards(torch.tensor([1.0]), zeros, zeros, mask, beta=0.1, slot="after" if slot == "after" else "last")
    return gae(rewards, values, one_longer(mask) if slot == "after" else mask, gamma=1.0, lam=lam).advantages[0, 2].item()


def test_ppo_t15_the_advantage_at_eos_depends_on_lambda_only_with_the_score_behind_it() -> None:
    assert _advantage_at_eos("last", 0.5) == _advantage_at_eos("last", 1.0) == pytest.approx(0.75)
    # V(after) - V(EOS) + lambda * (1 - V(after))
    assert _advantage_at_eos("after", 0.5) == pytest.approx(0.5 * 0.75)
    assert _advantage_at_eos("after", 1.0) == pytest.approx(0.75)
