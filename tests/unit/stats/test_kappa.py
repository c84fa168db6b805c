"""Chance-corrected agreement: against scikit-learn, statsmodels, evalica, published tables and a plain loop."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from instructloop.core.errors import DataError
from instructloop.stats.kappa import Metric, Weights, cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha
from instructloop.stats.reliability import Ratings, Reliability, Resampling, ratings

QUICK = Resampling(samples=50)
# Krippendorff's (2011) example: 12 units, 4 observers, answers missing
KRIPPENDORFF = [
    [1, 1, None, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [None, 5, 5, 5],
    [None, None, 1, 1],
    [None, None, 3, None],
]
COEFFICIENTS: dict[str, Callable[[Ratings], Reliability]] = {
    "fleiss": lambda table: fleiss_kappa(table, resampling=QUICK),
    "nominal": lambda table: krippendorff_alpha(table, metric="nominal", resampling=QUICK),
    "ordinal": lambda table: krippendorff_alpha(table, metric="ordinal", resampling=QUICK),
    "interval": lambda table: krippendorff_alpha(table, metric="interval", resampling=QUICK),
    "ac1": lambda table: gwet_ac1(table, resampling=QUICK),
}
tables = st.integers(2, 4).flatmap(
    lambda raters: st.lists(st.lists(st.integers(1, 4), min_size=raters, max_size=raters), min_size=2, max_size=12)
)


def _table(rows: list[list[Any]], categories: list[Any] | None = None) -> Ratings:
    return ratings(((i, j, answer) for i, row in enumerate(rows) for j, answer in enumerate(row)), categories=categories)


def _random_rows(seed: int, *, items: int = 40, raters: int = 2, missing: float = 0.0) -> list[list[int | None]]:
    random = np.random.default_rng(seed)
    truth = random.integers(1, 8, size=items)
    return [[None if random.random() < missing else int(np.clip(t + random.integers(-2, 3), 1, 7)) for _ in range(raters)] for t in truth]


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
@pytest.mark.parametrize("seed", range(3))
def test_cohens_kappa_equals_scikit_learn(weights: Weights, theirs: str | None, seed: int) -> None:
    rows = _random_rows(seed)
    expected = cohen_kappa_score([r[0] for r in rows], [r[1] for r in rows], weights=theirs, labels=list(range(1, 8)))
    assert cohen_kappa(_table(rows, list(range(1, 8))), weights=weights, resampling=QUICK).value == pytest.approx(expected, abs=1e-12)


def test_cohens_kappa_by_hand_and_without_half_answered_items() -> None:
    # yes/yes 20, yes/no 5, no/yes 10, no/no 15 of 50: po 0.7, pe 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    rows: list[list[str | None]] = [["y", "y"]] * 20 + [["y", "n"]] * 5 + [["n", "y"]] * 10 + [["n", "n"]] * 15
    result = cohen_kappa(_table([*rows, ["y", None], [None, "n"]]))
    assert result.value == pytest.approx(0.4, abs=1e-12)
    assert (result.items, result.raters, result.ratings) == (50, 2, 100)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0.4 < result.high


def test_cohens_kappa_is_for_two_raters() -> None:
    with pytest.raises(DataError, match="two raters, got 3"):
        cohen_kappa(_table([[1, 2, 3]]))


@pytest.mark.parametrize("seed", range(5))
def test_fleiss_kappa_equals_statsmodels(seed: int) -> None:
    table = _table(_random_rows(seed, raters=4))
    assert fleiss_kappa(table, resampling=QUICK).value == pytest.approx(statsmodels_fleiss(table.counts()), abs=1e-12)


def test_fleiss_kappa_reproduces_its_published_example() -> None:
    # Fleiss (1971): 10 subjects, 14 raters, 5 categories
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    rows = [[category for category, count in enumerate(row) for _ in range(count)] for row in counts]
    assert fleiss_kappa(_table(rows)).value == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_refuses_unequal_raters_and_never_pads() -> None:
    with pytest.raises(DataError, match="3 on 'b' and 2 on 'a'|2 on 'a' and 3 on 'b'") as caught:
        fleiss_kappa(ratings([("a", 1, "x"), ("a", 2, "x"), ("b", 1, "x"), ("b", 2, "y"), ("b", 3, "y")]))
    assert "Krippendorff" in str(caught.value.hint)


@pytest.mark.parametrize(("metric", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_reproduces_krippendorffs_example(metric: Metric, value: float) -> None:
    result = krippendorff_alpha(_table(KRIPPENDORFF), metric=metric)
    assert result.value == pytest.approx(value, abs=5e-4)
    # the last unit has one answer: it pairs with nothing
    assert (result.items, result.raters, result.ratings) == (11, 4, 40)


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_equals_evalica_with_answers_missing(metric: Metric, seed: int) -> None:
    rows = _random_rows(seed, raters=5, missing=0.3)
    frame = pd.DataFrame([[np.nan if answer is None else float(answer) for answer in row] for row in rows]).T
    expected = evalica.alpha(frame, distance=metric).alpha
    assert krippendorff_alpha(_table(rows), metric=metric, resampling=QUICK).value == pytest.approx(expected, abs=1e-9)


def test_ac1_of_krippendorffs_example_is_the_published_one() -> None:
    # Gwet, Handbook of Inter-Rater Reliability: 0.77544 on this table
    assert gwet_ac1(_table(KRIPPENDORFF)).value == pytest.approx(0.77544, abs=5e-6)


@pytest.mark.parametrize("seed", range(4))
def test_ac1_equals_a_plain_loop_over_rater_pairs(seed: int) -> None:
    rows = _random_rows(seed, raters=4, missing=0.4)
    answered = [[a for a in row if a is not None] for row in rows if any(a is not None for a in row)]
    categories = sorted({a for row in answered for a in row})
    agree = [np.mean([a == b for a, b in permutations(row, 2)]) for row in answered if len(row) > 1]
    share = [np.mean([row.count(c) / len(row) for row in answered]) for c in categories]
    chance = sum(q * (1 - q) for q in share) / (len(categories) - 1)
    expected = (np.mean(agree) - chance) / (1 - chance)
    assert gwet_ac1(_table(rows), resampling=QUICK).value == pytest.approx(expected, abs=1e-12)


def test_a_rare_flag_shows_the_kappa_paradox() -> None:
    # 96 of 100 outputs agreed to be harmless, 4 flagged by one of two raters only
    rows = [["no", "no"]] * 96 + [["yes", "no"]] * 2 + [["no", "yes"]] * 2
    kappa, ac1 = cohen_kappa(_table(rows)).value, gwet_ac1(_table(rows)).value
    assert kappa is not None
    assert ac1 is not None
    assert kappa < 0
    assert ac1 > 0.95


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
def test_unanimous_answers_leave_the_coefficient_undefined_with_a_reason(name: str) -> None:
    result = COEFFICIENTS[name](_table([[3, 3], [3, 3]]))
    assert (result.value, result.low, result.high) == (None, None, None)
    assert "no variation" in str(result.reason) or "only one category" in str(result.reason)
    assert (result.items, result.ratings) == (2, 4)


def test_a_flag_nobody_set_has_perfect_ac1_when_its_categories_are_named() -> None:
    assert gwet_ac1(_table([["no", "no"]] * 5, ["yes", "no"])).value == 1.0


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
def test_answers_that_never_meet_have_no_coefficient(name: str) -> None:
    result = COEFFICIENTS[name](ratings([("a", 1, 1), ("b", 2, 2)]))
    assert (result.value, result.items) == (None, 0)
    assert result.reason == "no item was answered by two raters"


@settings(max_examples=25, deadline=None)
@given(rows=tables, seed=st.integers(0, 99))
@pytest.mark.parametrize("name", ["fleiss", "nominal", "ac1"])
def test_order_of_items_raters_and_names_of_categories_never_matter(name: str, rows: list[list[int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    shuffled = [[row[j] for j in random.permutation(len(row))] for row in (rows[i] for i in random.permutation(len(rows)))]
    renamed = [["dbca"[answer - 1] for answer in row] for row in shuffled]
    before, after = COEFFICIENTS[name](_table(rows)).value, COEFFICIENTS[name](_table(renamed)).value
    assert (before is None) == (after is None)
    assert before is None or before == pytest.approx(after, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(rows=tables, shift=st.integers(-50, 50))
def test_interval_alpha_ignores_shift_and_ordinal_any_increasing_map(rows: list[list[int]], shift: int) -> None:
    for metric, mapped in (
        ("interval", [[3 * a + shift for a in row] for row in rows]),
        ("ordinal", [[a**3 for a in row] for row in rows]),
    ):
        before, after = COEFFICIENTS[metric](_table(rows)).value, COEFFICIENTS[metric](_table(mapped)).value
        assert (before is None) == (after is None)
        assert before is None or before == pytest.approx(after, abs=1e-9)


def test_intervals_resample_prompts_when_items_share_them() -> None:
    random = np.random.default_rng(4)
    # five items a prompt with the same truth and the same slip: no more information than one item a prompt
    once = [(p, r, int(random.random() < 0.8) ^ (p % 2)) for p in range(60) for r in range(2)]
    many = [((p, i), r, answer) for p, r, answer in once for i in range(5)]
    table = ratings(many)
    whole = krippendorff_alpha(table, resampling=Resampling(clusters={item: item[0] for item in table.items}))  # type: ignore[index]
    single = krippendorff_alpha(ratings(once))
    naive = krippendorff_alpha(table)
    assert (whole.clusters, naive.clusters, single.clusters) == (60, 300, 60)
    assert _width(whole) == pytest.approx(_width(single), rel=0.1)
    assert _width(naive) < 0.6 * _width(whole)


def test_the_interval_is_the_one_of_refitting_every_resample() -> None:
    rows = _random_rows(5, items=25, raters=3)
    random = np.random.default_rng(0)
    slow = [
        krippendorff_alpha(_table([rows[i] for i in random.integers(25, size=25)]), metric="ordinal", resampling=QUICK).value
        for _ in range(400)
    ]
    fast = krippendorff_alpha(_table(rows), metric="ordinal", resampling=Resampling(samples=4000))
    low, high = np.quantile(np.array(slow, dtype=float), [0.025, 0.975])
    assert (fast.low, fast.high) == pytest.approx((low, high), abs=0.04)


def test_categories_of_mixed_types_have_a_stable_order_and_results_are_plain() -> None:
    table = ratings([("i", "r", "n/a"), ("i", "s", 2), ("j", "r", 2), ("j", "s", 2)])
    assert set(table.categories) == {"n/a", 2}
    # item i disagrees, j agrees: Do = 1/2; three 2s and one n/a: De = 2 * 3 / (4 * 3) = 1/2
    assert krippendorff_alpha(table, resampling=QUICK).as_json()["value"] == pytest.approx(0.0)


def test_tables_refuse_double_and_unknown_answers() -> None:
    with pytest.raises(DataError, match="rater 'r' answered item 'i' twice"):
        ratings([("i", "r", 1), ("i", "r", 2)])
    with pytest.raises(DataError, match="answered 'maybe' about item 'i'"):
        ratings([("i", "r", "maybe")], categories=["yes", "no"])
    with pytest.raises(DataError, match="answers that are numbers"):
        krippendorff_alpha(_table([["a", "b"]]), metric="interval")
    with pytest.raises(DataError, match="item 0 has no cluster"):
        krippendorff_alpha(_table([[1, 2], [2, 2]]), resampling=Resampling(clusters={}))


def _width(result: Reliability) -> float:
    assert result.low is not None
    assert result.high is not None
    return result.high - result.low
