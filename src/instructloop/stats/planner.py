"""How many prompts to label: for an interval of a wanted width, or for a wanted chance to see a difference.

The unit is the prompt. More labels on one prompt help less than more prompts, because they share it: with m labels a prompt and intra-cluster
correlation c, the mean of a prompt has the variance of one vote times (1 + (m - 1) c) / m, the design effect per label.
"""

from collections.abc import Hashable, Sequence
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np

from instructloop.core.errors import ConfigError
from instructloop.stats.bootstrap import cluster_codes, finite_values

_EPSILON = 1e-9
"""Rounding slack, so that a number of prompts which is whole up to rounding is not raised by one."""


def prompts_for_half_width(
    half_width: float, *, share: float = 0.5, labels_per_prompt: float = 1, correlation: float = 0.0, level: float = 0.95
) -> int:
    """Prompts until the interval of a share (win rate, agreement, flag) is +- half_width: z^2 s (1 - s) / h^2 times the design effect.

    At share 1/2, level 95 % and one label this is 0.96 / h^2: 385 prompts for +-5 points, 1,068 for +-3.

    Args:
        half_width: h, half of the interval.
        share: the share that is expected; 1/2 is the worst case.
        labels_per_prompt: m, votes or compared pairs a prompt.
        correlation: intra-cluster correlation of labels on one prompt, see ``intra_cluster_correlation``.
        level: coverage.

    Raises:
        ConfigError: an argument out of range.
    """
    _check("half_width", half_width, 0, 1)
    _check("share", share, 0, 1)
    z = _quantile(level)
    return ceil(z * z * share * (1 - share) / half_width**2 * design_effect(labels_per_prompt, correlation) - _EPSILON)


def half_width(prompts: int, *, share: float = 0.5, labels_per_prompt: float = 1, correlation: float = 0.0, level: float = 0.95) -> float:
    """Half of the interval that so many prompts give; the inverse of ``prompts_for_half_width``."""
    _check("prompts", prompts, 0, float("inf"))
    _check("share", share, 0, 1)
    return _quantile(level) * sqrt(share * (1 - share) * design_effect(labels_per_prompt, correlation) / prompts)


def prompts_for_power(
    win_rate: float,
    *,
    ties: float = 0.0,
    power: float = 0.8,
    labels_per_prompt: float = 1,
    correlation: float = 0.0,
    level: float = 0.95,
) -> int:
    """Prompts until a true win rate is told from 1/2 with the wanted chance (two-sided test at 1 - level, normal approximation).

    n = ((z_level s_0 + z_power s_1) / (w - 1/2))^2 with s_0^2 = (1 - t) / 4 and s_1^2 = w (1 - w) - t / 4: a tie has no variance, so ties save prompts
    at the same win rate.

    Args:
        win_rate: w, the true (wins + ties / 2) / n.
        ties: t, the share of ties.
        power: the chance to find it.
        labels_per_prompt: votes a prompt.
        correlation: intra-cluster correlation of votes on one prompt.
        level: 1 - the level of significance.

    Raises:
        ConfigError: an argument out of range, a win rate of exactly 1/2, or one that so many ties do not allow.
    """
    _check("power", power, 0, 1)
    null, alternative = _spreads(win_rate, ties)
    if win_rate == 0.5:
        raise ConfigError("a win rate of exactly 1/2 is no difference to find", hint="name the smallest win rate that would matter")
    distance = (_quantile(level) * null + NormalDist().inv_cdf(power) * alternative) / abs(win_rate - 0.5)
    return ceil(distance**2 * design_effect(labels_per_prompt, correlation) - _EPSILON)


def power(
    win_rate: float, prompts: int, *, ties: float = 0.0, labels_per_prompt: float = 1, correlation: float = 0.0, level: float = 0.95
) -> float:
    """The chance that so many prompts tell a true win rate from 1/2, in its own direction; arguments as in ``prompts_for_power``."""
    _check("prompts", prompts, 0, float("inf"))
    null, alternative = _spreads(win_rate, ties)
    root = sqrt(prompts / design_effect(labels_per_prompt, correlation))
    return NormalDist().cdf((abs(win_rate - 0.5) * root - _quantile(level) * null) / alternative)


def design_effect(labels_per_prompt: float, correlation: float) -> float:
    """(1 + (m - 1) c) / m: the variance of a prompt's mean as a share of one label's variance.

    Raises:
        ConfigError: fewer than one label, or a correlation outside [0, 1].
    """
    if labels_per_prompt < 1:
        raise ConfigError(f"labels_per_prompt must be at least 1, got {labels_per_prompt}", hint="plan one label or more a prompt")
    if not 0 <= correlation <= 1:
        raise ConfigError(
            f"correlation must be in [0, 1], got {correlation}", hint="0.3 is usual for votes of several people on one prompt"
        )
    return (1 + (labels_per_prompt - 1) * correlation) / labels_per_prompt


def intra_cluster_correlation(values: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """How alike labels on one prompt are, from a pilot: the one-way analysis-of-variance estimate (MSB - MSW) / (MSB + (m0 - 1) MSW).

    m0 corrects for unequal numbers of labels; negative estimates count as 0. None without two labels on any prompt, or without variation.

    Args:
        values: one per label.
        clusters: the prompt of each.
    """
    array = finite_values(values)
    codes, count = cluster_codes(clusters, array.size)
    sizes = np.bincount(codes, minlength=count)
    if count < 2 or array.size == count:
        return None
    means = np.bincount(codes, weights=array) / sizes
    between = float((sizes * (means - array.mean()) ** 2).sum()) / (count - 1)
    within = float(((array - means[codes]) ** 2).sum()) / (array.size - count)
    typical = (array.size - float((sizes**2).sum()) / array.size) / (count - 1)
    spread = between + (typical - 1) * within
    return max(0.0, (between - within) / spread) if spread > 0 else None


def _spreads(win_rate: float, ties: float) -> tuple[float, float]:
    _check("win_rate", win_rate, 0, 1)
    if not 0 <= ties < 1:
        raise ConfigError(f"ties must be in [0, 1), got {ties}", hint="ties are a share of all votes")
    if not ties / 2 <= win_rate <= 1 - ties / 2:
        raise ConfigError(f"a win rate of {win_rate} cannot be with {ties:.0%} ties", hint="each tie is half a win for both sides")
    return sqrt((1 - ties) / 4), sqrt(win_rate * (1 - win_rate) - ties / 4)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ConfigError(
            f"{name} must be above {low:g} and below {high:g}, got {value}", hint="shares are between 0 and 1, 0.05 is five points"
        )


def _quantile(level: float) -> float:
    _check("level", level, 0, 1)
    return NormalDist().inv_cdf((1 + level) / 2)
