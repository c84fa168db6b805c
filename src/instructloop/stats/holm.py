"""Holm's correction: p values of a family of tests, adjusted so that the chance of any false alarm stays below the level."""

from collections.abc import Sequence

from instructloop.core.errors import DataError


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the given order: the i-th smallest of m times (m - i + 1), never below a smaller one's, at most 1 (Holm 1979).

    Raises:
        DataError: a value outside [0, 1] or NaN.
    """
    for at, p in enumerate(p_values):
        if not 0 <= p <= 1:
            raise DataError(f"p value {at} is {p!r}", hint="p values lie in [0, 1]")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, p_values[at] * (len(p_values) - place)))
        adjusted[at] = largest
    return adjusted
