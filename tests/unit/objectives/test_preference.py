"""DPO and its relatives by closed forms (sections 8.2 and 8.3 of the PPO notes)."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from instructloop.objectives.preference import (
    PairLogprobs,
    PreferenceLoss,
    cpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    log_odds,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
    soft_label_loss,
)


def _pairs(gap: float | Tensor) -> PairLogprobs:
    """One pair whose log-ratio difference h is ``gap``; chosen carries all of it."""
    chosen = torch.as_tensor(gap, dtype=torch.float64).reshape(1)
    zero = torch.zeros(1, dtype=torch.float64)
    return PairLogprobs(chosen - 20, zero - 30, zero - 20, zero - 30)


def _slope(loss: Callable[[PairLogprobs], PreferenceLoss], gap: float) -> float:
    h = torch.tensor(gap, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(_pairs(h)).loss, h)[0].item()


def test_8_2_dpo_at_the_reference_costs_ln_2_and_05544_at_h_3() -> None:
    assert dpo_loss(_pairs(0.0), beta=0.1).loss.item() == pytest.approx(math.log(2))
    assert dpo_loss(_pairs(3.0), beta=0.1).loss.item() == pytest.approx(0.5544, abs=5e-5)


def test_8_2_dpo_gradient_is_minus_beta_sigma_of_minus_beta_h() -> None:
    assert _slope(lambda p: dpo_loss(p, beta=0.1), 3.0) == pytest.approx(-0.1 / (1 + math.exp(0.3)))


def test_8_2_conservative_dpo_is_lowest_at_the_log_odds_of_the_noise() -> None:
    best = math.log(0.9 / 0.1)
    assert best == pytest.approx(2.197, abs=5e-4)
    assert _slope(lambda p: dpo_loss(p, beta=0.5, label_smoothing=0.1), 2 * best) == pytest.approx(0.0, abs=1e-12)


def test_8_2_robust_dpo_is_unbiased_under_flipped_labels() -> None:
    straight, flipped = (robust_dpo_loss(_pairs(h), beta=0.2, flip_rate=0.3).loss.item() for h in (1.7, -1.7))
    assert 0.7 * straight + 0.3 * flipped == pytest.approx(dpo_loss(_pairs(1.7), beta=0.2).loss.item())


def test_8_2_ipo_costs_25_at_the_reference_and_nothing_at_h_5() -> None:
    assert ipo_loss(_pairs(0.0), tau=0.1).loss.item() == pytest.approx(25.0)
    assert ipo_loss(_pairs(5.0), tau=0.1).loss.item() == pytest.approx(0.0)
    assert _slope(lambda p: ipo_loss(p, tau=0.1), 5.0) == pytest.approx(0.0)


def test_hinge_is_one_at_the_reference_and_flat_beyond_its_margin() -> None:
    assert hinge_loss(_pairs(0.0), beta=0.1).loss.item() == 1.0
    assert _slope(lambda p: hinge_loss(p, beta=0.1), 11.0) == 0.0


@pytest.mark.parametrize("loss", [lambda p: dpo_loss(p, beta=0.1), lambda p: ipo_loss(p, tau=0.1)], ids=["dpo", "ipo"])
def test_8_swapping_chosen_and_rejected_at_the_reference_negates_the_gradient(loss: Callable[[PairLogprobs], PreferenceLoss]) -> None:
    logps = torch.tensor([-3.0, -5.0], requires_grad=True)
    ref = logps.detach()
    straight = torch.autograd.grad(loss(PairLogprobs(logps[:1], logps[1:], ref[:1], ref[1:])).loss, logps)[0]
    swapped = torch.autograd.grad(loss(PairLogprobs(logps[1:], logps[:1], ref[1:], ref[:1])).loss, logps)[0]
    torch.testing.assert_close(straight, -swapped)


def test_8_identical_completions_give_no_preference_gradient() -> None:
    logp = torch.tensor([-3.0], requires_grad=True)
    ref = torch.tensor([-2.5])
    assert torch.autograd.grad(dpo_loss(PairLogprobs(logp, logp, ref, ref), beta=0.1).loss, logp)[0].item() == 0.0


def test_implicit_rewards_and_their_pair_accuracy_are_reported() -> None:
    pairs = PairLogprobs(torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -2.0]), torch.tensor([-3.0, -3.0]), torch.tensor([-2.0, -2.0]))
    result = dpo_loss(pairs, beta=0.5)
    assert (result.accuracy.item(), result.chosen_reward.item(), result.rejected_reward.item()) == (0.5, 0.25, 0.0)


def test_8_7_soft_labels_run_from_dpo_to_swapped_dpo() -> None:
    one, half, zero = (soft_label_loss(_pairs(2.0), torch.tensor([p], dtype=torch.float64), beta=0.5).loss.item() for p in (1.0, 0.5, 0.0))
    straight, swapped = dpo_loss(_pairs(2.0), beta=0.5).loss.item(), dpo_loss(_pairs(-2.0), beta=0.5).loss.item()
    assert (one, half, zero) == pytest.approx((straight, (straight + swapped) / 2, swapped))


def test_8_3_kto_values() -> None:
    r, z = torch.tensor([2.0]), 0.5
    good, bad = torch.tensor([True]), torch.tensor([False])
    assert kto_loss(r, good, baseline=z, beta=0.1).item() == pytest.approx(0.4626, abs=5e-5)
    assert kto_loss(r, bad, baseline=z, beta=0.1).item() == pytest.approx(0.5374, abs=5e-5)
    assert kto_loss(torch.zeros(1), bad, baseline=0.0, beta=0.1, undesirable_weight=1.33).item() == pytest.approx(0.665)


def test_8_3_kto_baseline_is_never_negative_and_has_no_gradient() -> None:
    ratios = torch.tensor([1.0, -4.0], requires_grad=True)
    assert kto_baseline(ratios).item() == 0.0
    assert kto_baseline(-ratios).item() == 1.5
    assert not kto_baseline(ratios).requires_grad


def test_8_3_orpo_log_odds_gap_and_term() -> None:
    chosen, rejected = torch.tensor([-0.5]), torch.tensor([-1.0])
    assert (log_odds(chosen) - log_odds(rejected)).item() == pytest.approx(0.9741, abs=5e-5)
    assert orpo_loss(chosen, rejected, weight=1.0).loss.item() == pytest.approx(0.3203, abs=5e-5)


def test_8_3_orpo_stays_finite_as_the_probability_reaches_one() -> None:
    m = torch.tensor([0.0, -1e-12, -200.0], requires_grad=True)
    odds = log_odds(m)
    odds.sum().backward()
    assert torch.isfinite(odds).all()
    assert m.grad is not None
    assert torch.isfinite(m.grad).all()


def test_8_3_simpo_values() -> None:
    low, zero = torch.tensor([-1.0]), torch.zeros(1)
    assert simpo_loss(zero, low / 2, beta=2.0, gamma=1.0).loss.item() == pytest.approx(0.6931, abs=5e-5)
    assert simpo_loss(zero, low, beta=2.0, gamma=1.0).loss.item() == pytest.approx(0.3133, abs=5e-5)


def test_cpo_is_dpo_with_a_uniform_reference() -> None:
    chosen, rejected, flat = torch.tensor([-7.0, -3.0]), torch.tensor([-8.0, -1.0]), torch.full((2,), -11.0)
    torch.testing.assert_close(
        cpo_loss(chosen, rejected, beta=0.1).loss, dpo_loss(PairLogprobs(chosen, rejected, flat, flat), beta=0.1).loss
    )
