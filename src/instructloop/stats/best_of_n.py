"""Best-of-k from n scored samples, exactly: who wins a random choice of k, without drawing any (spec I12)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import finite_values


def winning_chances(scores: ArrayLike, k: int) -> NDArray[np.float64]:
    """For each sample the chance that it is the best of k drawn without replacement; equal scores share theirs.

    The sum of chances times any measure (the score itself, gold, length) is the unbiased estimate of that measure's mean over
    best-of-k winners: sample i of n in rising order wins with C(i-1, k-1) / C(n, k).

    Args:
        scores: of the n samples of one prompt.
        k: how many are drawn, at most n.

    Raises:
        DataError: k outside 1..n.
    """
    values = finite_values(scores)
    n = values.size
    if not 1 <= k <= n:
        raise DataError(f"best of {k} needs 1 <= k <= samples, there are {n}", hint="sample more, or lower k")
    chances = np.zeros(n)
    chance = k / n  # of the highest; each next lower one by the ratio of the binomial coefficients
    for i in range(n, k - 1, -1):
        chances[i - 1] = chance
        chance *= (i - k) / (i - 1) if i > 1 else 0.0
    order = np.argsort(values, kind="stable")
    ranked = np.empty(n)
    ranked[order] = chances
    levels, level = np.unique(values, return_inverse=True)
    shared = np.bincount(level, weights=ranked, minlength=levels.size) / np.bincount(level, minlength=levels.size)
    return np.asarray(shared[level], dtype=np.float64)
