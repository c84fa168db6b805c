"""Agreement in three tie conventions, counted by hand."""

import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.stats.agreement import pairwise_agreement


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
