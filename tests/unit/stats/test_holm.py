"""Holm's correction: by hand and against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from instructloop.core.errors import DataError
from instructloop.stats.holm import holm


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1; never below the one before
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    p = np.random.default_rng(seed).random(10) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_nothing_stays_nothing_and_strange_values_are_refused() -> None:
    assert holm([]) == []
    with pytest.raises(DataError, match="p value 1 is nan"):
        holm([0.5, float("nan")])
