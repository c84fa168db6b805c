"""Two neighbours of Bradley-Terry: Plackett-Luce for whole rankings without ties, Davidson for comparisons with a parameter for ties.

Both put a ridge/2 * |theta|^2 on strengths that sum to zero, as ``bradley_terry`` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bradley_terry import RIDGE, Votes, strengths


def plackett_luce(rankings: Sequence[Sequence[str]], *, ridge: float = RIDGE) -> dict[str, float]:
    """Strengths of models from rankings without ties: the first is drawn from all, the next from the rest, each in proportion to exp(theta).

    Args:
        rankings: models per ranking, best first; lengths may differ.
        ridge: penalty on strengths, above 0.

    Raises:
        DataError: no ranking of two models or more, a model twice in a ranking, or a ridge that is not above 0.
    """
    from scipy.optimize import minimize

    for at, ranking in enumerate(rankings):
        if len(set(ranking)) < len(ranking):
            raise DataError(f"ranking {at} names a model twice", hint="Plackett-Luce has no ties; use Bradley-Terry on the pairs")
    usable = [ranking for ranking in rankings if len(ranking) > 1]
    if not usable or ridge <= 0:
        raise DataError(
            f"cannot fit {len(usable)} rankings with a ridge of {ridge:g}", hint="pass rankings of two or more and a ridge above 0"
        )
    models = sorted({model for ranking in usable for model in ranking})
    code = {model: number for number, model in enumerate(models)}
    width = max(map(len, usable))
    table = np.full((len(usable), width), len(models), dtype=np.intp)  # one column more: -inf, for places that do not exist
    for row, ranking in enumerate(usable):
        table[row, : len(ranking)] = [code[model] for model in ranking]
    real = table < len(models)
    won = np.bincount(table[real], minlength=len(models)).astype(np.float64)

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        seen = np.append(theta, -np.inf)[table]
        # softmax denominators over a place and all below it
        rest = np.logaddexp.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
        value = (rest[real] - seen[real]).sum() + ridge / 2 * theta @ theta
        inverse = np.where(real, -rest, -np.inf)
        drawn = np.exp(np.where(real, seen + np.logaddexp.accumulate(inverse, axis=1), -np.inf))
        expected = np.bincount(table[real], weights=drawn[real], minlength=len(models))
        return float(value), expected - won + ridge * theta

    start = np.zeros(len(models))
    fitted = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 10_000}).x
    return {model: float(value) for model, value in zip(models, fitted - fitted.mean(), strict=True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Davidson:
    """Strengths with a tie parameter."""

    strengths: dict[str, float]
    tie: float
    """nu >= 0: two equal models tie with probability nu / (2 + nu)."""

    def probabilities(self, first: str, second: str) -> tuple[float, float, float]:
        """Chances of win, tie and loss of the first model."""
        gap = self.strengths[first] - self.strengths[second]
        parts = (exp(gap / 2), self.tie, exp(-gap / 2))
        return parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts)


def davidson(ballots: Votes, *, ridge: float = RIDGE) -> Davidson:
    """P(win) : P(tie) : P(loss) = e^(d/2) : nu : e^(-d/2), d the difference of strengths (Davidson 1970): says how likely ties are, too.

    Bradley-Terry with ties as half wins needs no nu and gives nearly the same order; take this one to predict ties.

    Args:
        ballots: the votes; both bad counts as a tie.
        ridge: penalty on strengths, above 0.

    Raises:
        DataError: no tie among the votes (then nu is 0 and Bradley-Terry is the model), only ties, or a ridge that is not above 0.
    """
    from scipy.optimize import minimize

    tied = ballots.outcome == 0.5
    if tied.all() or not tied.any() or ridge <= 0:
        raise DataError(
            f"cannot fit a tie parameter to {int(tied.sum())} ties of {len(tied)} votes with a ridge of {ridge:g}",
            hint="it takes ties, decided votes and a ridge above 0; use the leaderboard otherwise",
        )
    size = ballots.size

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta, log_nu = point[:size], point[size]
        half = (theta[ballots.first] - theta[ballots.second]) / 2
        parts = np.stack([half, np.full(half.size, log_nu), -half])
        total = np.logaddexp.reduce(parts, axis=0)
        chance = np.exp(parts - total)
        got = np.stack([ballots.outcome == 1, tied, ballots.outcome == 0])
        value = (total - parts[got.argmax(axis=0), np.arange(half.size)]).sum() + ridge / 2 * theta @ theta
        slope = (chance[0] - chance[2] - 2 * ballots.outcome + 1) / 2
        gradient = np.bincount(ballots.first, weights=slope, minlength=size) - np.bincount(ballots.second, weights=slope, minlength=size)
        return float(value), np.append(gradient + ridge * theta, chance[1].sum() - tied.sum())

    start = np.append(strengths(ballots.win_matrix()[None], ridge=ridge)[0], 0.0)
    fitted = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 10_000}).x
    theta = fitted[:size] - fitted[:size].mean()
    return Davidson(
        strengths={model: float(value) for model, value in zip(ballots.models, theta, strict=True)}, tie=float(exp(fitted[size]))
    )
