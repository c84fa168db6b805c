"""The judges of truth and informativeness."""

from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.scoring.sets import read_set
from instructloop.scoring.truth import References, TruthJudge, read_labels, train_judge

THINGS = [f"thing{number}" for number in range(30)]
QUESTIONS = [f"What is {thing}?" for thing in THINGS]
TRUE = [f"It is {thing}, plainly." for thing in THINGS]
FALSE = [f"{thing} is magic, always." for thing in THINGS]
SILENT = "I have no comment."
REFERENCES: References = {question: ([true], [false]) for question, true, false in zip(QUESTIONS, TRUE, FALSE, strict=True)}


def _rows(field: str) -> list[dict[str, Any]]:
    rows = []
    for question, true, false in zip(QUESTIONS, TRUE, FALSE, strict=True):
        for answer, is_true, is_informative in ((true, True, True), (false, False, True), (SILENT, True, False)):
            rows.append({"question": question, "answer": answer, field: is_true if field == "truthful" else is_informative})
    return rows


@pytest.fixture(scope="module")
def judge() -> TruthJudge:
    return train_judge(_rows("truthful"), _rows("informative"), references=REFERENCES)


def test_answers_are_told_apart(judge: TruthJudge) -> None:
    true, false, silent = judge.true([QUESTIONS[0]] * 3, [TRUE[0], FALSE[0], SILENT], REFERENCES)
    assert min(true, silent) > 0.6 > 0.4 > false
    says, nothing = judge.informative([QUESTIONS[0]] * 2, [TRUE[0], SILENT])
    assert says > 0.6 > 0.4 > nothing
    assert judge.description["true"]["accuracy"]["clusters"] == 30
    assert judge.description["true"]["base_rate"] == pytest.approx(2 / 3)


def test_a_question_is_judged_by_weights_that_have_not_seen_it() -> None:
    # one question's labels are turned round: only the other folds may learn from that
    odd = QUESTIONS[3]
    plain, turned = (
        [{**row, "truthful": row["truthful"] != (turn and row["question"] == odd)} for row in _rows("truthful")] for turn in (False, True)
    )
    first, second = (train_judge(rows, _rows("informative"), folds=3) for rows in (plain, turned))
    assert first.true([odd], [TRUE[3]]) == second.true([odd], [TRUE[3]])
    others = [question for question in QUESTIONS if question != odd]
    assert first.true(others, [TRUE[3]] * 29) != second.true(others, [TRUE[3]] * 29)


def test_a_saved_judge_judges_the_same(judge: TruthJudge, tmp_path: Path) -> None:
    again = TruthJudge.load(judge.save(tmp_path / "truth"))
    asked = ([*QUESTIONS, "Something new?"], [*FALSE, "It is new."])
    references = {**REFERENCES, "Something new?": (["It is new."], ["It is old."])}
    assert again.true(*asked, references) == judge.true(*asked, references)
    assert again.informative(*asked) == judge.informative(*asked)
    assert again.signature == judge.signature


def test_missing_references_and_bad_rows_are_named(judge: TruthJudge) -> None:
    with pytest.raises(DataError, match="no reference answers for the question 'New\\?'"):
        judge.true(["New?"], ["x"], REFERENCES)
    with pytest.raises(DataError, match="row 1: needs question, answer"):
        read_labels([{"question": "q", "answer": "a", "truthful": "yes"}], "truthful")
    with pytest.raises(DataError, match="2 questions cannot be divided into 5 folds"):
        train_judge(_rows("truthful")[:6], _rows("informative")[:6])
    alike = [{**row, "truthful": True} for row in _rows("truthful")]
    with pytest.raises(DataError, match="both kinds"):
        train_judge(alike, _rows("informative"))


@pytest.mark.slow  # 15 seconds
def test_accuracy_on_unseen_questions_of_truthfulqa(shared: Path) -> None:
    folder = shared / "data" / "truthfulqa"
    references = {
        item.fields["question"]: (item.fields["correct_answers"], item.fields["incorrect_answers"])
        for item in read_set("truthfulqa", folder)
    }
    judge = train_judge(folder / "truth_labels_train.jsonl.gz", folder / "info_labels_train.jsonl.gz", references=references)
    true, informative = judge.description["true"], judge.description["informative"]
    assert true["accuracy"]["low"] > 0.8 > true["base_rate"]
    assert true["accuracy_new"]["low"] > 0.72
    assert informative["accuracy"]["low"] > 0.85 > informative["base_rate"]
