"""Gold reward against distance from the initial policy: the laws of Gao et al. (2022), their peaks and their fits (spec I13).

d = sqrt(KL in nats), R is the gain over the initial policy, so R(0) = 0. Both laws are linear in alpha and beta: R = alpha u - beta v
with u = d and v = d^2 (best of n) or v = d ln d (RL), which makes the fit ordinary least squares and its bootstrap a matrix product.
"""

from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from instructloop.core.errors import DataError
from instructloop.core.seeds import derive

Law = Literal["rl", "best_of_n"]
_LARGEST_EXPONENT = 700.0
_LEVEL = 0.95
_LEAST_POINTS = 3
_LEAST_HALF = 4


class Peak(NamedTuple):
    """Where a law is highest and how high."""

    distance: float
    gold: float


def best_of_n_gold(distance: float, *, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta d)."""
    return distance * (alpha - beta * distance)


def rl_gold(distance: float, *, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta ln d), R(0) = 0."""
    return distance * (alpha - beta * log(distance)) if distance > 0 else 0.0


def best_of_n_peak(*, alpha: float, beta: float) -> Peak:
    """d* = alpha / (2 beta), R* = alpha^2 / (4 beta), for beta > 0."""
    return Peak(alpha / (2 * beta), alpha * alpha / (4 * beta))


def rl_peak(*, alpha: float, beta: float) -> Peak:
    """d* = exp(alpha / beta - 1), R* = beta d*, for beta > 0."""
    distance = exp(alpha / beta - 1)
    return Peak(distance, beta * distance)


@dataclass(frozen=True, kw_only=True, slots=True)
class LawFit:
    """A law fitted to points. Bounds are None where nothing was resampled (no gains per prompt); ``inf`` where they are open."""

    law: Law
    alpha: float
    beta: float
    alpha_bounds: tuple[float, float] | None
    beta_bounds: tuple[float, float] | None
    peak: Peak | None
    """None where the fitted curve only rises (beta <= 0), or peaks beyond any number."""
    peak_bounds: tuple[float, float] | None
    """Of the peak's distance; the upper one is infinite if more than 2.5 % of the resamples never fall."""
    gold_bounds: tuple[float, float] | None
    """Of the gain at the peak, among the resamples that have one."""
    r_squared: float | None
    """Share of the points' variance that the law explains; None if the points do not vary."""
    rmse: float
    points: int
    clusters: int
    reach: float
    """Largest distance among the fitted points."""

    def gold(self, distance: float) -> float:
        """The fitted gain at a distance."""
        law = rl_gold if self.law == "rl" else best_of_n_gold
        return law(distance, alpha=self.alpha, beta=self.beta)

    @property
    def inside(self) -> bool:
        """Whether the fitted peak lies within the points; outside it is an extrapolation."""
        return self.peak is not None and self.peak.distance <= self.reach


def fit_law(kl: ArrayLike, gains: ArrayLike, *, law: Law = "rl", samples: int = 1000, seed: int = 0) -> LawFit:
    """Least squares of a law through points, with intervals from resampled prompts.

    Args:
        kl: KL of each point in nats; points at 0 say nothing about the law (R(0) = 0 holds anyway) and are left out.
        gains: gain over the initial policy at each point: ``[points]``, or ``[prompts, points]`` for intervals. NaN where a prompt
            was not measured at a point.
        law: ``rl`` (alpha - beta ln d) or ``best_of_n`` (alpha - beta d).
        samples: resamples of the prompts.
        seed: base seed of the resampling stream.

    Raises:
        DataError: fewer than three points at KL > 0, or shapes that do not belong together.
    """
    nats, table = np.asarray(kl, dtype=np.float64), np.atleast_2d(np.asarray(gains, dtype=np.float64))
    if nats.ndim != 1 or table.ndim != 2 or table.shape[1] != nats.size:
        raise DataError(f"{nats.size} KL values but gains of shape {table.shape}", hint="one column a point")
    chosen = (nats > 0) & np.isfinite(nats) & ~np.isnan(table).all(axis=0)
    if chosen.sum() < _LEAST_POINTS:
        raise DataError(
            f"{int(chosen.sum())} points at KL > 0, a law with two parameters needs {_LEAST_POINTS}", hint="look at the run more often"
        )
    distance, table = np.sqrt(nats[chosen]), table[:, chosen]
    design = _design(distance, law)
    observed = np.nanmean(table, axis=0)
    alpha, beta = (float(value) for value in np.linalg.lstsq(design, observed, rcond=None)[0])
    residual = observed - design @ np.array([alpha, beta])
    spread = float(((observed - observed.mean()) ** 2).sum())
    peak = _peak(law, alpha, beta)
    bounds = _resampled(table, design, law, samples, seed) if len(table) > 1 else (None, None, None, None)
    return LawFit(
        law=law,
        alpha=alpha,
        beta=beta,
        alpha_bounds=bounds[0],
        beta_bounds=bounds[1],
        peak=peak,
        peak_bounds=bounds[2],
        gold_bounds=bounds[3],
        r_squared=1 - float((residual**2).sum()) / spread if spread > 0 else None,
        rmse=sqrt(float((residual**2).mean())),
        points=int(chosen.sum()),
        clusters=len(table),
        reach=float(distance.max()),
    )


class TopPoint(NamedTuple):
    """The highest of several measured points and how sure its place is."""

    place: int
    """Its place among the points."""
    low_kl: float
    high_kl: float
    """95 % of the resampled prompts have their highest point between these."""


def highest_point(kl: ArrayLike, gains: ArrayLike, *, samples: int = 1000, seed: int = 0) -> TopPoint:
    """The measured point with the highest mean gain, and where it lies when the prompts are resampled.

    Args:
        kl: KL of each point in nats.
        gains: ``[prompts, points]`` (or ``[points]``, without an interval of any width); NaN where not measured.
        samples: resamples.
        seed: base seed of the resampling stream.
    """
    nats, table = np.asarray(kl, dtype=np.float64), np.atleast_2d(np.asarray(gains, dtype=np.float64))
    tops = nats[np.nanargmax(_resampled_means(table, samples, seed), axis=1)]
    low, high = np.quantile(tops, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return TopPoint(int(np.nanargmax(np.nanmean(table, axis=0))), float(low), float(high))


class Fall(NamedTuple):
    """How far the last point lies below the best one."""

    best: int
    """Place of the highest mean."""
    drop: float
    """Mean gain lost since the best point, free of the luck that made it the best one."""
    error: float
    """Its standard error over prompts."""


def fall_from_best(gains: ArrayLike) -> Fall | None:
    """The fall from the best point to the last, without the bias of having searched for the best one.

    The highest of many noisy means is high by luck, too, and any later point looks worse. So each half of the prompts chooses the best point
    and the other half measures the fall from it (cross-fitting); the two falls are averaged.

    Args:
        gains: ``[prompts, points]``; NaN where a prompt was not measured at a point.

    Returns:
        None with fewer than four prompts in a half, or where a half lacks the last point.
    """
    table = np.asarray(gains, dtype=np.float64)
    halves = (table[::2], table[1::2])
    falls, errors = list[float](), list[float]()
    for chooser, judge in (halves, halves[::-1]):
        if not np.isfinite(chooser).any():
            return None
        drop = judge[:, _highest(chooser)] - judge[:, -1]
        drop = drop[np.isfinite(drop)]
        if drop.size < _LEAST_HALF:
            return None
        falls.append(float(drop.mean()))
        errors.append(float(drop.std(ddof=1)) / sqrt(drop.size))
    return Fall(_highest(table), sum(falls) / 2, sqrt(errors[0] ** 2 + errors[1] ** 2) / 2)


def _highest(table: NDArray[np.float64]) -> int:
    """Column with the highest mean; columns without a value are never it."""
    return int(np.argmax([column[np.isfinite(column)].mean() if np.isfinite(column).any() else -inf for column in table.T]))


def _design(distance: NDArray[np.float64], law: Law) -> NDArray[np.float64]:
    falling = distance * np.log(distance) if law == "rl" else distance**2
    return np.stack([distance, -falling], axis=1)


def _peak(law: Law, alpha: float, beta: float) -> Peak | None:
    if beta <= 0 or (law == "rl" and alpha / beta > _LARGEST_EXPONENT):
        return None
    peak = rl_peak(alpha=alpha, beta=beta) if law == "rl" else best_of_n_peak(alpha=alpha, beta=beta)
    return peak if peak.distance > 0 else Peak(0.0, 0.0)


def _resampled_means(table: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Means of every point over resampled prompts, ``[samples, points]``."""
    random = np.random.default_rng(derive(seed, "overoptimization"))
    counts = random.multinomial(len(table), np.full(len(table), 1 / len(table)), size=samples).astype(np.float64)
    measured = ~np.isnan(table)
    weight = counts @ measured
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.where(weight > 0, (counts @ np.where(measured, table, 0.0)) / weight, np.nan)
    return means


_Bounds = tuple[float, float] | None


def _resampled(
    table: NDArray[np.float64], design: NDArray[np.float64], law: Law, samples: int, seed: int
) -> tuple[_Bounds, _Bounds, _Bounds, _Bounds]:
    means = _resampled_means(table, samples, seed)
    means = means[~np.isnan(means).any(axis=1)]
    if not len(means):
        return None, None, None, None
    fits = means @ np.linalg.pinv(design).T
    peaks = [_peak(law, float(alpha), float(beta)) for alpha, beta in fits]
    distances = [inf if peak is None else peak.distance for peak in peaks]
    heights = [peak.gold for peak in peaks if peak is not None]
    return _bounds(fits[:, 0]), _bounds(fits[:, 1]), _bounds(distances), _bounds(heights) if heights else None


def _bounds(values: ArrayLike) -> tuple[float, float]:
    """Percentile interval; infinite values keep their order (interpolating between infinities would give NaN)."""
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], method="inverted_cdf")
    return float(low), float(high) if isfinite(high) else inf
