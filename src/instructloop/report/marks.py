"""Estimates with their drawings, and what a win rate says: shared by everything that shows comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from instructloop.report.numbers import Estimate, estimate


@dataclass(frozen=True, slots=True)
class Bar:
    """One estimate with its drawing."""

    label: str
    estimate: Estimate
    mark: Markup
    color: int
    note: str = ""
    against: str = ""
    """The model on the other side of a comparison."""


@dataclass(frozen=True, slots=True)
class Block:
    """One quantity of every model, drawn on one scale."""

    title: str
    note: str
    bars: Sequence[Bar]


def win_of(row: Mapping[str, Any], a: str, b: str) -> Estimate | None:
    """A's win rate over B from the ``wins`` of a comparison, in whichever direction it is stored."""
    for one in row.get("wins", ()):
        if (one["a"], one["b"]) == (a, b):
            return estimate(one)
        if (one["a"], one["b"]) == (b, a) and (found := estimate(one)) is not None:
            low = None if found.high is None else 1 - found.high
            high = None if found.low is None else 1 - found.low
            return replace(found, value=1 - found.value, low=low, high=high)
    return None


def verdict(found: Estimate) -> str:
    """What an interval says about one half, in a word."""
    if found.low is None or found.high is None:
        return ""
    return "better" if found.low > 0.5 else "worse" if found.high < 0.5 else "undecided"
