"""Intervals with labelers as a second factor: other prompts, and other people (spec G2).

Resampling prompts alone answers "other prompts, the same labelers". If few people voted, or if they differ in taste, the question is rather "other
prompts and other labelers". Two votes are then alike if they share the prompt or the labeler, and the variance of their mean is

    V = V_prompts + V_labelers - V_votes

each the sum of squared totals of residuals over clusters of that kind (Cameron, Gelbach and Miller 2011). Drawing prompts and labelers independently
(the pigeonhole bootstrap) counts the noise of single votes thrice and came out too wide in our simulations, which is why it is not used.
"""

from collections.abc import Hashable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval, cluster_codes, finite_values

FEWEST = 5
"""With fewer labelers nothing is known about labelers in general."""


def two_way_interval(
    values: Sequence[float], prompts: Sequence[Hashable], labelers: Sequence[Hashable], *, level: float = 0.95
) -> Interval:
    """Mean of shares in [0, 1] with an interval over prompts and labelers; ``clusters`` counts prompts.

    Student's t with one degree of freedom less than there are labelers (or prompts, if fewer). Never narrower than by prompts or by labelers alone.

    Args:
        values: one number per vote.
        prompts: the prompt of each.
        labelers: who gave it.
        level: coverage.

    Raises:
        DataError: no values, lists of different lengths, or fewer than ``FEWEST`` labelers.
    """
    from scipy.stats import t

    array = finite_values(values)
    rows, width = cluster_codes(prompts, array.size)
    columns, people = cluster_codes(labelers, array.size)
    if people < FEWEST:
        raise DataError(
            f"{people} labelers say nothing about labelers in general", hint=f"{FEWEST} or more are needed; resample prompts alone"
        )
    mean = float(array.mean())
    residual = array - mean
    by_prompt, by_labeler, by_vote = (_variance(residual, codes, count) for codes, count in (
        (rows, width), (columns, people), (np.arange(array.size), array.size)
    ))  # fmt: skip
    variance = max(by_prompt + by_labeler - by_vote, by_prompt, by_labeler)
    half = float(t.ppf((1 + level) / 2, min(width, people) - 1)) * sqrt(variance)
    return Interval(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), n=array.size, clusters=width, level=level)


def _variance(residual: NDArray[np.float64], codes: NDArray[np.intp], count: int) -> float:
    """Of the mean, if residuals of one cluster may be alike in any way."""
    if count < 2:
        return 0.0
    totals = np.bincount(codes, weights=residual, minlength=count)
    return float((totals**2).sum()) / residual.size**2 * count / (count - 1)
