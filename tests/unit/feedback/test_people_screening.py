"""The four parts of the screening, their cut-offs, and what follows (spec B2)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.feedback import browse, labelers, screening
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.screening import Part, score_items
from instructloop.feedback.screening.parts import shipped, training_items
from instructloop.feedback.screening.scoring import check_answer, check_item
from instructloop.testing.feedback import add_user


@pytest.fixture
def db(project: Project) -> Iterator[Database]:
    opened = project.database()
    screening.ensure_tests(opened)
    yield opened
    opened.close()


@pytest.fixture
def applicant(db: Database) -> str:
    return labelers.create_labeler(db)


def parts(db: Database) -> dict[str, Part]:
    with db.read() as session:
        return {part.kind: part for part in screening.active_parts(session)}


def right(part: Part, *, wrong: int = 0) -> list[dict[str, Any]]:
    """Answers as the researchers gave them, the first ``wrong`` of them turned round."""
    answers: list[dict[str, Any]] = []
    for number, item in enumerate(part.items):
        if part.kind == "sensitive":
            value = item.expected["sensitive"]
            answers.append({"sensitive": value if number >= wrong else {"yes": "no", "no": "yes"}[value]})
        elif part.kind == "ranking":
            k = len(item.payload["outputs"])
            answers.append({"tiers": [tier if number >= wrong else k + 1 - tier for tier in item.expected["tiers"]]})
        else:
            answers.append({"text": "A kind and honest answer.", "chosen": []})
    return answers


def hand_in(db: Database, labeler: str, part: Part, answers: list[dict[str, Any]]) -> screening.Attempt:
    attempt = screening.start_attempt(db, labeler, part.id)
    return screening.finish(db, labeler, attempt.id, answers)


def test_every_shipped_question_can_be_shown_and_scored() -> None:
    for kind, part in shipped().items():
        for number, item in enumerate(part["items"]):
            check_item(kind, item["payload"], item["expected"], f"{kind} {number}")
    for kind, item in training_items():
        check_item(kind, item.payload, item.expected, kind)
        assert item.explanation


def test_the_shipped_sensitive_questions_cannot_be_passed_by_answering_always_the_same() -> None:
    answers = [row["expected"]["sensitive"] for row in shipped()["sensitive"]["items"]]
    assert max(answers.count("yes"), answers.count("no")) / len(answers) < 0.75


@pytest.mark.parametrize(("wrong", "score", "passed"), [(0, 1.0, True), (4, 0.75, True), (5, 11 / 16, False)])
def test_the_sensitive_part_passes_from_three_quarters_on(db: Database, applicant: str, wrong: int, score: float, passed: bool) -> None:
    part = parts(db)["sensitive"]
    attempt = hand_in(db, applicant, part, right(part, wrong=wrong))
    assert (attempt.score, attempt.passed) == (pytest.approx(score), passed)


def test_the_ranking_part_averages_the_agreement_of_pairs_over_questions() -> None:
    expected = [{"tiers": [1, 2, 3]}, {"tiers": [1, 1, 2]}]
    answers = [{"tiers": [1, 3, 2]}, {"tiers": [2, 2, 1]}]
    # first: 2 of 3 pairs; second: both ordered pairs reversed, the tie is free
    assert score_items("ranking", expected, answers).score == pytest.approx((2 / 3 + 0) / 2)


def test_passing_all_four_parts_qualifies(database: Database) -> None:
    db = database
    screening.ensure_tests(db)
    screening.ensure_tests(db)
    applicant = labelers.create_labeler(db)
    found = parts(db)
    rater = add_user(db, "researcher@example.org", role="researcher")
    for kind in ("sensitive", "ranking", "self"):
        assert hand_in(db, applicant, found[kind], right(found[kind])).passed
    written = hand_in(db, applicant, found["demonstration"], right(found["demonstration"]))
    assert (written.score, written.passed) == (None, None)
    assert labelers.get_labeler(db, applicant).state == "applicant"
    for score in (7, 5, 6):
        item = screening.next_to_rate(db, rater)
        assert item is not None
        assert "L001" not in repr(item)  # anonymised: no code, no name
        screening.rate_demonstration(db, item.attempt_id, item.position, rater=rater, score=score)
    assert screening.next_to_rate(db, rater) is None
    latest = next(one for one in screening.attempts_of(db, applicant) if one.kind == "demonstration")
    assert (latest.score, latest.passed) == (6.0, True)
    assert labelers.get_labeler(db, applicant).state == "qualified"
    assert [line.action for line in browse.audit_lines(db, action="labeler.qualified")] == ["labeler.qualified"]


def test_a_mean_rating_below_six_does_not_pass(db: Database, applicant: str) -> None:
    part = parts(db)["demonstration"]
    attempt = hand_in(db, applicant, part, right(part))
    for position, score in enumerate((7, 5, 5)):
        screening.rate_demonstration(db, attempt.id, position, rater="somebody", score=score)
    assert [(one.score, one.passed) for one in screening.attempts_of(db, applicant)] == [(pytest.approx(17 / 3), False)]
    with pytest.raises(DataError, match="no such text to rate"):
        screening.rate_demonstration(db, attempt.id, 1, rater="somebody else", score=7)  # a verdict is not moved afterwards


def test_two_raters_never_see_each_other_and_are_averaged(db: Database, applicant: str) -> None:
    screening.set_rules(db, screening.Rules(raters=2), actor="cli")
    part = parts(db)["demonstration"]
    attempt = hand_in(db, applicant, part, right(part))
    for position in range(3):
        assert screening.rate_demonstration(db, attempt.id, position, rater="a", score=6) is None
    assert screening.next_to_rate(db, "a") is None
    assert screening.waiting_to_rate(db, "b") == 3
    for position, score in enumerate((7, 7, 4)):
        screening.rate_demonstration(db, attempt.id, position, rater="b", score=score)
    assert screening.attempts_of(db, applicant)[0].score == 6.0


def test_tries_run_out_and_can_be_granted(db: Database, applicant: str) -> None:
    part = parts(db)["sensitive"]
    for _ in range(2):
        assert not hand_in(db, applicant, part, right(part, wrong=9)).passed
    with pytest.raises(DataError, match="tried this part 2 times"):
        screening.start_attempt(db, applicant, part.id)
    screening.grant_attempt(db, applicant, "sensitive", actor="cli")
    assert hand_in(db, applicant, part, right(part)).passed
    with pytest.raises(DataError, match="have passed this part"):
        screening.start_attempt(db, applicant, part.id)
    assert [one.passed for one in screening.attempts_of(db, applicant)] == [True, False, False]  # the history stays


def test_an_attempt_is_taken_up_again_and_handed_in_once(db: Database, applicant: str) -> None:
    part = parts(db)["ranking"]
    first = screening.start_attempt(db, applicant, part.id)
    assert screening.start_attempt(db, applicant, part.id).id == first.id
    done = screening.finish(db, applicant, first.id, right(part))
    assert screening.finish(db, applicant, first.id, right(part, wrong=8)) == done
    other = labelers.create_labeler(db)
    with pytest.raises(DataError, match="no such attempt"):
        screening.finish(db, other, first.id, right(part))


def test_an_incomplete_form_names_its_questions_and_stores_nothing(db: Database, applicant: str) -> None:
    part = parts(db)["sensitive"]
    answers = right(part)
    answers[2] = {"sensitive": ""}
    assert list(screening.missing_answers(part, answers)) == [2]
    attempt = screening.start_attempt(db, applicant, part.id)
    with pytest.raises(DataError, match="question 3: has no answer"):
        screening.finish(db, applicant, attempt.id, answers)
    assert screening.attempts_of(db, applicant)[0].finished_at is None


def test_cut_offs_are_data_and_a_new_one_is_a_new_version(db: Database, applicant: str) -> None:
    before = parts(db)["sensitive"]
    attempt = hand_in(db, applicant, before, right(before, wrong=4))
    screening.set_cutoff(db, "sensitive", 0.9, actor="cli")
    after = parts(db)["sensitive"]
    assert (after.version, after.cutoff, after.items) == (before.version + 1, 0.9, before.items)
    assert screening.attempts_of(db, applicant)[0] == attempt  # the verdict of then
    with pytest.raises(DataError, match=r"cut-off 1\.5 does not fit"):
        screening.set_cutoff(db, "ranking", 1.5, actor="cli")


def test_an_override_needs_a_reason_and_leaves_the_scores_in_the_log(db: Database, applicant: str) -> None:
    part = parts(db)["sensitive"]
    hand_in(db, applicant, part, right(part, wrong=9))
    with pytest.raises(DataError, match="reason"):
        screening.override(db, applicant, reason=" ", actor="cli")
    screening.override(db, applicant, reason="Knows the dialect nobody else knows.", actor="cli")
    assert labelers.get_labeler(db, applicant).state == "qualified"
    line = browse.audit_lines(db, action="labeler.qualified")[0]
    assert line.detail["reason"].startswith("Knows")
    assert list(line.detail["scores"].values()) == [7 / 16]


def test_questions_go_out_and_come_back_as_they_were(db: Database) -> None:
    before = parts(db)["ranking"]
    screening.import_items(db, "ranking", screening.export_items(before).splitlines(), actor="cli")
    after = parts(db)["ranking"]
    assert (after.items, after.cutoff, after.instructions) == (before.items, before.cutoff, before.instructions)
    assert after.version == before.version + 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2: needs the objects payload and expected"),
        (json.dumps({"payload": {"prompt": "p", "outputs": ["a"]}, "expected": {"tiers": [1]}}), "line 2: payload needs prompt and 2 to 9"),
        (json.dumps({"payload": {"prompt": "p", "outputs": ["a", "b"]}, "expected": {"tiers": [1, 5]}}), r"number 1\.\.2 for each"),
    ],
)
def test_a_bad_line_of_questions_is_named_and_changes_nothing(db: Database, line: str, said: str) -> None:
    good = json.dumps({"payload": {"prompt": "p", "outputs": ["a", "b"]}, "expected": {"tiers": [1, 2]}})
    with pytest.raises(DataError, match=said):
        screening.import_items(db, "ranking", [good, line], actor="cli")
    assert parts(db)["ranking"].version == 1


def test_who_is_not_an_applicant_is_not_screened(db: Database) -> None:
    held = labelers.create_labeler(db, cohort="heldout")
    with pytest.raises(DataError, match="for applicants"):
        screening.start_attempt(db, held, parts(db)["sensitive"].id)


def test_texts_have_a_limit() -> None:
    with pytest.raises(DataError, match="longer than 16,000 bytes"):
        check_answer("demonstration", {"prompt": "p"}, {"text": "x" * 16_001}, "question 1")
