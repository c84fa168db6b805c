"""Win rates with ties as one half, and Wilson's interval against scipy."""

import pytest
from scipy.stats import binomtest

from instructloop.core.errors import DataError
from instructloop.stats.winrate import outcome, rate, wilson, win_rate


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
