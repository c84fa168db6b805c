"""Intervals by resampling whole clusters (prompts), because answers to one prompt are not independent."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instructloop.core.errors import DataError
from instructloop.core.seeds import derive

_BLOCK_CELLS = 2_000_000
"""Largest resampling table held at once (samples x clusters), so that 100,000 prompts stay in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number with everything a reader needs to judge it."""

    value: float
    low: float
    high: float
    n: int
    """Observations."""
    clusters: int
    """Independent units (prompts) behind them."""
    ties: int = 0
    """Observations that are ties, where that means something."""
    level: float = 0.95
    """Coverage the interval aims at."""

    def excludes(self, value: float) -> bool:
        """Whether the interval lies entirely on one side of ``value``."""
        return self.low > value or self.high < value

    def as_json(self) -> dict[str, Any]:
        """Plain numbers under the field names, for a result file."""
        return asdict(self)


def cluster_codes(clusters: Sequence[Hashable] | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Consecutive numbers for cluster names in order of first appearance, and how many there are (None: all separate)."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise DataError(f"{n} values but {len(clusters)} cluster names", hint="pass one cluster (prompt) per value")
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.intp)
    return codes, len(numbers)


def finite_values(values: ArrayLike) -> NDArray[np.float64]:
    """The values as a 1-d float array; DataError if there are none or one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"need a non-empty list of numbers, got an array of shape {array.shape}", hint="is the evaluation set empty?")
    if not np.isfinite(array).all():
        raise DataError(f"value {int(np.flatnonzero(~np.isfinite(array))[0])} is not finite", hint="drop or repair it first")
    return array


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of any statistic of the values, resampling clusters with replacement.

    Args:
        values: one number per observation.
        clusters: the prompt (or labeler) of each; None treats every observation as its own.
        statistic: from resampled values to a number. For means use ``mean_interval``, which is much faster.
        samples: resamples.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: no values, non-finite values or as many clusters as not values.
    """
    array = finite_values(values)
    codes, count = cluster_codes(clusters, array.size)
    members = [np.flatnonzero(codes == code) for code in range(count)]
    random = np.random.default_rng(derive(seed, "bootstrap"))
    results = np.array(
        [statistic(array[np.concatenate([members[code] for code in random.integers(count, size=count)])]) for _ in range(samples)]
    )
    low, high = _quantiles(results, level)
    return Interval(value=float(statistic(array)), low=low, high=high, n=array.size, clusters=count, level=level)


def mean_interval(
    values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of the values with a percentile interval from resampled clusters.

    For paired differences pass the differences; for a pooled figure over runs make the run part of the cluster only if its prompts differ.

    Args:
        values: one number per observation.
        clusters: the prompt of each; None treats every observation as its own.
        samples: resamples.
        seed: base seed of the resampling stream.
        level: coverage.
    """
    array = finite_values(values)
    codes, count = cluster_codes(clusters, array.size)
    sums, sizes = np.bincount(codes, weights=array, minlength=count), np.bincount(codes, minlength=count).astype(np.float64)
    random = np.random.default_rng(derive(seed, "bootstrap"))
    block = max(1, _BLOCK_CELLS // count)
    means: list[NDArray[np.float64]] = []
    for start in range(0, samples, block):
        drawn = random.integers(count, size=(min(block, samples - start), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = _quantiles(np.concatenate(means), level)
    return Interval(value=float(array.mean()), low=low, high=high, n=array.size, clusters=count, level=level)


def _quantiles(results: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(results, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
