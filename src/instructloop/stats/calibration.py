"""Does a predicted probability happen as often as it says? Reliability bins and the expected calibration error."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instructloop.core.errors import DataError
from instructloop.core.seeds import derive
from instructloop.stats.bootstrap import Interval, cluster_codes, finite_values


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Predictions between two edges: what they said on average and how often it happened."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Bins in rising order of the prediction, and their weighted mean distance from the diagonal."""

    bins: tuple[Bin, ...]
    error: Interval


def calibration(
    predicted: ArrayLike,
    happened: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    bins: int = 10,
    samples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Reliability of probabilities in bins of equal width, ECE = sum_b (n_b / n) |observed_b - predicted_b|.

    The error of a perfect forecaster is above 0 in a finite sample; its interval (resampled clusters) has the same upward bias.

    Args:
        predicted: probabilities in [0, 1].
        happened: outcomes in [0, 1] (1/2 for a tie).
        clusters: the prompt of each.
        bins: of equal width over [0, 1]; empty ones are left out.
        samples: resamples.
        seed: base seed of the resampling stream.

    Raises:
        DataError: probabilities outside [0, 1], unequal lengths, nothing given.
    """
    probability, outcome = finite_values(predicted), finite_values(happened)
    if probability.size != outcome.size:
        raise DataError(f"{probability.size} predictions for {outcome.size} outcomes", hint="pass one outcome per prediction")
    if probability.min() < 0 or probability.max() > 1:
        raise DataError("a predicted probability lies outside [0, 1]", hint="pass sigma(score difference)")
    codes, count = cluster_codes(clusters, probability.size)
    place = np.minimum((probability * bins).astype(np.intp), bins - 1)
    cell, cells = codes * bins + place, count * bins
    columns = [np.bincount(cell, weights=weights, minlength=cells) for weights in (np.ones(outcome.size), probability, outcome)]
    sums = np.stack(columns, axis=-1).reshape(count, bins, 3)
    random = np.random.default_rng(derive(seed, "calibration"))
    drawn = random.multinomial(count, np.full(count, 1 / count), size=samples).astype(np.float64)
    resampled = np.einsum("sc,cbk->sbk", drawn, sums)
    whole = sums.sum(axis=0)
    errors = _error(resampled)
    return Calibration(
        bins=_bins(whole, resampled),
        error=Interval(
            value=float(_error(whole[None])[0]),
            low=float(np.quantile(errors, 0.025)),
            high=float(np.quantile(errors, 0.975)),
            n=probability.size,
            clusters=count,
        ),
    )


def _error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of tables ``[..., bins, (n, predicted, observed)]``: the distances are of sums, so that n_b cancels."""
    error: NDArray[np.float64] = np.abs(sums[..., 2] - sums[..., 1]).sum(axis=-1) / sums[..., 0].sum(axis=-1)
    return error


def _bins(whole: NDArray[np.float64], resampled: NDArray[np.float64]) -> tuple[Bin, ...]:
    found = []
    for place, (n, predicted, observed) in enumerate(whole.tolist()):
        if not n:
            continue
        there = resampled[:, place, 0] > 0
        shares = resampled[there, place, 2] / resampled[there, place, 0]
        low, high = np.quantile(shares, [0.025, 0.975])
        found.append(Bin(predicted=predicted / n, observed=observed / n, low=float(low), high=float(high), n=int(n)))
    return tuple(found)
