"""KL estimators by exact enumeration, and the adaptive controller."""

import math

import pytest
import torch
from torch import Tensor

from instructloop.objectives.kl import ESTIMATORS, adapt_beta, categorical_kl, k1, k2, k3, sequence_kl
from instructloop.objectives.masking import length_mask

LOGITS = torch.tensor([0.4, -0.3, 1.1], dtype=torch.float64)
REF = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64).log_softmax(-1)


def test_ppo_31_values_for_half_against_a_quarter() -> None:
    policy, ref = torch.tensor(0.5).log(), torch.tensor(0.25).log()
    assert [f(policy, ref).item() for f in (k1, k2, k3)] == pytest.approx([0.6931, 0.2402, 0.1931], abs=5e-5)


def test_ppo_31_k1_and_k3_are_unbiased_on_policy_samples_and_k2_is_not() -> None:
    logprobs = LOGITS.log_softmax(-1)
    exact = categorical_kl(LOGITS, REF).item()
    expected = {name: (logprobs.exp() * f(logprobs, REF)).sum().item() for name, f in ESTIMATORS.items()}
    assert expected["k1"] == pytest.approx(exact)
    assert expected["k3"] == pytest.approx(exact)
    assert abs(expected["k2"] - exact) > 0.01


def _expected_gradient_as_loss(name: str) -> Tensor:
    """E over tokens a ~ pi of the gradient of the estimator at a, by enumeration."""
    logits = LOGITS.clone().requires_grad_(True)
    logprobs = logits.log_softmax(-1)
    return torch.autograd.grad((logprobs.detach().exp() * ESTIMATORS[name](logprobs, REF)).sum(), logits)[0]


def _gradient(divergence: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(divergence, logits)[0]


def test_ppo_32_k2_as_a_loss_has_the_gradient_of_the_reverse_kl() -> None:
    logits = LOGITS.clone().requires_grad_(True)
    torch.testing.assert_close(_expected_gradient_as_loss("k2"), _gradient(categorical_kl(logits, REF), logits))


def test_ppo_32_k1_in_the_reward_has_the_same_gradient_as_k2_in_the_loss() -> None:
    logits = LOGITS.clone().requires_grad_(True)
    logprobs = logits.log_softmax(-1)
    reward = -k1(logprobs, REF).detach()
    policy_loss = -(logprobs.detach().exp() * reward * logprobs).sum()
    torch.testing.assert_close(_gradient(policy_loss, logits), _expected_gradient_as_loss("k2"))


def test_ppo_32_k1_as_a_loss_has_zero_expected_gradient() -> None:
    torch.testing.assert_close(_expected_gradient_as_loss("k1"), torch.zeros(3, dtype=torch.float64))


def test_ppo_32_k3_as_a_loss_has_the_gradient_of_the_forward_kl() -> None:
    logits = LOGITS.clone().requires_grad_(True)
    torch.testing.assert_close(_expected_gradient_as_loss("k3"), _gradient(categorical_kl(REF, logits), logits))


def test_spec_i1_a_one_sample_sequence_kl_can_be_negative() -> None:
    policy = torch.tensor([[-1.2, -0.8, -2.0, -0.5, float("nan")]])
    ref = torch.tensor([[-1.0, -0.9, -1.7, -0.8, float("inf")]])
    mask = length_mask(torch.tensor([4]), 5)
    assert sequence_kl(policy, ref, mask).item() == pytest.approx(-0.1000, abs=1e-6)
    assert sequence_kl(policy, ref, mask, estimator="k3").item() > 0


def test_ppo_38_sequence_kl_is_a_sum_over_tokens() -> None:
    policy, ref = torch.full((2, 3), -1.0), torch.full((2, 3), -1.5)
    assert sequence_kl(policy, ref, length_mask(torch.tensor([1, 3]), 3)).tolist() == [0.5, 1.5]


def test_ppo_24_padded_slots_count_as_ratio_one_whatever_they_hold() -> None:
    policy, ref = torch.tensor([[-1.0, 1.0]]), torch.tensor([[-1.0, -9.0]])
    for name in ("k1", "k2", "k3"):
        assert sequence_kl(policy, ref, length_mask(torch.tensor([1]), 2), estimator=name).item() == 0.0


def test_exact_kl_allows_tokens_the_policy_never_takes() -> None:
    logits = torch.tensor([0.0, float("-inf")])
    assert categorical_kl(logits, torch.tensor([0.0, 0.0])).item() == pytest.approx(math.log(2))


def test_ppo_21_adaptive_controller_values() -> None:
    assert adapt_beta(0.15, 12.0, target=6.0, horizon=10_000, episodes=64) == pytest.approx(0.150192)
    assert adapt_beta(0.15, 3.0, target=6.0, horizon=10_000, episodes=64) == pytest.approx(0.149808)


def test_ppo_21_small_errors_act_in_proportion_and_the_target_holds_still() -> None:
    assert adapt_beta(0.1, 6.6, target=6.0, horizon=100, episodes=100) == pytest.approx(0.11)
    assert adapt_beta(0.1, 6.0, target=6.0, horizon=100, episodes=100) == 0.1
