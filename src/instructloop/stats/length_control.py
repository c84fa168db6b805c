"""Length-controlled win rate: who wins between answers of equal length (spec I15; Stiennon et al. 2020, appendix F).

The verdicts on one pair of models are regressed on the models' identity (the intercept) and on the log ratio of the two answers' lengths:

    P(a beats b) = sigma(identity + slope * ln(length_a / length_b))

and sigma(identity) is what is left of the win rate at ratio 1. A verdict may be a weight between 0 and 1; a tie counts one half (the likelihood is
then a quasi-likelihood, whose estimate is the same). The interval resamples whole prompts and refits.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval, cluster_codes, finite_values
from instructloop.stats.resampling import cluster_counts
from instructloop.stats.winrate import wilson

RIDGE = 1e-3
"""Penalty ridge/2 * (identity^2 + slope^2), slope in units of the ratios' spread: it only keeps a separable table finite."""
_MAX_STEPS = 100
_SMALL_STEP = 3e-5
"""Newton converges quadratically: after a step this small the error is a millionth of any interval."""
_BLOCK_CELLS = 1_000_000
"""Largest table of weights held at once (resamples x verdicts)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthControlled:
    """The win rate at equal length."""

    rate: Interval
    """sigma(identity); n counts verdicts."""
    slope: Interval
    """Change of the log odds when ln(length_a / length_b) rises by one; 0.69 times it when a doubles. Above 0: the voter likes length."""
    longer: float
    """Share of verdicts in which a's answer is the longer one; equal lengths count one half."""
    extrapolated: bool
    """Whether no verdict, or every verdict, has a's answer longer (in at least 97.5 %): equal length then lies outside what was seen."""

    def as_json(self) -> dict[str, Any]:
        """Plain values under the field names, for a result file."""
        return asdict(self)


def length_controlled(
    wins: Sequence[float],
    lengths_a: Sequence[float],
    lengths_b: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    samples: int = 1000,
    ridge: float = RIDGE,
    seed: int = 0,
    level: float = 0.95,
) -> LengthControlled:
    """Win rate of a over b at equal length, and how much the voter likes length.

    Args:
        wins: per verdict 1 if a is better, 0 if b is, 0.5 for a tie, or a weight in between.
        lengths_a: length of a's answer in any unit (characters, words, tokens); below 1 counts as 1.
        lengths_b: the same of b's answer.
        clusters: the prompt of each verdict, which intervals resample whole; None treats each as its own.
        samples: resamples.
        ridge: penalty on both coefficients.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: no verdicts, lists of different lengths, or a verdict outside [0, 1].
    """
    outcome = finite_values(wins)
    if not len(outcome) == len(lengths_a) == len(lengths_b):
        raise DataError(
            f"{len(outcome)} verdicts but {len(lengths_a)} and {len(lengths_b)} lengths", hint="pass both answers' lengths per verdict"
        )
    if outcome.min() < 0 or outcome.max() > 1:
        raise DataError(f"a verdict must be in [0, 1], got {outcome[(outcome < 0) | (outcome > 1)][0]:g}", hint="1 is a win, 0.5 a tie")
    ratio = np.log(np.maximum(finite_values(lengths_a), 1.0)) - np.log(np.maximum(finite_values(lengths_b), 1.0))
    codes, count = cluster_codes(clusters, outcome.size)
    # from zero, not from the mean: where every ratio is nearly the same, their standard deviation would scale them to thousands
    spread = float(np.sqrt((ratio * ratio).mean())) or 1.0
    scaled = ratio / spread
    center = fit(outcome, scaled, np.ones((1, outcome.size)), ridge=ridge)[0]
    draws = np.concatenate(
        [
            fit(outcome, scaled, counts[start : start + block][:, codes], ridge=ridge, start=center)
            for block in (max(1, _BLOCK_CELLS // outcome.size),)
            for counts in cluster_counts(count, samples=samples, seed=seed)
            for start in range(0, len(counts), block)
        ]
    )
    rate, rates = float(_sigmoid(center[:1])[0]), _sigmoid(draws[:, 0])
    low, high = (float(bound) for bound in np.quantile(rates, [(1 - level) / 2, (1 + level) / 2]))
    if np.ptp(outcome) == 0:  # a unanimous vote has no spread to resample
        rate = float(outcome[0])
        low, high = wilson(rate * count, count, level=level)
    slopes = draws[:, 1] / spread
    slope_low, slope_high = (float(bound) for bound in np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2]))
    longer = float((ratio > 0).mean() + (ratio == 0).mean() / 2)
    shared: dict[str, Any] = {"n": outcome.size, "clusters": count, "level": level}
    return LengthControlled(
        rate=Interval(value=rate, low=low, high=high, ties=int((outcome == 0.5).sum()), **shared),
        slope=Interval(value=float(center[1] / spread), low=slope_low, high=slope_high, **shared),
        longer=longer,
        extrapolated=not 0.025 < longer < 0.975,
    )


def fit(
    outcome: NDArray[np.float64],
    ratio: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    ridge: float = RIDGE,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Identity and slope (batch, 2) of many weighted tables at once by damped Newton steps.

    The step length ln(1 + r) / r, r = the largest change of a log odds, never overshoots (Bach 2010), as in ``bradley_terry.strengths``.

    Args:
        outcome: (verdicts,) in [0, 1].
        ratio: (verdicts,) log length ratio, best scaled to a spread of one.
        weights: (batch, verdicts) how often each verdict counts.
        ridge: penalty on both coefficients.
        start: (2,) first guess.

    Raises:
        DataError: the steps do not settle.
    """
    batch = len(weights)
    beta = np.zeros((batch, 2)) if start is None else np.tile(start, (batch, 1))
    widest = float(np.abs(ratio).max())
    design = np.stack([np.ones_like(ratio), ratio])  # (2, verdicts)
    products = np.stack([design[0], ratio, ratio * ratio])
    for _ in range(_MAX_STEPS):
        expected = _sigmoid(beta @ design)
        gradient = (weights * (outcome - expected)) @ design.T - ridge * beta
        curvature = (weights * expected * (1 - expected)) @ products.T  # (batch, 3): entries of the symmetric 2 x 2 matrix
        a, b, c = curvature[:, 0] + ridge, curvature[:, 1], curvature[:, 2] + ridge
        determinant = a * c - b * b
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1) / determinant[:, None]
        reach = np.maximum(np.abs(step[:, :1]) + widest * np.abs(step[:, 1:]), np.finfo(float).tiny)
        beta += step * np.log1p(reach) / reach
        if reach.max() < _SMALL_STEP:
            return beta
    raise DataError(f"the length regression did not settle in {_MAX_STEPS} steps with a ridge of {ridge:g}", hint="use a larger ridge")


def _sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    result: NDArray[np.float64] = expit(value)
    return result
