"""Token and sequence cross entropies, the pretraining term, and log-probabilities from logits."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from instructloop.objectives.logprobs import selected_logprobs, token_entropy
from instructloop.objectives.masking import length_mask
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.ptx import ptx_loss
from instructloop.objectives.sft import mean_logprob, sequence_logprob, sequence_nll, token_nll

LOGPROBS = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, float("nan"), float("nan")]])
MASK = length_mask(torch.tensor([3, 1]), 3)


def test_token_loss_averages_over_tokens_and_sequence_loss_over_rows() -> None:
    assert token_nll(LOGPROBS, MASK).item() == 2.5
    assert sequence_nll(LOGPROBS, MASK).item() == 5.0
    assert sequence_logprob(LOGPROBS, MASK).tolist() == [-6.0, -4.0]
    assert mean_logprob(LOGPROBS, MASK).tolist() == [-2.0, -4.0]


def test_token_loss_equals_cross_entropy_with_the_prompt_ignored() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.tensor([[3, 1, 4, 1, -100], [5, 2, -100, -100, -100]])
    mask = labels != -100
    ours = token_nll(selected_logprobs(logits, labels.clamp(min=0)), mask)
    theirs = cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits, retain_graph=True), torch.autograd.grad(theirs, logits))


def test_the_eos_position_receives_gradient_and_padding_does_not() -> None:
    """PPO-2: the mask comes from lengths, so EOS counts even where PAD is the same token."""
    logprobs = torch.full((1, 4), -1.0, requires_grad=True)
    token_nll(logprobs, length_mask(torch.tensor([3]), 4)).backward()
    assert logprobs.grad is not None
    assert logprobs.grad[0].tolist() == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 0.0])


def test_ppo_12_temperature_divides_the_logits() -> None:
    logits, ids = torch.tensor([[1.0, 3.0]]), torch.tensor([1])
    assert selected_logprobs(logits, ids, temperature=0.5).item() == pytest.approx(-math.log1p(math.exp(-4)), rel=1e-4)
    assert token_entropy(logits, temperature=1e6).item() == pytest.approx(math.log(2))


def test_ppo_33_bf16_logits_are_scored_in_fp32() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(2)).bfloat16()
    ids = torch.tensor([0, 10, 49])
    scored = selected_logprobs(logits, ids)
    assert scored.dtype == torch.float32
    exact = logits.double().log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(scored.double(), exact, atol=1e-6, rtol=1e-6)
    assert token_entropy(logits).dtype == torch.float32


def test_entropy_of_a_uniform_choice_ignores_forbidden_tokens() -> None:
    logits = torch.tensor([0.0, 0.0, 0.0, 0.0, float("-inf")], requires_grad=True)
    entropy = token_entropy(logits)
    entropy.backward()
    assert entropy.item() == pytest.approx(math.log(4))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def _mixed_gradient(gamma: float | None) -> torch.Tensor:
    """Gradient of one policy parameter vector after accumulating the PPO loss and, unless gamma is None, gamma times the ptx loss."""
    logits = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_(True)
    ids, mask = torch.tensor([[0, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    advantage = torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64)
    logprob = selected_logprobs(logits[None], ids)
    clipped_policy_loss(logprob, logprob.detach(), advantage, mask, clip=0.2).loss.backward()
    if gamma is not None:
        (gamma * ptx_loss(selected_logprobs(logits[None], torch.tensor([[1, 1, 0]])), mask)).backward()
    assert logits.grad is not None
    return logits.grad


def test_x1_the_accumulated_gradient_is_the_sum_of_both() -> None:
    ppo, one = _mixed_gradient(None), _mixed_gradient(1.0)
    torch.testing.assert_close(_mixed_gradient(27.8), ppo + 27.8 * (one - ppo), atol=1e-6, rtol=1e-6)


def test_x2_gamma_zero_is_ppo_bit_for_bit() -> None:
    assert torch.equal(_mixed_gradient(0.0), _mixed_gradient(None))
