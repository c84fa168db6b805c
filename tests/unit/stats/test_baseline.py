"""Comparisons with a baseline: counts by hand, tests against statsmodels and scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from instructloop.core.errors import DataError
from instructloop.stats.baseline import by_group, head_to_head, mcnemar_test, position_balance, sign_test, without_labeler

VOTES = ["win"] * 6 + ["loss"] * 2 + ["tie"] + ["both_bad"]
PROMPTS = list(range(10))


def test_both_bad_counts_as_a_tie_and_is_reported_apart() -> None:
    result = head_to_head(VOTES, PROMPTS)
    assert (result.rate.value, result.rate.n, result.rate.ties) == (0.7, 10, 2)
    assert (result.wins, result.losses, result.ties, result.both_bad) == (6, 2, 1, 1)
    assert result.p_value == pytest.approx(binomtest(6, 8).pvalue)


def test_dropping_as_many_wins_as_the_lead_makes_it_even() -> None:
    result = head_to_head(VOTES, PROMPTS)
    assert (result.drops_to_even, result.drop_share) == (4, 0.4)
    assert head_to_head(VOTES[4:], PROMPTS[4:]).rate.value == 0.5


def test_the_sign_test_counts_prompts_not_votes() -> None:
    # prompt a: 2 to 1 won, b: won, c: even, d: lost
    wins, prompts = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0], list("aaabccd")
    assert sign_test(wins, prompts) == pytest.approx(binomtest(2, 3).pvalue)
    assert sign_test([1.0] * 9, ["a"] * 9) == 1.0
    assert sign_test([0.5, 0.5]) == 1.0


def test_mcnemar_equals_statsmodels() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(80) < 0.3, random.random(80) < 0.15
    table = [[int((first & second).sum()), int((first & ~second).sum())], [int((~first & second).sum()), int((~first & ~second).sum())]]
    assert mcnemar_test(first.tolist(), second.tolist()) == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert mcnemar_test([True], [True]) == 1.0
    with pytest.raises(DataError, match="2 flags with 1"):
        mcnemar_test([True, False], [True])


def test_the_table_by_use_case_is_corrected_for_its_length() -> None:
    votes = ["win"] * 12 + ["win"] * 7 + ["loss"] * 1 + ["win"] * 2 + ["loss"] * 2
    groups = ["chat"] * 12 + ["rewrite"] * 8 + ["open qa"] * 4
    rows = by_group(votes, list(range(24)), groups, samples=100)
    assert [row.group for row in rows] == ["chat", "rewrite", "open qa"]
    raw = [binomtest(12, 12).pvalue, binomtest(7, 8).pvalue, 1.0]
    assert [row.result.p_value for row in rows] == pytest.approx(raw)
    assert [row.p_holm for row in rows] == pytest.approx([3 * raw[0], 2 * raw[1], 1.0])
    # rewrite alone has p = 0.07; chat stands
    assert [row.significant for row in rows] == [True, False, False]


def test_the_side_of_the_page_is_shown_apart() -> None:
    balance = position_balance(["win", "win", "loss", "loss", "tie"], PROMPTS[:5], [True, True, False, False, True])
    assert balance.left_share == 0.6
    assert balance.left is not None
    assert balance.right is not None
    assert (balance.left.value, balance.right.value) == (pytest.approx(2.5 / 3), 0.0)
    assert position_balance(["win"], ["p"], [True]).right is None


def test_leaving_one_labeler_out_shows_on_whom_the_finding_hangs() -> None:
    votes, prompts = ["win"] * 4 + ["loss", "win"] * 2, list(range(8))
    labelers = ["keen"] * 4 + ["fair", "calm"] * 2
    result = without_labeler(votes, prompts, labelers)
    assert {who: interval.value for who, interval in result.items()} == {"keen": 0.5, "fair": 1.0, "calm": pytest.approx(4 / 6)}
    assert without_labeler(["win"], ["p"], ["only"]) == {}


def test_unknown_votes_and_short_columns_are_refused() -> None:
    with pytest.raises(DataError, match="vote 1 is 'draw'"):
        head_to_head(["win", "draw"], ["p", "q"])
    with pytest.raises(DataError, match="2 votes but a column of 1"):
        by_group(["win", "win"], ["p", "q"], ["chat"])
    with pytest.raises(DataError, match="non-empty"):
        head_to_head([], [])
