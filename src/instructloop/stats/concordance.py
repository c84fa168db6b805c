"""Rank correlation between labelers: Kendall's tau_b of pairs of labelers, Kendall's W of all labelers of a prompt."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np

from instructloop.stats.agreement import Ranks, checked_lengths
from instructloop.stats.bootstrap import Interval, mean_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Concordance:
    """A mean over prompts, each prompt counting once."""

    mean: Interval | None
    """None if the coefficient is defined for no prompt; ``n`` counts prompts."""
    defined: int
    """Coefficients behind the mean: labeler pairs for tau_b, prompts for W."""
    undefined: int
    """Coefficients that have no value because a ranking is all ties; left out of the mean."""


def mean_tau_b(rankings: Mapping[Hashable, Sequence[Ranks]], *, samples: int = 2000, seed: int = 0, level: float = 0.95) -> Concordance:
    """Kendall's tau_b = (C - D) / sqrt((C + D + Tx)(C + D + Ty)), averaged over labeler pairs of a prompt, then over prompts.

    Args:
        rankings: prompt -> one ranks sequence per labeler over the same completions; None = not ranked, and such completions do not count.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the interval.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt.
    """
    means: list[float] = []
    defined = undefined = 0
    for given in checked_lengths(rankings).values():
        shared = [_shared(first, second) for first, second in combinations(given, 2)]
        found = [tau_b(first, second) for first, second in shared if len(first) > 1]
        values = [value for value in found if value is not None]
        defined, undefined = defined + len(values), undefined + len(found) - len(values)
        if values:
            means.append(sum(values) / len(values))
    return Concordance(
        mean=mean_interval(means, samples=samples, seed=seed, level=level) if means else None, defined=defined, undefined=undefined
    )


def mean_kendall_w(rankings: Mapping[Hashable, Sequence[Ranks]], *, samples: int = 2000, seed: int = 0, level: float = 0.95) -> Concordance:
    """Kendall's W of the labelers of each prompt, averaged over prompts that two or more labelers ranked in full.

    Args:
        rankings: as in ``mean_tau_b``; a labeler who left a completion unranked does not count for that prompt.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the interval.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt.
    """
    full = [
        [[rank for rank in ranks if rank is not None] for ranks in given if None not in ranks]
        for given in checked_lengths(rankings).values()
    ]
    found = [kendall_w(complete) for complete in full if len(complete) > 1 and len(complete[0]) > 1]
    values = [value for value in found if value is not None]
    return Concordance(
        mean=mean_interval(values, samples=samples, seed=seed, level=level) if values else None,
        defined=len(values),
        undefined=len(found) - len(values),
    )


def tau_b(first: Sequence[int], second: Sequence[int]) -> float | None:
    """tau_b of two rankings of the same completions; None if one of them is all ties."""
    a, b = (np.sign(np.subtract.outer(ranks, ranks))[np.triu_indices(len(ranks), 1)] for ranks in (np.asarray(first), np.asarray(second)))
    spread = sqrt(float(np.abs(a).sum()) * float(np.abs(b).sum()))
    return float((a * b).sum()) / spread if spread else None


def kendall_w(rankings: Sequence[Sequence[int]]) -> float | None:
    """W = 12 S / (m^2 (n^3 - n) - m T) of m rankings of n completions by mid-ranks, T = sum of t^3 - t over tied groups; None if all is tied."""
    from scipy.stats import rankdata

    ranks = np.array([rankdata(ranks) for ranks in rankings])
    labelers, size = ranks.shape
    spread = float(((ranks.sum(axis=0) - labelers * (size + 1) / 2) ** 2).sum())
    ties = sum(float((counts**3 - counts).sum()) for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    most = labelers**2 * (size**3 - size) - labelers * ties
    return 12 * spread / most if most > 0 else None


def _shared(first: Ranks, second: Ranks) -> tuple[list[int], list[int]]:
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return [a for a, _ in both], [b for _, b in both]
