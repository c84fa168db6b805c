"""Sums over resampled clusters: against a loop, and independent of the size of memory blocks."""

import numpy as np
import pytest

from instructloop.stats import resampling
from instructloop.stats.resampling import cluster_counts, resampled_sums, resampled_totals


def test_every_resample_draws_as_many_clusters_as_there_are() -> None:
    counts = np.concatenate(list(cluster_counts(7, samples=5000, seed=0)))
    assert counts.shape == (5000, 7)
    assert (counts.sum(axis=1) == 7).all()
    # each is Binomial(7, 1/7): mean 1, variance 6/7
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=4 * (6 / 7 / 5000) ** 0.5)
    assert counts.var() == pytest.approx(6 / 7, rel=0.05)


def test_dense_and_sparse_totals_are_those_of_a_loop() -> None:
    random = np.random.default_rng(1)
    codes, cells, values = random.integers(4, size=30), random.integers(3, size=30), random.normal(size=30)
    counts = np.concatenate(list(cluster_counts(4, samples=6, seed=2)))
    loop = [[sum(row[c] * v for c, cell, v in zip(codes, cells, values, strict=True) if cell == w) for w in range(3)] for row in counts]
    sparse = resampled_sums(cells, values, codes, width=3, clusters=4, samples=6, seed=2)
    dense = resampled_totals(np.eye(3)[cells] * values[:, None], codes, clusters=4, samples=6, seed=2)
    assert sparse == pytest.approx(np.array(loop))
    assert dense == pytest.approx(np.array(loop))


def test_the_size_of_memory_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(cluster_counts(9, samples=40, seed=3)))
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 30)
    blocks = list(cluster_counts(9, samples=40, seed=3))
    assert len(blocks) > 10
    assert (np.concatenate(blocks) == whole).all()
