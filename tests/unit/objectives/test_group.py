"""Critic-free advantages and losses by hand (section 8.4 of the PPO notes)."""

import math

import pytest
import torch

from instructloop.core.errors import ConfigError
from instructloop.objectives.group import (
    group_advantages,
    group_policy_loss,
    mask_truncated,
    reinforce_advantages,
    rloo_advantages,
    sequence_policy_loss,
)
from instructloop.objectives.kl import k3
from instructloop.objectives.masking import length_mask
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.reward_shaping import kl_shaped_rewards

MASK = length_mask(torch.tensor([1, 3]), 4)
ADVANTAGES = torch.tensor([2.0, -1.0])


def test_8_4_grpo_advantages_with_and_without_bessels_correction() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    assert group_advantages(rewards, epsilon=0.0)[0].tolist() == pytest.approx([0.8660, -0.8660, -0.8660, 0.8660], abs=5e-5)
    assert group_advantages(rewards, scale="population", epsilon=0.0)[0].tolist() == pytest.approx([1.0, -1.0, -1.0, 1.0])
    assert group_advantages(rewards, scale="none")[0].tolist() == [0.5, -0.5, -0.5, 0.5]


def test_8_4_an_all_equal_group_gives_exactly_zero() -> None:
    advantages = group_advantages(torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 3.0]]), epsilon=0.0)
    assert advantages[0].tolist() == [0.0, 0.0, 0.0]
    assert advantages[1, 2].item() > 0


def test_8_4_rloo_advantages_compare_with_the_others_and_sum_to_zero() -> None:
    assert rloo_advantages(torch.tensor([[1.0, 2.0, 6.0]]))[0].tolist() == pytest.approx([-3.0, -1.5, 4.5])
    assert rloo_advantages(torch.tensor([[5.0, 2.0]]))[0].tolist() == pytest.approx([3.0, -3.0])


def test_8_4_a_group_of_one_is_refused_with_a_remedy() -> None:
    for advantages in (rloo_advantages, group_advantages):
        with pytest.raises(ConfigError, match="at least 2 completions") as caught:
            advantages(torch.tensor([[1.0]]))
        assert caught.value.hint


def test_8_4_a_constant_added_to_a_groups_rewards_changes_no_advantage() -> None:
    rewards, shift = torch.tensor([[1.0, 2.0, 6.0], [0.0, 1.0, 0.5]]), torch.tensor([[10.0], [-3.0]])
    torch.testing.assert_close(group_advantages(rewards + shift), group_advantages(rewards), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rloo_advantages(rewards + shift), rloo_advantages(rewards), atol=1e-5, rtol=1e-5)


def test_8_4_reinforce_plus_plus_forgets_a_constant_of_the_batch() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, ref, scores = torch.randn(2, 4, generator=generator), torch.randn(2, 4, generator=generator), torch.tensor([1.0, -2.0])
    plain, shifted = (reinforce_advantages(kl_shaped_rewards(scores + c, policy, ref, MASK, beta=0.1), MASK) for c in (0.0, 50.0))
    torch.testing.assert_close(plain, shifted, atol=1e-4, rtol=1e-4)


def test_reinforce_sums_the_rewards_still_to_come() -> None:
    rewards = torch.tensor([[1.0, float("nan")], [0.0, 2.0]])
    mask = length_mask(torch.tensor([1, 2]), 2)
    # discounted sums 1, 1, 2: mean 4/3, biased std sqrt(2)/3
    advantages = reinforce_advantages(rewards, mask, gamma=0.5)
    assert advantages[mask].tolist() == pytest.approx([-1 / math.sqrt(2), -1 / math.sqrt(2), math.sqrt(2)], abs=1e-5)
    assert advantages[0, 1].item() == 0.0


def test_at_ratio_one_the_three_aggregations_differ_only_in_their_divisors() -> None:
    zero = torch.zeros(2, 4)
    losses = {
        kind: group_policy_loss(zero, zero, ADVANTAGES, MASK, clip=0.2, aggregation=kind, fixed_length=4).loss.item()
        for kind in ("sequence", "token", "fixed")
    }
    assert losses == pytest.approx({"sequence": -(2 - 1) / 2, "token": -(2 - 3) / 4, "fixed": -(2 - 3) / 8})


def test_token_aggregation_without_kl_is_the_clipped_ppo_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    policy, old = torch.randn(2, 4, generator=generator), torch.randn(2, 4, generator=generator)
    ours = group_policy_loss(policy, old, ADVANTAGES, MASK, clip=0.2, clip_high=0.28)
    ppo = clipped_policy_loss(policy, old, ADVANTAGES[:, None].expand(2, 4), MASK, clip=0.2, clip_high=0.28)
    torch.testing.assert_close(ours.loss, ppo.loss)
    torch.testing.assert_close(ours.clip_fraction, ppo.clip_fraction)


def test_the_kl_term_is_k3_weighted_by_the_ratio() -> None:
    policy, old, ref = torch.tensor([[-1.0]]), torch.tensor([[-1.2]]), torch.tensor([[-2.0]])
    one, advantage = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1)
    result = group_policy_loss(policy, old, advantage, one, clip=0.2, ref_logprob=ref, kl_coef=0.5)
    assert result.loss.item() == pytest.approx(0.5 * math.exp(0.2) * k3(policy, ref).item())
    assert result.kl.item() == pytest.approx(math.exp(-1) - 1 + 1)


def test_8_4_sequence_ratios_are_products_or_geometric_means() -> None:
    policy, old = torch.tensor([[0.1, 0.2]]), torch.zeros(1, 2)
    both, advantage = torch.ones(1, 2, dtype=torch.bool), torch.tensor([1.0])
    assert sequence_policy_loss(policy, old, advantage, both, clip=0.9).loss.item() == pytest.approx(-math.exp(0.3))
    assert sequence_policy_loss(policy, old, advantage, both, clip=0.9, ratio="mean").loss.item() == pytest.approx(-math.exp(0.15))
    held = sequence_policy_loss(policy, old, advantage, both, clip=0.2)
    assert (held.loss.item(), held.clip_fraction.item()) == (pytest.approx(-1.2), 1.0)


def test_ppo_t16_masking_truncated_completions_removes_their_gradient() -> None:
    policy = torch.zeros(2, 4, requires_grad=True)
    mask = mask_truncated(MASK, torch.tensor([True, False]))
    group_policy_loss(policy, torch.zeros(2, 4), ADVANTAGES, mask, clip=0.2).loss.backward()
    assert policy.grad is not None
    assert policy.grad[0, 0].item() != 0
    assert policy.grad[1].abs().sum().item() == 0


def test_missing_arguments_are_refused_with_a_remedy() -> None:
    zero = torch.zeros(2, 4)
    with pytest.raises(ConfigError, match="fixed_length"):
        group_policy_loss(zero, zero, ADVANTAGES, MASK, clip=0.2, aggregation="fixed")
    with pytest.raises(ConfigError, match="reference"):
        group_policy_loss(zero, zero, ADVANTAGES, MASK, clip=0.2, kl_coef=0.1)
