"""Pools of simulated labelers through the store's own doors: speed, agreement as asked for, absences, every kind of task."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from instructloop.core.errors import ConfigError
from instructloop.feedback.database import Database
from instructloop.feedback.founding import found
from instructloop.feedback.labelers import create_labeler
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.records import add_completion, add_prompt
from instructloop.feedback.schema import Assignment, Labeler, RankingItem, Submission, Task, TaskItem
from instructloop.feedback.simulate import Habits, calibrate_noise, make_pool, utility_of
from instructloop.feedback.simulate.rehearsal import groups_in, measured_agreement, rehearse, unflushed
from instructloop.feedback.simulate.run import run_pool
from instructloop.testing.feedback import seed_queue

SCORE = utility_of("meta:score")


def ranking_queue(db: Database, count: int, k: tuple[int, int], *, name: str = "rankings", **options: Any) -> str:
    """Prompts with completions whose worth is normal, K drawn evenly from ``k``."""
    random_ = random.Random(count)
    with db.write() as session:
        tasks = []
        for number in range(count):
            owner = f"sha256:owner{number % 40}"
            prompt, _ = add_prompt(session, prompt=f"{name} {number}", source="dataset", owner=owner, split="train", pii_status="clean")
            ids = [
                add_completion(session, prompt_id=prompt, text=f"answer {number}.{place}", meta={"score": random_.gauss(0, 1)})
                for place in range(random_.randint(*k))
            ]
            tasks.append(NewTask(prompt_id=prompt, completion_ids=tuple(ids)))
    queue = create_queue(db, name=name, kind="rank", gold_rate=0.0, settings={"seed": 1}, **{"extra_overlap_fraction": 0.0, **options})
    add_tasks(db, queue, tasks)
    return queue


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    db = unflushed(found(tmp_path / "project"))
    yield db
    db.close()


def test_three_hundred_prompts_of_four_to_nine_are_labeled_in_under_a_minute(tmp_path: Path) -> None:
    store = found(tmp_path / "project").database()  # as people use it: every answer on disk before its receipt
    queue = ranking_queue(store, 300, (4, 9), extra_overlap_fraction=0.1)
    began = time.monotonic()
    done = rehearse(
        store, [queue], make_pool(12, SCORE, habits=Habits(skip_rate=0.02, leave_rate=0.02)), agreement=0.726, tie_rate=0.1, seed=3
    )
    seconds = time.monotonic() - began
    assert seconds < 60
    with store.read() as session:
        assert session.scalars(select(Task.state).distinct()).all() == ["done"]
        assert set(session.scalars(select(Task.k).distinct())) == {4, 5, 6, 7, 8, 9}
    assert reconcile(store) == []
    assert len(done.report.by_labeler) == 12
    store.close()
    assert done.report.labeler_hours > 5, "about 7 looks of 20 s a ranking"


def agreement_in_errors(db: Database, prompts: int, seed: int) -> tuple[float, float]:
    """(measured strict agreement minus 72.6 % in standard errors, the standard error) over doubly labeled prompts."""
    queue = ranking_queue(db, prompts, (4, 6), overlap=2)
    done = rehearse(db, [queue], make_pool(12, SCORE), agreement=0.726, tie_rate=0.1, seed=seed)
    assert done.measured is not None
    assert done.measured.strict is not None
    assert done.measured.prompts == prompts
    assert done.measured.tie_rate == pytest.approx(0.1, abs=0.02)
    error = (done.measured.strict.high - done.measured.strict.low) / (2 * 1.96)
    return (done.measured.strict.value - 0.726) / error, error


def test_agreement_over_doubly_labeled_prompts_is_what_was_asked_for(store: Database) -> None:
    off, error = agreement_in_errors(store, 120, 7)
    assert abs(off) < 2
    assert error < 0.025


@pytest.mark.slow
def test_agreement_over_a_thousand_doubly_labeled_prompts_is_what_was_asked_for(store: Database) -> None:
    off, error = agreement_in_errors(store, 1000, 7)
    assert abs(off) < 2
    assert error < 0.01


def test_absences_leave_no_task_behind_and_none_is_given_out_too_often(database: Database) -> None:
    from instructloop.feedback.guidelines import seed

    seed(database)
    queue = ranking_queue(database, 30, (3, 4), overlap=2)
    pool = make_pool(5, SCORE, habits=Habits(skip_rate=0.1, leave_rate=0.15, late_share=0.5))
    report = run_pool(database, [queue], pool, 5)
    assert report.left > 3
    assert report.skipped > 3
    assert report.late > 0
    assert reconcile(database) == []
    with database.read() as session:
        states = Counter(session.scalars(select(Assignment.state)))
        counting = select(Assignment.task_id, func.count()).where(Assignment.state == "submitted").group_by(Assignment.task_id)
        answers = [count for _, count in session.execute(counting)]
        unfinished = session.scalars(select(Task.id).where(Task.state != "done")).all()
        kept = session.scalar(select(func.count()).select_from(Submission))
    assert max(answers) == 2
    assert states["surplus"] == report.surplus
    assert states["skipped"] == report.skipped
    assert "leased" not in states
    assert kept == report.total == sum(answers) + report.surplus, "no answer was lost"
    # whatever nobody finished was skipped by all but one of the five, or left
    assert len(unfinished) <= 1


def test_every_kind_is_answered_through_the_store(store: Database) -> None:
    kinds = ("rank", "rate", "rate_and_rank", "pairwise", "instruction", "critique", "demonstration", "edit", "toxicity")
    queues = [seed_queue(store, kind=kind, prompts=2).queue_id for kind in kinds]
    pool = make_pool(2, utility_of("overlap"), writer=lambda prompt, random_: f"written with {random_.randint(1, 6)} words of my own")
    report = run_pool(store, queues, pool, 1)
    # toxicity needs judgement that no utility has
    assert report.answers == dict.fromkeys(kinds[:-1], 2)
    silent = make_pool(2, utility_of("overlap"), prefix="Q")
    more = [seed_queue(store, kind=kind, prompts=2, name=f"more {kind}").queue_id for kind in ("demonstration", "rank")]
    assert run_pool(store, more, silent, 1).answers == {"rank": 2}, "who has no writer leaves texts alone"


def answers_by_text(db: Database) -> list[tuple[str, int, int]]:
    """(labeler, slot, rank) of every place in a stable order that does not depend on identifiers."""
    with db.read() as session:
        rows = session.execute(
            select(Task.id, Labeler.code, TaskItem.slot, RankingItem.rank)
            .join(Submission, Submission.task_id == Task.id)
            .join(Labeler, Labeler.id == Submission.labeler_id)
            .join(RankingItem, RankingItem.submission_id == Submission.id)
            .join(TaskItem, (TaskItem.task_id == Task.id) & (TaskItem.completion_id == RankingItem.completion_id))
            .order_by(Task.id, Labeler.code, TaskItem.slot)
        ).all()
    return [(code, slot, rank) for _, code, slot, rank in rows]


def test_the_same_seed_gives_the_same_work_in_another_database(tmp_path: Path) -> None:
    results = []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        db = unflushed(found(tmp_path / place))
        queue = ranking_queue(db, 12, (3, 5), overlap=2)
        pool = make_pool(4, SCORE, habits=Habits(skip_rate=0.1, leave_rate=0.1), position_bias=0.3, tie_width=0.2)
        run_pool(db, [queue], pool, seed)
        results.append(answers_by_text(db))
        db.close()
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_a_person_is_never_simulated_and_an_unknown_queue_is_refused(store: Database) -> None:
    queue = ranking_queue(store, 3, (3, 3))
    create_labeler(store, code="S001", kind="human", state="qualified")
    with pytest.raises(ConfigError, match="S001 of this project is a person"):
        run_pool(store, [queue], make_pool(2, SCORE), 0)
    with pytest.raises(ConfigError, match="no queue 'nowhere'"):
        run_pool(store, ["nowhere"], make_pool(2, SCORE, prefix="T"), 0)


def test_the_simulated_time_ends_before_now_so_that_no_real_lease_runs_out(store: Database) -> None:
    queue = ranking_queue(store, 20, (3, 4))
    calibrated = calibrate_noise(make_pool(3, SCORE), groups_in(store, [queue]))
    run_pool(store, [queue], calibrated.pool, 0)
    with store.read() as session:
        last = session.scalar(select(func.max(Assignment.ended_at)))
        first = session.scalar(select(func.min(Assignment.leased_at)))
    assert first < last < time.time() * 1000
    assert measured_agreement(store, [queue]) is None, "nothing was labeled twice"
