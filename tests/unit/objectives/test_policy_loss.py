"""The clipped surrogate: its four quadrants, its first step, its options."""

import math

import pytest
import torch

from instructloop.objectives.masking import length_mask
from instructloop.objectives.policy import ClippedLoss, clipped_policy_loss

ONE = torch.ones(1, 1, dtype=torch.bool)


def _at(ratio: float, advantage: float, *, dual_clip: float | None = None, clip_high: float | None = None) -> tuple[ClippedLoss, float]:
    """Loss of a single token with the given ratio and advantage, and its gradient with respect to the log-probability."""
    logprob = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero, a = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[advantage]], dtype=torch.float64)
    result = clipped_policy_loss(logprob, zero, a, ONE, clip=0.2, clip_high=clip_high, dual_clip=dual_clip)
    return result, torch.autograd.grad(result.loss, logprob)[0].item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [(1.5, 2.0, -2.4, 0.0, 1.0), (0.5, 2.0, -1.0, -1.0, 0.0), (1.5, -2.0, 3.0, 3.0, 0.0), (0.5, -2.0, 1.6, 0.0, 1.0)],
)
def test_ppo_27_clip_quadrants(ratio: float, advantage: float, loss: float, gradient: float, clipped: float) -> None:
    result, slope = _at(ratio, advantage)
    assert result.loss.item() == pytest.approx(loss)
    assert slope == pytest.approx(gradient)
    assert result.clip_fraction.item() == clipped


def test_ppo_28_dual_clip_bounds_the_loss_of_negative_advantages_only() -> None:
    assert _at(10.0, -2.0)[0].loss.item() == pytest.approx(20.0)
    result, slope = _at(10.0, -2.0, dual_clip=3.0)
    assert (result.loss.item(), slope, result.clip_fraction.item()) == (6.0, 0.0, 1.0)
    for ratio in (0.1, 0.9, 1.1, 10.0):
        assert _at(ratio, 2.0, dual_clip=3.0)[0].loss.item() == _at(ratio, 2.0)[0].loss.item()


def test_a_higher_upper_clip_leaves_more_room_above_one() -> None:
    assert _at(1.25, 1.0)[0].loss.item() == pytest.approx(-1.2)
    assert _at(1.25, 1.0, clip_high=0.28)[0].loss.item() == pytest.approx(-1.25)


def test_ppo_23_first_step_has_ratio_one_and_the_plain_policy_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    logprob = torch.randn(2, 3, generator=generator, requires_grad=True)
    advantage, mask = torch.randn(2, 3, generator=generator), torch.ones(2, 3, dtype=torch.bool)
    result = clipped_policy_loss(logprob, logprob.detach(), advantage, mask, clip=0.2)
    torch.testing.assert_close(torch.autograd.grad(result.loss, logprob)[0], -advantage / 6)
    assert [x.item() for x in result[1:]] == [0.0, 0.0, 1.0, 1.0, 1.0]


def test_ppo_24_statistics_are_masked() -> None:
    logprob = torch.tensor([[0.1, 5.0], [-0.3, 1.0]])
    result = clipped_policy_loss(logprob, torch.zeros(2, 2), torch.ones(2, 2), length_mask(torch.tensor([1, 1]), 2), clip=0.2)
    assert result.ratio_max.item() == pytest.approx(math.exp(0.1))
    assert result.ratio_min.item() == pytest.approx(math.exp(-0.3))
    assert result.ratio_mean.item() == pytest.approx((math.exp(0.1) + math.exp(-0.3)) / 2)
    assert result.approx_kl.item() == pytest.approx((0.01 + 0.09) / 4)


def test_ppo_t11_tokens_after_eos_get_no_gradient() -> None:
    logprob = torch.zeros(1, 4, requires_grad=True)
    mask = length_mask(torch.tensor([2]), 4)
    clipped_policy_loss(logprob, torch.zeros(1, 4), torch.ones(1, 4), mask, clip=0.2).loss.backward()
    assert logprob.grad is not None
    assert logprob.grad[0].tolist() == [-0.5, -0.5, 0.0, 0.0]


def test_a_batch_without_tokens_costs_nothing_and_reports_ratio_one() -> None:
    zero, none = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)
    result = clipped_policy_loss(zero, zero, zero, none, clip=0.2)
    assert [x.item() for x in (result.loss, result.ratio_min, result.ratio_max)] == [0.0, 1.0, 1.0]
