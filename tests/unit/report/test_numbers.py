"""Numbers as the report shows them."""

import pytest

from instructloop.report.numbers import Estimate, estimate, large, number, percent, seconds, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.14159, "3.14"),
        (0.0456, "0.046"),
        (-12.34, "−12.3"),
        (123.4, "123"),
        (0.00012, "1.2e−4"),
        (24000, "24\u202f000"),
        (9999, "9999"),
    ],
)
def test_three_significant_digits_and_a_real_minus(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (1.0, "1"), (20.0, "20"), (0.0001, "1.0e−4"), (100.0, "100")])
def test_axis_numbers_have_no_empty_zeros(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.5734, "57.3\u202f%"), (1, "100\u202f%"), (0, "0\u202f%"), (0.0004, "0.0\u202f%")])
def test_shares_are_per_cent(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "<\u202f0.1\u202fs"), (0.44, "0.4\u202fs"), (43.2, "43\u202fs"), (125, "2\u202fmin 05\u202fs"), (4800, "1\u202fh 20\u202fmin")]
)  # fmt: skip
def test_times_are_read_without_arithmetic(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(999, "999"), (1_150_000, "1.15\u202fM"), (24_500, "24.5\u202fk"), (3.2e12, "3.20\u202fT")])
def test_large_counts_have_a_letter(value: float, text: str) -> None:
    assert large(value) == text


def test_every_layout_of_an_estimate_is_understood() -> None:
    assert estimate({"win_rate": 0.6, "low": 0.5, "high": 0.7, "n": 40, "ties": 2}) == Estimate(0.6, 0.5, 0.7, 40, share=True, ties=2)
    assert estimate({"mean": 1.5, "low": 1, "high": 2, "n": 40}) == Estimate(1.5, 1, 2, 40)
    assert estimate({"accuracy": 0.7, "low": 0.6, "high": 0.8, "pairs": 9}) == Estimate(0.7, 0.6, 0.8, 9, share=True)
    assert estimate({"value": 0.2, "n": 3}) == Estimate(0.2, n=3)
    assert estimate({"value": 0.2}) is None, "a number without interval and n is no estimate"
    assert estimate({"value": True, "n": 3}) is None
    assert estimate("0.2") is None


def test_a_count_tells_prompts_and_ties_apart_from_rows() -> None:
    assert Estimate(0.5, n=800, clusters=400, ties=1).count() == "n 800 from 400, 1 tie"
    assert Estimate(0.5, n=400, clusters=400).count() == "n 400"
    assert Estimate(0.57, 0.5, 0.6, 9, share=True).interval() == "[50.0, 60.0]"
