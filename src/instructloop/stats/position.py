"""Does the place where an output is shown move the answers? Rank 1 by slot, left against right, untouched orders, ties and drift.

The slot is the place on the page: slot 0 is shown first. Orders are drawn at random for every assignment, so without bias each slot is best equally often.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import factorial

import numpy as np

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval
from instructloop.stats.winrate import rate_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotTest:
    """Rank 1 by slot."""

    observed: tuple[int, ...]
    """Per slot: how often it alone was best."""
    expected: tuple[float, ...]
    """The same if slots did not matter."""
    statistic: float
    """Chi-square, summed over the lengths K of the lists."""
    degrees: int
    p_value: float
    """1 if nothing can be tested."""
    rankings: int
    """Rankings with one best output."""
    shared_best: int
    """Rankings whose best place is shared; they say nothing about a slot and are left out."""


def slot_test(shown_ranks: Sequence[Sequence[int]]) -> SlotTest:
    """Chi-square test of the single best output being equally often in every slot, stratified by the number of outputs.

    Args:
        shown_ranks: per ranking the ranks in the order of the slots (lower is better).
    """
    from scipy.stats import chi2

    best = [[slot for slot, rank in enumerate(ranks) if rank == min(ranks)] for ranks in shown_ranks if len(ranks) > 1]
    lengths = [len(ranks) for ranks in shown_ranks if len(ranks) > 1]
    alone = [(k, slots[0]) for k, slots in zip(lengths, best, strict=True) if len(slots) == 1]
    width = max(lengths, default=0)
    observed, expected = np.zeros(width, dtype=int), np.zeros(width)
    statistic, degrees = 0.0, 0
    for k in sorted({k for k, _ in alone}):
        counts = np.bincount([slot for length, slot in alone if length == k], minlength=k)
        even = counts.sum() / k
        observed[:k] += counts
        expected[:k] += even
        statistic += float(((counts - even) ** 2 / even).sum())
        degrees += k - 1
    return SlotTest(
        observed=tuple(observed.tolist()),
        expected=tuple(expected.tolist()),
        statistic=statistic,
        degrees=degrees,
        p_value=float(chi2.sf(statistic, degrees)) if degrees else 1.0,
        rankings=len(alone),
        shared_best=len(best) - len(alone),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SideTest:
    """Left against right in blind comparisons of two."""

    left: int
    right: int
    ties: int
    p_value: float
    """Exact two-sided binomial test of left and right winning equally often; 1 without a decided vote."""


def side_test(winners: Sequence[str]) -> SideTest:
    """Whether the left output wins more often than the right one.

    Args:
        winners: left, right or tie per vote (both bad is a tie here).

    Raises:
        DataError: another word.
    """
    from scipy.stats import binomtest

    count = Counter(winners)
    strangers = sorted(set(count) - {"left", "right", "tie"})
    if strangers:
        raise DataError(f"a side is left, right or tie, got {strangers[0]!r}", hint="both bad is a tie here")
    decided = count["left"] + count["right"]
    p = float(binomtest(count["left"], decided).pvalue) if decided else 1.0
    return SideTest(left=count["left"], right=count["right"], ties=count["tie"], p_value=p)


@dataclass(frozen=True, kw_only=True, slots=True)
class SameOrder:
    """Rankings that repeat the order in which the outputs were shown."""

    same: int
    rankings: int
    expected: float
    """As many would be by chance if answers were strict and had nothing to do with places: the sum of 1 / K!."""
    p_value: float
    """Exact chance of as many or more; small means that people leave lists as they found them."""


def same_order(shown_ranks: Sequence[Sequence[int]]) -> SameOrder:
    """How many rankings are the shown order itself, first slot best and so on without ties.

    Args:
        shown_ranks: per ranking the ranks in the order of the slots (lower is better).
    """
    from scipy.stats import binom

    lists = [ranks for ranks in shown_ranks if len(ranks) > 1]
    same = sum(all(a < b for a, b in pairwise(ranks)) for ranks in lists)
    chances = Counter(len(ranks) for ranks in lists)
    distribution = np.ones(1)
    for k, count in chances.items():
        distribution = np.convolve(distribution, binom.pmf(np.arange(count + 1), count, 1 / factorial(k)))
    return SameOrder(
        same=same,
        rankings=len(lists),
        expected=sum(count / factorial(k) for k, count in chances.items()),
        p_value=float(min(1.0, distribution[same:].sum())) if lists else 1.0,
    )


def tie_rates(
    rankings: Mapping[str, Sequence[tuple[Hashable, Sequence[int]]]], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Per labeler: the share of completion pairs called equal; each ranking counts once, the interval resamples prompts.

    Args:
        rankings: labeler -> (prompt, ranks) per answer.
        samples: resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage.
    """
    result = {}
    for labeler, answers in sorted(rankings.items()):
        usable = [(prompt, ranks) for prompt, ranks in answers if len(ranks) > 1]
        if usable:
            shares = [_tie_share(ranks) for _, ranks in usable]
            result[labeler] = rate_interval(shares, [prompt for prompt, _ in usable], samples=samples, seed=seed, level=level)
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A figure over time."""

    bins: tuple[Interval, ...]
    """Equal numbers of answers in order of time, oldest first."""
    rho: float | None
    """Spearman correlation of the figure with time; None if one of them does not vary."""
    p_value: float
    """Two-sided test of no trend; 1 if ``rho`` is undefined."""


def drift(
    values: Sequence[float],
    times: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    bins: int = 4,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Drift:
    """Whether a figure in [0, 1] (gold answer right, agreement with the majority, tie) moves as a labeler works on.

    Args:
        values: one per answer.
        times: when it was given, in any unit.
        clusters: the prompt of each answer; None treats each as its own.
        bins: parts of equal size to show.
        samples: bootstrap resamples for each bin's interval.
        seed: base seed of the resampling stream.
        level: coverage of the bins' intervals.

    Raises:
        DataError: lists of different lengths.
    """
    from scipy.stats import spearmanr

    if len(values) != len(times):
        raise DataError(f"{len(values)} values but {len(times)} times", hint="pass one time per value")
    order = np.argsort(np.asarray(times, dtype=np.float64), kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    figures = [
        rate_interval(
            [values[i] for i in part], None if clusters is None else [clusters[i] for i in part], samples=samples, seed=seed, level=level
        )
        for part in parts
    ]
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(times) == 0:
        return Drift(bins=tuple(figures), rho=None, p_value=1.0)
    trend = spearmanr(values, times)
    return Drift(bins=tuple(figures), rho=float(trend.statistic), p_value=float(trend.pvalue))


def _tie_share(ranks: Sequence[int]) -> float:
    pairs = len(ranks) * (len(ranks) - 1) / 2
    return sum(count * (count - 1) / 2 for count in Counter(ranks).values()) / pairs
