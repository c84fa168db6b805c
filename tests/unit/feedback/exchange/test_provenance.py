"""Unanimous, majority, unresolved: counted by hand."""

from pathlib import Path

import pytest

from instructloop.feedback.assignment import next_lease
from instructloop.feedback.exchange import Selection, export
from instructloop.feedback.exchange.gather import gather
from instructloop.feedback.exchange.provenance import provenance
from instructloop.feedback.submissions import submit
from instructloop.testing import feedback as build
from instructloop.testing.projects import Store


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([(1, 2, 3), (1, 2, 3), (1, 2, 3)], "unanimous"),
        ([(1, 2, 2), (1, 3, 3)], "unanimous"),  # tiers differ, the order does not
        ([(1, 2, 3), (1, 2, 3), (1, 3, 2)], "majority"),
        ([(1, 2, 3), (1, 3, 2)], "unresolved"),
        ([(1, 2, 3), (1, 2, 3), (1, 3, 2), (3, 2, 1)], "unresolved"),  # half is no majority
        ([(1, 2, 3)], None),
    ],
)
def test_provenance_of_rankings(store: Store, tmp_path: Path, orders: list[tuple[int, ...]], expected: str | None) -> None:
    queue = build.seed_ranking_queue(store.db, prompts=1, k=3, overlap=4, max_overlap=9)
    store.consent()
    for number, tiers in enumerate(orders):
        labeler = build.add_labeler(store.db, f"L{number}")
        lease = next_lease(store.db, labeler, queue.queue_id)
        assert lease is not None
        submit(store.db, lease.assignment_id, labeler, lease.idem_key, build.ranking(*tiers), ui_version="t")
    with store.db.read() as session:
        found = provenance(gather(session))
    assert found == ({} if expected is None else {queue.task_ids[0]: {"provenance": expected}})
    export(store.db, tmp_path / "out", selection=Selection(purpose="evaluation"))
    text = (tmp_path / "out" / "rankings.jsonl").read_text()
    assert ('"provenance"' in text) == (expected is not None)


def test_written_texts_have_no_provenance(store: Store) -> None:
    queue = build.seed_queue(store.db, kind="demonstration", prompts=1, overlap=2)
    for code in ("L1", "L2"):
        store.answer(build.add_labeler(store.db, code), queue, "demonstration")
    with store.db.read() as session:
        assert provenance(gather(session)) == {}
