"""Agreement in three tie conventions, counted by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import accuracy_score

from instructloop.core.errors import DataError
from instructloop.stats.agreement import Agreement, agreement_without, cohort_agreement, labeler_agreement, pairwise_agreement
from instructloop.stats.winrate import wilson

prompts = st.dictionaries(
    st.integers(0, 50),
    st.integers(2, 5).flatmap(lambda k: st.lists(st.tuples(*[st.integers(0, k - 1)] * k), min_size=2, max_size=4)),
    min_size=1,
    max_size=6,
)


def test_the_three_conventions_on_one_prompt() -> None:
    # pairs (a,b) (a,c) (b,c): first labeler > > tie, second > tie <
    result = pairwise_agreement({"p": [(0, 1, 1), (0, 1, 0)]})
    assert result.strict is not None
    assert (result.strict.value, result.strict_pairs) == (1.0, 1)
    assert (result.exact.value, result.pairs) == (pytest.approx(1 / 3), 3)
    assert result.tie_half.value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert result.tie_rate == pytest.approx(2 / 6)


def test_prompts_weigh_the_same_whatever_their_k() -> None:
    same = [(0, 1, 2, 3)] * 2
    opposite = [(0, 1), (1, 0)]
    result = pairwise_agreement({"many": same, "few": opposite})
    assert result.strict is not None
    assert (result.strict.value, result.exact.value, result.tie_half.value) == (0.5, 0.5, 0.5)
    assert (result.pairs, result.prompts, result.exact.n) == (7, 2, 2)


def test_every_pair_of_labelers_counts_and_left_out_completions_do_not() -> None:
    result = pairwise_agreement({"p": [(0, 1, None), (0, 1, 2), (1, 0, 2)]})
    # shared pairs: labelers 1-2 one (equal), 1-3 one (opposite), 2-3 three (one opposite)
    assert (result.pairs, result.exact.value) == (5, pytest.approx(3 / 5))


def test_strict_agreement_is_undefined_when_every_pair_has_a_tie() -> None:
    assert pairwise_agreement({"p": [(0, 0), (0, 1)]}).strict is None


def test_independent_coin_flips_agree_half_of_the_time() -> None:
    random = np.random.default_rng(3)
    rankings = {i: [tuple(random.permutation(2).tolist()) for _ in range(2)] for i in range(2000)}
    result = pairwise_agreement(rankings)
    assert result.strict is not None
    # three standard errors of 2,000 coins
    assert result.strict.value == pytest.approx(0.5, abs=0.034)
    assert result.strict.high - result.strict.low == pytest.approx(2 * 1.96 * 0.5 / 2000**0.5, rel=0.1)


def test_labels_that_do_not_overlap_or_fit_are_refused() -> None:
    with pytest.raises(DataError, match="no prompt was ranked by two labelers"):
        pairwise_agreement({"p": [(0, 1)]})
    with pytest.raises(DataError, match="'p': labelers ranked different numbers"):
        pairwise_agreement({"p": [(0, 1), (0, 1, 2)]})


def _random_rankings(seed: int, *, count: int = 40, labelers: int = 3) -> dict[int, list[tuple[int, ...]]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 7, size=count)
    return {p: [tuple(row) for row in random.integers(0, 4, size=(labelers, size)).tolist()] for p, size in enumerate(sizes)}


@pytest.mark.parametrize("seed", range(3))
def test_exact_agreement_equals_scikit_learns_accuracy_and_strict_follows_from_scipys_tau(seed: int) -> None:
    rankings = _random_rankings(seed, labelers=2)
    exact, strict = [], []
    for first, second in rankings.values():
        signs = [[int(np.sign(b - a)) for a, b in combinations(ranks, 2)] for ranks in (first, second)]
        exact.append(accuracy_score(*signs))
        # tau_b = (C - D) / sqrt(untied in x * untied in y), so the share C / (C + D) = (1 + (C - D) / (C + D)) / 2
        untied = [sum(s != 0 for s in side) for side in signs]
        both = sum(a != 0 and b != 0 for a, b in zip(*signs, strict=True))
        if both:
            difference = kendalltau(first, second).statistic * (untied[0] * untied[1]) ** 0.5
            strict.append((1 + difference / both) / 2)
    result = pairwise_agreement(rankings, samples=50)
    assert result.strict is not None
    assert result.exact.value == pytest.approx(np.mean(exact), abs=1e-12)
    assert result.strict.value == pytest.approx(np.mean(strict), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(rankings=prompts, seed=st.integers(0, 99))
def test_order_of_prompts_labelers_and_completions_never_matters(rankings: dict[int, list[tuple[int, ...]]], seed: int) -> None:
    random = np.random.default_rng(seed)
    turned = {}
    for prompt in random.permutation(sorted(rankings)).tolist():
        order = random.permutation(len(rankings[prompt][0]))
        turned[prompt] = [[rankings[prompt][i][j] for j in order] for i in random.permutation(len(rankings[prompt]))]
    assert _values(pairwise_agreement(rankings, samples=2)) == pytest.approx(_values(pairwise_agreement(turned, samples=2)), nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(rankings=prompts)
def test_the_conventions_are_bound_to_each_other(rankings: dict[int, list[tuple[int, ...]]]) -> None:
    result = pairwise_agreement(rankings, samples=2)
    assert 0 <= result.exact.value <= result.tie_half.value <= 1
    # turning one labeler's order around turns strict agreement around
    pairs = {prompt: given[:2] for prompt, given in rankings.items()}
    turned = {prompt: [first, [-rank for rank in second]] for prompt, (first, second) in pairs.items()}
    before, after = pairwise_agreement(pairs, samples=2).strict, pairwise_agreement(turned, samples=2).strict
    assert (before is None) == (after is None)
    assert before is None or after is None or before.value == pytest.approx(1 - after.value)


def test_cohorts_are_compared_with_themselves_and_each_other() -> None:
    result = cohort_agreement(
        {
            "p": [("researcher", (0, 1)), ("training", (0, 1)), ("training", (1, 0))],
            "q": [("heldout", (0, 1, 1)), ("training", (0, 1, 2))],
            "r": [("zebra", (0, 1)), ("heldout", (1, 0))],
        }
    )
    assert list(result) == [("training", "training"), ("training", "heldout"), ("training", "researcher"), ("heldout", "zebra")]
    assert [agreement.exact.value for agreement in result.values()] == [0.0, pytest.approx(2 / 3), 0.5, 0.0]
    assert [agreement.pairs for agreement in result.values()] == [1, 3, 2, 1]


def test_one_cohort_gives_the_plain_figures() -> None:
    rankings = _random_rankings(1)
    cohorts = cohort_agreement({p: [("training", ranks) for ranks in given] for p, given in rankings.items()}, samples=50)
    assert cohorts == {("training", "training"): pairwise_agreement(rankings, samples=50)}


def test_each_labeler_is_compared_with_all_others() -> None:
    rankings = {"p": [("a", (0, 1)), ("b", (0, 1)), ("c", (1, 0))], "q": [("a", (0, 1)), ("c", (0, 1))], "r": [("d", (0, 1))]}
    result = labeler_agreement(rankings)
    # a: half of p, all of q; b: half of p; c: none of p, all of q; d shares nothing
    assert {who: agreement.exact.value for who, agreement in result.items()} == {"a": 0.75, "b": 0.5, "c": 0.5}
    assert (result["a"].pairs, result["a"].prompts) == (3, 2)


def test_leaving_a_labeler_out_shows_who_moves_the_figure() -> None:
    rankings = {"p": [("a", (0, 1)), ("b", (0, 1)), ("c", (1, 0))], "q": [("a", (0, 1)), ("c", (1, 0))]}
    without = agreement_without(rankings)
    assert {who: agreement.exact.value for who, agreement in without.items()} == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert agreement_without({"p": [("a", (0, 1)), ("b", (0, 1))]}) == {}


def test_unanimous_prompts_still_leave_room_for_doubt() -> None:
    result = pairwise_agreement({i: [(0, 1), (0, 1)] for i in range(30)})
    assert result.strict is not None
    assert (result.strict.low, result.strict.high) == wilson(30, 30)


@pytest.mark.parametrize("measure", [cohort_agreement, labeler_agreement, agreement_without])
def test_misaligned_rankings_are_refused_everywhere(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(DataError, match="'p': labelers ranked different numbers"):
        measure({"p": [("a", (0, 1)), ("b", (0, 1, 2))]})


def _values(result: Agreement) -> list[float]:
    strict = float("nan") if result.strict is None else result.strict.value
    return [strict, result.exact.value, result.tie_half.value, result.tie_rate, result.strict_pairs, result.pairs, result.prompts]
