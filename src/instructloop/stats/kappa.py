"""Chance-corrected agreement on categories: Cohen's and Fleiss' kappa, Krippendorff's alpha, Gwet's AC1.

Cohen is for two raters, Fleiss for the same number of raters on every item, alpha and AC1 for any number with answers missing. Take alpha
(ordinal for Likert scales and ranks, nominal for flags) by default, and AC1 beside it where one answer is rare: kappa and alpha fall towards
zero there although nearly all answers agree.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import DataError
from instructloop.stats.reliability import MISSING, Ratings, Reliability, Resampling, coefficient, one_minus_ratio

Weights = Literal["none", "linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval"]
_DEFAULT = Resampling()
_NO_VARIATION = "no variation: every answer is the same, so chance would agree always"
_TWO_ANSWERS = "no item was answered by two raters"


def cohen_kappa(table: Ratings, *, weights: Weights = "none", resampling: Resampling = _DEFAULT) -> Reliability:
    """1 - sum(w O) / sum(w E) over the categories of two raters, with E from each rater's own margins.

    Args:
        table: answers of exactly two raters; items that one of them left out do not count.
        weights: disagreement weights by the distance of two categories in their order: 1 unless equal, |i - j| or (i - j)^2.
        resampling: how the interval is made.

    Raises:
        DataError: not two raters.
    """
    if len(table.raters) != 2:
        raise DataError(
            f"Cohen's kappa compares two raters, got {len(table.raters)}", hint="use Krippendorff's alpha or Gwet's AC1 for more"
        )
    size = len(table.categories)
    used = (table.codes != MISSING).all(axis=1)
    cells = np.zeros((len(table.items), size * size))
    cells[np.flatnonzero(used), table.codes[used, 0] * size + table.codes[used, 1]] = 1.0
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    weight = {"none": np.minimum(distance, 1.0), "linear": distance, "quadratic": distance**2}[weights]

    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        joint = sums.reshape(-1, size, size)
        joint = joint / joint.sum(axis=(1, 2), keepdims=True)
        expected = joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None, :]
        return one_minus_ratio((weight * joint).sum(axis=(1, 2)), (weight * expected).sum(axis=(1, 2)))

    name = "Cohen's kappa" if weights == "none" else f"Cohen's kappa, {weights} weights"
    return coefficient(name, table, used, cells, value, resampling=resampling, nothing=_TWO_ANSWERS, undefined=_NO_VARIATION)


def fleiss_kappa(table: Ratings, *, resampling: Resampling = _DEFAULT) -> Reliability:
    """(P - Pe) / (1 - Pe): P the mean share of agreeing rater pairs per item, Pe the sum of squared shares of the categories.

    Raises:
        DataError: items answered by different numbers of raters. Such a table is never padded: the number would mean nothing.
    """
    counts = table.counts()
    answers = counts.sum(axis=1)
    if np.unique(answers).size > 1:
        low, high = int(answers.argmin()), int(answers.argmax())
        raise DataError(
            f"Fleiss' kappa needs as many answers on every item, got {int(answers[low])} on {table.items[low]!r} and {int(answers[high])} on "
            f"{table.items[high]!r}",
            hint="use Krippendorff's alpha or Gwet's AC1, which allow missing answers",
        )
    used = answers >= 2
    agreeing = _agreeing_pairs(counts, answers)
    features = np.column_stack([np.ones(len(answers)), agreeing, counts])

    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
        return one_minus_ratio(1 - sums[:, 1] / sums[:, 0], 1 - (shares**2).sum(axis=1))

    return coefficient("Fleiss' kappa", table, used, features, value, resampling=resampling, nothing=_TWO_ANSWERS, undefined=_NO_VARIATION)


def krippendorff_alpha(table: Ratings, *, metric: Metric = "nominal", resampling: Resampling = _DEFAULT) -> Reliability:
    """1 - Do / De over all pairs of answers within items (Do) and among all pairable answers (De); any number of raters, missing allowed.

    Args:
        table: the answers; an item with fewer than two does not count.
        metric: squared distance of two categories: 1 unless equal (nominal), by the answers that lie between them (ordinal, in the order of the
            categories), or of their numbers (interval).
        resampling: how the interval is made.

    Raises:
        DataError: interval metric on answers that are not numbers.
    """
    counts = table.counts()
    answers = counts.sum(axis=1)
    used = answers >= 2
    name = f"Krippendorff's alpha, {metric}"
    if metric == "interval":
        features, value = _interval_sums(counts, answers, _numbers(table.categories)), _interval_alpha
    else:
        features, value = _coincidences(counts, answers), _nominal_alpha if metric == "nominal" else _ordinal_alpha
    return coefficient(name, table, used, features, value, resampling=resampling, nothing=_TWO_ANSWERS, undefined=_NO_VARIATION)


def gwet_ac1(table: Ratings, *, resampling: Resampling = _DEFAULT) -> Reliability:
    """(pa - pe) / (1 - pe) with pe = sum q(1 - q) / (Q - 1), q the mean share of each of Q categories over items (Gwet 2008).

    pa averages the share of agreeing rater pairs over items with two answers or more; q is over all answered items. Name all categories when
    the table is built: a flag that nobody ever set has two categories and AC1 = 1, not one category and no value.
    """
    counts = table.counts()
    answers = counts.sum(axis=1)
    size = len(table.categories)
    shares = counts / np.maximum(answers, 1)[:, None]
    paired = answers >= 2
    features = np.column_stack([answers >= 1, paired, np.where(paired, _agreeing_pairs(counts, answers), 0.0), shares])

    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        if size < 2:
            return np.full(len(sums), np.nan)
        share = sums[:, 3:] / sums[:, :1]
        chance = (share * (1 - share)).sum(axis=1) / (size - 1)
        agreement = np.divide(sums[:, 2], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)
        return one_minus_ratio(1 - agreement, 1 - chance)

    return coefficient(
        "Gwet's AC1",
        table,
        (answers >= 1) & bool(paired.any()),
        features,
        value,
        resampling=resampling,
        nothing=_TWO_ANSWERS,
        undefined="only one category: name all possible answers",
    )


def _agreeing_pairs(counts: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per item: the share of rater pairs that gave the same answer (0 where there is no pair)."""
    pairs: NDArray[np.float64] = (counts * (counts - 1)).sum(axis=1) / np.maximum(answers * (answers - 1), 1.0)
    return pairs


def _coincidences(counts: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(items, categories^2): each ordered pair of answers of two raters, weighted so that an item with m answers weighs m."""
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    weighted: NDArray[np.float64] = (pairs / np.maximum(answers - 1, 1.0)[:, None, None]).reshape(len(counts), -1)
    return weighted


def _alpha(sums: NDArray[np.float64], ordinal: bool) -> NDArray[np.float64]:
    size = int(np.sqrt(sums.shape[1]))
    joint = sums.reshape(-1, size, size)
    totals = joint.sum(axis=2)
    if ordinal:
        # the distance of two categories: the answers up to the one minus those up to the other, half of each category's own
        middle = totals.cumsum(axis=1) - totals / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    else:
        distance = np.broadcast_to(1 - np.eye(size), joint.shape)
    everything = totals.sum(axis=1)
    expected = (distance * totals[:, :, None] * totals[:, None, :]).sum(axis=(1, 2)) / (everything - 1)
    # divided by the number of answers, so that "no spread" is judged on one scale whatever n
    scale = everything * (everything**2 if ordinal else 1.0)
    return one_minus_ratio((distance * joint).sum(axis=(1, 2)) / scale, expected / scale)


def _nominal_alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return _alpha(sums, ordinal=False)


def _ordinal_alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return _alpha(sums, ordinal=True)


def _interval_sums(counts: NDArray[np.float64], answers: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per item: answers, their sum, their sum of squares, and the squared differences of its answer pairs over m - 1."""
    centered = numbers - numbers.mean() if numbers.size else numbers  # alpha does not see a shift, rounding does
    first, second = counts @ centered, counts @ centered**2
    within = 2 * (answers * second - first**2) / np.maximum(answers - 1, 1.0)
    return np.column_stack([answers, first, second, within])


def _interval_alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    answers, first, second, within = sums.T
    expected = 2 * (answers * second - first**2) / (answers - 1)
    scale = np.maximum(second, np.finfo(float).tiny)
    return one_minus_ratio(within / scale, expected / scale)


def _numbers(categories: tuple[Any, ...]) -> NDArray[np.float64]:
    try:
        return np.array([float(category) for category in categories])
    except (TypeError, ValueError):
        raise DataError(
            f"the interval metric needs answers that are numbers, got {', '.join(map(repr, categories))}",
            hint="use the nominal or ordinal metric, or map answers to numbers first",
        ) from None
