"""Onboarding, surveys that cannot be joined to anybody, and messages."""

from collections.abc import Iterator

import pytest
from sqlalchemy import inspect

from instructloop.core.errors import DataError
from instructloop.feedback import labelers, messages, onboarding, surveys
from instructloop.feedback.database import Database
from instructloop.feedback.guidelines import publish
from instructloop.feedback.project import Project
from instructloop.feedback.schema import SurveyResponse
from instructloop.testing.feedback import add_labeler, add_user


@pytest.fixture
def db(project: Project) -> Iterator[Database]:
    opened = project.database()
    yield opened
    opened.close()


def test_the_onboarding_goes_step_by_step_and_comes_back_when_something_changes(db: Database) -> None:
    labeler = labelers.create_labeler(db)
    assert onboarding.progress(db, labeler).next_step == "notice"
    with pytest.raises(DataError, match="has changed"):
        onboarding.accept_notice(db, labeler, "0", actor="cli")
    onboarding.accept_notice(db, labeler, onboarding.NOTICE_VERSION, actor="cli")
    assert onboarding.progress(db, labeler).next_step == "guidelines"
    with db.read() as session:
        identifiers = [row.id for row in onboarding.guidelines_to_read(session)]
    for identifier in identifiers:
        onboarding.acknowledge(db, labeler, identifier, actor="cli")
    step = onboarding.progress(db, labeler)
    assert (step.next_step, step.training_answered) == ("training", 0)
    for number in range(step.training_total):
        kind, item = onboarding.exercise(number)
        answer = {"sensitive": "no"} if kind == "sensitive" else {"tiers": list(item.expected["tiers"])}
        onboarding.answer_exercise(db, labeler, number, answer)
    assert onboarding.progress(db, labeler).next_step == "screening"
    assert onboarding.set_notice(db, "Something else happens with it.", actor="cli") == "2"
    assert onboarding.progress(db, labeler).next_step == "notice"


def test_a_new_version_of_the_guidelines_is_to_be_read_again(db: Database) -> None:
    labeler = labelers.create_labeler(db, cohort="heldout")
    with db.read() as session:
        first = {row.name: row.id for row in onboarding.guidelines_to_read(session)}
    for identifier in first.values():
        onboarding.acknowledge(db, labeler, identifier, actor="cli")
    assert "guidelines" in onboarding.progress(db, labeler).done
    publish(db, "default", "training", "Better", "Read me again.")
    assert "guidelines" not in onboarding.progress(db, labeler).done


def test_held_out_labelers_are_not_screened(db: Database) -> None:
    progress = onboarding.progress(db, labelers.create_labeler(db, cohort="heldout"))
    assert not progress.screened
    assert "screening" in progress.done


def test_the_first_answer_to_an_exercise_stays(db: Database) -> None:
    labeler = labelers.create_labeler(db)
    assert onboarding.answer_exercise(db, labeler, 0, {"sensitive": "no"}) == 0.0
    onboarding.answer_exercise(db, labeler, 0, {"sensitive": "yes"})
    kept = onboarding.exercise_answer(db, labeler, 0)
    assert kept is not None
    assert kept["answer"] == {"sensitive": "no"}
    with pytest.raises(DataError, match="has no answer"):
        onboarding.answer_exercise(db, labeler, 1, {})


def test_a_survey_response_holds_nothing_that_could_be_joined_to_a_labeler(db: Database) -> None:
    surveys.respond(db, "satisfaction", {"enjoyable": ["agree"]}, now=1_763_700_000_000)
    columns = {column["name"] for column in inspect(db.engine).get_columns("survey_response")}
    assert columns == {"id", "kind", "month", "answers"}
    assert not inspect(db.engine).get_foreign_keys("survey_response")
    with db.read() as session:
        row = session.query(SurveyResponse).one()
    assert (row.month, row.id[14]) == ("2025-11", "4")  # a random identifier, not one that sorts by time
    if db.dialect == "sqlite":
        with db.engine.connect() as connection, pytest.raises(Exception, match="no such column"):
            connection.exec_driver_sql("SELECT rowid FROM survey_response")  # not even SQLite's row number


def test_results_appear_from_five_responses_on_and_small_demographic_cells_do_not(db: Database) -> None:
    for _ in range(4):
        surveys.respond(db, "demographics", {"gender": ["female"]})
    assert surveys.result(db, "demographics").tallies == ()
    assert surveys.result(db, "demographics").responses is None
    surveys.respond(db, "demographics", {"gender": ["female"], "ethnicity": ["latinx", "white___caucasian"]})
    surveys.respond(db, "demographics", {"gender": ["male"]})
    result = surveys.result(db, "demographics")
    assert result.responses == 6
    assert result.tallies[0].counts == (("Male", None), ("Female", 5), ("Nonbinary / other", 0))


def test_satisfaction_counts_every_answer_and_questions_may_be_left_out(db: Database) -> None:
    for value in ("agree", "agree", "disagree", "strongly_agree", "neither"):
        surveys.respond(db, "satisfaction", {"enjoyable": [value], "glad": []})
    tally = surveys.result(db, "satisfaction").tallies[1]
    assert tally.question.key == "enjoyable"
    assert [count for _, count in tally.counts] == [1, 2, 1, 1, 0]
    assert surveys.result(db, "satisfaction").tallies[0].answered == 0


@pytest.mark.parametrize("answers", [{"enjoyable": ["perhaps"]}, {"height": ["tall"]}, {"enjoyable": ["agree", "disagree"]}])
def test_answers_outside_the_form_are_refused(db: Database, answers: dict[str, list[str]]) -> None:
    with pytest.raises(DataError):
        surveys.respond(db, "satisfaction", answers)


def test_a_survey_is_offered_once(db: Database) -> None:
    labeler = add_labeler(db)
    assert not surveys.offered(db, labeler, "satisfaction")
    assert surveys.close_offer(db, labeler, "satisfaction")
    assert not surveys.close_offer(db, labeler, "satisfaction")
    assert surveys.offered(db, labeler, "satisfaction")
    assert not surveys.offered(db, labeler, "demographics")


def test_both_sides_of_a_thread_see_what_is_new_to_them(database: Database) -> None:
    own, staff = add_user(database, "one@example.org"), add_user(database, "team@example.org", role="researcher")
    labeler = add_labeler(database, user=own)
    row = labelers.get_labeler(database, labeler)
    messages.send(database, labeler, author=own, body="May I skip these?", now=1)
    messages.send(database, labeler, author=staff, body="Yes, always.", now=2)
    assert (messages.unread_for_labeler(database, row), messages.unread_for_team(database)) == (1, 1)
    assert [(one.body, one.from_labeler) for one in messages.thread(database, labeler)] == [
        ("Yes, always.", False),
        ("May I skip these?", True),
    ]
    assert [(one.code, one.unread) for one in messages.threads(database)] == [("L001", 1)]
    assert messages.mark_read(database, labeler, by_labeler=True) == 1
    assert (messages.unread_for_labeler(database, row), messages.unread_for_team(database)) == (0, 1)
    messages.mark_read(database, labeler, by_labeler=False)
    assert messages.unread_for_team(database) == 0


def test_messages_go_page_by_page_and_have_limits(db: Database) -> None:
    own = add_user(db, "one@example.org")
    labeler = add_labeler(db, user=own)
    for number in range(5):
        messages.send(db, labeler, author=own, body=f"message {number}")
    first = messages.thread(db, labeler, limit=2)
    second = messages.thread(db, labeler, before=first[-1].id, limit=2)
    assert [one.body for one in (*first, *second)] == ["message 4", "message 3", "message 2", "message 1"]
    for body in ("  ", "x" * 8_001):
        with pytest.raises(DataError, match="body"):
            messages.send(db, labeler, author=own, body=body)
    with pytest.raises(DataError, match="no such task"):
        messages.send(db, labeler, author=own, body="about that", task_id="018f0000-0000-7000-8000-000000000000")
