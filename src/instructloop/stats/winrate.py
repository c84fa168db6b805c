"""Win rates and other shares, ties as one half, with intervals that respect prompts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist

import numpy as np

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval, cluster_codes, finite_values, mean_interval
from instructloop.stats.resampling import resampled_totals

OUTCOMES = (0.0, 0.5, 1.0)


def outcome(first: float, second: float) -> float:
    """1 if the first score is higher, 0 if the second is, 0.5 if they are equal."""
    return 0.5 + 0.5 * ((first > second) - (first < second))


def win_rate(
    wins: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """(wins + ties / 2) / n with an interval from resampled prompts; ties are counted beside it.

    A unanimous vote has no spread to resample; its interval then comes from Wilson's formula over the prompts.

    Args:
        wins: 1, 0.5 (tie) or 0 per comparison, seen from the first model.
        clusters: the prompt of each comparison; None treats each as its own.
        samples: resamples.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: a value is none of 0, 0.5, 1, or there are none.
    """
    stranger = next((value for value in wins if value not in OUTCOMES), None)
    if stranger is not None:
        raise DataError(f"a comparison's outcome must be 0, 0.5 or 1, got {stranger!r}", hint="a win is 1, a tie 0.5, a loss 0")
    result = rate_interval(wins, clusters, samples=samples, seed=seed, level=level)
    return replace(result, ties=int(np.count_nonzero(np.asarray(wins) == 0.5)))


def preference_rate(
    preferences: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of weighted verdicts, as a judge gives them that is asked in both orders or tells its confidence; 0.5 exactly counts as a tie.

    The same as ``win_rate`` where every verdict is 0, 0.5 or 1.

    Args:
        preferences: how much the first model is preferred, in [0, 1] per comparison.
        clusters: the prompt of each comparison; None treats each as its own.
        samples: resamples.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: a value outside [0, 1], or there are none.
    """
    stranger = next((value for value in preferences if not 0 <= value <= 1), None)
    if stranger is not None:
        raise DataError(f"a preference must be in [0, 1], got {stranger!r}", hint="1: the first is better; subtract 1 from a scale of 1..2")
    result = rate_interval(preferences, clusters, samples=samples, seed=seed, level=level)
    return replace(result, ties=int(np.count_nonzero(np.asarray(preferences) == 0.5)))


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedRecord:
    """Weighted verdicts of one model against a baseline, in the figures that public leaderboards print (all shares in percent)."""

    win_rate: float
    """100 times the mean preference."""
    standard_error: float
    """100 times the standard deviation (n - 1) of the preferences over sqrt(n): right only for one verdict a prompt."""
    wins: int
    """Preferences above one half."""
    losses: int
    ties: int
    n: int
    discrete_win_rate: float
    """100 (wins + ties / 2) / n."""


def weighted_record(preferences: Sequence[float]) -> WeightedRecord:
    """The record of one model from its preferences over a baseline, one a prompt.

    Args:
        preferences: how much the model is preferred, in [0, 1] per prompt.

    Raises:
        DataError: a value outside [0, 1], or there are none.
    """
    array = finite_values(preferences)
    if array.min() < 0 or array.max() > 1:
        raise DataError(f"a preference must be in [0, 1], got values from {array.min():g} to {array.max():g}", hint="subtract 1 from 1..2")
    wins, ties = int((array > 0.5).sum()), int((array == 0.5).sum())
    return WeightedRecord(
        win_rate=100 * float(array.mean()),
        standard_error=100 * float(array.std(ddof=1)) / sqrt(array.size) if array.size > 1 else float("nan"),
        wins=wins,
        losses=array.size - wins - ties,
        ties=ties,
        n=array.size,
        discrete_win_rate=100 * (wins + ties / 2) / array.size,
    )


def rate_difference(
    first: Sequence[float],
    first_clusters: Sequence[Hashable],
    second: Sequence[float],
    second_clusters: Sequence[Hashable],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of the first group minus mean of the second, with an interval from prompts resampled for both together.

    Where both groups voted on the same prompts, what the prompts have in common cancels. ``n`` counts all votes, ``clusters`` all prompts.

    Args:
        first: one number per vote of the first group (held-out labelers, say).
        first_clusters: the prompt of each.
        second: votes of the second group.
        second_clusters: the prompt of each.
        samples: resamples; those in which a group has no vote are left out.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: a group is empty, or lists of different lengths.
    """
    one, other = finite_values(first), finite_values(second)
    codes, count = cluster_codes([*first_clusters, *second_clusters], one.size + other.size)
    features = np.zeros((codes.size, 4))
    features[: one.size, 0], features[: one.size, 1] = one, 1
    features[one.size :, 2], features[one.size :, 3] = other, 1
    totals = resampled_totals(features, codes, clusters=count, samples=samples, seed=seed)
    kept = totals[(totals[:, 1] > 0) & (totals[:, 3] > 0)]
    low, high = np.quantile(kept[:, 0] / kept[:, 1] - kept[:, 2] / kept[:, 3], [(1 - level) / 2, (1 + level) / 2])
    value = float(one.mean() - other.mean())
    return Interval(value=value, low=float(low), high=float(high), n=codes.size, clusters=count, level=level)


def rate_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of numbers in [0, 1] with an interval from resampled prompts; Wilson's over the prompts where nothing varies between them.

    Args:
        values: one number per observation.
        clusters: the prompt of each; None treats each as its own.
        samples: resamples.
        seed: base seed of the resampling stream.
        level: coverage.
    """
    result = mean_interval(values, clusters, samples=samples, seed=seed, level=level)
    if result.low == result.high:
        low, high = wilson(result.value * result.clusters, result.clusters, level=level)
        result = replace(result, low=low, high=high)
    return result


def rate(
    flags: Sequence[bool], clusters: Sequence[Hashable] | None = None, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Share of observations in which a flag is set: the win rate's arithmetic without ties."""
    return win_rate([float(flag) for flag in flags], clusters, samples=samples, seed=seed, level=level)


def wilson(successes: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a share from n independent trials; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / n, z * z / n
    center = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, center - half), min(1.0, center + half)
