"""Gao et al.'s laws fitted to points whose answer is known."""

import math

import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.stats import best_of_n_gold, fall_from_best, fit_law, highest_point, rl_gold

KL = np.array([0.0, 0.25, 1.0, 2.25, 4.0, 9.0, 16.0, 25.0])


@pytest.mark.parametrize(("law", "curve"), [("rl", rl_gold), ("best_of_n", best_of_n_gold)])
def test_points_on_a_law_give_back_its_two_numbers_and_its_peak(law, curve) -> None:
    points = [curve(math.sqrt(kl), alpha=1.2, beta=0.5) for kl in KL]
    fit = fit_law(KL, points, law=law)
    assert (fit.alpha, fit.beta) == (pytest.approx(1.2), pytest.approx(0.5))
    assert fit.r_squared == pytest.approx(1.0)
    distance = math.exp(1.2 / 0.5 - 1) if law == "rl" else 1.2
    assert fit.peak is not None
    assert fit.peak.distance == pytest.approx(distance)
    assert fit.inside is (distance <= 5.0)
    assert fit.gold(2.0) == pytest.approx(curve(2.0, alpha=1.2, beta=0.5))
    assert (fit.points, fit.peak_bounds) == (7, None)


def test_a_curve_that_only_rises_has_no_peak_and_says_so() -> None:
    fit = fit_law(KL, np.sqrt(KL) * (1 + np.sqrt(KL)), law="best_of_n")
    assert fit.beta == pytest.approx(-1.0)
    assert fit.peak is None
    assert not fit.inside


def test_noise_between_prompts_gives_intervals_that_hold_the_truth_nineteen_times_in_twenty() -> None:
    truth = np.array([rl_gold(math.sqrt(kl), alpha=1.0, beta=0.6) for kl in KL])
    distance, held = math.exp(1 / 0.6 - 1), 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        prompts = truth * random.gamma(4.0, 0.25, size=(60, 1)) + random.normal(0, 0.3, size=(60, KL.size))
        fit = fit_law(KL, prompts, samples=300, seed=trial)
        assert fit.peak_bounds is not None
        held += fit.peak_bounds[0] <= distance <= fit.peak_bounds[1]
    assert 0.90 <= held / 200 <= 0.985


def test_points_before_the_peak_alone_predict_it_within_the_interval() -> None:
    truth = np.array([rl_gold(math.sqrt(kl), alpha=1.0, beta=0.6) for kl in np.linspace(0.05, 3.0, 12)])
    random = np.random.default_rng(0)
    fit = fit_law(np.linspace(0.05, 3.0, 12), truth + random.normal(0, 0.3, size=(400, 12)))
    assert not fit.inside
    assert fit.peak is not None
    assert fit.peak_bounds is not None
    assert fit.peak_bounds[0] < math.exp(1 / 0.6 - 1) < fit.peak_bounds[1]


def test_a_prompt_that_was_not_measured_everywhere_still_counts_where_it_was() -> None:
    points = np.array([rl_gold(math.sqrt(kl), alpha=1.2, beta=0.5) for kl in KL])
    table = np.stack([points, points])
    table[0, 3] = np.nan
    fit = fit_law(KL, table)
    assert fit.alpha == pytest.approx(1.2)
    assert fit.alpha_bounds == (pytest.approx(1.2), pytest.approx(1.2))


def test_two_points_are_too_few_for_two_numbers() -> None:
    with pytest.raises(DataError, match="2 points at KL > 0"):
        fit_law([0.0, 1.0, 2.0], [0.0, 1.0, 1.5])


def test_the_highest_point_and_where_resampled_prompts_put_it() -> None:
    steady = np.tile([0.0, 1.0, 3.0, 2.0], (10, 1))
    top = highest_point([0.0, 1.0, 2.0, 4.0], steady)
    assert tuple(top) == (2, 2.0, 2.0)
    torn = steady.copy()
    torn[:5, 3] = 9.0  # half of the prompts like the last point best: mean 5.5 against 3
    torn[5:, 3] = -9.0
    assert tuple(highest_point([0.0, 1.0, 2.0, 4.0], torn)) == (2, 2.0, 4.0)


def test_a_flat_run_seldom_looks_as_if_it_had_fallen_from_its_luckiest_point() -> None:
    crossed = naive = 0
    for trial in range(400):
        table = np.random.default_rng(trial).normal(size=(100, 25))
        fall = fall_from_best(table)
        assert fall is not None
        crossed += fall.drop > 2 * fall.error
        lost = table[:, table.mean(axis=0).argmax()] - table[:, -1]
        naive += lost.mean() > 2 * lost.std(ddof=1) / 10
    assert crossed / 400 < 0.05  # 0.023 is promised
    assert naive / 400 > 0.15  # what searching for the best point does


def test_a_fall_is_measured_from_the_best_point() -> None:
    steady = np.tile([0.0, 3.0, 1.0], (10, 1)) + np.arange(10)[:, None]
    assert tuple(fall_from_best(steady)) == (1, 2.0, 0.0)
    assert fall_from_best(steady[:6]) is None
    missing = steady.copy()
    missing[:, 2] = np.nan
    assert fall_from_best(missing) is None
