"""Position effects: against scipy, by hand, and with biased simulated pages."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, spearmanr

from instructloop.core.errors import DataError
from instructloop.stats.position import drift, same_order, side_test, slot_test, tie_rates


def test_rank_one_by_slot_equals_scipys_chi_square() -> None:
    rankings = [(0, 1, 2)] * 20 + [(1, 0, 2)] * 11 + [(2, 1, 0)] * 8
    result = slot_test(rankings)
    expected = chisquare([20, 11, 8])
    assert (result.observed, result.expected, result.degrees) == ((20, 11, 8), (13.0, 13.0, 13.0), 2)
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_lists_of_different_length_are_tested_apart_and_added_up() -> None:
    result = slot_test([(0, 1)] * 8 + [(1, 0)] * 2 + [(0, 1, 1)] * 3 + [(1, 1, 0)] * 3 + [(1, 0, 1)] * 3 + [(0, 0, 1)] * 5)
    assert (result.statistic, result.degrees) == (pytest.approx(chisquare([8, 2]).statistic), 3)
    assert (result.rankings, result.shared_best, result.observed) == (19, 5, (11, 5, 3))


def test_nothing_decided_tests_nothing() -> None:
    assert slot_test([(0, 0), (1, 1)]).p_value == 1.0
    assert slot_test([]).p_value == 1.0
    assert side_test(["tie", "tie"]).p_value == 1.0
    assert same_order([]).p_value == 1.0


def test_random_pages_are_called_biased_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(0)
    p = [slot_test([random.permutation(4).tolist() for _ in range(80)]).p_value for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 400) ** 0.5)


def test_left_against_right_is_the_exact_binomial_test() -> None:
    result = side_test(["left"] * 30 + ["right"] * 14 + ["tie"] * 9)
    assert (result.left, result.right, result.ties) == (30, 14, 9)
    assert result.p_value == pytest.approx(binomtest(30, 44).pvalue)
    with pytest.raises(DataError, match="'a'"):
        side_test(["a"])


def test_untouched_orders_are_compared_with_chance() -> None:
    result = same_order([(0, 1), (1, 0), (0, 0), (0, 1, 2), (2, 0, 1)])
    assert (result.same, result.rankings, result.expected) == (2, 5, pytest.approx(3 / 2 + 2 / 6))
    # chance of 2 or more of Binomial(3, 1/2) + Binomial(2, 1/6)
    total = sum(
        (0.5**3) * np.prod([1 / 6 if hit else 5 / 6 for hit in pair])
        for coins in range(8)
        for pair in ((a, b) for a in (0, 1) for b in (0, 1))
        if coins.bit_count() + sum(pair) >= 2
    )
    assert result.p_value == pytest.approx(total)
    assert same_order(list(permutations(range(4)))).p_value > 0.6
    assert same_order([(0, 1, 2, 3)] * 5).p_value == pytest.approx(24.0**-5)


def test_tie_rates_count_pairs_within_and_prompts_between() -> None:
    result = tie_rates({"b": [("p", (0, 0, 1)), ("q", (0, 1, 2))], "a": [("p", (0, 0))], "c": [("p", (0,))]}, samples=100)
    assert list(result) == ["a", "b"]
    assert result["b"].value == pytest.approx((1 / 3 + 0) / 2)
    assert (result["a"].value, result["a"].n) == (1.0, 1)
    assert result["a"].low < 0.5


def test_drift_shows_bins_in_order_of_time_and_tests_the_trend() -> None:
    values, times = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1, 2, 3, 4, 5, 6, 7, 8]
    shuffled = np.random.default_rng(0).permutation(8)
    result = drift([values[i] for i in shuffled], [times[i] for i in shuffled], bins=2, samples=100)
    assert [part.value for part in result.bins] == [0.75, 0.0]
    expected = spearmanr(values, times)
    assert (result.rho, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    flat = drift([1.0, 1.0, 1.0], [1, 2, 3], ["p", "p", "q"], samples=50)
    assert (flat.rho, flat.p_value) == (None, 1.0)
    with pytest.raises(DataError, match="3 values but 1 times"):
        drift([1.0, 1.0, 0.0], [1])
