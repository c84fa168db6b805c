"""Labelers: codes, states, cohorts, and the queues they may work in."""

from collections.abc import Iterator
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.feedback import labelers
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.submissions import submit
from instructloop.testing.feedback import add_labeler, any_answer, seed_queue


@pytest.fixture
def db(project: Project) -> Iterator[Database]:
    opened = project.database()
    yield opened
    opened.close()


def test_codes_are_the_next_free_ones_and_say_the_kind_only(database: Database) -> None:
    first = labelers.create_labeler(database)
    labelers.create_labeler(database, code="L007")
    third = labelers.create_labeler(database)
    simulated = labelers.create_labeler(database, kind="simulated", cohort="simulated")
    assert [labelers.get_labeler(database, one).code for one in (first, third, simulated)] == ["L001", "L008", "S001"]
    with pytest.raises(DataError, match="'L007' or the account is taken"):
        labelers.create_labeler(database, code="L007")


def test_only_people_of_the_training_cohort_begin_as_applicants(db: Database) -> None:
    states = {
        (kind, cohort): labelers.get_labeler(db, labelers.create_labeler(db, kind=kind, cohort=cohort)).state
        for kind, cohort in (("human", "training"), ("human", "heldout"), ("human", "researcher"), ("simulated", "simulated"))
    }
    assert states.pop(("human", "training")) == "applicant"
    assert set(states.values()) == {"qualified"}


@pytest.mark.parametrize("wrong", [{"kind": "robot"}, {"cohort": "testing"}, {"state": "asleep"}, {"code": "a b"}])
def test_unknown_words_are_refused(db: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        labelers.create_labeler(db, **wrong)


def test_who_has_answered_cannot_move_into_or_out_of_the_held_out_cohort(db: Database) -> None:
    queue = seed_queue(db, prompts=1, k=2)
    trained, held = add_labeler(db, "T001"), add_labeler(db, "H001", cohort="heldout")
    assert labelers.set_cohort(db, held, "training") == "heldout"
    assert labelers.get_labeler(db, held).state == "applicant"  # it was never screened
    lease = next_lease(db, trained, queue.queue_id)
    assert lease is not None
    submit(db, lease.assignment_id, trained, lease.idem_key, any_answer("rank", 2))
    with pytest.raises(DataError, match="T001 has answered tasks as training"):
        labelers.set_cohort(db, trained, "heldout")
    assert labelers.set_cohort(db, trained, "researcher") == "training"


def test_a_labeler_sees_the_queues_of_the_cohort_and_how_many_tasks_wait(database: Database) -> None:
    mine = seed_queue(database, prompts=3, k=2, name="mine", cohorts=("training",))
    seed_queue(database, prompts=2, k=2, name="theirs", cohorts=("heldout",))
    labeler = add_labeler(database, "T001")
    assert [(one.name, one.waiting, one.leased) for one in labelers.eligible_queues(database, labeler)] == [("mine", 3, False)]
    lease = next_lease(database, labeler, mine.queue_id)
    assert lease is not None
    assert [(one.waiting, one.leased) for one in labelers.eligible_queues(database, labeler)] == [(2, True)]
    submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 2))
    assert [(one.waiting, one.leased) for one in labelers.eligible_queues(database, labeler)] == [(2, False)]
    labelers.set_state(database, labeler, "paused")
    assert labelers.eligible_queues(database, labeler) == []


def test_a_task_with_overlap_that_a_labeler_answered_no_longer_waits_for_them(db: Database) -> None:
    queue = seed_queue(db, prompts=2, k=2, overlap=2)
    labeler = add_labeler(db)
    lease = next_lease(db, labeler, queue.queue_id)
    assert lease is not None
    submit(db, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 2))
    assert [one.waiting for one in labelers.eligible_queues(db, labeler)] == [1]
