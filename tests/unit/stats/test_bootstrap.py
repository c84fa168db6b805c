"""Cluster bootstrap: against theory, against its own slow form, and on bad input."""

import math

import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.stats import bootstrap
from instructloop.stats.bootstrap import Interval, cluster_bootstrap, mean_interval


def test_the_fast_mean_equals_the_general_bootstrap_of_the_mean() -> None:
    values, clusters = [0.0, 1.0, 3.0, 2.0, 5.0], ["a", "a", "b", "c", "c"]
    fast = mean_interval(values, clusters, samples=4000, seed=3)
    slow = cluster_bootstrap(values, clusters, lambda x: float(x.mean()), samples=4000, seed=3)
    assert (fast.value, fast.n, fast.clusters) == (slow.value, slow.n, slow.clusters) == (2.2, 5, 3)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.1)


def test_the_interval_of_a_mean_has_the_width_of_theory() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = mean_interval(values, samples=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)


def test_repeating_every_answer_of_a_prompt_narrows_nothing() -> None:
    values = list(np.random.default_rng(1).normal(size=50))
    once = mean_interval(values, list(range(50)), seed=5)
    thrice = mean_interval(values * 3, list(range(50)) * 3, seed=5)
    naive = mean_interval(values * 3, seed=5)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_the_seed_decides_and_the_size_of_memory_blocks_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(2).normal(size=100))
    whole = mean_interval(values, seed=1)
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 700)
    assert mean_interval(values, seed=1) == whole
    assert mean_interval(values, seed=2) != whole


def test_nominal_95_percent_intervals_cover_about_that_often() -> None:
    random = np.random.default_rng(7)
    hits = 0
    for trial in range(200):
        prompts = random.normal(0.0, 1.0, size=60)
        votes = np.repeat(prompts, 3) + random.normal(0.0, 0.3, size=180)
        interval = mean_interval(votes, np.repeat(np.arange(60), 3).tolist(), samples=400, seed=trial)
        hits += interval.low <= 0.0 <= interval.high
    assert 0.90 <= hits / 200 <= 0.99


def test_any_statistic_can_be_resampled() -> None:
    interval = cluster_bootstrap([1.0, 2.0, 3.0, 4.0, 100.0], None, lambda x: float(np.median(x)), samples=500)
    assert interval.value == 3.0
    assert 1.0 <= interval.low <= 3.0 <= interval.high <= 100.0


def test_an_interval_knows_what_it_excludes_and_writes_plain_numbers() -> None:
    interval = Interval(value=0.6, low=0.52, high=0.68, n=10, clusters=5)
    assert interval.excludes(0.5)
    assert not interval.excludes(0.55)
    assert interval.as_json() == {"value": 0.6, "low": 0.52, "high": 0.68, "n": 10, "clusters": 5, "ties": 0, "level": 0.95}


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [([], None, "non-empty"), ([1.0, float("nan")], None, "value 1 is not finite"), ([1.0, 2.0], ["a"], "2 values but 1 cluster")],
)
def test_unusable_values_are_refused_with_a_remedy(values: list[float], clusters: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        mean_interval(values, clusters)
    assert caught.value.hint
