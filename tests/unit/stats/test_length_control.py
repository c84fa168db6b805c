"""Length-controlled win rate: a saturated table by hand, statsmodels, mirror images, voters who like nothing but length."""

from math import exp, log

import numpy as np
import pytest
import statsmodels.api as sm

from instructloop.core.errors import DataError
from instructloop.stats import length_controlled, preference_rate
from instructloop.stats.length_control import fit


def _logit(p: float) -> float:
    return log(p / (1 - p))


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_two_ratios_leave_the_middle_of_their_log_odds() -> None:
    # a is twice as long in 40 verdicts and wins 30; half as long in 40 and wins 10: two unknowns, two shares, so the fit is exact
    wins = [1.0] * 30 + [0.0] * 10 + [1.0] * 10 + [0.0] * 30
    found = length_controlled(wins, [20.0] * 40 + [10.0] * 40, [10.0] * 40 + [20.0] * 40, samples=50, ridge=0.0)
    assert found.rate.value == pytest.approx(_sigmoid((_logit(0.75) + _logit(0.25)) / 2))
    assert found.slope.value == pytest.approx((_logit(0.75) - _logit(0.25)) / (2 * log(2)))
    assert found.longer == 0.5


def test_a_win_rate_that_is_all_length_falls_to_one_half() -> None:
    # a is twice as long in three quarters of the verdicts; whoever is longer wins four of five
    wins = [1.0] * 240 + [0.0] * 60 + [1.0] * 20 + [0.0] * 80
    found = length_controlled(wins, [20.0] * 300 + [10.0] * 100, [10.0] * 300 + [20.0] * 100, samples=200)
    assert preference_rate(wins, samples=100).value == 0.65
    assert found.rate.value == pytest.approx(0.5, abs=1e-3)
    assert found.rate.low < 0.5 < found.rate.high
    assert found.slope.low > 0


def test_coefficients_equal_a_binomial_regression_of_statsmodels_for_weighted_verdicts() -> None:
    random = np.random.default_rng(3)
    ratio = random.normal(0.4, 0.7, size=300)
    outcome = np.clip(1 / (1 + np.exp(-0.3 - 0.8 * ratio)) + random.normal(0, 0.25, size=300), 0, 1)
    theirs = sm.GLM(outcome, sm.add_constant(ratio), family=sm.families.Binomial()).fit(tol=1e-12)
    assert fit(outcome, ratio, np.ones((1, 300)), ridge=0.0)[0] == pytest.approx(theirs.params, abs=1e-8)
    found = length_controlled(outcome.tolist(), np.exp(ratio + 5).tolist(), [exp(5)] * 300, samples=20, ridge=0.0)
    assert found.slope.value == pytest.approx(theirs.params[1])


def test_weights_of_a_resample_count_verdicts_as_often_as_they_are_repeated() -> None:
    random = np.random.default_rng(4)
    outcome, ratio, times = random.integers(0, 2, 40).astype(float), random.normal(size=40), random.integers(0, 4, 40)
    repeated = fit(np.repeat(outcome, times), np.repeat(ratio, times), np.ones((1, int(times.sum()))))
    assert fit(outcome, ratio, times[None].astype(float)) == pytest.approx(repeated, abs=1e-8)


def test_the_other_side_sees_the_mirror_image() -> None:
    random = np.random.default_rng(5)
    wins, a, b = (random.choice([0.0, 0.5, 1.0], 60).tolist(), random.integers(5, 50, 60).tolist(), random.integers(5, 50, 60).tolist())
    one = length_controlled(wins, a, b, samples=200)
    other = length_controlled([1 - win for win in wins], b, a, samples=200)
    assert (other.rate.value, other.rate.low, other.rate.high) == pytest.approx((1 - one.rate.value, 1 - one.rate.high, 1 - one.rate.low))
    assert other.slope.value == pytest.approx(one.slope.value)
    assert other.longer == pytest.approx(1 - one.longer)


def test_copies_of_a_prompts_verdicts_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(6)
    wins, a, b = random.integers(0, 2, 50).astype(float).tolist(), random.integers(5, 50, 50).tolist(), random.integers(5, 50, 50).tolist()
    once = length_controlled(wins, a, b, list(range(50)), samples=300, seed=1).rate
    copied = length_controlled(wins * 3, a * 3, b * 3, list(range(50)) * 3, samples=300, seed=1).rate
    assert (copied.n, copied.clusters) == (150, 50)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-3)


def test_equal_lengths_leave_the_win_rate_as_it_is() -> None:
    found = length_controlled([1.0, 1.0, 0.0, 0.5, 1.0], [7.0] * 5, [7.0] * 5, samples=100, ridge=0.0 + 1e-9)
    assert found.rate.value == pytest.approx(0.7)
    assert found.slope.value == pytest.approx(0.0)


def test_a_unanimous_vote_gets_wilsons_interval_over_prompts_and_separable_lengths_stay_finite() -> None:
    unanimous = length_controlled([1.0] * 20, list(range(5, 25)), [4.0] * 20, samples=100)
    assert unanimous.rate.value == 1.0
    assert 0.8 < unanimous.rate.low < 0.9
    assert unanimous.extrapolated
    separable = length_controlled([1.0] * 10 + [0.0] * 10, [9.0] * 10 + [1.0] * 10, [3.0] * 20, samples=100)
    assert np.isfinite([separable.rate.low, separable.rate.high, separable.slope.high]).all()


def test_empty_answers_count_as_one_character() -> None:
    assert length_controlled([1.0, 0.0, 1.0], [0.0, 5.0, 2.0], [3.0, 0.0, 2.0], samples=50) == length_controlled(
        [1.0, 0.0, 1.0], [1.0, 5.0, 2.0], [3.0, 1.0, 2.0], samples=50
    )


@pytest.mark.parametrize(
    ("wins", "a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], [1.0], "1 verdicts but 2 and 1 lengths"),
        ([1.5], [1.0], [1.0], r"must be in \[0, 1\], got 1.5"),
        ([], [], [], "non-empty"),
    ],
)
def test_unusable_tables_are_refused(wins: list[float], a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        length_controlled(wins, a, b)


def test_answers_whose_lengths_hardly_vary_still_settle() -> None:
    # ratios of ln 2 give or take a thousandth
    longer = [200.0 + (place % 2) * 0.2 for place in range(40)]
    found = length_controlled([1.0] * 30 + [0.0] * 10, longer, [100.0] * 40, samples=50)
    assert found.extrapolated
    assert 0 < found.rate.value < 1
