"""Masks, masked means and whitening."""

import pytest
import torch
from scipy.stats import zscore

from instructloop.objectives.masking import (
    last_index,
    length_mask,
    masked_mean,
    masked_row_mean,
    masked_sum,
    masked_variance,
    masked_whiten,
    one_longer,
)


def test_a_length_mask_marks_the_first_tokens_of_each_row() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False, False, False], [True, True, False], [True, True, True]]


def test_ppo_t10_last_index_is_never_minus_one_and_handles_rows_without_padding() -> None:
    mask = length_mask(torch.tensor([0, 1, 4]), 4)
    assert last_index(mask).tolist() == [0, 0, 3]


def test_ppo_t9_the_longer_mask_gains_one_slot_where_there_is_room() -> None:
    mask = length_mask(torch.tensor([1, 3, 4]), 4)
    assert one_longer(mask).sum(dim=1).tolist() == [2, 4, 4]


def test_means_count_real_slots_only() -> None:
    x = torch.tensor([[1.0, 2.0, float("nan")], [5.0, float("inf"), float("-inf")]])
    mask = length_mask(torch.tensor([2, 1]), 3)
    assert masked_sum(x, mask).item() == 8.0
    assert masked_mean(x, mask).item() == pytest.approx(8 / 3)
    assert masked_mean(x, mask, denominator=16).item() == 0.5
    assert masked_row_mean(x, mask).tolist() == [1.5, 5.0]
    assert masked_variance(x, mask).item() == pytest.approx(26 / 9)


def test_an_empty_mask_gives_zero_not_nan() -> None:
    x, mask = torch.full((2, 2), float("nan"), requires_grad=True), torch.zeros(2, 2, dtype=torch.bool)
    mean = masked_mean(x, mask)
    mean.backward()
    assert mean.item() == 0.0
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_ppo_19_whitening_uses_the_biased_variance() -> None:
    x = torch.arange(12, 21, dtype=torch.float64)[None] / 10
    white = masked_whiten(x, torch.ones_like(x, dtype=torch.bool), shift_mean=False)
    assert white[0, :3].tolist() == pytest.approx([0.0508, 0.4381, 0.8254], abs=5e-5)


def test_ppo_19_advantages_lose_their_mean_and_rewards_keep_it() -> None:
    x = torch.tensor([[3.0, 1.0, 4.0, float("nan")], [1.0, 5.0, float("inf"), 0.0]], dtype=torch.float64)
    mask = length_mask(torch.tensor([3, 2]), 4)
    white = masked_whiten(x, mask)
    torch.testing.assert_close(white[mask], torch.from_numpy(zscore([3.0, 1.0, 4.0, 1.0, 5.0])), atol=1e-7, rtol=1e-7)
    assert white[~mask].tolist() == [0.0, 0.0, 0.0]
    assert masked_mean(masked_whiten(x, mask, shift_mean=False), mask).item() == pytest.approx(2.8)


def test_ppo_30_whitening_statistics_are_those_of_the_tensor_passed_in() -> None:
    x, mask = torch.tensor([[0.0, 1.0], [10.0, 30.0]]), torch.ones(2, 2, dtype=torch.bool)
    whole, halves = masked_whiten(x, mask), torch.cat([masked_whiten(x[:1], mask[:1]), masked_whiten(x[1:], mask[1:])])
    torch.testing.assert_close(halves, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    assert not torch.allclose(whole, halves, atol=0.1)


def test_whitening_constant_values_gives_zero() -> None:
    white = masked_whiten(torch.full((2, 3), 7.0), torch.ones(2, 3, dtype=torch.bool))
    assert white.abs().max().item() == 0.0
