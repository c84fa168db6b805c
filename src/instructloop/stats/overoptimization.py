"""Gold reward against distance from the initial policy: the laws of Gao et al. (2022) and their peaks (spec I13); d = sqrt(KL in nats)."""

from math import exp, log
from typing import NamedTuple


class Peak(NamedTuple):
    """Where a law is highest and how high."""

    distance: float
    gold: float


def best_of_n_gold(distance: float, *, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta d)."""
    return distance * (alpha - beta * distance)


def rl_gold(distance: float, *, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta ln d), R(0) = 0."""
    return distance * (alpha - beta * log(distance)) if distance > 0 else 0.0


def best_of_n_peak(*, alpha: float, beta: float) -> Peak:
    """d* = alpha / (2 beta), R* = alpha^2 / (4 beta), for beta > 0."""
    return Peak(alpha / (2 * beta), alpha * alpha / (4 * beta))


def rl_peak(*, alpha: float, beta: float) -> Peak:
    """d* = exp(alpha / beta - 1), R* = beta d*, for beta > 0."""
    distance = exp(alpha / beta - 1)
    return Peak(distance, beta * distance)
