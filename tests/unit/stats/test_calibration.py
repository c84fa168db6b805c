"""Reliability bins and the expected calibration error, by hand and against scikit-learn."""

import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.stats import calibration


def test_error_is_the_weighted_distance_of_the_bins_by_hand() -> None:
    # bin .7-.8: said .7 three times, happened 1 of 3 -> .3667 off; bin .2-.3: said .2 once, happened 0 -> .2 off
    found = calibration([0.7, 0.7, 0.7, 0.2], [1.0, 0.0, 0.0, 0.0])
    assert found.error.value == pytest.approx(0.75 * (0.7 - 1 / 3) + 0.25 * 0.2)
    assert [(one.n, one.predicted, one.observed) for one in found.bins] == [(1, 0.2, 0.0), (3, pytest.approx(0.7), pytest.approx(1 / 3))]


def test_bins_agree_with_scikit_learn() -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    random = np.random.default_rng(1)
    said = random.random(2000)
    happened = (random.random(2000) < said**2).astype(float)
    observed, predicted = curve(happened, said, n_bins=10)
    found = calibration(said, happened)
    assert [one.observed for one in found.bins] == pytest.approx(observed.tolist())
    assert [one.predicted for one in found.bins] == pytest.approx(predicted.tolist())


def test_a_forecaster_who_is_right_has_a_small_error_and_one_who_exaggerates_a_large_one() -> None:
    random = np.random.default_rng(2)
    said = random.random(4000)
    happened = (random.random(4000) < said).astype(float)
    assert calibration(said, happened).error.high < 0.05
    assert calibration(np.where(said > 0.5, 0.99, 0.01), happened).error.low > 0.2


def test_a_probability_above_one_is_refused() -> None:
    with pytest.raises(DataError, match="outside"):
        calibration([1.2], [1.0])
