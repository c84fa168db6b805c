"""The table of held-out agreement, counted by hand."""

import math

import pytest

from instructloop.data import RankedGroup, TokenSequence
from instructloop.training.rm_report import accuracy_report, pair_accuracy_of, ranking_loss_of


def group(
    ranks: tuple[int, ...], lengths: tuple[int, ...], key: str, *, labeler: str | None = None, confidence: float | None = None
) -> RankedGroup:
    """A prompt of one token with completions of the given lengths."""
    sequences = tuple(TokenSequence(tuple(range(1 + length)), 1) for length in lengths)
    return RankedGroup(sequences=sequences, ranks=ranks, labeler=labeler, confidence=confidence, prompt_key=key)


GROUPS = [
    group((0, 1, 1), (5, 2, 2), "a", labeler="ann", confidence=0.9),  # longer wins both pairs; one tie
    group((1, 0), (4, 4), "b", labeler="bob", confidence=0.2),  # equal lengths: one half
    group((0, 0), (1, 2), "c", labeler="bob"),  # no pair
]
SCORES = [[1.0, 0.0, 2.0], [0.5, 0.5], [3.0, 4.0]]


def test_accuracy_counts_equal_scores_as_one_half_and_leaves_ties_out() -> None:
    # pairs: (1 over 0) right, (1 over 2) wrong, (.5 over .5) half
    assert pair_accuracy_of(GROUPS, SCORES) == pytest.approx(1.5 / 3)
    report = accuracy_report(GROUPS, SCORES, seed=0)
    assert report["accuracy"] == pytest.approx(0.5)
    assert (report["prompts"], report["rankings"], report["pairs"], report["ties"]) == (2, 3, 3, 2)
    assert report["longer_wins"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_the_loss_is_the_mean_over_prompts_of_the_mean_over_pairs() -> None:
    first = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    assert ranking_loss_of(GROUPS, SCORES) == pytest.approx((first + math.log(2)) / 2)


def test_tables_are_by_k_labeler_and_confidence_and_leave_out_what_has_no_pair() -> None:
    report = accuracy_report(GROUPS, SCORES, seed=0)
    assert {name: part["accuracy"] for name, part in report["by_k"].items()} == {"2": 0.5, "3": 0.5}
    assert list(report["by_labeler"]) == ["ann", "bob"]
    assert list(report["by_confidence"]) == ["0.2", "0.9"]


def test_k_is_sorted_as_a_number() -> None:
    groups = [group(tuple(range(k)), (1,) * k, str(k)) for k in (10, 9, 4)]
    report = accuracy_report(groups, [[0.0] * g.k for g in groups], seed=0)
    assert list(report["by_k"]) == ["4", "9", "10"]


def test_many_confidences_are_shown_in_quarters() -> None:
    groups = [group((0, 1), (1, 1), str(i), confidence=i / 100) for i in range(100)]
    report = accuracy_report(groups, [[1.0, 0.0]] * 100, seed=0)
    assert list(report["by_confidence"]) == ["0 to 0.24", "0.24 to 0.49", "0.49 to 0.74", "0.74 to 0.99"]
    assert sum(part["pairs"] for part in report["by_confidence"].values()) == 100


def test_without_any_strict_pair_there_are_counts_and_no_accuracy() -> None:
    report = accuracy_report(GROUPS[2:], SCORES[2:], seed=0)
    assert report == {"prompts": 0, "rankings": 1, "pairs": 0, "ties": 1}
    assert math.isnan(pair_accuracy_of(GROUPS[2:], SCORES[2:]))


def test_the_loss_does_not_overflow_at_large_differences() -> None:
    pair = [group((0, 1), (1, 1), "a")]
    assert ranking_loss_of(pair, [[-1000.0, 1000.0]]) == pytest.approx(2000)
    assert ranking_loss_of(pair, [[1000.0, -1000.0]]) == pytest.approx(0)
