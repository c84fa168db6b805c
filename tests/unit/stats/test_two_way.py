"""Labelers as a second factor: by hand, against statsmodels, and wider where people differ."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t

from instructloop.core.errors import DataError
from instructloop.stats import mean_interval, two_way_interval


def _votes(spread: float, seed: int = 0) -> tuple[list[float], list[int], list[int]]:
    """60 prompts, 3 of 8 labelers each; labelers differ by ``spread``."""
    random = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(60), 3)
    people = random.permuted(np.tile(np.arange(8), (60, 1)), axis=1)[:, :3].ravel()
    taste = random.normal(0, spread, size=8) if spread else np.zeros(8)
    values = (random.random(180) < np.clip(0.5 + taste[people], 0, 1)).astype(float)
    return values.tolist(), prompts.tolist(), people.tolist()


def test_it_is_wider_than_resampled_prompts_where_labelers_differ() -> None:
    values, prompts, people = _votes(0.3)
    one, two = mean_interval(values, prompts), two_way_interval(values, prompts, people)
    assert two.value == one.value
    assert two.high - two.low > 1.5 * (one.high - one.low)


def test_the_variance_is_that_of_prompts_plus_labelers_minus_votes() -> None:
    # mean 2/5; prompts 0..4 once each except prompt 0 by hand: residuals .6 .6 -.4 -.4 -.4 by labelers a b c d e, all on two prompts
    values, prompts, people = [1.0, 1.0, 0.0, 0.0, 0.0], [0, 0, 0, 1, 1], list("abcde")
    by_prompt = (0.8**2 + 0.8**2) / 25 * 2 / 1
    by_vote = (2 * 0.6**2 + 3 * 0.4**2) / 25 * 5 / 4  # every labeler gave one vote: labelers and votes cancel
    found = two_way_interval(values, prompts, people, level=0.5)
    half = float(t.ppf(0.75, 1)) * max(by_prompt + by_vote - by_vote, by_vote) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.4 - half, 0.4 + half))


def test_it_equals_a_regression_clustered_two_ways_by_statsmodels() -> None:
    random = np.random.default_rng(2)
    values, prompts, people = _votes(0.0, seed=1)
    alike = np.clip(np.array(values) * 0.3 + 0.35 + random.normal(0, 0.1, 60)[prompts] + random.normal(0, 0.1, 8)[people], 0, 1)
    fitted = sm.OLS(alike, np.ones(180)).fit()
    theirs = fitted.get_robustcov_results("cluster", groups=np.stack([prompts, people], axis=1), use_correction=True)
    ours = two_way_interval(alike.tolist(), prompts, people)
    assert (ours.high - ours.low) / 2 / float(t.ppf(0.975, 7)) == pytest.approx(float(theirs.bse[0]))


def test_a_few_labelers_are_refused() -> None:
    with pytest.raises(DataError, match="4 labelers say nothing about labelers in general"):
        two_way_interval([1.0] * 8, list(range(8)), [0, 1, 2, 3] * 2)
