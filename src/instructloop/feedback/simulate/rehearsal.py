"""A rehearsal: a copy of a project is labeled by a pool, before people are paid (spec B21 asks for calibration; this is its dry run).

What comes out says whether queues, overlap and time are planned well, and the copy holds everything downstream needs: snapshots,
agreement, a reward model to be trained on it. The project itself is left as it is.
"""

import os
import shutil
import sqlite3
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import aliased

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt
from instructloop.feedback.database import Database
from instructloop.feedback.project import DATABASE_FILE, KEY_FILE, PROJECT_FILE, Project
from instructloop.feedback.records import prompt_of
from instructloop.feedback.schema import CompletionRow, Labeler, PromptRow, Queue, RankingItem, Submission, Task, TaskItem
from instructloop.feedback.simulate.calibrate import Calibration, Group, calibrate_noise
from instructloop.feedback.simulate.pool import Pool
from instructloop.feedback.simulate.run import RunReport, run_pool
from instructloop.feedback.simulate.utility import Candidate
from instructloop.stats.agreement import Agreement, pairwise_agreement


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What was asked for and what came out."""

    report: RunReport
    wanted: float
    calibration: Calibration | None
    """None where no task has two completions."""
    measured: Agreement | None
    """Between the pool's labelers, as the store has it; None where no task was answered twice."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        strict = self.measured.strict if self.measured else None
        return {
            **self.report.as_json(),
            "agreement_wanted": self.wanted,
            "agreement_expected": None if self.calibration is None else round(self.calibration.agreement, 4),
            "tie_rate_expected": None if self.calibration is None else round(self.calibration.tie_rate, 4),
            "agreement": None if strict is None else strict.as_json(),
            "tie_rate": None if self.measured is None else round(self.measured.tie_rate, 4),
        }


def copy_project(project: Project, out: Path) -> Project:
    """A project with the same store, key and name in another folder.

    Raises:
        ConfigError: the folder is not empty, or the store is no SQLite file.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty", hint="name a new folder for the rehearsal")
    db = project.database()
    try:
        if db.dialect != "sqlite":
            raise ConfigError(
                "a store in PostgreSQL cannot be copied into a folder", hint="rehearse on a copy of the database, with --in-place"
            )
        (out / "snapshots").mkdir(parents=True, exist_ok=True)
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT", instructloop_read=True) as connection:
            connection.exec_driver_sql("COMMIT")  # VACUUM refuses to run within a transaction
            connection.exec_driver_sql("VACUUM INTO ?", (str((out / DATABASE_FILE).resolve()),))
    finally:
        db.close()
    descriptor = os.open(out / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(project.key.hex() + "\n")
    shutil.copy2(project.path / PROJECT_FILE, out / PROJECT_FILE)
    return Project.open(out)


def unflushed(project: Project) -> Database:
    """The store of a rehearsal: commits are not flushed to disk one by one, for after a power cut one would rehearse again anyway."""
    db = project.database()
    if db.dialect == "sqlite":

        @event.listens_for(db.engine, "connect")
        def relax(connection: sqlite3.Connection, _record: Any) -> None:
            connection.execute("PRAGMA synchronous=OFF")

    return db


def open_queues(db: Database, names: Sequence[str] = ()) -> dict[str, str]:
    """Identifier and kind of the queues named, or of all open ones.

    Raises:
        ConfigError: an unknown name, or no open queue.
    """
    with db.read() as session:
        rows = session.execute(
            select(Queue.id, Queue.name, Queue.kind).where(Queue.state == "open").order_by(Queue.priority.desc(), Queue.id)
        )
        known = {name: (identifier, kind) for identifier, name, kind in rows}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no open queue {name!r}", hint=f"open: {', '.join(known) or 'none'}")
    chosen = [known[name] for name in (names or known)]
    if not chosen:
        raise ConfigError("the project has no open queue", hint="instructloop sample --project DIR fills one")
    return dict(chosen)


def groups_in(db: Database, queue_ids: Sequence[str]) -> list[Group]:
    """Prompts and completions of the tasks that still want answers."""
    query = (
        select(Task.id, PromptRow, CompletionRow)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(TaskItem, TaskItem.task_id == Task.id)
        .join(CompletionRow, CompletionRow.id == TaskItem.completion_id)
        .where(Task.queue_id.in_(list(queue_ids)), Task.state == "open")
        .order_by(Task.id, TaskItem.slot)
    )
    prompts: dict[str, Prompt] = {}
    candidates: dict[str, list[Candidate]] = {}
    with db.read() as session:
        for task_id, prompt, completion in session.execute(query):
            if task_id not in prompts:
                prompts[task_id] = Prompt(prompt=prompt_of(prompt), meta=prompt.meta)
            candidates.setdefault(task_id, []).append(Candidate(text=completion.text or "", meta=completion.meta))
    return [Group(prompts[task_id], tuple(found)) for task_id, found in candidates.items()]


def rehearse(db: Database, queue_ids: Sequence[str], pool: Pool, *, agreement: float, tie_rate: float | None, seed: int) -> Rehearsal:
    """Calibrate the pool on the queues' own completions, let it work, and measure what the store then holds.

    Args:
        db: the store, of a copy if people's work is in it.
        queue_ids: queues in the order of preference.
        pool: who works.
        agreement: wanted strict agreement of two labelers.
        tie_rate: wanted share of ties; None keeps the labelers' tie width.
        seed: of everything.
    """
    groups = [group for group in groups_in(db, queue_ids) if len(group.candidates) >= 2]
    found = calibrate_noise(pool, groups, agreement, tie_rate=tie_rate, seed=seed) if groups and len(pool) > 1 else None
    report = run_pool(db, queue_ids, found.pool if found else pool, seed)
    return Rehearsal(report=report, wanted=agreement, calibration=found, measured=measured_agreement(db, queue_ids))


def measured_agreement(db: Database, queue_ids: Sequence[str], *, kind: str = "simulated") -> Agreement | None:
    """Agreement of the newest rankings of labelers of one kind, in all three tie conventions; None without a doubly ranked task."""
    newer = aliased(Submission)
    query = (
        select(Submission.task_id, Submission.id, TaskItem.slot, RankingItem.rank)
        .join(Task, Task.id == Submission.task_id)
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .join(RankingItem, RankingItem.submission_id == Submission.id)
        .join(TaskItem, (TaskItem.task_id == Submission.task_id) & (TaskItem.completion_id == RankingItem.completion_id))
        .outerjoin(newer, newer.supersedes == Submission.id)
        .where(Task.queue_id.in_(list(queue_ids)), Task.gold_id.is_(None), Labeler.kind == kind, newer.id.is_(None))
        .order_by(Submission.task_id, Submission.id, TaskItem.slot)
    )
    given: dict[str, dict[str, list[int | None]]] = {}
    with db.read() as session:
        for task_id, submission, _, rank in session.execute(query):
            given.setdefault(task_id, {}).setdefault(submission, []).append(rank)
    twice: dict[Hashable, list[list[int | None]]] = {
        task_id: list(answers.values()) for task_id, answers in given.items() if len(answers) > 1
    }
    if not twice:
        return None
    try:
        return pairwise_agreement(twice)
    except DataError:  # nothing that two labelers both ranked
        return None
