"""Best-of-k from n samples, against counting all subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.stats import winning_chances


def counted(scores: list[float], k: int) -> list[float]:
    """The chance of each sample by listing every choice of k."""
    chances, subsets = [0.0] * len(scores), list(combinations(range(len(scores)), k))
    for subset in subsets:
        best = max(scores[i] for i in subset)
        winners = [i for i in subset if scores[i] == best]
        for i in winners:
            chances[i] += 1 / len(winners) / len(subsets)
    return chances


@given(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=7), st.data())
def test_chances_equal_those_counted_over_all_choices(scores, data) -> None:
    k = data.draw(st.integers(1, len(scores)))
    assert winning_chances(scores, k).tolist() == pytest.approx(counted(scores, k))


def test_one_drawn_is_the_mean_and_all_drawn_the_best() -> None:
    scores = [3.0, 1.0, 2.0, 2.5]
    assert winning_chances(scores, 1).tolist() == [0.25] * 4
    assert winning_chances(scores, 4).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert winning_chances(scores, 2) @ np.array(scores) == pytest.approx((3 + 3 + 3 + 2 + 2.5 + 2.5) / 6)


def test_drawing_more_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match="best of 5"):
        winning_chances([1.0, 2.0], 5)
