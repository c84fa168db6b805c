"""The leaderboard: ranks, scale, intervals, speed, and how few votes carry the order."""

from itertools import combinations
from math import log
from time import perf_counter

import numpy as np
import pytest
from scipy.stats import norm

from instructloop.core.errors import DataError
from instructloop.stats.bradley_terry import strengths, votes
from instructloop.stats.leaderboard import leaderboard, resampled_strengths, strength_difference, votes_to_flip


def _votes(seed: int, theta: list[float], n: int, *, prompts: int) -> tuple[list[str], list[str], list[float], list[int]]:
    random = np.random.default_rng(seed)
    a = random.integers(len(theta), size=n)
    b = (a + random.integers(1, len(theta), size=n)) % len(theta)
    gap = np.array(theta)[a] - np.array(theta)[b]
    outcome = (random.random(n) < 1 / (1 + np.exp(-gap))).astype(float)
    return [f"m{i:02d}" for i in a], [f"m{i:02d}" for i in b], outcome.tolist(), (np.arange(n) % prompts).tolist()


def test_rank_is_one_plus_the_models_that_are_clearly_better() -> None:
    table = leaderboard(*_votes(0, [2.0, 0.05, 0.0, -2.0], 1200, prompts=400))
    assert [(line.model, line.rank) for line in table.standings][0::3] == [("m00", 1), ("m03", 4)]
    # the two in the middle cannot be told apart and share rank 2
    assert [line.rank for line in table.standings[1:3]] == [2, 2]
    for mine in table.standings:
        assert mine.rank == 1 + sum(other.strength.low > mine.strength.high for other in table.standings)


def test_the_elo_scale_puts_400_points_on_odds_of_ten_to_one() -> None:
    table = leaderboard(["a"] * 110, ["b"] * 110, [1.0] * 100 + [0.0] * 10, ridge=1e-9, samples=200)
    first, second = table.standings
    assert first.strength.value - second.strength.value == pytest.approx(log(10))
    assert (first.elo, second.elo) == pytest.approx((1200.0, 800.0))
    assert first.elo_low < 1200 < first.elo_high
    assert (table.votes, table.clusters, table.level, first.strength.n) == (110, 110, 0.95, 110)


def test_an_anchor_stands_at_1000_without_an_interval() -> None:
    table = leaderboard(*_votes(1, [1.0, 0.0, -1.0], 600, prompts=200), anchor="m01", samples=200)
    pinned = next(line for line in table.standings if line.model == "m01")
    assert (pinned.elo, pinned.elo_low, pinned.elo_high) == (1000.0, 1000.0, 1000.0)
    with pytest.raises(DataError, match="no vote on the anchor model 'gpt'"):
        leaderboard(["a"], ["b"], [1.0], anchor="gpt")


def test_prompts_are_resampled_whole() -> None:
    first, second, outcome, _ = _votes(2, [0.5, 0.0, -0.5], 300, prompts=300)
    once = leaderboard(first, second, outcome, list(range(300)), seed=1).standings[0].strength
    copied = leaderboard(first * 4, second * 4, outcome * 4, list(range(300)) * 4, seed=1).standings[0].strength
    naive = leaderboard(first * 4, second * 4, outcome * 4, seed=1).standings[0].strength
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.02)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)
    assert (copied.n, copied.clusters) == (once.n * 4, once.clusters)


def test_the_interval_of_two_models_has_the_width_of_theory() -> None:
    # one pair: theta difference is the logit of the share, delta method 1 / (n p (1 - p))
    wins = [1.0] * 600 + [0.0] * 400
    interval = strength_difference(votes(["a"] * 1000, ["b"] * 1000, wins), "a", "b", samples=4000)
    assert interval.value == pytest.approx(log(1.5), abs=1e-4)
    assert interval.high - interval.low == pytest.approx(2 * norm.ppf(0.975) / (1000 * 0.24) ** 0.5, rel=0.05)
    with pytest.raises(DataError, match="no vote on the model 'c'"):
        strength_difference(votes(["a"], ["b"], [1.0]), "a", "c")


def test_each_resample_is_the_fit_of_the_drawn_prompts() -> None:
    first, second, outcome, prompts = _votes(3, [0.6, 0.0, -0.3], 90, prompts=30)
    ballots = votes(first, second, outcome, prompts)
    draws, _ = resampled_strengths(ballots, samples=1000, seed=5)
    random = np.random.default_rng(0)
    slow = []
    for _ in range(300):
        kept = [i for p in random.integers(30, size=30) for i in range(90) if prompts[i] == p]
        again = votes([first[i] for i in kept], [second[i] for i in kept], [outcome[i] for i in kept])
        slow.append(strengths(again.win_matrix()[None])[0])
    assert draws.mean(axis=0) == pytest.approx(np.mean(slow, axis=0), abs=0.06)
    assert draws.std(axis=0) == pytest.approx(np.std(slow, axis=0), rel=0.15)


def test_votes_that_do_not_connect_the_models_are_said_so() -> None:
    separated = leaderboard(["a"] * 20, ["b"] * 20, [1.0] * 20, samples=100)
    assert not separated.connected
    assert "ridge of 0.001 decides" in str(separated.caveat)
    narrow = leaderboard(["a"] * 20, ["b"] * 20, [1.0] * 18 + [0.0] * 2, samples=400)
    assert narrow.connected
    # all 20 draws miss the two losses with chance 0.9^20 = 0.12
    assert 1 - narrow.connected_resamples == pytest.approx(0.9**20, abs=0.05)
    assert "of the resamples the ridge" in str(narrow.caveat)
    assert leaderboard(*_votes(4, [0.2, 0.0], 200, prompts=200), samples=100).caveat is None


def test_as_few_votes_flip_the_order_as_an_exhaustive_search_finds() -> None:
    first, second, outcome, _ = _votes(6, [0.3, 0.0, -0.8], 24, prompts=24)
    ballots = votes(first, second, outcome)
    flip = votes_to_flip(ballots)
    assert flip is not None
    assert flip.share == flip.dropped / 24
    order = np.argsort(-strengths(ballots.win_matrix()[None])[0])[:2]
    for size in range(1, flip.dropped + 1):
        turned = any(_flips(first, second, outcome, set(left), order) for left in combinations(range(24), size))
        assert turned == (size == flip.dropped)


def _flips(first: list[str], second: list[str], outcome: list[float], left: set[int], order: np.ndarray) -> bool:
    kept = [i for i in range(len(first)) if i not in left]
    rest = votes([first[i] for i in kept], [second[i] for i in kept], [outcome[i] for i in kept])
    if len(rest.models) < 3:
        return False
    theta = strengths(rest.win_matrix()[None])[0]
    return bool(theta[order[1]] > theta[order[0]])


def test_between_two_models_one_vote_more_than_the_lead_flips() -> None:
    flip = votes_to_flip(votes(["a"] * 100, ["b"] * 100, [1.0] * 55 + [0.0] * 45))
    assert flip is not None
    assert flip.dropped == 11
    assert votes_to_flip(votes(["a"] * 5, ["b"] * 5, [1.0] * 5)) is None


@pytest.mark.parametrize("prompts", [20_000, 4_000])
def test_1000_resamples_of_16_models_and_20000_votes_take_less_than_half_a_second(prompts: int) -> None:
    ballots = _votes(9, np.linspace(-1.5, 1.5, 16).tolist(), 20_000, prompts=prompts)
    took = []
    for _ in range(3):
        start = perf_counter()
        table = leaderboard(*ballots, samples=1000)
        took.append(perf_counter() - start)
    assert table.standings[0].model == "m15"
    assert min(took) < 0.5
