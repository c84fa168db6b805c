"""Kendall's tau_b and W: against scipy and by hand."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, kendalltau

from instructloop.core.errors import DataError
from instructloop.stats.concordance import kendall_w, mean_kendall_w, mean_tau_b, tau_b


@pytest.mark.parametrize("seed", range(8))
def test_tau_b_equals_scipy_with_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 4, size=7).tolist(), random.integers(0, 4, size=7).tolist()
    assert tau_b(first, second) == pytest.approx(kendalltau(first, second).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_w_equals_friedmans_statistic_scaled(seed: int) -> None:
    # chi-square of Friedman = m (n - 1) W, both corrected for ties
    random = np.random.default_rng(seed)
    rankings = random.integers(0, 5, size=(4, 6)).tolist()
    assert kendall_w(rankings) == pytest.approx(friedmanchisquare(*np.array(rankings).T).statistic / (4 * 5), abs=1e-12)


def test_all_tied_rankings_are_counted_apart_not_averaged_as_zero() -> None:
    rankings = {"p": [(0, 1, 2), (0, 2, 1), (0, 0, 0)], "q": [(0, 1), (0, 1)], "r": [(0, 0), (0, 0)]}
    tau = mean_tau_b(rankings)
    # p: 1/3 of one pair, two undefined; q: 1; r: undefined
    assert tau.mean is not None
    assert tau.mean.value == pytest.approx((1 / 3 + 1) / 2)
    assert (tau.defined, tau.undefined, tau.mean.n) == (2, 3, 2)
    w = mean_kendall_w({"q": [(0, 1), (0, 1), (0, 1)], "r": [(0, 0), (0, 0)], "s": [(0, 1)], "t": [(0, None), (0, 1)]})
    assert w.mean is not None
    assert (w.mean.value, w.defined, w.undefined) == (1.0, 1, 1)


def test_unranked_completions_do_not_count() -> None:
    tau = mean_tau_b({"p": [(0, 1, None, 2), (0, 1, 2, None)]})
    assert tau.mean is not None
    assert (tau.mean.value, tau.defined) == (1.0, 1)
    assert mean_tau_b({"p": [(0, None), (None, 0)]}).mean is None


def test_rankings_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="different numbers"):
        mean_tau_b({"p": [(0, 1), (0, 1, 2)]})
