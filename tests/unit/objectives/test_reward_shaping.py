"""Token rewards: exactly one score, a KL penalty on every token, the EOS and length rules."""

import pytest
import torch

from instructloop.objectives.kl import sequence_kl
from instructloop.objectives.masking import length_mask
from instructloop.objectives.reward_shaping import ScoreSlot, apply_eos_rule, kl_shaped_rewards, overlong_penalty

LENGTHS = torch.tensor([1, 3, 4])
MASK = length_mask(LENGTHS, 4)
SCORES = torch.tensor([2.0, -1.0, 0.5])
ZERO = torch.zeros(3, 4)


@pytest.mark.parametrize("slot", ["last", "after"])
def test_ppo_18_token_rewards_sum_to_score_minus_beta_kl(slot: ScoreSlot) -> None:
    generator = torch.Generator().manual_seed(5)
    policy, ref = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    rewards = kl_shaped_rewards(SCORES, policy, ref, MASK, beta=0.3, slot=slot)
    torch.testing.assert_close(rewards.sum(dim=1), SCORES - 0.3 * sequence_kl(policy, ref, MASK))


def test_ppo_18_the_score_sits_on_the_last_completion_token() -> None:
    rewards = kl_shaped_rewards(SCORES, ZERO, ZERO, MASK, beta=0.1)
    assert rewards.tolist() == [[2.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 0, 0, 0.5]]


def test_ppo_t9_the_slot_after_eos_falls_back_to_the_last_one() -> None:
    rewards = kl_shaped_rewards(SCORES, ZERO, ZERO, MASK, beta=0.1, slot="after")
    assert rewards.tolist() == [[0, 2.0, 0, 0], [0, 0, 0, -1.0], [0, 0, 0, 0.5]]


def test_ppo_t10_an_empty_completion_takes_its_score_in_the_first_slot() -> None:
    rewards = kl_shaped_rewards(torch.tensor([3.0]), torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), beta=0.1)
    assert rewards.tolist() == [[3.0, 0.0]]


def test_spec_e2_each_token_pays_beta_times_its_own_log_ratio() -> None:
    policy, ref = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]])
    rewards = kl_shaped_rewards(torch.tensor([1.0]), policy, ref, torch.ones(1, 2, dtype=torch.bool), beta=0.02)
    assert rewards[0].tolist() == pytest.approx([-0.01, 1.02])


def test_rewards_carry_no_gradient() -> None:
    policy = torch.zeros(3, 4, requires_grad=True)
    assert not kl_shaped_rewards(SCORES, policy, ZERO, MASK, beta=0.1).requires_grad


def test_ppo_t5_replace_subtract_and_keep() -> None:
    scores, ended = torch.tensor([5.0, 5.0]), torch.tensor([True, False])
    assert apply_eos_rule(scores, ended, mode="replace", value=-1.0).tolist() == [5.0, -1.0]
    assert apply_eos_rule(scores, ended, mode="subtract", value=-1.0).tolist() == [5.0, 4.0]
    assert apply_eos_rule(scores, ended, mode="subtract", value=1.0).tolist() == [5.0, 4.0]
    assert apply_eos_rule(scores, ended, mode="keep").tolist() == [5.0, 5.0]


def test_ppo_t14_a_completion_that_ended_on_the_cap_is_not_punished() -> None:
    assert apply_eos_rule(torch.tensor([0.3]), torch.tensor([True]), mode="replace").item() == pytest.approx(0.3)


def test_ppo_t16_overlong_shaping_grows_over_the_buffer() -> None:
    assert overlong_penalty(torch.tensor([79, 80, 90, 100, 120]), limit=100, buffer=20).tolist() == [0.0, 0.0, -0.5, -1.0, -1.0]
