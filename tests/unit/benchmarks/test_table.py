"""The table's arithmetic, against numbers made up by hand."""

import pytest
from table import Result, difference, number, render, share, spread

PEAKS = {"torch.matmul": 100e9, "oneDNN": 250e9}


def result(**changes: object) -> Result:
    values = {
        "work": "sft",
        "size": "tiny",
        "label": "SFT",
        "unit": "tokens",
        "ours": [400.0, 600.0, 500.0],
        "peer": [200.0, 200.0, 250.0],
        "flops": 1e8,
    }
    return Result(**values | changes)


def test_ratios_are_taken_round_by_round() -> None:
    assert result().ratios == [2.0, 3.0, 2.0]


@pytest.mark.parametrize(("rate", "said"), [(499.0, "target"), (360.0, "floor"), (359.0, "below")])
def test_the_verdict_compares_the_median_ratio_with_floor_and_target(rate: float, said: str) -> None:
    # bars of SFT at tiny: 1.8 and 2.5
    assert result(ours=[rate, 1.0, 1e6], peer=[rate / 2.5 if said == "target" else 200.0] * 3).verdict == said


def test_there_is_no_verdict_without_a_peer_or_without_a_bar() -> None:
    assert result(peer=[]).verdict == ""
    assert result(size="smollm2").verdict == ""


def test_the_share_of_the_peak_is_rate_times_flops_over_peak() -> None:
    # the median of 400, 600, 500 tokens/s at 1e8 FLOPs each is 5e10 FLOP/s: half of 100 G, a fifth of 250 G
    assert share([400.0, 600.0, 500.0], 1e8, PEAKS) == "50% / 20%"


def test_differences_are_relative_and_zero_equals_zero() -> None:
    assert difference(2.0, 2.0002) == pytest.approx(1e-4, rel=1e-3)
    assert difference(0.0, 0.0) == 0
    assert difference(0.0, 1e-9) == 1


def test_unequal_work_is_named() -> None:
    checks = {"loss of step 1": (2.0, 2.00001), "loss of step 2": (2.0, 2.001)}
    assert result(checks=checks).unequal() == ["sft at tiny: loss of step 2 is 2 here and 2.001 there"]


def test_a_number_that_is_not_a_number_is_unequal() -> None:
    assert result(checks={"loss of step 1": (float("nan"), 2.0)}).unequal() != []


def test_numbers_keep_three_digits() -> None:
    assert [number(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234)] == ["12,346", "123", "12.3", "1.23", "0.123"]
    assert spread([3.0, 1.0, 2.0]) == "2.00 [1.00, 3.00]"


def test_a_row_holds_medians_spread_ratio_bars_verdict_and_both_shares() -> None:
    text = render([result(checks={"loss of step 1": (2.0, 2.0)})], PEAKS, {"Machine": "an abacus"}, clock="CPU second")
    row = "| SFT | tiny | tokens | 500 [400, 600] | 200 [200, 250] | 2.00 [2.00, 3.00] | 1.8 | 2.5 | floor | 50% / 20% (met) | 20% / 8% |"
    assert row in text.splitlines()
    assert "| SFT | tiny | loss of step 1 | 2 | 2 | 0.0e+00 |" in text.splitlines()
    assert "- Machine: an abacus" in text.splitlines()
    assert "torch.matmul 100 G, oneDNN 250 G" in text


def test_a_work_without_peer_leaves_its_cells_empty() -> None:
    text = render([result(work="ptx", label="PPO-ptx", peer=[])], PEAKS, {}, clock="CPU second")
    assert "| PPO-ptx | tiny | tokens | 500 [400, 600] |  |  |  |  |  | 50% / 20% (met) |  |" in text.splitlines()
