"""Bradley-Terry strengths by batched Newton: P(i beats j) = sigma(theta_i - theta_j), a tie is half a win for each side.

The maximum of the likelihood exists only if every model has beaten every other directly or through a chain (a strongly connected graph). A small
ridge, 1e-3 unless told otherwise, keeps the answer finite in any case: we maximize log-likelihood - ridge/2 * |theta|^2, whose maximum sums to zero.
The result says whether the graph was connected, because on a graph that is not the ridge, not the votes, decides how far apart the parts lie.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import cluster_codes
from instructloop.stats.resampling import resampled_sums

RIDGE = 1e-3
_MAX_STEPS = 200
_SMALL_STEP = 1e-8
"""Newton converges quadratically: after a step this small the error is at rounding level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Votes:
    """Comparisons of two models as arrays of one length; ``models`` are in alphabetical order, codes point into it."""

    models: tuple[str, ...]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    outcome: NDArray[np.float64]
    """1 if the first model won, 0 if the second did, 0.5 for a tie (both bad counts as one); weighted verdicts lie in between."""
    cluster: NDArray[np.intp]
    clusters: int

    def win_matrix(self) -> NDArray[np.float64]:
        """(models, models): how often i beat j, ties as one half."""
        cells, values, _ = self._cells()
        wins: NDArray[np.float64] = np.zeros(self.size**2)
        np.add.at(wins, cells, values)
        return wins.reshape(self.size, self.size)

    def resampled_win_matrices(self, *, samples: int, seed: int) -> NDArray[np.float64]:
        """(samples, models, models): win matrices of votes whose clusters were drawn with replacement."""
        cells, values, codes = self._cells()
        sums = resampled_sums(cells, values, codes, width=self.size**2, clusters=self.clusters, samples=samples, seed=seed)
        return sums.reshape(samples, self.size, self.size)

    @property
    def size(self) -> int:
        """How many models there are."""
        return len(self.models)

    def _cells(self) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
        forward, backward = self.first * self.size + self.second, self.second * self.size + self.first
        won, lost = self.outcome > 0, self.outcome < 1
        return (
            np.concatenate([forward[won], backward[lost]]),
            np.concatenate([self.outcome[won], 1 - self.outcome[lost]]),
            np.concatenate([self.cluster[won], self.cluster[lost]]),
        )


def votes(first: Sequence[str], second: Sequence[str], outcome: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Votes:
    """Checked votes from plain lists.

    Args:
        first: a model's name per vote.
        second: the other model's name.
        outcome: 1 if the first won, 0.5 for a tie or both bad, 0 if the second won; a weighted verdict lies in between.
        clusters: the prompt of each vote, which intervals resample whole; None treats each vote as its own.

    Raises:
        DataError: lists of different lengths, no votes, a model against itself, or an outcome outside [0, 1].
    """
    if not len(first) == len(second) == len(outcome):
        raise DataError(
            f"votes need lists of one length, got {len(first)} first models, {len(second)} second models and {len(outcome)} outcomes",
            hint="pass one of each per vote",
        )
    if not first:
        raise DataError("no votes to rank models by", hint="collect comparisons first")
    models = tuple(sorted({*first, *second}))
    code = {name: number for number, name in enumerate(models)}
    a, b = (np.fromiter((code[name] for name in names), dtype=np.intp, count=len(names)) for names in (first, second))
    result = np.asarray(outcome, dtype=np.float64)
    for wrong, message, hint in (
        (a == b, "compares a model with itself", "leave such votes out"),
        (~((result >= 0) & (result <= 1)), "has an outcome outside [0, 1]", "a win of the first is 1, a tie 0.5, a loss 0"),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(f"vote {at} ({first[at]!r} against {second[at]!r}) {message}", hint=hint)
    codes, count = cluster_codes(clusters, len(first))
    return Votes(models=models, first=a, second=b, outcome=result, cluster=codes, clusters=count)


def strengths(wins: NDArray[np.float64], *, ridge: float = RIDGE, start: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Strengths theta (batch, models) of many win matrices (batch, models, models) at once; every row sums to zero.

    The step length ln(1 + r) / r, r = the largest change of a difference, never overshoots for this likelihood (its third derivative is bounded by
    its second; Bach 2010), so no line search is needed and a Newton step is taken whole near the maximum.

    Args:
        wins: how often i beat j, ties as one half.
        ridge: penalty ridge/2 * |theta|^2; 0 only if every graph is strongly connected.
        start: first guess, broadcast over the batch.

    Raises:
        DataError: a negative ridge, or ridge 0 on a graph that is not strongly connected.
    """
    from scipy.special import expit

    if ridge < 0 or (ridge == 0 and not strongly_connected(wins).all()):
        raise DataError(
            f"strengths are not fixed by the votes with a ridge of {ridge:g}: some models never beat or tied others, even through a chain",
            hint="use a ridge above 0 (1e-3)",
        )
    games = wins + wins.transpose(0, 2, 1)
    batch, models, _ = wins.shape
    theta = np.zeros((batch, models)) if start is None else np.tile(start, (batch, 1))
    # NOTE: the all-ones part makes the matrix invertible at ridge 0 and changes no step: gradients and strengths sum to zero.
    fixed = ridge * np.eye(models) + 1 / models
    diagonal = np.arange(models)
    for _ in range(_MAX_STEPS):
        expected = expit(theta[:, :, None] - theta[:, None, :])
        gradient = (wins - games * expected).sum(axis=2) - ridge * theta
        weight = games * expected * (1 - expected)
        hessian = fixed - weight
        hessian[:, diagonal, diagonal] += weight.sum(axis=2)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        reach = np.maximum(np.ptp(step, axis=1, keepdims=True), np.finfo(float).tiny)
        theta += step * np.log1p(reach) / reach
        if reach.max() < _SMALL_STEP:
            centered: NDArray[np.float64] = theta - theta.mean(axis=1, keepdims=True)
            return centered
    raise DataError(f"strengths did not converge in {_MAX_STEPS} steps with a ridge of {ridge:g}", hint="use a larger ridge (1e-3)")


def strongly_connected(wins: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Per win matrix of a batch (batch, models, models): whether every model beat or tied every other, directly or through a chain."""
    models = wins.shape[-1]
    # float32 because matrix products of booleans are slow; reach holds path counts clipped to 1
    reach = ((wins > 0) | np.eye(models, dtype=bool)).astype(np.float32)
    length = 1
    while length < models - 1 and not reach.all():
        reach = np.minimum(reach @ reach, 1.0)
        length *= 2
    return np.asarray((reach > 0).all(axis=(1, 2)))
