"""Models ranked by the votes of people: Bradley-Terry strengths with intervals from resampled prompts, and how few votes carry the order."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval
from instructloop.stats.bradley_terry import RIDGE, Votes, strengths, strongly_connected, votes

ELO_PER_STRENGTH = 400 / log(10)
"""The Elo scale: 400 points are odds of ten to one."""
ELO_MEAN = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One model's line."""

    model: str
    rank: int
    """1 + the number of models whose lower bound exceeds this model's upper bound."""
    strength: Interval
    """Log-odds scale, relative to the mean of all models (or to the anchor); n counts votes, ties are among them."""
    elo: float
    elo_low: float
    elo_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """All models, strongest first, with what a reader needs to judge the table."""

    standings: tuple[Standing, ...]
    level: float
    votes: int
    ties: int
    clusters: int
    samples: int
    ridge: float
    anchor: str | None
    connected: bool
    """Whether every model beat or tied every other, directly or through a chain; if not, the ridge decides about some distances."""
    connected_resamples: float
    """Share of the resamples for which that holds."""

    @property
    def caveat(self) -> str | None:
        """One sentence for the page if the votes alone do not fix the strengths."""
        if not self.connected:
            return (
                f"some models never beat or tied others, even through a chain: the ridge of {self.ridge:g} decides how far apart they stand"
            )
        if self.connected_resamples < 1:
            return f"in {1 - self.connected_resamples:.1%} of the resamples the ridge of {self.ridge:g} decides: read the outer bounds with care"
        return None


def resampled_strengths(ballots: Votes, *, samples: int = 1000, ridge: float = RIDGE, seed: int = 0) -> tuple[NDArray[np.float64], float]:
    """Strengths (samples, models) of votes whose prompts were drawn with replacement, and the share of strongly connected resamples."""
    center = strengths(ballots.win_matrix()[None], ridge=ridge)[0]
    wins = ballots.resampled_win_matrices(samples=samples, seed=seed)
    return strengths(wins, ridge=ridge, start=center), float(strongly_connected(wins).mean())


def leaderboard(
    first: Sequence[str],
    second: Sequence[str],
    outcome: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    anchor: str | None = None,
    samples: int = 1000,
    ridge: float = RIDGE,
    seed: int = 0,
    level: float = 0.95,
) -> Leaderboard:
    """Rank models by votes.

    Prompts are resampled, not votes or pairs: the votes on one prompt, above all the C(K,2) pairs of one ranking, depend on each other.

    Args:
        first: a model's name per vote.
        second: the other model's name.
        outcome: 1 if the first won, 0.5 for a tie or both bad, 0 if the second won; a weighted verdict lies in between.
        clusters: the prompt of each vote; None treats each vote as its own.
        anchor: a model pinned to strength 0 (Elo 1000); None pins the mean of all models. Intervals are then of differences to it.
        samples: resamples.
        ridge: penalty on strengths.
        seed: base seed of the resampling stream.
        level: coverage of the intervals.

    Raises:
        DataError: unusable votes, or an anchor that nobody voted on.
    """
    ballots = votes(first, second, outcome, clusters)
    if anchor is not None and anchor not in ballots.models:
        raise DataError(f"no vote on the anchor model {anchor!r}", hint=f"models with votes: {', '.join(ballots.models)}")
    wins = ballots.win_matrix()
    theta = strengths(wins[None], ridge=ridge)[0]
    draws, connected_share = resampled_strengths(ballots, samples=samples, ridge=ridge, seed=seed)
    if anchor is not None:
        pinned = ballots.models.index(anchor)
        theta, draws = theta - theta[pinned], draws - draws[:, [pinned]]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    games = np.bincount(np.concatenate([ballots.first, ballots.second]), minlength=ballots.size)
    tied = ballots.outcome == 0.5
    ties = np.bincount(np.concatenate([ballots.first[tied], ballots.second[tied]]), minlength=ballots.size)
    prompts = _prompts_per_model(ballots)
    rank = 1 + (low[None, :] > high[:, None]).sum(axis=1)
    lines = [
        Standing(
            model=name,
            rank=int(rank[i]),
            strength=Interval(
                value=float(theta[i]),
                low=float(low[i]),
                high=float(high[i]),
                n=int(games[i]),
                clusters=int(prompts[i]),
                ties=int(ties[i]),
                level=level,
            ),
            elo=_elo(theta[i]),
            elo_low=_elo(low[i]),
            elo_high=_elo(high[i]),
        )
        for i, name in enumerate(ballots.models)
    ]
    return Leaderboard(
        standings=tuple(sorted(lines, key=lambda line: (-line.strength.value, line.model))),
        level=level,
        votes=len(first),
        ties=int(tied.sum()),
        clusters=ballots.clusters,
        samples=samples,
        ridge=ridge,
        anchor=anchor,
        connected=bool(strongly_connected(wins[None])[0]),
        connected_resamples=connected_share,
    )


def strength_difference(
    ballots: Votes, first: str, second: str, *, samples: int = 1000, ridge: float = RIDGE, seed: int = 0, level: float = 0.95
) -> Interval:
    """theta_first - theta_second with an interval from resampled prompts: narrower than the two models' own intervals suggest."""
    i, j = _position(ballots, first), _position(ballots, second)
    theta = strengths(ballots.win_matrix()[None], ridge=ridge)[0]
    draws, _ = resampled_strengths(ballots, samples=samples, ridge=ridge, seed=seed)
    low, high = np.quantile(draws[:, i] - draws[:, j], [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        value=float(theta[i] - theta[j]), low=float(low), high=float(high), n=len(ballots.first), clusters=ballots.clusters, level=level
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """How few votes carry the order of two models."""

    dropped: int
    """Votes without which the order turns: found greedily and confirmed by a refit, so an upper bound of the smallest number."""
    share: float
    """The same as a share of all votes."""


def votes_to_flip(ballots: Votes, *, ridge: float = RIDGE) -> Flip | None:
    """How many votes must be left out for the two strongest models to change places (the question of arXiv 2508.11847).

    Votes are left out in the order of their influence on the gap, to first order at the fitted strengths; a refit confirms the number. None if
    leaving out every vote that speaks for the leader does not turn the order.
    """
    theta = strengths(ballots.win_matrix()[None], ridge=ridge)[0]
    leader, runner = (int(i) for i in np.argsort(-theta, kind="stable")[:2])
    influence = _influence(ballots, theta, leader, runner, ridge=ridge)
    order = np.argsort(-influence, kind="stable")
    helpful = int((influence > 0).sum())

    def turns(dropped: int) -> bool:
        kept = order[dropped:]
        rest = replace(
            ballots,
            first=ballots.first[kept],
            second=ballots.second[kept],
            outcome=ballots.outcome[kept],
            cluster=ballots.cluster[kept],
        )
        refitted = strengths(rest.win_matrix()[None], ridge=ridge)[0]
        return bool(refitted[runner] > refitted[leader])

    guess = int(np.searchsorted(np.cumsum(influence[order])[:helpful], theta[leader] - theta[runner])) + 1
    while guess < helpful and not turns(guess):
        guess += max(1, guess // 20)
    dropped = min(guess, helpful)
    if not turns(dropped):
        return None
    while dropped > 1 and turns(dropped - 1):
        dropped -= 1
    return Flip(dropped=dropped, share=dropped / len(ballots.first))


def _influence(ballots: Votes, theta: NDArray[np.float64], leader: int, runner: int, *, ridge: float) -> NDArray[np.float64]:
    """By how much theta_leader - theta_runner falls when a vote is left out, to first order: (e_l - e_r)' H^-1 (e_a - e_b) (outcome - p)."""
    from scipy.special import expit

    wins = ballots.win_matrix()
    expected = expit(theta[:, None] - theta[None, :])
    weight = (wins + wins.T) * expected * (1 - expected)
    hessian = np.diag(weight.sum(axis=1)) - weight + ridge * np.eye(ballots.size) + 1 / ballots.size
    contrast = np.zeros(ballots.size)
    contrast[leader], contrast[runner] = 1.0, -1.0
    direction = np.linalg.solve(hessian, contrast)
    surprise = ballots.outcome - expected[ballots.first, ballots.second]
    influence: NDArray[np.float64] = (direction[ballots.first] - direction[ballots.second]) * surprise
    return influence


def _prompts_per_model(ballots: Votes) -> NDArray[np.intp]:
    pairs = np.concatenate([ballots.first * ballots.clusters + ballots.cluster, ballots.second * ballots.clusters + ballots.cluster])
    return np.bincount(np.unique(pairs) // ballots.clusters, minlength=ballots.size)


def _position(ballots: Votes, model: str) -> int:
    if model not in ballots.models:
        raise DataError(f"no vote on the model {model!r}", hint=f"models with votes: {', '.join(ballots.models)}")
    return ballots.models.index(model)


def _elo(strength: float) -> float:
    return float(ELO_MEAN + ELO_PER_STRENGTH * strength)
