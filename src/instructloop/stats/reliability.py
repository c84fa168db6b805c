"""What the chance-corrected coefficients share: the table of answers, the result with its reason when undefined, the interval."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import cluster_codes
from instructloop.stats.resampling import resampled_totals

MISSING = -1
_NO_SPREAD = 1e-12
"""An expected disagreement below this is zero up to rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratings:
    """Answers of raters about items, as codes into the categories."""

    codes: NDArray[np.intp]
    """(items, raters); ``MISSING`` where a rater did not answer."""
    items: tuple[Hashable, ...]
    raters: tuple[Hashable, ...]
    categories: tuple[Any, ...]

    def counts(self) -> NDArray[np.float64]:
        """(items, categories): how many raters gave which answer."""
        rows, columns = np.nonzero(self.codes != MISSING)
        table = np.zeros((len(self.items), len(self.categories)))
        np.add.at(table, (rows, self.codes[rows, columns]), 1.0)
        return table


def ratings(answers: Iterable[tuple[Hashable, Hashable, Any]], *, categories: Sequence[Any] | None = None) -> Ratings:
    """A table from (item, rater, answer) rows; a row whose answer is None (not answered, not applicable) counts as missing.

    Args:
        answers: one row per answer, in any order.
        categories: all possible answers, in their order where an order matters; None takes the answers seen, sorted.

    Raises:
        DataError: a rater answered an item twice, or an answer is none of the categories.
    """
    given: dict[tuple[Hashable, Hashable], Any] = {}
    for item, rater, answer in answers:
        if (item, rater) in given:
            raise DataError(f"rater {rater!r} answered item {item!r} twice", hint="pass the newest revision of each answer only")
        given[item, rater] = answer
    known = tuple(categories) if categories is not None else _sorted({answer for answer in given.values() if answer is not None})
    number = {category: code for code, category in enumerate(known)}
    items, raters = (tuple(dict.fromkeys(key[side] for key in given)) for side in (0, 1))
    row, column = ({name: place for place, name in enumerate(names)} for names in (items, raters))
    codes = np.full((len(items), len(raters)), MISSING, dtype=np.intp)
    for (item, rater), answer in given.items():
        if answer is None:
            continue
        if answer not in number:
            raise DataError(
                f"rater {rater!r} answered {answer!r} about item {item!r}, which is none of {', '.join(map(repr, known))}",
                hint="name every possible answer in categories",
            )
        codes[row[item], column[rater]] = number[answer]
    return Ratings(codes=codes, items=items, raters=raters, categories=known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """A chance-corrected coefficient: 1 is perfect agreement, 0 what chance gives, below 0 is worse than chance."""

    name: str
    value: float | None
    """None where the coefficient is undefined; then ``reason`` says why."""
    reason: str | None
    low: float | None
    high: float | None
    items: int
    """Items behind the value: those with enough answers."""
    raters: int
    ratings: int
    """Answers behind the value."""
    clusters: int
    """Independent units (prompts) resampled for the interval."""
    level: float
    undefined_resamples: float = 0.0
    """Share of resamples in which the coefficient is undefined; the interval is of the others."""

    def as_json(self) -> dict[str, Any]:
        """Plain values under the field names, for a result file."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampling:
    """How the interval of a coefficient is made."""

    clusters: Mapping[Any, Hashable] | None = None
    """The prompt of each item; None treats every item as its own."""
    samples: int = 2000
    seed: int = 0
    level: float = 0.95


def coefficient(
    name: str,
    table: Ratings,
    used: NDArray[np.bool_],
    features: NDArray[np.float64],
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resampling: Resampling,
    nothing: str,
    undefined: str,
) -> Reliability:
    """A coefficient that is a function of sums over items, with its percentile interval.

    Args:
        name: of the coefficient, for tables.
        table: the answers.
        used: (items,) which items count.
        features: (items, width) what each item adds to the sums; rows of unused items are ignored.
        value: from sums (batch, width) to values (batch,), NaN where undefined.
        resampling: how to draw.
        nothing: why there is no value if no item counts.
        undefined: why there is none if the value is NaN.
    """
    items = [item for item, use in zip(table.items, used, strict=True) if use]
    answers = table.codes[used]
    seen = {
        "items": len(items),
        "raters": int((answers != MISSING).any(axis=0).sum()) if items else 0,
        "ratings": int((answers != MISSING).sum()),
    }
    none = Reliability(name=name, value=None, reason=nothing, low=None, high=None, **seen, clusters=0, level=resampling.level)
    if not items:
        return none
    names = None if resampling.clusters is None else [_cluster(resampling.clusters, item) for item in items]
    codes, count = cluster_codes(names, len(items))
    found = float(value(features[used].sum(axis=0, keepdims=True))[0])
    if np.isnan(found):
        return replace(none, reason=undefined, clusters=count)
    draws = value(resampled_totals(features[used], codes, clusters=count, samples=resampling.samples, seed=resampling.seed))
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [(1 - resampling.level) / 2, (1 + resampling.level) / 2]) if defined.size else (found, found)
    return replace(
        none,
        reason=None,
        clusters=count,
        value=found,
        low=float(low),
        high=float(high),
        undefined_resamples=1 - defined.size / draws.size,
    )


def one_minus_ratio(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - observed / expected disagreement, NaN where chance leaves no disagreement to expect."""
    some = expected > _NO_SPREAD
    return np.where(some, 1 - observed / np.where(some, expected, 1.0), np.nan)


def _cluster(clusters: Mapping[Any, Hashable], item: Hashable) -> Hashable:
    if item not in clusters:
        raise DataError(f"item {item!r} has no cluster", hint="name the prompt of every item, or pass no clusters")
    return clusters[item]


def _sorted(answers: set[Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(answers))
    except TypeError:  # answers of mixed types have no order; their names have
        return tuple(sorted(answers, key=repr))
