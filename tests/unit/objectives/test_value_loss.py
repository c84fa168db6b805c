"""The clipped value loss and explained variance."""

import pytest
import torch

from instructloop.objectives.masking import length_mask
from instructloop.objectives.value import clipped_value_loss, explained_variance

ONE = torch.ones(1, 1, dtype=torch.bool)


def _one(x: float) -> torch.Tensor:
    return torch.tensor([[x]])


def test_ppo_20_the_worse_of_clipped_and_plain_error_counts() -> None:
    result = clipped_value_loss(_one(0.5), _one(0.0), _one(1.0), ONE, clip=0.2)
    assert result.loss.item() == pytest.approx(0.32)
    assert result.clip_fraction.item() == 1.0


def test_ppo_20_inside_the_clip_it_is_half_the_squared_error() -> None:
    value = _one(0.1).requires_grad_(True)
    result = clipped_value_loss(value, _one(0.0), _one(1.0), ONE, clip=0.2)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(0.405)
    assert result.clip_fraction.item() == 0.0
    assert value.grad is not None
    assert value.grad.item() == pytest.approx(-0.9)


def test_a_value_that_moved_beyond_the_clip_towards_the_target_gets_no_gradient() -> None:
    value = _one(0.5).requires_grad_(True)
    clipped_value_loss(value, _one(0.0), _one(1.0), ONE, clip=0.2).loss.backward()
    assert value.grad is not None
    assert value.grad.item() == 0.0


@pytest.mark.parametrize("clip", [None, 0.0])
def test_the_clip_can_be_switched_off(clip: float | None) -> None:
    result = clipped_value_loss(_one(0.5), _one(0.0), _one(1.0), ONE, clip=clip)
    assert result.loss.item() == pytest.approx(0.125)
    assert result.clip_fraction.item() == 0.0


def test_explained_variance_of_perfect_constant_and_inverted_values() -> None:
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, float("nan")]]), length_mask(torch.tensor([3]), 4)
    junk = torch.tensor([[float("inf")]])
    assert explained_variance(returns, returns, mask).item() == 1.0
    assert explained_variance(torch.cat([torch.full((1, 3), 7.0), junk], 1), returns, mask).item() == pytest.approx(0.0)
    assert explained_variance(torch.cat([-returns[:, :3], junk], 1), returns, mask).item() == pytest.approx(-3.0)


def test_explained_variance_is_zero_when_the_returns_do_not_vary() -> None:
    assert explained_variance(torch.randn(1, 3), torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)).item() == 0.0
