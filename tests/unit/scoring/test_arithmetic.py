"""Numbers in solutions of word problems, by hand and against lm-eval's filters."""

import gzip
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.scoring.arithmetic import correct, exact_match, last_number, number, reference_answer, strict_answer

REFERENCE = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n#### 72"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", 72),
        ("1,234.50", Fraction(2469, 2)),
        ("$3", 3),
        ("-$7.", -7),
        ("−4", -4),
        ("1/2", Fraction(1, 2)),
        ("seven", None),
        ("1/0", None),
        ("", None),
    ],
)
def test_a_written_number_has_a_value(text: str, value: Fraction | int | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So #### 72", 72),
        ("####72.", 72),
        ("#### $1,000", 1000),
        ("#### -5 degrees", -5),
        ("#### 5\n#### 6", 5),
        ("The answer is 72", None),
        ("#### none", None),
    ],
)
def test_strict_takes_the_number_after_the_mark(text: str, value: int | None) -> None:
    assert strict_answer(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("She has 3 apples and 4 pears, so 7.", 7),
        ("It costs $1,250.75 in all.", Fraction(500300, 400)),
        ("between 5-10", 10),
        ("It fell to -12 degrees", -12),
        ("3 hours and 20% more", 20),
        ("half: 1/2", Fraction(1, 2)),
        ("12 <<3*4=12>>", 12),
        ("about .5 litres", Fraction(1, 2)),
        ("6x the price, or 30km", 30),
        ("none", None),
    ],
)
def test_flexible_takes_the_last_number(text: str, value: Fraction | int | None) -> None:
    assert last_number(text) == value


def test_answers_are_compared_by_value() -> None:
    assert correct("#### 72.00", REFERENCE)
    assert not correct("The answer is 72", REFERENCE)
    assert correct("The answer is 72 clips.", REFERENCE, "flexible")
    assert correct("#### 1,000", "1000")
    assert not correct("", REFERENCE, "flexible")
    assert not correct("no number", "no number", "flexible")


def test_lm_eval_compares_letters() -> None:
    assert not exact_match("#### 72.00", REFERENCE)
    assert exact_match("#### 72.", REFERENCE)
    assert exact_match("It is $72", REFERENCE, "flexible")
    assert not exact_match("none", REFERENCE, "flexible")


@given(st.integers(-(10**9), 10**9))
def test_a_number_with_thousands_marks_keeps_its_value(value: int) -> None:
    assert number(f"{value:,}") == value
    assert last_number(f"In all ${value:,}." if value >= 0 else f"In all {value:,}.") == value


def test_every_solution_of_gsm8k_holds_its_answer_in_both_readings(shared: Path) -> None:
    with gzip.open(shared / "data" / "gsm8k" / "train.jsonl.gz", "rt") as lines:
        solutions = [json.loads(line)["completion"] for line in lines]
    assert len(solutions) == 7473
    assert all(reference_answer(one) is not None for one in solutions)
    assert all(correct(one, one) and correct(one, one, "flexible") and exact_match(one, one) for one in solutions)


@pytest.fixture(scope="module")
def filters() -> Any:
    return pytest.importorskip("lm_eval.filters.extraction", reason="the filters to compare with").RegexFilter


@given(st.text(alphabet="0123456789.,$-# \nab", max_size=40))
def test_extraction_equals_lm_evals_filters(filters: Any, text: str) -> None:
    def plain(found: str) -> str:
        for pattern in (",", r"\$", "(?s).*#### ", r"\.$"):
            found = re.sub(pattern, "", found)
        return found.lower()

    for one in (text, f"so #### {text}", f"is {text}."):
        ((strict,),) = filters(regex_pattern=r"#### (\-?[0-9\.\,]+)").apply([[one]], [{}])
        ((loose,),) = filters(regex_pattern=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1).apply([[one]], [{}])
        for reference in ("7", "12", plain(strict), plain(loose)):
            assert exact_match(one, reference) == (plain(strict) == plain(reference))
            assert exact_match(one, reference, "flexible") == (plain(loose) == plain(reference))
