"""Win rates with ties as one half, and Wilson's interval against scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from instructloop.core.errors import DataError
from instructloop.stats.winrate import outcome, rate, rate_difference, wilson, win_rate


def test_ties_count_one_half_and_are_reported() -> None:
    result = win_rate([1.0, 0.5, 0.0, 1.0], ["a", "b", "c", "d"])
    assert (result.value, result.ties, result.n, result.clusters) == (0.625, 1, 4, 4)
    assert 0.0 <= result.low <= 0.625 <= result.high <= 1.0


def test_the_two_sides_of_a_comparison_add_up_to_one() -> None:
    wins, prompts = [1.0, 0.5, 0.0, 1.0, 1.0, 0.5] * 20, [i // 2 for i in range(120)]
    ours, theirs = win_rate(wins, prompts, seed=4), win_rate([1 - w for w in wins], prompts, seed=4)
    assert (ours.value, ours.low, ours.high) == pytest.approx((1 - theirs.value, 1 - theirs.high, 1 - theirs.low))


def test_a_unanimous_vote_still_has_an_interval() -> None:
    result = win_rate([1.0] * 50)
    low, high = wilson(50, 50)
    assert (result.value, result.low, result.high) == (1.0, low, high)
    assert low == pytest.approx(0.9287, abs=5e-5)


def test_a_unanimous_vote_counts_prompts_not_votes() -> None:
    assert win_rate([0.0] * 30, [i // 3 for i in range(30)]).high == pytest.approx(wilson(0, 10)[1])


def test_rates_of_flags_have_no_ties() -> None:
    result = rate([True, False, False, True, False])
    assert (result.value, result.ties) == (0.4, 0)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 10), (50, 50), (385, 1067)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high))


def test_wilson_of_nothing_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_outcomes_follow_the_scores() -> None:
    assert [outcome(2.0, 1.0), outcome(1.0, 1.0), outcome(0.0, 1.0)] == [1.0, 0.5, 0.0]


def test_anything_but_win_tie_loss_is_refused() -> None:
    with pytest.raises(DataError, match=r"must be 0, 0\.5 or 1, got 0\.7"):
        win_rate([1.0, 0.7])


def test_a_difference_of_groups_on_the_same_prompts_has_no_spread_from_prompts() -> None:
    # prompts differ greatly in difficulty, but on each of them the first group is exactly 0.25 above the second
    second = [0.0, 0.25, 0.5, 0.75] * 10
    first = [value + 0.25 for value in second]
    found = rate_difference(first, range(40), second, range(40))
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.n, found.clusters) == (80, 40)


def test_a_difference_of_groups_on_different_prompts_has_the_spread_of_both() -> None:
    random = np.random.default_rng(3)
    first, second = (random.random(400) < 0.7).astype(float), (random.random(300) < 0.5).astype(float)
    found = rate_difference(first.tolist(), range(400), second.tolist(), range(400, 700), samples=4000)
    error = (first.var() / 400 + second.var() / 300) ** 0.5
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)
