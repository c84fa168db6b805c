"""Gao's laws: their peaks are where a fine grid finds them (spec I13, K5)."""

import numpy as np
import pytest

from instructloop.stats.overoptimization import best_of_n_gold, best_of_n_peak, rl_gold, rl_peak

GRID = np.linspace(0.0, 30.0, 30_001)


def test_k5_best_of_n_peak() -> None:
    gold = [best_of_n_gold(d, alpha=1.2, beta=0.1) for d in GRID]
    peak = best_of_n_peak(alpha=1.2, beta=0.1)
    assert peak.distance == pytest.approx(GRID[int(np.argmax(gold))], abs=1e-3) == 6.0
    assert peak.gold == pytest.approx(max(gold)) == pytest.approx(3.6)


def test_k5_rl_peak() -> None:
    gold = [rl_gold(d, alpha=1.2, beta=0.4) for d in GRID]
    peak = rl_peak(alpha=1.2, beta=0.4)
    assert peak.distance == pytest.approx(GRID[int(np.argmax(gold))], abs=1e-3)
    assert peak.gold == pytest.approx(max(gold), abs=1e-6)


def test_the_initial_policy_gains_nothing() -> None:
    assert best_of_n_gold(0.0, alpha=1.0, beta=0.1) == rl_gold(0.0, alpha=1.0, beta=0.1) == 0.0
