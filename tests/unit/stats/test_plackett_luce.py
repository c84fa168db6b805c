"""Plackett-Luce against choix, Davidson against evalica's Newman and its own equations."""

import choix
import evalica
import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.stats.bradley_terry import strengths, votes
from instructloop.stats.plackett_luce import davidson, plackett_luce


def _rankings(seed: int, *, lengths: tuple[int, int] = (2, 6)) -> list[list[str]]:
    random = np.random.default_rng(seed)
    theta = random.normal(size=6)
    chosen = [random.choice(6, size=int(random.integers(*lengths)), replace=False) for _ in range(120)]
    return [[f"m{i}" for i in items[np.argsort(-(theta[items] + random.gumbel(size=items.size)))]] for items in chosen]


@pytest.mark.parametrize("seed", range(3))
def test_plackett_luce_equals_choix(seed: int) -> None:
    rankings = _rankings(seed)
    data = [tuple(int(model[1:]) for model in ranking) for ranking in rankings]
    expected = choix.opt_rankings(6, data, alpha=0.25, method="Newton-CG", tol=1e-12)
    assert list(plackett_luce(rankings, ridge=0.5).values()) == pytest.approx((expected - expected.mean()).tolist(), abs=1e-6)


def test_rankings_of_two_are_bradley_terry() -> None:
    rankings = _rankings(4, lengths=(2, 3))
    ballots = votes([r[0] for r in rankings], [r[1] for r in rankings], [1.0] * len(rankings))
    assert list(plackett_luce(rankings).values()) == pytest.approx(strengths(ballots.win_matrix()[None])[0].tolist(), abs=1e-6)


def test_two_models_with_ties_by_hand() -> None:
    # 50 wins, 30 ties, 20 losses: the three chances are fitted exactly, so e^d = 50 / 20 and nu^2 = 30^2 / (50 * 20)
    fit = davidson(votes(["a"] * 100, ["b"] * 100, [1.0] * 50 + [0.5] * 30 + [0.0] * 20), ridge=1e-9)
    assert fit.strengths["a"] - fit.strengths["b"] == pytest.approx(np.log(2.5), abs=1e-6)
    assert fit.tie == pytest.approx(30 / 1000**0.5, abs=1e-6)
    assert fit.probabilities("a", "b") == pytest.approx((0.5, 0.3, 0.2), abs=1e-6)


def test_davidson_equals_evalicas_newman() -> None:
    random = np.random.default_rng(3)
    theta = np.array([0.8, 0.3, 0.0, -0.4, -0.7])
    a = random.integers(5, size=800)
    b = (a + random.integers(1, 5, size=800)) % 5
    half = (theta[a] - theta[b]) / 2
    weights = np.stack([np.exp(half), np.full(800, 0.8), np.exp(-half)], axis=1)
    pick = (random.random(800)[:, None] > np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
    first, second = [f"m{i}" for i in a], [f"m{i}" for i in b]
    winners = [[evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y][p] for p in pick]
    theirs = evalica.newman(first, second, winners, tolerance=1e-13, limit=20_000)
    expected = np.log(theirs.scores.sort_index().to_numpy())
    fit = davidson(votes(first, second, [[1.0, 0.5, 0.0][p] for p in pick]), ridge=1e-9)
    assert list(fit.strengths.values()) == pytest.approx((expected - expected.mean()).tolist(), abs=1e-5)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="ranking 1 names a model twice"):
        plackett_luce([["a", "b"], ["a", "a"]])
    with pytest.raises(DataError, match="0 rankings"):
        plackett_luce([["a"]])
    with pytest.raises(DataError, match="0 ties of 1 votes"):
        davidson(votes(["a"], ["b"], [1.0]))
