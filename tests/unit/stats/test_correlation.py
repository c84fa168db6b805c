"""Correlations by hand, and undefined ones as None."""

import pytest
from scipy import stats

from instructloop.core.errors import DataError
from instructloop.stats.correlation import kendall_tau_b, pearson, spearman

X, Y = [1.0, 2.0, 3.0, 4.0, 4.0], [2.0, 1.0, 5.0, 4.0, 9.0]


def test_coefficients_equal_scipy() -> None:
    assert pearson(X, Y) == pytest.approx(stats.pearsonr(X, Y).statistic)
    assert spearman(X, Y) == pytest.approx(stats.spearmanr(X, Y).statistic)


def test_tau_b_by_hand() -> None:
    # 9 pairs differ in x: (1,2) and (3,4) are discordant, 7 concordant; one tie in x, none in y
    assert kendall_tau_b(X, Y) == pytest.approx((7 - 2) / (9 * 10) ** 0.5)


def test_monotone_data_have_rank_correlation_one() -> None:
    assert spearman([1.0, 2.0, 3.0], [1.0, 10.0, 1000.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("measure", [pearson, spearman, kendall_tau_b])
def test_no_variation_gives_none_and_unequal_lengths_an_error(measure: object) -> None:
    assert callable(measure)
    assert measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(DataError, match="cannot correlate 2 values with 3"):
        measure([1.0, 2.0], [1.0, 2.0, 3.0])
