"""Demonstrations looked at before a model inherits them (spec I19): each rule finds its case, and a clean set passes."""

import random

import pytest

from instructloop.core.records import Demonstration
from instructloop.data.edits import edits_as_rankings
from instructloop.data.quality import check_demonstrations

NOUNS = ["lamp", "tree", "road", "fish", "cloud", "stone", "paper", "river", "chair", "bread", "glass", "horse"]


def demo(prompt: str, completion: str, **meta: object) -> Demonstration:
    return Demonstration(prompt=prompt, completion=completion, meta=meta)


def clean(count: int, labeler: str = "L1") -> list[Demonstration]:
    random_ = random.Random(labeler)
    return [demo(f"{labeler} question {n}?", " ".join(random_.choices(NOUNS, k=9)), labeler=labeler) for n in range(count)]


def found(rows: list[Demonstration]) -> dict[str, int]:
    return check_demonstrations(rows).counts


def test_a_clean_set_has_no_finding() -> None:
    report = check_demonstrations(clean(30) + clean(30, "L2"))
    assert report.findings == ()
    assert report.describe() == "60 demonstrations checked: nothing found"
    assert report.labelers["L1"] == {"rows": 30, "median_words": 9, "refusal_share": 0.0, "flagged_share": 0.0}


def test_the_same_row_twice_is_a_duplicate_of_the_first() -> None:
    rows = [*clean(3), clean(3)[1]]
    report = check_demonstrations(rows)
    assert report.counts == {"duplicate": 1}
    assert (report.findings[0].row, report.findings[0].other) == (3, 1)


def test_a_template_answer_with_one_word_changed_is_a_near_duplicate() -> None:
    text = "thank you for asking about our hours we are open from nine to five on every day of the week but not on"
    rows = [*clean(4), demo("a?", f"{text} sunday"), demo("b?", f"{text} monday")]
    # 20 of the 3-grams are shared, one differs on each side: 20 / 22
    report = check_demonstrations(rows)
    assert report.counts == {"near_duplicate": 1}
    assert report.findings[0].why == "91% like row 4"


def test_one_word_among_long_answers_is_too_short_and_a_novel_too_long() -> None:
    assert found([*clean(9), demo("a?", "ok")]) == {"too_short": 1}
    novel = " ".join(f"word{n}" for n in range(101))
    assert found([*clean(9), demo("a?", novel)]) == {"too_long": 1}


def test_an_answer_that_repeats_the_prompt_is_copied_unless_the_task_is_to_copy() -> None:
    prompt = "please tell me why the sea is salt and why the sky is blue today"
    assert found([*clean(5), demo(prompt, prompt)]) == {"copied_prompt": 1}
    assert found([*clean(5), demo(prompt, prompt, use_case="extraction")]) == {}


@pytest.mark.parametrize(
    ("first", "second"), [("yes it is a river", "no it is a river"), ("lamp tree road fish", "cloud stone paper glass")]
)
def test_two_answers_to_one_prompt_that_oppose_each_other_are_contradictory(first: str, second: str) -> None:
    report = check_demonstrations([*clean(4), demo("same?", first), demo("same?", second)])
    assert report.counts == {"contradictory": 1}
    assert report.findings[0].other == 4


def test_refusals_are_counted_and_a_labeler_who_declines_more_than_the_others_stands_out() -> None:
    declining = [demo(f"D {n}?", f"I can't help with {noun} number {n} today", labeler="L9") for n, noun in enumerate(NOUNS[:8])]
    report = check_demonstrations(clean(40) + clean(40, "L2") + declining)
    assert report.counts["refusal"] == 8
    assert report.counts["unlike_others"] == 1
    assert "L9 declines 100%, the others 0%" in [finding for finding in report.findings if finding.check == "unlike_others"][-1].why


def test_a_labeler_who_writes_three_times_as_much_stands_out() -> None:
    long = [demo(f"long {n}?", " ".join(random.Random(n).choices(NOUNS, k=40)), labeler="L3") for n in range(10)]
    report = check_demonstrations(clean(20) + clean(20, "L2") + long)
    assert report.counts == {"unlike_others": 1}


def test_an_edit_is_a_demonstration_and_a_pair() -> None:
    rows = [
        demo("p?", "better text", original="model text", labeler="L1", cohort="training", submission_id="s1"),
        demo("q?", "written anew", labeler="L1"),
        demo("r?", "kept as it was", original="kept as it was ", labeler="L2"),
    ]
    (pair,) = edits_as_rankings(rows)
    assert (pair.prompt, pair.completions, pair.ranks, pair.labeler) == ("p?", ("better text", "model text"), (0, 1), "L1")
    assert pair.meta == {"from": "edit", "cohort": "training", "submission_id": "s1"}
