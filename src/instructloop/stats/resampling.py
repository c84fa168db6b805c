"""Sums over resampled clusters: the engine under every interval whose figure is a function of totals (kappa, alpha, Bradley-Terry)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from instructloop.core.seeds import derive

_BLOCK_CELLS = 2_000_000
"""Largest table of draws held at once (resamples x clusters)."""


def cluster_counts(clusters: int, *, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks of rows, one per resample: how often each cluster was drawn when as many are drawn as there are, with replacement.

    Args:
        clusters: how many there are.
        samples: resamples, the rows of all blocks together.
        seed: base seed of the resampling stream.
    """
    random = np.random.default_rng(derive(seed, "bootstrap"))
    block = max(1, _BLOCK_CELLS // clusters)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        drawn = random.integers(clusters, size=(rows, clusters), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def resampled_sums(
    cells: NDArray[np.intp],
    values: NDArray[np.float64],
    codes: NDArray[np.intp],
    *,
    width: int,
    clusters: int,
    samples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Totals (samples, width) of sparse contributions when whole clusters are drawn with replacement.

    Args:
        cells: the column to which each contribution belongs, in [0, width).
        values: the contributions.
        codes: the cluster of each contribution, in [0, clusters).
        width: columns.
        clusters: clusters, also those without any contribution.
        samples: resamples.
        seed: base seed of the resampling stream.
    """
    from scipy import sparse

    table = sparse.csr_array((values, (codes, cells)), shape=(clusters, width))
    return np.concatenate([counts @ table for counts in cluster_counts(clusters, samples=samples, seed=seed)])


def resampled_totals(
    features: NDArray[np.float64], codes: NDArray[np.intp], *, clusters: int, samples: int, seed: int
) -> NDArray[np.float64]:
    """Totals (samples, width) of dense rows (observations, width) when whole clusters are drawn with replacement."""
    sums = np.zeros((clusters, features.shape[1]))
    np.add.at(sums, codes, features)
    return np.concatenate([counts @ sums for counts in cluster_counts(clusters, samples=samples, seed=seed)])
