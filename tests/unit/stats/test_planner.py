"""Planning: the rules of thumb, an exact power calculation, and pilots."""

import numpy as np
import pytest
from scipy.stats import binom, norm
from statsmodels.stats.proportion import samplesize_confint_proportion

from instructloop.core.errors import ConfigError
from instructloop.stats.planner import (
    design_effect,
    half_width,
    intra_cluster_correlation,
    power,
    prompts_for_half_width,
    prompts_for_power,
)


def test_five_points_need_385_prompts_and_three_1068() -> None:
    assert (prompts_for_half_width(0.05), prompts_for_half_width(0.03)) == (385, 1068)
    assert half_width(385) < 0.05 < half_width(384)


@pytest.mark.parametrize(("share", "h", "level"), [(0.5, 0.04, 0.95), (0.726, 0.015, 0.95), (0.1, 0.02, 0.9)])
def test_the_number_of_prompts_equals_statsmodels(share: float, h: float, level: float) -> None:
    expected = samplesize_confint_proportion(share, h, alpha=1 - level)
    assert prompts_for_half_width(h, share=share, level=level) == int(np.ceil(expected))


def test_several_labels_a_prompt_save_prompts_unless_they_repeat_each_other() -> None:
    assert design_effect(3, 0.0) == pytest.approx(1 / 3)
    assert design_effect(3, 1.0) == 1.0
    # (1 + 2 * 0.3) / 3 = 0.533 of 384.15
    assert prompts_for_half_width(0.05, labels_per_prompt=3, correlation=0.3) == 205


def test_planned_power_is_what_exact_binomial_trials_have() -> None:
    n = prompts_for_power(0.6, power=0.8)
    critical = norm.ppf(0.975) * 0.5 / n**0.5
    wins = np.arange(n + 1)
    exact = binom.pmf(wins, n, 0.6)[np.abs(wins / n - 0.5) > critical].sum()
    assert exact == pytest.approx(0.8, abs=0.03)
    assert power(0.6, n) >= 0.8 > power(0.6, n - 1)
    assert power(0.4, n) == pytest.approx(power(0.6, n))


def test_power_with_ties_is_what_simulated_trials_have() -> None:
    random = np.random.default_rng(1)
    votes = random.choice([1.0, 0.5, 0.0], p=[0.39, 0.3, 0.31], size=(4_000, 800))
    found = votes.mean(axis=1) - 0.5 > norm.ppf(0.975) * (0.7 / 4 / 800) ** 0.5
    assert power(0.54, 800, ties=0.3) == pytest.approx(found.mean(), abs=0.02)
    assert prompts_for_power(0.6, ties=0.3) < prompts_for_power(0.6)


def test_a_pilot_tells_how_alike_the_labels_of_a_prompt_are() -> None:
    random = np.random.default_rng(2)
    prompts = np.repeat(np.arange(3000), 3)
    values = random.normal(0.0, 0.4**0.5, size=3000)[prompts] + random.normal(0.0, 0.6**0.5, size=9000)
    assert intra_cluster_correlation(values.tolist(), prompts.tolist()) == pytest.approx(0.4, abs=0.03)
    # by hand: means 0.5 and 2, so MSB 2.25, MSW 0.5, two labels each
    assert intra_cluster_correlation([0.0, 1.0, 1.5, 2.5], list("aabb")) == pytest.approx((2.25 - 0.5) / (2.25 + 0.5))
    assert intra_cluster_correlation([1.0, 0.0, 0.0, 1.0], list("aabb")) == 0.0
    assert intra_cluster_correlation([1.0, 0.0], list("ab")) is None
    assert intra_cluster_correlation([1.0, 1.0, 1.0], list("aab")) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prompts_for_half_width(0.0), "half_width must be above 0"),
        (lambda: prompts_for_power(0.5), "no difference to find"),
        (lambda: prompts_for_power(0.9, ties=0.5), "cannot be with 50% ties"),
        (lambda: power(0.6, 10, ties=1.0), r"ties must be in \[0, 1\)"),
        (lambda: design_effect(0.5, 0.0), "at least 1"),
        (lambda: design_effect(2, -0.1), r"correlation must be in \[0, 1\]"),
        (lambda: power(1.0, 10), "win_rate must be above 0 and below 1"),
        (lambda: half_width(0), "prompts must be above 0"),
    ],
)
def test_impossible_plans_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ConfigError, match=message):
        call()
