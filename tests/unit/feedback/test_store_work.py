"""The path of a task through the store, on both engines: queue, lease, draft, answer, revision."""

import pytest

from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.queues import COMPLETIONS
from instructloop.feedback.submissions import revise, submit
from instructloop.feedback.views import task_view
from instructloop.testing.feedback import add_labeler, any_answer, seed_queue


@pytest.mark.parametrize("kind", COMPLETIONS)
def test_an_answer_of_every_kind_reads_back_as_it_was_given(database: Database, kind: str) -> None:
    queue = seed_queue(database, kind=kind, prompts=1)
    labeler = add_labeler(database)
    lease = next_lease(database, labeler, queue.queue_id)
    assert lease is not None
    answer = any_answer(kind, lease.k)

    receipt = submit(database, lease.assignment_id, labeler, lease.idem_key, answer, active_ms=9000)

    view = task_view(database, lease.assignment_id, labeler)
    assert (receipt.rev, receipt.surplus, receipt.repeated, receipt.too_fast) == (1, False, False, False)
    assert view.previous == answer
    assert view.submission_id == receipt.submission_id
    if kind != "adjudicate":  # an adjudicated task is settled
        second = revise(database, receipt.submission_id, labeler, view.lease.idem_key, answer)
        assert second.rev == 2
