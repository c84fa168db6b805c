"""Handing out tasks stays fast in a big queue: 20,000 open tasks, 50 labelers, both engines."""

import statistics
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from instructloop.core.hashing import hash_bytes
from instructloop.core.seeds import stream
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.guidelines import seed
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_prompt
from instructloop.feedback.schema import Assignment, Task
from instructloop.testing.databases import fresh_database
from instructloop.testing.feedback import add_labeler

TASKS, LABELERS, BEFORE = 20_000, 50, 300
LIMIT_MS = 20.0


def _big_queue(db: Database) -> tuple[str, list[str]]:
    """Half-worked: every labeler has answered 300 tasks that still want more, 100 tasks a queue are done."""
    seed(db)
    with db.write() as session:
        prompt, _ = add_prompt(session, prompt="say something", source="dataset", owner=hash_bytes(b"o"), split="train")
    queue = create_queue(db, name="big", kind="demonstration", overlap=40, extra_overlap_fraction=0.0)
    tasks: list[str] = []
    for _ in range(0, TASKS, 5000):
        tasks += add_tasks(db, queue, [NewTask(prompt_id=prompt)] * 5000)
    labelers = [add_labeler(db, f"P{number:03d}") for number in range(LABELERS)]
    chance, now = stream(7, "speed"), now_ms()
    rows = [
        {
            "id": new_id(),
            "task_id": task,
            "queue_id": queue,
            "labeler_id": labeler,
            "state": "submitted",
            "display_order": [],
            "idem_key": new_id(),
            "leased_at": now,
            "expires_at": now,
            "heartbeat_at": now,
            "ended_at": now,
            "active_ms": 1000,
            "wall_ms": 1000,
            "client": {},
        }
        for labeler in labelers
        for task in chance.sample(tasks[:2000], BEFORE)
    ]
    with db.write() as session:
        session.execute(insert(Assignment), rows)
        session.execute(update(Task).where(Task.id.in_(tasks[:100])).values(state="done", taken=40, done=40))
        counts: dict[str, int] = {}
        for row in rows:
            counts[str(row["task_id"])] = counts.get(str(row["task_id"]), 0) + 1
        for task, n in counts.items():
            if task not in set(tasks[:100]):
                session.execute(update(Task).where(Task.id == task).values(taken=n, done=n))
    return queue, labelers


@pytest.mark.slow
def test_the_next_task_of_twenty_thousand_comes_within_20_ms(database: Database) -> None:
    queue, labelers = _big_queue(database)
    took = []
    for labeler in labelers * 4:
        began = time.perf_counter()
        lease = next_lease(database, labeler, queue)
        took.append((time.perf_counter() - began) * 1000)
        assert lease is not None
        with database.write() as session:  # as if it had been answered, without the time that answering takes
            session.execute(update(Assignment).where(Assignment.id == lease.assignment_id).values(state="submitted", ended_at=now_ms()))
    rounds = [statistics.quantiles(took[start : start + LABELERS], n=20)[-1] for start in range(0, len(took), LABELERS)]
    assert min(rounds) < LIMIT_MS, (
        f"{database.dialect}: p95 by round {[round(p95, 1) for p95 in rounds]} ms"
    )  # best: others use the machine too


@pytest.mark.slow
def test_one_labeler_far_ahead_of_all_others_does_not_slow_down(database: Database) -> None:
    done = 5000
    seed(database)
    with database.write() as session:
        prompt, _ = add_prompt(session, prompt="say something", source="dataset", owner=hash_bytes(b"o"), split="train")
    queue = create_queue(database, name="big", kind="demonstration", overlap=3, extra_overlap_fraction=0.0)
    tasks = add_tasks(database, queue, [NewTask(prompt_id=prompt)] * (done + 200))
    labeler, now = add_labeler(database), now_ms()
    common = {"queue_id": queue, "labeler_id": labeler, "state": "submitted", "display_order": [], "leased_at": now, "expires_at": now}
    rows = [
        {**common, "id": new_id(), "task_id": task, "idem_key": new_id(), "heartbeat_at": now, "ended_at": now, "client": {}}
        for task in tasks[:done]
    ]
    with database.write() as session:
        session.execute(insert(Assignment), rows)
        session.execute(update(Task).where(Task.id.in_(tasks[:done])).values(taken=1, done=1))
    took = []
    for _ in range(40):
        began = time.perf_counter()
        lease = next_lease(database, labeler, queue)
        took.append((time.perf_counter() - began) * 1000)
        assert lease is not None
        assert lease.task_id in tasks[done:]
        with database.write() as session:
            session.execute(update(Assignment).where(Assignment.id == lease.assignment_id).values(state="submitted", ended_at=now_ms()))
    assert statistics.quantiles(took, n=4)[0] < LIMIT_MS, f"{database.dialect}: {[round(ms, 1) for ms in took]}"


def test_a_long_queue_costs_no_more_computing_than_a_short_one(tmp_path: Path) -> None:
    """Computing time, not wall time, so that it holds on a busy machine; SQLite computes within this process."""
    with fresh_database("sqlite", tmp_path) as db:
        seed(db)
        with db.write() as session:
            prompt, _ = add_prompt(session, prompt="say something", source="dataset", owner=hash_bytes(b"o"), split="train")
        spent = {}
        for size in (100, 10_000):
            queue = create_queue(db, name=f"of {size}", kind="demonstration", overlap=3, extra_overlap_fraction=0.0)
            add_tasks(db, queue, [NewTask(prompt_id=prompt)] * size)
            labelers = [add_labeler(db, f"P{size}-{number}") for number in range(40)]
            took = []
            for labeler in labelers:
                began = time.process_time()
                assert next_lease(db, labeler, queue) is not None
                took.append(time.process_time() - began)
            spent[size] = statistics.median(took)
        assert spent[10_000] < 3 * spent[100]
