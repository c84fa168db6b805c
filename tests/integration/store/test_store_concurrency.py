"""Many at once: no task is given out too often, no writer is turned away, no answer is lost, not even by kill -9."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from instructloop.core.seeds import stream
from instructloop.feedback.assignment import expire, next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.schema import Assignment, RankingItem, Submission, Task
from instructloop.feedback.submissions import submit
from instructloop.testing.databases import fresh_postgres, sqlite_template
from instructloop.testing.feedback import add_labeler, any_answer, seed_queue

WORKER = Path(__file__).with_name("worker.py")


class Workers:
    """A process of ``worker.py``; reading its lines never blocks the test for longer than the process lives."""

    def __init__(self, url: str, queue: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(WORKER), url, queue], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._until("ready")

    def _until(self, first: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(first):
                return line.strip()
            self.lines.append(line.strip())
        raise AssertionError(f"the worker ended before it said {first!r}")

    def go(self, codes: Sequence[str]) -> int:
        """Let a fresh process of these labelers begin; its number."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(codes) + "\n")
        self.process.stdin.flush()
        return int(self._until("pid").split()[1])

    def first_receipt(self) -> None:
        """Wait until the newest process has stored an answer."""
        self.lines.append(self._until("receipt"))

    def receipts(self) -> list[str]:
        """Wait until all is done; every receipt that was printed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        with self.process.stdout as rest:  # communicate() would lose what this stream has read ahead
            self.lines += [line.strip() for line in rest]
        assert self.process.wait(timeout=60) == 0
        assert [line for line in self.lines if line.startswith("error")] == []  # no "database is locked", nothing else
        return [line.split()[1] for line in self.lines if line.startswith("receipt")]


def _work_at_once(db: Database, url: str, groups: Sequence[Sequence[str]], tasks: int, overlap: int) -> None:
    """Everybody answers until nothing is left; exactly what was wanted must be there."""
    queue = seed_queue(db, kind="demonstration", prompts=tasks, overlap=overlap)
    for code in ("WARM", *(code for group in groups for code in group)):
        add_labeler(db, code)
    workers = Workers(url, queue.queue_id)
    for group in groups:
        workers.go(group)
    receipts = workers.receipts()
    assert len(receipts) == tasks * overlap
    _nothing_lost(db, receipts)
    with db.read() as session:
        answers = Counter(session.scalars(select(Submission.task_id)))
        assert set(answers.values()) == {overlap}
        assert session.scalar(select(func.count()).select_from(Submission).where(Submission.surplus)) == 0
        assert set(session.scalars(select(Task.state))) == {"done"}


def _nothing_lost(db: Database, receipts: Sequence[str]) -> None:
    with db.read() as session:
        kept = set(session.scalars(select(Submission.id)))
        most = session.execute(
            select(Assignment.task_id, func.count(), Task.wanted)
            .join(Task, Task.id == Assignment.task_id)
            .where(Assignment.state.in_(("leased", "submitted")))
            .group_by(Assignment.task_id, Task.wanted)
        ).all()
    assert len(set(receipts)) == len(receipts)
    assert set(receipts) <= kept
    assert all(n <= wanted for _, n, wanted in most)
    assert reconcile(db) == []


def _sqlite(folder: Path) -> str:
    file = folder / "feedback.sqlite3"
    file.write_bytes(sqlite_template().read_bytes())
    return f"sqlite:///{file}"


@pytest.mark.parametrize(
    "size", [pytest.param((4, 30), id="4 processes"), pytest.param((12, 120), id="12 processes", marks=pytest.mark.slow)]
)
def test_processes_on_one_sqlite_file_answer_exactly_what_is_wanted(size: tuple[int, int], tmp_path: Path) -> None:
    processes, tasks = size
    url = _sqlite(tmp_path)
    db = Database(url)
    _work_at_once(db, url, [[f"W{number}"] for number in range(processes)], tasks, 3)
    db.close()


@pytest.mark.parametrize(
    "size", [pytest.param((2, 6, 30), id="12 clients"), pytest.param((2, 25, 120), id="50 clients", marks=pytest.mark.slow)]
)
def test_clients_of_postgresql_answer_exactly_what_is_wanted(size: tuple[int, int, int], tmp_path: Path) -> None:
    processes, threads, tasks = size
    with fresh_postgres() as url:
        db = Database(url)
        _work_at_once(db, url, [[f"W{p}-{t}" for t in range(threads)] for p in range(processes)], tasks, 3)
        db.close()


def test_a_triple_click_stores_one_row_and_gives_one_receipt(database: Database) -> None:
    queue = seed_queue(database, kind="rank", prompts=1)
    labeler = add_labeler(database)
    lease = next_lease(database, labeler, queue.queue_id)
    assert lease is not None

    def click(_: int) -> tuple[str, bool]:
        receipt = submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6), active_ms=9000)
        return receipt.submission_id, receipt.repeated

    with ThreadPoolExecutor(3) as pool:
        receipts = list(pool.map(click, range(3)))
    assert len({submission for submission, _ in receipts}) == 1
    assert sorted(repeated for _, repeated in receipts) == [False, True, True]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 1
        assert session.scalar(select(func.count()).select_from(RankingItem)) == 6


def test_one_labelers_many_tabs_open_one_lease(database: Database) -> None:
    queue = seed_queue(database, kind="rank", prompts=20)
    labeler = add_labeler(database)
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: next_lease(database, labeler, queue.queue_id), range(16)))
    assert len({lease.assignment_id for lease in leases if lease is not None}) == 1
    assert sum(not lease.resumed for lease in leases if lease is not None) == 1


def test_expiry_while_everybody_works_frees_every_slot_once(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=20, overlap=2)
    labelers = [add_labeler(database, f"L{number}") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda labeler: next_lease(database, labeler, queue.queue_id), labelers))
        assert all(leases)
        late = now_ms() + 3_600_000
        assert sum(pool.map(lambda _: expire(database, late), range(8))) == 40
    assert reconcile(database) == []
    with database.read() as session:
        assert session.scalar(select(func.sum(Task.taken))) == 0


@pytest.mark.parametrize(
    ("engine", "kills"),
    [
        ("sqlite", 12),
        ("postgresql", 8),
        pytest.param("sqlite", 100, marks=pytest.mark.slow),
        pytest.param("postgresql", 100, marks=pytest.mark.slow),
    ],
)
def test_no_receipt_is_lost_when_the_process_is_killed_at_random(engine: str, kills: int, tmp_path: Path) -> None:
    """kill -9 at random moments; whatever had printed a receipt must be in the store, whole, and the store must be sound."""
    chance = stream(11, "kill", engine, kills)
    with contextlib.ExitStack() as stack:
        url = _sqlite(tmp_path) if engine == "sqlite" else stack.enter_context(fresh_postgres())
        db = Database(url)
        queue = seed_queue(db, kind="rank", k=4, prompts=25 * kills, overlap=4)
        codes = [f"K{number}" for number in range(4)]
        for code in ("WARM", *codes):
            add_labeler(db, code)
        workers = Workers(url, queue.queue_id)
        for _ in range(kills):
            child = workers.go(codes)
            workers.first_receipt()
            time.sleep(chance.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
        receipts = workers.receipts()
        assert len(receipts) > kills
        _nothing_lost(db, receipts)
        with db.read() as session:
            whole = session.execute(
                select(Submission.id, func.count(RankingItem.completion_id))
                .outerjoin(RankingItem, RankingItem.submission_id == Submission.id)
                .group_by(Submission.id)
            ).all()
            assert {n for _, n in whole} == {4}  # no answer without its rows
            states = Counter(session.scalars(select(Assignment.state)))
            assert states["submitted"] == len(whole)
            assert states["leased"] <= len(codes)
        db.close()
