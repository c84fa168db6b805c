"""Bradley-Terry strengths: against choix, evalica, statsmodels and the MM iteration; graphs that leave them open; any order of votes."""

from collections.abc import Sequence

import choix
import evalica
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.stats.bradley_terry import strengths, strongly_connected, votes

Ballots = tuple[list[str], list[str], list[float]]
ballot_lists = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0])).filter(lambda v: v[0] != v[1]),
    min_size=1,
    max_size=30,
)


def _random_votes(seed: int, *, models: int = 6, n: int = 600, ties: float = 0.2) -> Ballots:
    random = np.random.default_rng(seed)
    theta = random.normal(size=models)
    a = random.integers(models, size=n)
    b = (a + random.integers(1, models, size=n)) % models
    won = random.random(n) < 1 / (1 + np.exp(theta[b] - theta[a]))
    outcome = np.where(random.random(n) < ties, 0.5, won.astype(float))
    return [f"m{i}" for i in a], [f"m{i}" for i in b], outcome.tolist()


def _fit(ballots: Ballots, ridge: float) -> np.ndarray:
    return strengths(votes(*ballots).win_matrix()[None], ridge=ridge)[0]


def _decided(ballots: Ballots) -> list[tuple[int, int]]:
    return [(int(a[1:]), int(b[1:])) if o == 1 else (int(b[1:]), int(a[1:])) for a, b, o in zip(*ballots, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_penalized_strengths_equal_choix(seed: int) -> None:
    ballots = _random_votes(seed, ties=0.0)
    # choix penalizes alpha * |theta|^2, we ridge / 2 * |theta|^2
    expected = choix.opt_pairwise(6, _decided(ballots), alpha=0.5, method="Newton-CG", tol=1e-12)
    assert _fit(ballots, 1.0) == pytest.approx(expected - expected.mean(), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_strengths_with_ties_equal_evalica(seed: int) -> None:
    ballots = _random_votes(seed)
    winners = [{1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}[o] for o in ballots[2]]
    scores = evalica.bradley_terry(ballots[0], ballots[1], winners, tie_weight=0.5, tolerance=1e-14, limit=20_000).scores.sort_index()
    expected = np.log(scores.to_numpy())
    assert _fit(ballots, 0.0) == pytest.approx(expected - expected.mean(), abs=1e-7)


def test_strengths_equal_a_logistic_regression_of_statsmodels() -> None:
    ballots = _random_votes(7, ties=0.0)
    table = votes(*ballots)
    design = np.zeros((len(table.first), 6))
    design[np.arange(len(table.first)), table.first] = 1.0
    design[np.arange(len(table.first)), table.second] -= 1.0
    fitted = sm.GLM(table.outcome, design[:, 1:], family=sm.families.Binomial()).fit(tol=1e-12)
    expected = np.concatenate([[0.0], fitted.params])
    assert _fit(ballots, 0.0) == pytest.approx(expected - expected.mean(), abs=1e-8)


def test_strengths_equal_the_mm_iteration() -> None:
    wins = votes(*_random_votes(8)).win_matrix()
    games, share = wins + wins.T, np.ones(6)
    for _ in range(3000):
        share = wins.sum(axis=1) / (games / (share[:, None] + share[None, :])).sum(axis=1)
        share /= share.sum()
    expected = np.log(share) - np.log(share).mean()
    assert strengths(wins[None], ridge=0.0)[0] == pytest.approx(expected, abs=1e-9)


def test_two_models_by_hand() -> None:
    # three wins, one tie, one loss of five: odds 3.5 to 1.5
    theta = _fit((["a"] * 5, ["b"] * 5, [1.0, 1.0, 1.0, 0.5, 0.0]), 0.0)
    assert theta[0] - theta[1] == pytest.approx(np.log(3.5 / 1.5), abs=1e-12)


def test_an_unbeaten_model_gets_a_finite_strength_from_the_ridge_only() -> None:
    ballots: Ballots = (["a"] * 30, ["b"] * 30, [1.0] * 30)
    assert not strongly_connected(votes(*ballots).win_matrix()[None])[0]
    theta = _fit(ballots, 1e-3)
    # the gradient vanishes: 30 (1 - sigma(2t)) = ridge * t
    assert 30 / (1 + np.exp(2 * theta[0])) == pytest.approx(1e-3 * theta[0], rel=1e-6)
    with pytest.raises(DataError, match="not fixed by the votes with a ridge of 0"):
        _fit(ballots, 0.0)


def test_a_chain_of_wins_connects_and_a_one_way_street_does_not() -> None:
    circle = votes(["a", "b", "c", "d"], ["b", "c", "d", "a"], [1.0] * 4).win_matrix()
    street = votes(["a", "b", "c"], ["b", "c", "d"], [1.0] * 3).win_matrix()
    islands = votes(["a", "c"], ["b", "d"], [0.5, 0.5]).win_matrix()
    assert strongly_connected(np.stack([circle, street, islands])).tolist() == [True, False, False]


def test_a_batch_is_the_fits_one_by_one() -> None:
    matrices = np.stack([votes(*_random_votes(seed)).win_matrix() for seed in range(5)])
    alone = np.concatenate([strengths(one[None]) for one in matrices])
    assert strengths(matrices, start=alone[0]) == pytest.approx(alone, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(ballots=ballot_lists, seed=st.integers(0, 99))
def test_order_of_votes_sides_and_names_never_matter(ballots: list[tuple[int, int, float]], seed: int) -> None:
    random = np.random.default_rng(seed)
    names = random.permutation(5)
    before = _by_name(ballots)
    turned = [(b, a, 1 - o) if random.random() < 0.5 else (a, b, o) for a, b, o in ballots]
    mixed = [(int(names[a]), int(names[b]), o) for a, b, o in (turned[i] for i in random.permutation(len(turned)))]
    after = _by_name(mixed)
    assert before == pytest.approx({model: after[int(names[model])] for model in before}, abs=1e-7)
    assert sum(before.values()) == pytest.approx(0.0, abs=1e-9)


def _by_name(ballots: Sequence[tuple[int, int, float]]) -> dict[int, float]:
    table = votes([str(a) for a, _, _ in ballots], [str(b) for _, b, _ in ballots], [o for _, _, o in ballots])
    theta = strengths(table.win_matrix()[None])[0]
    return {int(model): float(value) for model, value in zip(table.models, theta, strict=True)}


@pytest.mark.parametrize(
    ("ballots", "message"),
    [
        (([], [], []), "no votes"),
        ((["a"], ["b"], [1.0, 0.0]), "1 first models, 1 second models and 2 outcomes"),
        ((["a", "b"], ["b", "b"], [1.0, 1.0]), r"vote 1 \('b' against 'b'\) compares a model with itself"),
        ((["a"], ["b"], [1.2]), r"vote 0 .* outcome outside"),
    ],
)
def test_unusable_votes_are_refused(ballots: Ballots, message: str) -> None:
    with pytest.raises(DataError, match=message):
        votes(*ballots)
