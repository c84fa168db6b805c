"""Correlation coefficients that say None instead of NaN where they are undefined (one side does not vary, or fewer than two points)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import finite_values


def _coefficient(x: ArrayLike, y: ArrayLike, measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float]) -> float | None:
    first, second = finite_values(x), finite_values(y)
    if first.size != second.size:
        raise DataError(f"cannot correlate {first.size} values with {second.size}", hint="pass one y per x")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(measure(first, second))


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Linear correlation."""
    return _coefficient(x, y, lambda a, b: np.corrcoef(a, b)[0, 1])


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Rank correlation (Pearson on mid-ranks), e.g. of score with length."""
    from scipy.stats import rankdata

    return _coefficient(x, y, lambda a, b: np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def kendall_tau_b(x: ArrayLike, y: ArrayLike) -> float | None:
    """(C - D) / sqrt((C + D + Tx)(C + D + Ty)): rank agreement with ties."""
    from scipy.stats import kendalltau

    return _coefficient(x, y, lambda a, b: kendalltau(a, b).statistic)
